"""Every exact evaluator against FLINT, bit for bit: outputs and activation masks of the same packed inputs."""

import itertools
import os
import pathlib
import runpy
import subprocess
import sys
from typing import final

import equinox as eqx
import jax
import numpy as np
import pytest
from flint import fmpq, fmpq_mat, fmpz, fmpz_mat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxtract import ExactNetwork
from jaxtract.evaluation import (
    DigitSliceEvaluator,
    ExactEvaluator,
    FlintPackedEvaluator,
    InputFormat,
    IntegerNetwork,
    Packed,
    ResidueEvaluator,
    check_int8_products,
    choose_method,
    exact_evaluator,
    integer_network,
    pack,
    pack_float64,
    sample_points,
    sample_words,
    self_test,
    self_test_points,
    unpack,
)
from jaxtract.evaluation.packing import matrix_of, words_of
from jaxtract.network.exact_network import rational
from jaxtract.oracle.points import PointBatch, on_lines, scattered
from precision.dyadic import DyadicMatrix, from_float64

DENORMAL = 5e-324
CHUNK = 16
METHODS = {
    "int8": lambda network, format: DigitSliceEvaluator(network, format, digit_type="int8", chunk=CHUNK),
    "float64": lambda network, format: DigitSliceEvaluator(network, format, digit_type="float64", chunk=CHUNK),
    "residues": lambda network, format: ResidueEvaluator(network, format, chunk=CHUNK),
}


def network_of(layers):
    """An exact network from NumPy pairs (A, b); a row of A is a neuron."""
    weights = [fmpq_mat(*A.shape, [rational(float(x)) for x in A.ravel()]) for A, _ in layers]
    biases = [fmpq_mat(len(b), 1, [rational(float(x)) for x in b]) for _, b in layers]
    return ExactNetwork(tuple(weights), tuple(biases))


