"""Open weights from inputs at which the recovered function is wrong because of them."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from flint import fmpq
from helpers import found_layers, output_layer

from jaxtract.geometry.boundary_points import boundary_points_from, boundary_points_towards
from jaxtract.layers.any_depth.found_layers import rescaled_columns, stacked
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.unseen.at_inputs import solve_acting, weights_at_inputs
from jaxtract.layers.any_depth.unseen.disagreements import Recovered
from jaxtract.layers.any_depth.unseen.open_weights import OpenWeights
from jaxtract.layers.any_depth.whole.read_output import OutputReader
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import scattered
from jaxtract.oracle.serve import ExactNetworkOracle
from precision.context import object_matrix, rational_matrix
from precision.dyadic import from_float64
from precision.exact import ExactContext

EXACT = ExactContext()
ONE, TWO, THREE = (1, 0, 0), (1, 1, 0), (1, 2, 0)


def opened(network, chosen):
    """(true network, recovered one, its open weights, what they are); rows in integers but for what is open."""
    full, layers = found_layers(network), found_layers(network)
    for level, q, i in chosen:
        layers[level].rows[q].weights[i] = None
    scales = [[row.integer_factor() for row in layer.rows] for layer in layers]
    for depth in range(1, len(layers)):
        for found in (full, layers):
            found[depth].rows = rescaled_columns(found[depth].rows, scales[depth - 1])
        scales[depth] = [row.integer_factor() for row in layers[depth].rows]
    truth = {(level, q, i): full[level].rows[q].weights[i] for level, q, i in chosen}
    true = _network(network, full, scales)
    for level, q, i in chosen:
        full[level].rows[q].weights[i] = fmpq(0)
    partial = _network(network, full, scales)
    open_weights = OpenWeights(layers, stacked(network.inputs, layers), output_layer(partial))
    assert open_weights.complete
    return true, partial, open_weights, truth


def _network(network, layers, scales):
    """Rows times their scales, and the output layer of a network on them."""
    table = [
        [[x * f for x in row.weights] for row, f in zip(z.rows, s, strict=True)]
        for z, s in zip(layers, scales, strict=True)
    ]
    biases = [[[row.bias * f] for row, f in zip(z.rows, s, strict=True)] for z, s in zip(layers, scales, strict=True)]
    last = object_matrix(network.weights[-1]) / np.array(scales[-1], dtype=object)
    matrices = [rational_matrix(np.array(x, dtype=object)) for x in (*table, last, *biases)]
    return ExactNetwork(tuple(matrices[: len(layers) + 1]), (*matrices[len(layers) + 1 :], network.biases[-1]))


def wrong_inputs(network, partial, count, rng):
    """Random inputs at which the two differ."""
    points = np.round(2 * rng.standard_normal((count, network.inputs)), 6)
    batch = scattered(from_float64(points))
    return points[np.any(FlintEvaluator(network)(batch) != FlintEvaluator(partial)(batch), axis=1)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("widths", "chosen"),
    [
        ((8, 9, 7, 6, 2), [(1, 0, 3), (1, 4, 3), (1, 2, 6)]),
        ((8, 9, 7, 6, 2), [(2, q, 5) for q in range(6)]),
        ((8, 9, 7, 6, 2), [(2, 1, 5), (1, 4, 3)]),
        ((6, 8, 8, 1), [(1, 0, 3), (1, 4, 5)]),
    ],
    ids=["of several readers", "a whole column", "of two layers", "one output"],
)
def test_they_come_back_exactly_whatever_they_switch(widths, chosen, seed):
    network, partial, open_weights, truth = opened(exact_network(he(widths, seed)), chosen)
    rng = np.random.default_rng(seed)
    inputs = wrong_inputs(network, partial, 200, rng)
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    found = weights_at_inputs(open_weights, oracle, Recovered(FlintEvaluator(partial), EXACT), inputs, rng)
    assert len(found) >= len(truth) - 1
    assert all(truth[key] == value for key, value in found.items())
    assert oracle.count.search == oracle.count.verify == 0
    assert 0 < oracle.count.measure <= 40 * len(truth)


def test_a_weight_that_alone_switches_its_neuron_on_comes_from_there():
    """Where -x is on the neuron is off without its weight on it: x - 1 + 3 relu(-x) + 0.1 relu(x + 5)."""
    rows = lambda table: rational_matrix(np.array([[fmpq(x) for x in row] for row in table], dtype=object))  # noqa: E731
    true = ExactNetwork(
        (rows([[1], [-1]]), rows([[1, 3], [2, 0]]), rows([[1, 1]])),
        (rows([[0], [0]]), rows([[-1], [1]]), rows([[0]])),
    )
    network, partial, open_weights, truth = opened(true, [(1, 0, 1)])
    rng = np.random.default_rng(0)
    inputs = wrong_inputs(network, partial, 40, rng)
    assert np.all(inputs < -1 / 3)
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    found = weights_at_inputs(open_weights, oracle, Recovered(FlintEvaluator(partial), EXACT), inputs, rng)
    assert found == truth


def test_nothing_is_asked_without_inputs():
    network, partial, open_weights, _ = opened(exact_network(he((8, 9, 7, 6, 2), 0)), [(1, 0, 3)])
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    recovered = Recovered(FlintEvaluator(partial), EXACT)
    assert weights_at_inputs(open_weights, oracle, recovered, np.empty((0, 8)), np.random.default_rng(0)) == {}
    assert oracle.count.total == 0


def equation(value, **weights):
    names = {"one": ONE, "two": TWO, "three": THREE}
    return {names[k]: np.array([fmpq(c)]) for k, c in weights.items()}, np.array([fmpq(value)])


def test_what_fewer_unknowns_tell_serves_more():
    rows = [equation(6, one=2), equation(3, one=1), equation(5, one=1, two=2), equation(4, one=1, two=1)]
    assert solve_acting(rows, [], []) == {ONE: fmpq(3), TWO: fmpq(1)}


def test_inputs_where_something_was_switched_do_not_spoil_the_others():
    switched = [equation(7, one=2), equation(100, one=1)]
    rows = [equation(6, one=2), equation(3, one=1)]
    assert solve_acting(rows, switched, []) == {ONE: fmpq(3)}
    assert solve_acting([], [*rows, *switched], []) == {ONE: fmpq(3)}


def test_two_guesses_that_agree_exactly_are_right_unless_two_others_do():
    assert solve_acting([], [], [equation(6, one=2)]) == {}
    assert solve_acting([], [], [equation(6, one=2), equation(9, one=3), equation(5, one=2)]) == {ONE: fmpq(3)}
    torn = [equation(6, one=2), equation(9, one=3), equation(5, one=1), equation(10, one=2)]
    assert solve_acting([], [], torn) == {}


def test_boundaries_are_found_from_a_small_region():
    """The first zeros on ways from points where x_0 > 0, in a strip in which |x_1| < 1e-3."""
    rng = np.random.default_rng(0)
    starts = np.array([[1.0, 0.0], [5.0, 1e-4]])
    points = boundary_points_from(lambda x: x[:, 0], starts, rng)
    assert len(points) > 8 and np.allclose(points[:, 0], 0, atol=1e-12)
    assert boundary_points_from(lambda x: 1 + 0 * x[:, 0], starts, rng).shape == (0, 2)


def test_boundaries_are_found_on_the_way_to_a_small_region():
    """In a strip in which ten coordinates are below 1e-3, which ways in random directions leave at once."""
    rng = np.random.default_rng(0)
    starts, ends = (1e-4 * rng.standard_normal((6, 11)) for _ in range(2))
    starts[:, 0], ends[:, 0] = 1, -2
    points = boundary_points_towards(lambda x: x[:, 0], starts, ends, rng)
    assert len(points) > 8 and np.allclose(points[:, 0], 0, atol=1e-12)
    assert np.all(np.abs(points[:, 1:]) < 1e-3)
    assert boundary_points_towards(lambda x: x[:, 0], starts, starts, rng).shape == (0, 11)


def test_a_weight_that_switches_its_neuron_off_comes_from_the_way_to_where_that_was_seen():
    """relu(1 - 200 sum |x_k| - 30 relu(x_0)), k from 1 to 10: where it seems to be on beside relu(x_0), it is off."""
    eye = np.eye(11)
    first = rational_matrix(np.array([*eye[:1], *eye[1:], *-eye[1:]], dtype=int).astype(object) * fmpq(1))
    second = np.array([[fmpq(-30), *[fmpq(-200)] * 20], [fmpq(1), *[fmpq(0)] * 20]], dtype=object)
    columns = [rational_matrix(np.array([[fmpq(x)] for x in bias], dtype=object)) for bias in ([0] * 21, [1, 1], [0])]
    last = rational_matrix(np.array([[fmpq(1), fmpq(1)]], dtype=object))
    network, partial, open_weights, truth = opened(
        ExactNetwork((first, rational_matrix(second), last), tuple(columns)), [(1, 0, 0)]
    )
    rng = np.random.default_rng(0)
    inputs, seen_at = (1e-5 * rng.standard_normal((40, 11)) for _ in range(2))
    inputs[:, 0], seen_at[:, 0], seen_at[:, 1] = 2 + rng.random(40), -2 - rng.random(40), 0.0049
    open_weights.layers[1].rows[0].seen_at = list(seen_at)
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    recovered = Recovered(FlintEvaluator(partial), EXACT)
    assert weights_at_inputs(open_weights, oracle, recovered, inputs, rng) == truth
    open_weights.layers[1].rows[0].seen_at = []
    assert weights_at_inputs(open_weights, oracle, recovered, inputs, rng) == {}


@pytest.mark.parametrize("backwards", [False, True])
def test_weights_of_two_layers_are_set_together_in_the_scale_in_which_they_were_told(backwards):
    """The one of the earlier layer changes the scale of its row, in which the later one was told."""
    full = found_layers(exact_network(he((4, 3, 3, 1), 0)))
    wanted = {(0, 1, 2): fmpq(1, 7), (1, 2, 1): fmpq(3, 11)}
    for level, q, i in wanted:
        full[level].rows[q].weights[i] = None
    factor = full[0].rows[1].integer_factor()
    state = cast(Any, SimpleNamespace(layers=full))
    state.carry_scales = lambda level, factors: Recovery.carry_scales(state, level, factors)
    reader = cast(OutputReader, SimpleNamespace(state=state))
    assert OutputReader.fill(reader, dict(reversed(wanted.items())) if backwards else wanted)
    change = full[0].rows[1].integer_factor() / factor
    assert change != 1
    assert state.layers[0].rows[1].weights[2] == wanted[0, 1, 2]
    assert state.layers[1].rows[2].weights[1] == wanted[1, 2, 1] / change
