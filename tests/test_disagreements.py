"""What is missing in a recovered network: borders of disagreement, and weights from what they do to f."""

import numpy as np
import pytest
from flint import fmpq, fmpz_mat
from helpers import found_layers, in_integers, output_layer

from jaxtract import ExactNetwork, ExtractOptions, certify, extract_network
from jaxtract.layers.any_depth.found_layers import FoundLayer, stacked
from jaxtract.layers.any_depth.signs.layer_signs import Sides, missing_at
from jaxtract.layers.any_depth.unseen.disagreements import Recovered, first_borders
from jaxtract.layers.any_depth.unseen.open_weights import OpenWeights, behind_boundaries, solve_open
from jaxtract.layers.any_depth.whole.output_layer import remember_output, remembered_output
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.serve import ExactNetworkOracle
from precision.context import object_matrix, rational_matrix
from precision.exact import ExactContext

EXACT = ExactContext()


def without(network, layer, neuron):
    """The network with the outgoing weights of one neuron (layer from 0) set to zero."""
    weights = [object_matrix(w) for w in network.weights]
    weights[layer + 1][:, neuron] = fmpq(0)
    return ExactNetwork(tuple(rational_matrix(w) for w in weights), network.biases)


def float_values(network, points):
    state = z = points
    for w, b in zip(network.weights, network.biases, strict=True):
        weight = np.array([[int(x.p) / int(x.q) for x in row] for row in w.tolist()])
        z = state @ weight.T + np.array([int(x.p) / int(x.q) for x in b.entries()])
        state = np.maximum(z, 0)
    return z


def preactivation(network, layer, neuron, point):
    x = z = rational_matrix(np.array([[v] for v in point], dtype=object))
    for w, b in zip(network.weights[: layer + 1], network.biases[: layer + 1], strict=True):
        z = w * x + b
        x = rational_matrix(np.array([[v if v > 0 else fmpq(0)] for v in z.entries()], dtype=object))
    return z.entries()[neuron]


@pytest.mark.parametrize(("widths", "layer"), [((6, 8, 5, 1), 1), ((6, 8, 5, 3), 1), ((5, 6, 6, 6, 2), 2)])
def test_the_border_is_where_the_missing_neuron_switches_on(widths, layer):
    network = exact_network(he(widths, 3))
    partial = without(network, layer, 2)
    rng = np.random.default_rng(0)
    points = np.round(rng.standard_normal((400, widths[0])) * 3, 3)
    wrong = np.any(np.abs(float_values(network, points) - float_values(partial, points)) > 1e-9, axis=1)
    good, bad = points[~wrong][:6], points[wrong][:6]
    assert len(good) == len(bad) == 6
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    borders = first_borders(oracle, Recovered(FlintEvaluator(partial), EXACT), good, bad, rng)
    assert len(borders) >= 4 and oracle.count.search <= 45 * 6
    for border in borders:
        line = border.searched
        assert border.bends and len(line.kinks) == 1 and line.gradients.keys() == {0}
        assert preactivation(network, layer, 2, line.point(line.kinks[0])) == 0
        assert any(border.difference)


def test_a_kink_that_only_the_recovered_function_has_is_told_apart():
    network = exact_network(he((6, 8, 5, 1), 3))
    partial = without(network, 1, 2)
    rng = np.random.default_rng(0)
    points = np.round(rng.standard_normal((400, 6)) * 3, 3)
    wrong = np.abs(float_values(network, points) - float_values(partial, points))[:, 0] > 1e-9
    oracle = CountingOracle(ExactNetworkOracle(partial), EXACT)
    borders = first_borders(
        oracle, Recovered(FlintEvaluator(network), EXACT), points[~wrong][:3], points[wrong][:3], rng
    )
    assert borders and not any(border.bends for border in borders)


def test_ends_that_are_not_as_expected_give_no_border():
    network = exact_network(he((4, 5, 3, 1), 0))
    same = Recovered(FlintEvaluator(network), EXACT)
    points = np.round(np.random.default_rng(1).standard_normal((4, 4)), 3)
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    assert first_borders(oracle, same, points[:2], points[2:], np.random.default_rng(0)) == []
    assert oracle.count.search == 4
    assert first_borders(oracle, same, points[:0], points[:0], np.random.default_rng(0)) == []


@pytest.mark.parametrize("seed", range(4))
def test_open_weights_come_back_exactly(seed):
    network, layers = in_integers(exact_network(he((8, 9, 7, 6, 2), seed)))
    rng = np.random.default_rng(seed)
    truth = {}
    for level, q, i in ((1, 0, 3), (1, 4, 3), (2, 1, 5)):
        row = layers[level].rows[q]
        truth[level, q, i] = row.weights[i]
        factor = row.integer_factor()
        row.weights[i] = None
        assert row.integer_factor() == factor, "the open weight must not change the scale of its row"
    known = stacked(8, layers)
    weights = [object_matrix(w) for w in network.weights]
    for level, q, i in truth:
        weights[level][q, i] = fmpq(0)
    partial = ExactNetwork(tuple(rational_matrix(w) for w in weights), network.biases)
    tail = output_layer(partial)
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    open_weights = OpenWeights(layers, known, tail)
    assert open_weights.complete
    equations = behind_boundaries(open_weights, oracle, Recovered(FlintEvaluator(partial), EXACT), rng)
    found = solve_open(equations)
    assert found and all(truth[key] == value for key, value in found.items())
    assert oracle.count.measure == len(equations)