def gaussian(widths, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(widths)
    return [
        ((rng.standard_normal((n, k)) * np.sqrt(2 / k)).astype(dtype), (0.1 * rng.standard_normal(n)).astype(dtype))
        for k, n in pairs
    ]


def with_denormals(widths, seed):
    layers = gaussian(widths, seed)
    for A, b in layers:
        A[0, 0], b[-1] = -DENORMAL, 3 * DENORMAL
    return layers


def wide_range(widths, seed):
    """Exponents spread over 600 bits, so that no digit of the weights is empty."""
    rng = np.random.default_rng(seed)
    return [(np.ldexp(A, rng.integers(-300, 300, A.shape)), b) for A, b in gaussian(widths, seed)]


def integers_and_zeros(widths, seed):
    """Integer weights, a dead unit, a zero row, a zero column and a huge weight."""
    rng = np.random.default_rng(seed)
    layers = [(rng.integers(-3, 4, A.shape).astype(float), np.round(b)) for A, b in gaussian(widths, seed)]
    for A, b in layers[:-1]:
        A[0], b[0] = 0, -1
    layers[0][0][:, 0] = 0
    layers[-1][0][0, -1] = 2.0**900
    return layers


def all_zero(widths, seed):
    return [(np.zeros_like(A), np.zeros_like(b)) for A, b in gaussian(widths, seed)]


CASES = {
    "linear": (gaussian, (5, 3), 64),
    "one": (gaussian, (12, 9, 2), 64),
    "two": (gaussian, (9, 8, 7, 1), 256),
    "three": (gaussian, (1, 6, 1, 4, 3), 100),
    "four": (gaussian, (6, 6, 6, 6, 6, 2), 512),
    "eight": (gaussian, (7, 6, 5, 6, 5, 6, 5, 6, 5, 2), 64),
    "2048 bits": (gaussian, (4, 5, 3, 1), 2048),
    "wide": (gaussian, (300, 17, 2), 127),
    "denormal": (with_denormals, (5, 4, 3, 1), 65),
    "range": (wide_range, (5, 4, 2), 64),
    "integers": (integers_and_zeros, (5, 4, 3, 2), 64),
    "zero": (all_zero, (3, 2, 1), 64),
}


def sign_extremes(network, format):
    """Points that drive every unit of the first layer to its bounds: inputs extreme, with the weights' signs."""
    low, high = -(1 << (format.bits - 1)), (1 << (format.bits - 1)) - 1
    rows = [[high if x > 0 else low for x in row] for row in network.weights[0].tolist()]
    flipped = [[low if x == high else high for x in row] for row in rows]
    entries = [x for row in rows + flipped for x in row]
    return words_of(fmpz_mat(2 * len(rows), network.inputs, entries), format.bits)


def assert_same(evaluator, reference, words):
    points = Packed(words, reference.integers.format.exponent)
    outputs, masks = evaluator.with_masks(points)
    expected, expected_masks = reference.with_masks(points)
    assert outputs == expected
    assert len(masks) == len(expected_masks)
    for mask, expected_mask in zip(masks, expected_masks, strict=True):
        assert np.array_equal(mask, expected_mask)


@pytest.mark.parametrize("case", CASES)
def test_flint_is_the_network_itself(case):
    family, widths, prec = CASES[case]
    network, format = network_of(family(widths, 1)), InputFormat(prec, prec + 2)
    points = Packed(sample_words(5, widths[0], format), prec)
    values = unpack(FlintPackedEvaluator(network, format)(points)).rows()
    assert values == [network(point) for point in unpack(points).rows()]


def assert_same_at(evaluator, reference, points):
    """Structured points against the same points written out."""
    bits, exponent = reference.integers.format.bits, reference.integers.format.exponent
    expected, expected_masks = reference.with_masks(pack(points.dense(), exponent=exponent, bits=bits))
    for one in (evaluator, reference):
        outputs, masks = one.at_points_with_masks(points)
        assert outputs == expected
        assert all(np.array_equal(a, b) for a, b in zip(masks, expected_masks, strict=True))


def lines(inputs, format, seed):
    """Points at all distances along three lines whose directions have entries of many lengths."""
    rng = np.random.default_rng(seed)
    unit = fmpz(1) << (format.exponent // 2)
    anchors = DyadicMatrix(
        matrix_of(sample_words(3, inputs, InputFormat(format.exponent, format.bits - 1))), format.exponent
    )
    entries = [fmpz(int(m)) << int(s) for m, s in rng.integers((-(2**20), 0), (2**20, 8), (3 * inputs, 2))]
    directions = DyadicMatrix(fmpz_mat(3, inputs, entries), format.exponent - format.exponent // 2)
    room = format.bits - (format.exponent - directions.exponent - format.exponent // 2) - 31
    lengths = rng.integers(0, room, 40)
    steps = [fmpq(int(s), unit) * (fmpz(1) << int(k)) for s, k in zip(rng.choice((-1, 0, 1), 40), lengths, strict=True)]
    return on_lines(anchors, directions, [int(k) for k in rng.integers(0, 3, 40)], steps)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["linear", "two", "denormal", "zero"])
def test_structured_points_equal_flint(case, method):
    """Stars around anchors, lines with directions, and points without any structure."""
    family, widths, prec = CASES[case]
    network, format = network_of(family(widths, 0)), InputFormat(prec, prec + 40)
    reference, evaluator = FlintPackedEvaluator(network, format), METHODS[method](network, format)
    assert_same_at(evaluator, reference, sample_points(35, widths[0], format))
    assert_same_at(evaluator, reference, lines(widths[0], format, 2))
    assert_same_at(evaluator, reference, scattered(sample_points(5, widths[0], format).dense()))


def along_axes(anchor, steps):
    """Steps along the axes in turn from one anchor, all on the grid 2^-64."""
    count = len(steps)
    axes = tuple(k % len(anchor) for k in range(count))
    row = DyadicMatrix(fmpz_mat(1, len(anchor), anchor), 64)
    return PointBatch(row, None, (0,) * count, axes, tuple(map(fmpz, steps)), 64)


# An anchor and a step may reach 2^99 - 1 together, the largest number of 100 bits.
@settings(max_examples=50, deadline=None)
@given(
    anchor=st.lists(st.integers(-(2**98), 2**98), min_size=3, max_size=3),
    steps=st.lists(st.integers(1 - 2**98, 2**98 - 1), min_size=1, max_size=16),
)
@example(anchor=[2**98] * 3, steps=[2**98 - 1] * 3)
@example(anchor=[-(2**98)] * 3, steps=[1 - 2**98] * 3)
@example(anchor=[2**98, -(2**98), 0], steps=[1 - 2**98, 2**98 - 1, 0, 1, -1])
def test_any_structured_points(small, anchor, steps):
    _, reference, evaluators = small
    for evaluator in evaluators:
        assert_same_at(evaluator, reference, along_axes(anchor, steps))


@pytest.mark.parametrize("sign", [1, -1])
def test_an_anchor_and_a_step_that_fit_only_apart_are_refused(small, sign):
    """Together they may reach 2^99, beyond 100 bits."""
    _, reference, evaluators = small
    for evaluator in (reference, *evaluators):
        with pytest.raises(ValueError, match="may reach 2\\^36, beyond the 100 bits"):
            evaluator.at_points(along_axes([sign * 2**98] * 3, [sign * 2**98]))


def test_structured_points_are_checked(small):
    _, reference, evaluators = small
    one = DyadicMatrix(fmpz_mat(1, 3, [1, 0, 0]), 0)
    for evaluator in (reference, *evaluators):
        with pytest.raises(ValueError, match="2 coordinates"):
            evaluator.at_points(scattered(DyadicMatrix(fmpz_mat(1, 2), 0)))
        with pytest.raises(ValueError, match="grid 2\\^-65, finer than 2\\^-64"):
            evaluator.at_points(PointBatch(one, None, (0,), (0,), (fmpz(1),), 65))
        with pytest.raises(ValueError, match="beyond the 100 bits"):
            evaluator.at_points(PointBatch(one, None, (0,), (0,), (fmpz(1) << 36,), 0))
        # Directions are checked even where nobody moves along them.
        with pytest.raises(ValueError, match="beyond the 100 bits"):
            far = DyadicMatrix(fmpz_mat(1, 3, [fmpz(1) << 40] * 3), 0)
            evaluator.at_points(PointBatch(one, far, (0,), (0,), (fmpz(0),), 0))


EIGHT_DEVICES = """
import jax, numpy as np
from jaxtract.evaluation import (DigitSliceEvaluator, FlintPackedEvaluator, InputFormat, Packed, ResidueEvaluator,
                                 RoundedEvaluator, sample_points, sample_words)
from jaxtract.network.families import exact_network, he
assert len(jax.devices()) == 8
network, format = exact_network(he((6, 7, 5, 2), 0)), InputFormat(128, 132)
packed, points = Packed(sample_words(203, 6, format), 128), sample_points(203, 6, format)
reference = FlintPackedEvaluator(network, format)
expected, at_points = reference.with_masks(packed), reference.at_points(points)
def build(method, devices):
    if method == "residues":
        return ResidueEvaluator(network, format, chunk=16, devices=devices)
    return DigitSliceEvaluator(network, format, digit_type=method, chunk=16, devices=devices)
for method in ("int8", "float64", "residues"):
    for devices in (None, jax.devices()[:1], jax.devices()[3:6]):
        evaluator = build(method, devices)
        assert evaluator.chunk == 16 * (8 if devices is None else len(devices))
        outputs, masks = evaluator.with_masks(packed)
        assert outputs == expected[0] and all(map(np.array_equal, masks, expected[1])), (method, devices)
        assert evaluator.at_points(points) == at_points, (method, devices)
for digit_type in ("float64", "int8"):
    one, eight = (RoundedEvaluator(network, format, 64, digit_type=digit_type, chunk=16, devices=devices)(packed)
                  for devices in (jax.devices()[:1], None))
    assert one.values == eight.values and one.radius == eight.radius and np.array_equal(one.exact, eight.exact)
print("equal")
"""


def test_batches_are_sharded_over_eight_devices():
    """The same words on 8 devices, on 3 of them and on 1: in a process of its own, as devices are fixed at import."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-c", EIGHT_DEVICES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal\n"


def test_at_least_one_device(small):
    network, reference, _ = small
    with pytest.raises(ValueError, match="devices is empty"):
        ResidueEvaluator(network, reference.integers.format, devices=[])


SLOW = ("three", "four")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", [pytest.param(x, marks=pytest.mark.slow) if x in SLOW else x for x in CASES])
def test_equals_flint(case, method):
    """Uniform and extreme inputs; 35 points end in the middle of the third chunk."""
    family, widths, prec = CASES[case]
    network, format = network_of(family(widths, 0)), InputFormat(prec, prec + 2)
    reference = FlintPackedEvaluator(network, format)
    words = np.concatenate([sample_words(35, widths[0], format), sign_extremes(network, format)])
    assert_same(METHODS[method](network, format), reference, words)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("smallest", [False, True])
def test_float32_weights(method, smallest):
    """Also with the smallest denormal of float32, 2^-149, in every layer."""
    layers = gaussian((8, 6, 5, 2), 3, np.float32)
    if smallest:
        for A, b in layers:
            A[0, 0], b[-1] = -np.float32(1e-45), np.float32(1e-45)
    network, format = network_of(layers), InputFormat(149, 192)
    words = np.concatenate([sample_words(20, 8, format), sign_extremes(network, format)])
    assert_same(METHODS[method](network, format), FlintPackedEvaluator(network, format), words)


def kinks(reference, seed):
    """Pairs of grid points 2^-P apart with a kink between them, some for every hidden layer."""
    rng = np.random.default_rng(seed)
    format, inputs = reference.integers.format, reference.integers.widths[0]
    reach, found = 1 << (format.bits - 1), []
    for layer in range(len(reference.integers.widths) - 2):
        wanted = len(found) + 4
        while len(found) < wanted:
            base = matrix_of(sample_words(8, inputs, format, seed=int(rng.integers(1 << 30)))).tolist()[7]
            axis = int(rng.integers(inputs))

            def mask(x, base=base, axis=axis, layer=layer):
                row = [*base[:axis], x, *base[axis + 1 :]]
                return row, reference.evaluate_matrix(fmpz_mat(1, inputs, row))[1][layer][0]

            low, high = -reach, reach - 1
            changes = np.flatnonzero(mask(low)[1] != mask(high)[1])
            if len(changes):
                found.append(_bisect(mask, low, high, changes[0]))
    return words_of(fmpz_mat(2 * len(found), inputs, [x for pair in found for row in pair for x in row]), format.bits)


@pytest.mark.parametrize("case", ["one", "two", pytest.param("eight", marks=pytest.mark.slow)])
def test_structured_points_within_a_grid_step_of_kinks_of_every_layer(case):
    """The same pairs as steps of length 0 and 2^-P from the lower end, along the axis that changes."""
    family, widths, prec = CASES[case]
    network, format = network_of(family(widths, 0)), InputFormat(prec, prec + 3)
    reference = FlintPackedEvaluator(network, format)
    narrow = FlintPackedEvaluator(network, InputFormat(prec, prec + 2))
    rows = matrix_of(kinks(narrow, seed=5)).tolist()
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    axes = [next(k for k in range(widths[0]) if low[k] != high[k]) for low, high in pairs]
    anchors = DyadicMatrix(fmpz_mat(len(pairs), widths[0], [x for low, _ in pairs for x in low]), prec)
    twice = tuple(k for k in range(len(pairs)) for _ in range(2))
    steps = (fmpz(0), fmpz(1)) * len(pairs)
    points = PointBatch(anchors, None, twice, tuple(axes[k] for k in twice), steps, prec)
    _, masks = reference.at_points_with_masks(points)
    for mask in masks:
        assert (mask[::2] != mask[1::2]).any()
    for method in METHODS.values():
        assert_same_at(method(network, format), reference, points)


def _bisect(mask, low, high, unit):
    left = mask(low)[1][unit]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if mask(middle)[1][unit] == left else (low, middle)
    return mask(low)[0], mask(high)[0]


@pytest.mark.parametrize("case", ["one", "two", "eight", pytest.param("2048 bits", marks=pytest.mark.slow)])
def test_within_a_grid_step_of_kinks_of_every_layer(case):
    family, widths, prec = CASES[case]
    network, format = network_of(family(widths, 0)), InputFormat(prec, prec + 2)
    reference = FlintPackedEvaluator(network, format)
    words = kinks(reference, seed=3)
    for method in METHODS.values():
        assert_same(method(network, format), reference, words)


@pytest.mark.parametrize("method", METHODS)
def test_exactly_on_a_kink_a_unit_is_not_positive(method):
    """Unit j of the first layer is x_0 - x_1, zero at equal inputs; of the second layer, its constant multiple."""
    layers = [(np.array([[1.0, -1.0], [1.0, 1.0]]), np.zeros(2)), (np.array([[1.0, 0.0]]), np.zeros(1))]
    network, format = network_of([*layers, (np.ones((1, 1)), np.zeros(1))]), InputFormat(64, 66)
    words = sample_words(9, 2, format)
    words[:5, 1] = words[:5, 0]
    _, masks = METHODS[method](network, format).with_masks(Packed(words, 64))
    assert not masks[0][:5, 0].any() and not masks[1][:5].any()
    assert_same(METHODS[method](network, format), FlintPackedEvaluator(network, format), words)


finite = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True)


@settings(max_examples=4, deadline=None)
@given(st.lists(finite, min_size=17, max_size=17), st.sampled_from([64, 129, 512]), st.integers(0, 2**31))
def test_any_finite_weights(parameters, prec, seed):
    """Any doubles as weights of a 2-3-2 network; every example compiles anew, which bounds their number."""
    values = np.array(parameters)
    layers = [(values[:6].reshape(3, 2), values[6:9]), (values[9:15].reshape(2, 3), values[15:])]
    network, format = network_of(layers), InputFormat(prec, prec + 2)
    reference = FlintPackedEvaluator(network, format)
    words = np.concatenate([sample_words(12, 2, format, seed=seed), sign_extremes(network, format)])
    for method in ("float64", "residues"):
        assert_same(METHODS[method](network, format), reference, words)


@pytest.fixture(scope="module")
def small():
    """One network with evaluators compiled once."""
    network, format = network_of(gaussian((3, 5, 4, 2), 11)), InputFormat(64, 100)
    reference = FlintPackedEvaluator(network, format)
    return network, reference, [method(network, format) for method in METHODS.values()]


integers_100 = st.one_of(
    st.integers(-(2**99), 2**99 - 1),
    st.sampled_from([0, -1, 1, 2**99 - 1, -(2**99), 2**63, -(2**63), 2**64, 127 << 64, 128, -128, -129]),
)


@settings(max_examples=100, deadline=None)
@given(entries=st.lists(integers_100, min_size=9, max_size=9))
def test_any_inputs(small, entries):
    _, reference, evaluators = small
    words = words_of(fmpz_mat(3, 3, entries), 100)
    for evaluator in evaluators:
        assert_same(evaluator, reference, words)


@settings(deadline=None)
@given(entries=st.lists(st.integers(-(2**191), 2**191 - 1), min_size=4, max_size=4))
def test_packing_is_reversible(entries):
    matrix = DyadicMatrix(fmpz_mat(2, 2, entries), 70)
    packed = pack(matrix, exponent=70, bits=192)
    assert unpack(packed) == matrix
    expected = b"".join(x.to_bytes(24, "little", signed=True) for x in entries)
    assert packed.mantissa_bytes.tobytes() == expected


@settings(deadline=None)
@given(values=st.lists(finite, min_size=3, max_size=3))
def test_packing_float64_in_bulk(values):
    row = np.array([values])
    packed = pack_float64(row, exponent=1074, bits=2099)
    assert packed == pack(from_float64(row), exponent=1074, bits=2099)


@pytest.mark.parametrize("value, bits", [(-1.0, 65), (1.0, 66), (-2.0, 66), (0.0, 1), (-(2.0**-64), 1), (2.0**-64, 2)])
def test_packing_float64_at_the_limit(value, bits):
    values = np.array([[value]])
    assert unpack(pack_float64(values, exponent=64, bits=bits)).rows() == [[fmpq(*value.as_integer_ratio())]]
    if value and bits > 1:
        with pytest.raises(ValueError, match="do not fit"):
            pack_float64(values, exponent=64, bits=bits - 1)


def test_packing_refuses():
    with pytest.raises(ValueError, match="finer than the grid"):
        pack_float64(np.array([[0.375]]), exponent=2, bits=8)
    with pytest.raises(ValueError, match="finite"):
        pack_float64(np.array([[np.inf]]), exponent=2, bits=8)
    with pytest.raises(ValueError, match="does not fit in 64 bits"):
        pack(DyadicMatrix(fmpz_mat(1, 1, [fmpz(1) << 63]), 0), exponent=0, bits=64)
    with pytest.raises(ValueError, match="uint64 array"):
        Packed(np.zeros((2, 3), np.uint64), 64)


@pytest.mark.parametrize("build", [FlintPackedEvaluator, *METHODS.values()])
def test_construction_refuses(build):
    third = ExactNetwork((fmpq_mat(1, 1, [fmpq(1, 3)]),), (fmpq_mat(1, 1, [0]),))
    with pytest.raises(ValueError, match="denominator 3, which is no power of two"):
        build(third, InputFormat(64, 66))
    empty = ExactNetwork((fmpq_mat(0, 2), fmpq_mat(1, 0)), (fmpq_mat(0, 1), fmpq_mat(1, 1)))
    with pytest.raises(ValueError, match="layers without units"):
        build(empty, InputFormat(64, 66))
    with pytest.raises(ValueError, match="bits is 0"):
        InputFormat(64, 0)
    with pytest.raises(ValueError, match="exponent is -1"):
        InputFormat(-1, 3)


def test_inputs_are_checked(small):
    _, _, evaluators = small
    words = sample_words(3, 3, InputFormat(64, 100))
    with pytest.raises(ValueError, match="shape"):
        evaluators[0](Packed(words[:, :2], 64))
    with pytest.raises(ValueError, match="grid 2\\^-63"):
        evaluators[0](Packed(words, 63))
    words[1, 1, 1] = 1 << 36
    with pytest.raises(ValueError, match="beyond the 100 bits"):
        evaluators[0](Packed(words, 64))


def test_no_points(small):
    _, reference, evaluators = small
    none = Packed(np.empty((0, 3, 2), np.uint64), 64)
    assert all(evaluator(none) == reference(none) for evaluator in evaluators)


def test_int8_refuses_a_fan_in_that_overflows_and_the_choice_knows():
    inputs = 1 << 17
    network = ExactNetwork((fmpq_mat(1, inputs),), (fmpq_mat(1, 1),))
    with pytest.raises(ValueError, match="fan-in 131072"):
        METHODS["int8"](network, InputFormat(64, 66))
    assert choose_method(integer_network(network, InputFormat(64, 66)), batch=64, platform="gpu") != "int8"


def test_unknown_names_are_refused(small):
    network, reference, _ = small
    with pytest.raises(ValueError, match="method is 'fast'"):
        exact_evaluator(network, reference.integers.format, method="fast")
    with pytest.raises(ValueError, match="batch is 0"):
        exact_evaluator(network, reference.integers.format, batch=0)
    with pytest.raises(ValueError, match="digit_type is 'int4'"):
        DigitSliceEvaluator(network, reference.integers.format, digit_type="int4")


@pytest.mark.parametrize("method", METHODS)
def test_x64_is_required(small, method):
    network, reference, _ = small
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ValueError, match="jax_enable_x64"):
            METHODS[method](network, reference.integers.format)
    finally:
        jax.config.update("jax_enable_x64", True)


@pytest.mark.parametrize("fan_in", [1, 784, 5000])
def test_int8_products_are_exact_here(fan_in):
    check_int8_products(fan_in)


@final
class OneOff(ExactEvaluator):
    """The reference, wrong by one unit in the last place at one of 64 points."""

    integers: IntegerNetwork = eqx.field(static=True)
    chunk: int = eqx.field(static=True)
    reference: FlintPackedEvaluator

    def evaluate_chunk(self, words):
        return spoilt(*self.reference.evaluate_chunk(words))

    def first_images(self, points):
        return self.reference.first_images(points)

    def evaluate_images(self, images, anchor, direction, steps):
        return spoilt(*self.reference.evaluate_images(images, anchor, direction, steps))


def spoilt(outputs, masks):
    outputs = outputs.copy()
    outputs[-1, 0, 0] ^= np.uint64(1)
    return outputs, masks


def test_the_self_test_finds_one_wrong_bit(small):
    _, reference, evaluators = small
    for evaluator in evaluators:
        self_test(evaluator)
    with pytest.raises(RuntimeError, match="OneOff disagrees with FLINT"):
        self_test(OneOff(reference.integers, 64, reference))
    with pytest.raises(RuntimeError, match="OneOff disagrees with FLINT"):
        self_test_points(OneOff(reference.integers, 64, reference))


def test_the_choice():
    def chosen(widths, batch, **options):
        return choose_method(
            integer_network(network_of(gaussian(widths, 0)), InputFormat(256, 258)), batch=batch, **options
        )

    assert chosen((80, 40, 20, 1), 1) == "flint"
    assert chosen((80, 40, 20, 1), 1024) == "float64"
    assert chosen((80, 40, 20, 1), 1024, platform="gpu") == "int8"
    # Weights whose digits fill 600 bits make slices expensive.
    spread = integer_network(network_of(wide_range((80, 40, 1), 0)), InputFormat(256, 258))
    assert choose_method(spread, batch=1024) == "residues"


@pytest.mark.parametrize("method", ["auto", "flint", *METHODS])
def test_the_built_evaluator_is_the_one_asked_for(small, method):
    network, reference, _ = small
    format = reference.integers.format
    evaluator = exact_evaluator(network, format, batch=8, method=method)
    if method in ("auto", "flint"):
        assert isinstance(evaluator, FlintPackedEvaluator)
    else:
        assert type(evaluator) is type(METHODS[method](network, format))
        assert evaluator.chunk == 8
    assert_same(evaluator, reference, sample_words(20, 3, format, seed=9))


def test_memory_is_bounded_by_chunks():
    """The chunk shrinks as precision grows: the arrays of one chunk stay near 8 MiB."""
    network = network_of(gaussian((64, 64, 1), 0))
    chunks = [DigitSliceEvaluator(network, InputFormat(p, p + 2), digit_type="int8").chunk for p in (64, 2048)]
    assert chunks[0] == 256 and chunks[1] == 8 * (chunks[1] // 8) < 256


def test_the_experiment_runs_small(capsys, tmp_path):
    path = pathlib.Path(__file__).parents[1] / "experiments" / "exact_evaluation.py"
    runpy.run_path(str(path))["main"](["--small", "--out", str(tmp_path)])
    assert "20-10-5-1" in capsys.readouterr().out
    assert "20-10-5-1" in (tmp_path / "packed.svg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("prec", [64, 256, 1024, 2048])
@pytest.mark.parametrize("seed", range(3))
def test_random_networks_equal_flint(prec, seed):
    rng = np.random.default_rng([prec, seed])
    for depth in range(1, 9):
        widths = [int(n) for n in rng.integers(1, 24, depth + 2)]
        family = [gaussian, with_denormals, wide_range, integers_and_zeros][int(rng.integers(4))]
        network, format = network_of(family(widths, seed)), InputFormat(prec, prec + int(rng.integers(1, 40)))
        reference = FlintPackedEvaluator(network, format)
        words = np.concatenate([sample_words(40, widths[0], format), sign_extremes(network, format)])
        for method in METHODS.values():
            assert_same(method(network, format), reference, words)
