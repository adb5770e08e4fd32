"""Weights that no double holds: square roots, logarithms and e, read to any number of bits."""

import mpmath
import numpy as np
import pytest

from jaxtract import CallableOracle, DepthTwoOptions, extract_depth_two, mp

INPUTS, WIDTH = 5, 7


def _weights(arithmetic):
    """(rows with bias, output weights), the same numbers at any precision."""
    rng = np.random.default_rng(11)
    roots = rng.integers(2, 1000, size=(WIDTH, INPUTS))
    signs = rng.choice([-1, 1], size=(WIDTH, INPUTS))
    rows = [
        [int(s) * arithmetic.sqrt(int(x)) for s, x in zip(signs[i], roots[i], strict=True)]
        + [(-1) ** i * arithmetic.log(2 + i)]
        for i in range(WIDTH)
    ]
    return rows, [(-1) ** (i // 2) * arithmetic.cbrt(2 + i) for i in range(WIDTH)]


def _answer(points, bits):
    arithmetic = type(mpmath.mp)()
    arithmetic.prec = bits + 40
    rows, outer = _weights(arithmetic)
    answers = []
    for point in points:
        x = [arithmetic.mpf(t.numerator) / t.denominator for t in point] + [1]
        hidden = [max(arithmetic.zero, arithmetic.fdot(row, x)) for row in rows]
        answers.append(arithmetic.fdot(outer, hidden) + arithmetic.e)
    arithmetic.prec = bits
    return [[+y] for y in answers]


@pytest.mark.parametrize("prec", [64, 200, 1000])
def test_every_row_has_the_bits_asked_for(prec):
    oracle = CallableOracle(_answer, inputs=INPUTS, outputs=1, number_system="mp")
    options = DepthTwoOptions(verify_inputs=50, verify_lines=2)
    result = extract_depth_two(oracle, mp(prec), options=options)
    assert result.claim == "refined"
    assert result.network is not None
    assert result.network.widths == (INPUTS, WIDTH, 1)

    arithmetic = type(mpmath.mp)()
    arithmetic.prec = 2 * prec + 100
    unit = [_unit(arithmetic, row) for row in _weights(arithmetic)[0]]
    for q in range(WIDTH):
        found = [arithmetic.mpf(int(x.p)) / int(x.q) for x in result.network.weights[0].tolist()[q]]
        bias = result.network.biases[0][q, 0]
        row = _unit(arithmetic, [*found, arithmetic.mpf(int(bias.p)) / int(bias.q)])
        error = min(max(abs(a - b) for a, b in zip(row, true, strict=True)) for true in unit)
        assert error <= arithmetic.ldexp(1, -prec)


def _unit(arithmetic, row):
    norm = arithmetic.sqrt(arithmetic.fsum(x * x for x in row))
    return [x / norm for x in row]
