"""Evaluation piece by piece: equal to FLINT everywhere, and few points left to it where pieces are large."""

import itertools

import numpy as np
import pytest
from flint import fmpq, fmpq_mat, fmpz
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxtract import ExactNetwork
from jaxtract.evaluation.float64_signs import nearest_float64, quotients
from jaxtract.evaluation.pieces import PieceEvaluator, pays
from jaxtract.network.exact_network import rational
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.evaluate import FlintEvaluator, PointEvaluator
from jaxtract.oracle.points import on_lines, scattered, stars
from precision.dyadic import dyadic_matrix, from_float64

FINITE = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True)
TAME = st.one_of(st.just(0.0), st.floats(-4, 4, allow_subnormal=True), st.sampled_from([5e-324, -1.0, 1.0]))
SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=10)


def network_of(widths, numbers):
    """Weights and biases from an endless sequence of floats."""
    weights, biases = [], []
    for fan_in, width in itertools.pairwise(widths):
        weights.append(fmpq_mat(width, fan_in, [rational(next(numbers)) for _ in range(width * fan_in)]))
        biases.append(fmpq_mat(width, 1, [rational(next(numbers)) for _ in range(width)]))
    return ExactNetwork(tuple(weights), tuple(biases))


def lines_and_stars(inputs, rng, *, bits=40, scale=1.0):
    """Two lines with points at all distances from their bases, and stars with tiny and large steps."""
    bases = from_float64(scale * rng.standard_normal((2, inputs)))
    directions = from_float64(scale * rng.standard_normal((2, inputs)))
    positions = [fmpq(int(k)) / (fmpz(1) << int(s)) for k, s in rng.integers((-99, 0), (100, bits), (60, 2))]
    yield on_lines(bases, directions, [k % 2 for k in range(60)], positions)
    for step in (fmpq(1, fmpz(1) << bits), fmpq(3)):
        yield stars(bases, [step, -step], list(range(inputs)) * (1 + 20 // inputs))


def assert_equal(net, batches):
    flint = FlintEvaluator(net)
    evaluate = PieceEvaluator(flint)
    for batch in batches:
        assert (evaluate(batch) == flint(batch)).all()
    return evaluate


@settings(max_examples=30)
@given(widths=SHAPES, numbers=st.lists(TAME, min_size=7, max_size=23), seed=st.integers(0, 2**31))
def test_equals_flint_at_any_depth(widths, numbers, seed):
    """One to nine affine layers; equal weights and zeros make ties, dead units and coincident kinks common."""
    net = network_of(widths, itertools.cycle(numbers))
    assert_equal(net, lines_and_stars(widths[0], np.random.default_rng(seed)))


@settings(max_examples=30)
@given(numbers=st.lists(FINITE, min_size=17, max_size=17), seed=st.integers(0, 2**31))
def test_equals_flint_for_any_finite_weights(numbers, seed):
    """Float64 overflows and underflows on the way; such points are left to FLINT."""
    net = network_of((3, 2, 2, 1), itertools.cycle(numbers))
    rng = np.random.default_rng(seed)
    for scale in (2.0**-600, 1.0, 2.0**600):
        assert_equal(net, lines_and_stars(3, rng, scale=scale))


@pytest.mark.parametrize("widths", [(6, 5, 1), (5, 6, 4, 2), (4, 5, 5, 5, 1), (4, 4, 4, 4, 4, 4, 4, 4, 4, 2)])
@pytest.mark.parametrize("bits", [64, 256, 2048])
def test_points_nearer_than_float64_sees_to_kinks_of_every_layer(widths, bits):
    net = exact_network(he(widths, 3))
    base, direction = from_float64(np.full((1, widths[0]), -8.0)), from_float64(np.ones((1, widths[0])))
    positions = [t for layer in range(len(widths) - 2) for t in kinks_on_line(net, layer, bits)]
    assert len(positions) >= 2 * (len(widths) - 2)
    copies = 1 + 60 // len(positions)
    batch = on_lines(base, direction, [0] * (copies * len(positions)), positions * copies)
    evaluate = assert_equal(net, [batch])
    # The signs of the first layer are settled exactly, unit by unit; deeper ones are left to FLINT.
    assert (evaluate.left > 0) == (len(widths) > 3)


def kinks_on_line(net, layer, bits):
    """Pairs of positions 2^-bits apart on the line from -8 (1, ...) to 8 (1, ...) with a kink of a layer between."""

    def active(t):
        h = [t - 8] * net.inputs
        for index in range(layer + 1):
            z = [sum((w * x for w, x in zip(row, h, strict=True)), b) for row, b in rows_of(net, index)]
            h = [max(x, fmpq(0)) for x in z]
        return [x > 0 for x in z]

    grid = [fmpq(k, 4) for k in range(65)]
    masks = [active(t) for t in grid]
    found = []
    for (low, before), (high, after) in itertools.pairwise(zip(grid, masks, strict=True)):
        units = [j for j, (p, q) in enumerate(zip(before, after, strict=True)) if p != q]
        if units and len(found) < 6:
            unit, start = units[0], before[units[0]]
            while high - low > fmpq(1, fmpz(1) << bits):
                middle = (low + high) / 2
                low, high = (middle, high) if active(middle)[unit] == start else (low, middle)
            found += [low, high]
    return found


def rows_of(net, index):
    return zip(net.weights[index].tolist(), net.biases[index].entries(), strict=True)


def test_exactly_on_a_kink():
    """The second neuron is zero all along the line x = y."""
    net = ExactNetwork(
        (fmpq_mat(2, 2, [1, 2, 1, -1]), fmpq_mat(1, 2, [1, 1])), (fmpq_mat(2, 1, [1, 0]), fmpq_mat(1, 1, [0]))
    )
    diagonal = dyadic_matrix([[fmpq(1, 1 << 60)] * 2], 2)
    batch = on_lines(dyadic_matrix([[fmpq(0)] * 2], 2), diagonal, [0] * 40, [fmpq(k - 20, 8) for k in range(40)])
    assert assert_equal(net, [batch]).left == 0


def test_weights_need_not_be_dyadic():
    thirds = ExactNetwork(
        (fmpq_mat(2, 2, [fmpq(1, 3), 2, -1, fmpq(5, 7)]), fmpq_mat(1, 2, [fmpq(1, 9), -1])),
        (fmpq_mat(2, 1, [fmpq(1, 11), 0]), fmpq_mat(1, 1, [fmpq(2, 13)])),
    )
    assert_equal(thirds, lines_and_stars(2, np.random.default_rng(0)))


def test_dead_units_do_not_send_every_point_to_flint():
    net = ExactNetwork(
        (fmpq_mat(2, 2, [0, 0, 1, 2]), fmpq_mat(2, 2, [3, 0, 1, 1]), fmpq_mat(1, 2, [1, 1])),
        (fmpq_mat(2, 1, [0, 1]), fmpq_mat(2, 1, [0, 1]), fmpq_mat(1, 1, [1])),
    )
    (batch, *_) = lines_and_stars(2, np.random.default_rng(0))
    assert assert_equal(net, [batch]).left < 10


def test_few_points_are_left_where_anchors_are_in_general_position():
    net = exact_network(he((30, 20, 10, 2), 0))
    anchors = from_float64(np.random.default_rng(0).standard_normal((2, 30)))
    batch = stars(anchors, [fmpq(1, 1 << 70)] * 2, list(range(30)) * 4)
    evaluate = assert_equal(net, [batch])
    assert (evaluate.points, evaluate.left) == (240, 0)


def test_the_rest_goes_to_whom_it_may(seed):
    class Recorder(PointEvaluator):
        def __init__(self, flint):
            self.flint, self.sizes = flint, []

        def describe(self):
            return "recorder"

        def __call__(self, points):
            self.sizes.append(len(points))
            return self.flint(points)

    flint = FlintEvaluator(exact_network(he((4, 3, 1), 0)))
    recorder = Recorder(flint)
    evaluate = PieceEvaluator(flint, recorder)
    points = scattered(from_float64(np.random.default_rng(seed).standard_normal((50, 4))))
    assert not pays(points)
    assert (evaluate(points) == flint(points)).all()
    assert recorder.sizes == [50]
    line = on_lines(points.anchors, points.anchors, [0] * 300, [fmpq(0)] * 300)
    assert (evaluate(line) == flint(line)).all()
    assert "pieces" in evaluate.describe()


def test_networks_without_hidden_layers_are_flint_matters():
    net = exact_network(he((3, 2), 0))
    assert assert_equal(net, lines_and_stars(3, np.random.default_rng(0))).left == 144


def test_quotients_are_rounded_once_and_saturate():
    huge = fmpz(1) << 1100
    assert quotients([huge, -huge, fmpz(3)], fmpz(1)).tolist() == [np.inf, -np.inf, 3.0]
    assert quotients([fmpz(1)], fmpz(3), 1).tolist() == [1 / 6]
    assert quotients([fmpz(5)], fmpz(1), -3).tolist() == [40.0]
    assert nearest_float64(dyadic_matrix([[fmpq(1), fmpq(2)]], 2).mantissa, fmpz(4)).tolist() == [[0.25, 0.5]]