def test_open_weights_need_one_equation_more_than_unknowns():
    one, two = (1, 0, 0), (1, 1, 0)
    rows = [
        ({one: np.array([fmpq(2)]), two: np.array([fmpq(1)])}, np.array([fmpq(7)])),
        ({one: np.array([fmpq(1)])}, np.array([fmpq(3)])),
    ]
    assert solve_open(rows) == {}
    check = ({two: np.array([fmpq(5)])}, np.array([fmpq(5)]))
    assert solve_open([*rows, check]) == {one: fmpq(3), two: fmpq(1)}
    lie = ({two: np.array([fmpq(5)])}, np.array([fmpq(6)]))
    assert solve_open([*rows, lie]) == {}


def test_one_place_says_nothing_of_an_open_weight_however_many_outputs_agree():
    """All outputs change in proportion where one later neuron is on, whatever the cause."""
    weight, column = (1, 0, 0), np.array([fmpq(2), fmpq(-3), fmpq(5)])
    place = ({weight: column}, 7 * column)
    assert solve_open([place]) == {}
    other = ({weight: 4 * column}, 28 * column)
    assert solve_open([place, other]) == {weight: fmpq(7)}
    assert solve_open([place, ({weight: 4 * column}, 29 * column)]) == {}


def test_what_gradients_say_of_a_missing_neuron():
    network = exact_network(he((16, 14, 5, 1), 1))
    layers = found_layers(network)
    whole = stacked(16, layers)
    partial = stacked(16, [layers[0], FoundLayer(layers[1].rows[1:], [1] * 4)])
    points = fmpz_mat(20, 16, np.random.default_rng(2).integers(-99, 99, 320).tolist())
    pattern = max(whole.pattern(points, [10] * 20), key=lambda sides: sides[0].sum())
    short = [pattern[0], pattern[1][1:]]
    forms = np.array([[fmpq(v) for v in row] for row in whole.forms(1, pattern)[0].tolist()], dtype=object)
    lacking, other = forms[0], forms[1] + forms[2]
    none = other * 0
    assert missing_at(partial, short, other[None] + lacking[None], other[None]) is Sides.BORDER
    assert missing_at(partial, short, other[None], none[None]) is Sides.SAME
    assert missing_at(partial, short, other[None] + lacking[None], lacking[None]) is Sides.SAME
    assert missing_at(partial, short, forms[1][None], network_free(forms)[None]) is Sides.BORDER
    assert missing_at(whole, pattern, other[None], lacking[None]) is Sides.SAME


def network_free(forms):
    """A vector that is no combination of the forms."""
    free = forms[0].copy()
    free[0] += 1
    return free


def test_the_output_layer_is_kept_with_the_rows():
    network, layers = in_integers(exact_network(he((6, 7, 5, 2), 0)))
    known, rows = stacked(6, layers), layers[-1].rows
    tail = output_layer(network)
    remember_output(tail, known, rows)
    constant = np.array(network.biases[-1].entries(), dtype=object)
    again = remembered_output(known, rows, constant)
    assert certify(again.network, tail.network).verdict == "identical"
    flipped = [row.negative() for row in rows]
    turned = stacked(6, [layers[0], FoundLayer(flipped, [1] * 5)])
    assert certify(remembered_output(turned, flipped, constant).network, tail.network).verdict == "identical"
    rows[2].output = None
    changed = remembered_output(known, rows, constant)
    assert all(x == 0 for x in object_matrix(changed.network.weights[1])[:, 2])


@pytest.mark.parametrize(
    ("widths", "seed"),
    [
        ((10, 15, 15, 1), 4),  # a neuron that 1 of 10,000 inputs switches off
        ((10, 15, 15, 1), 16),  # one that 1 of 200 switches on, its boundary nearly straight
        ((10, 20, 20, 1), 4),  # one that 1 of 10,000 switches on
    ],
)
def test_neurons_that_hardly_ever_change_state(widths, seed):
    network = exact_network(he(widths, seed))
    found = extract_network(ExactNetworkOracle(network), EXACT, options=ExtractOptions(seed=seed))
    assert found.network is not None and found.network.widths == widths
    assert certify(found.network, network).verdict == "identical"
    assert (found.queries.search + found.queries.measure) / network.parameters < 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_three_hidden_layers_with_rare_neurons(seed):
    network = exact_network(he((40, 20, 10, 10, 1), seed))
    found = extract_network(ExactNetworkOracle(network), EXACT, options=ExtractOptions(seed=seed))
    assert found.network is not None and certify(found.network, network).verdict == "identical"
