"""P-bit mode: the proven radius holds everywhere, and undecided signs are evaluated exactly."""

import itertools

import numpy as np
import pytest
from flint import fmpq_mat, fmpz, fmpz_mat
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxtract import ExactNetwork
from jaxtract.evaluation import (
    FlintPackedEvaluator,
    InputFormat,
    Packed,
    RoundedEvaluator,
    integer_network,
    rounding_pays,
    sample_words,
    unpack,
)
from jaxtract.evaluation.packing import words_of
from jaxtract.network.exact_network import rational
from jaxtract.network.families import exact_network, he


def errors(evaluate, network, format, words):
    """(result, largest error in units of the last place) against FLINT."""
    points = Packed(words, format.exponent)
    result = evaluate(points)
    values, truth = unpack(result.values).rows(), unpack(FlintPackedEvaluator(network, format)(points)).rows()
    unit = fmpz(1) << result.values.exponent
    pairs = zip(itertools.chain(*values), itertools.chain(*truth), strict=True)
    return result, max(abs(x - y) * unit for x, y in pairs)


@pytest.mark.parametrize("digit_type", ["float64", "int8"])
@pytest.mark.parametrize("widths", [(5, 4, 2), (6, 7, 5, 4, 1), (5, 5, 5, 5, 5, 5, 5, 5, 5, 2)])
def test_the_radius_holds(widths, digit_type):
    network, format = exact_network(he(widths, 0)), InputFormat(64, 70)
    evaluate = RoundedEvaluator(network, format, 64, digit_type=digit_type, chunk=16)
    result, worst = errors(evaluate, network, format, sample_words(60, widths[0], format))
    assert 0 < worst <= result.radius
    assert not result.exact[3:].any()
    # The grid is no finer than asked, but for the digits that do not fill a place and the last layer's weights.
    assert result.values.exponent < 64 + 26 + 80


def test_points_nearer_to_a_kink_than_the_radius_are_evaluated_exactly():
    """Neuron 0 of layer two is h_0 - h_1 + x_2 - 2^-90; its sign is out of reach at x_0 = x_1, x_2 near 2^-90."""
    network = ExactNetwork(
        (fmpq_mat(3, 3, [1, 0, 0, 0, 1, 0, 0, 0, 1]), fmpq_mat(2, 3, [1, -1, 1, 1, 1, 0]), fmpq_mat(1, 2, [1, 1])),
        (fmpq_mat(3, 1, [0, 0, 0]), fmpq_mat(2, 1, [rational(-(2.0**-90)), 0]), fmpq_mat(1, 1, [0])),
    )
    format = InputFormat(128, 132)
    tiny = [fmpz(1) << 38, (fmpz(1) << 38) + 1, (fmpz(1) << 38) - 1, fmpz(0)]
    x = fmpz(12345) << 110
    words = words_of(fmpz_mat(5, 3, [z for t in tiny for z in (x, x, t)] + [x, 0, 0]), 132)
    evaluate = RoundedEvaluator(network, format, 40, chunk=8)
    result, worst = errors(evaluate, network, format, words)
    assert result.exact.tolist() == [True] * 4 + [False]
    assert worst <= result.radius


@settings(max_examples=6)
@given(
    widths=st.lists(st.integers(1, 4), min_size=3, max_size=6),
    numbers=st.lists(
        st.floats(-8, 8, allow_subnormal=True) | st.sampled_from([0.0, 1.0, 5e-324]), min_size=5, max_size=19
    ),
    prec=st.sampled_from([12, 40, 100]),
    seed=st.integers(0, 2**31),
)
def test_the_radius_holds_for_any_weights(widths, numbers, prec, seed):
    """A precision that is too small for a network is refused; otherwise the radius holds, however large it is."""
    stream, pairs = itertools.cycle(map(rational, numbers)), list(itertools.pairwise(widths))
    network = ExactNetwork(
        tuple(fmpq_mat(m, n, list(itertools.islice(stream, m * n))) for n, m in pairs),
        tuple(fmpq_mat(m, 1, list(itertools.islice(stream, m))) for _, m in pairs),
    )
    format = InputFormat(80, 84)
    try:
        evaluate = RoundedEvaluator(network, format, prec, chunk=16)
    except ValueError as error:
        assert "raise prec" in str(error)
        return
    result, worst = errors(evaluate, network, format, sample_words(16, widths[0], format, seed=seed))
    assert worst <= result.radius


def test_nothing_dropped_is_exact():
    network, format = exact_network(he((4, 3, 2), 0)), InputFormat(30, 34)
    evaluate = RoundedEvaluator(network, format, 500, chunk=16)
    result, worst = errors(evaluate, network, format, sample_words(16, 4, format))
    assert worst == 0 and not result.exact.any()


def test_it_pays_on_deep_networks_only():
    format = InputFormat(64, 66)
    deep, shallow = (exact_network(he(widths, 0)) for widths in ((10,) * 9 + (1,), (30, 12, 1)))
    assert rounding_pays(integer_network(deep, format), 64)
    assert not rounding_pays(integer_network(shallow, format), 64)


def test_refusals():
    network, format = exact_network(he((4, 3, 3, 2), 0)), InputFormat(64, 66)
    with pytest.raises(ValueError, match="prec is 0"):
        RoundedEvaluator(network, format, 0)
    with pytest.raises(ValueError, match="inputs have shape"):
        RoundedEvaluator(network, format, 64)(Packed(np.zeros((2, 3, 2), np.uint64), 64))
    # Inputs of modulus 2^-590 on a network without biases: activations that keep a dozen bits are all zero.
    homogeneous = ExactNetwork(network.weights, tuple(bias * 0 for bias in network.biases))
    with pytest.raises(ValueError, match="raise prec"):
        RoundedEvaluator(homogeneous, InputFormat(600, 10), 12)
