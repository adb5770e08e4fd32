"""Open weights: where they would change f, or the proof that they do nowhere."""

import itertools

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, stacked
from jaxtract.layers.any_depth.unseen import where_they_act
from jaxtract.layers.any_depth.unseen.open_weights import OpenWeights
from jaxtract.layers.any_depth.unseen.where_they_act import Trials, harmless_together
from jaxtract.layers.any_depth.whole.output_layer import Tail
from jaxtract.network.exact_network import ExactNetwork


def open_weights(second):
    """x and -x, and -x + 1 to -x + 4; a neuron over them whose weight on relu(-x) is open; f is that neuron."""
    first = [Row([fmpq(1)], fmpq(0))] + [Row([fmpq(-1)], fmpq(k)) for k in range(5)]
    last = Row([fmpq(1), None, *map(fmpq, second)], fmpq(-1))
    return over([FoundLayer(first, [1] * 6), FoundLayer([last], [1])])


def over(layers):
    """The last layer is one neuron, and f three times that."""
    known = stacked(len(layers[0].rows[0].weights), layers)
    rows = fmpq_mat(1, known.widths[-2], [fmpq(x) for x in known.weights[-1].entries()])
    output = ExactNetwork(
        (rows, fmpq_mat(1, 1, [fmpq(3)])), (fmpq_mat(1, 1, [fmpq(known.biases[-1][0])]), fmpq_mat(1, 1))
    )
    return OpenWeights(layers, known, Tail(output, "by hand", np.inf, np.array([True])))


def everything(weights, **options):
    """All that comes out of trying open weights."""
    trials = Trials(weights, np.random.default_rng(0), **options)
    tried = [*trials.quick(), *trials.thorough()]
    return [x for t in tried for x in t.points], {weight for t in tried for weight in t.harmless}


def test_a_weight_between_neurons_that_are_never_on_together_is_harmless():
    """Where -x is on, the four others keep the neuron off, whatever is added up to twice its largest weight."""
    points, harmless = everything(open_weights([-1, -1, -1, -1]))
    assert harmless == {(1, 0, 1)}
    assert points == []


def test_a_weight_that_may_turn_its_neuron_on_comes_with_inputs():
    points, harmless = everything(open_weights([0, 0, 0, 0]))
    assert harmless == set()
    assert points
    assert all(x < 0 for (x,) in points)


@pytest.mark.parametrize("by", ["climbs", "programs"])
def test_inputs_that_no_random_one_is_near_are_found(monkeypatch, by):
    """Both neurons are on in one orthant in 2^dimension, by climbs alone or by linear programs alone."""
    monkeypatch.setattr(where_they_act, "_climbed" if by == "programs" else "_settled", lambda *_: {})
    dimension = 40
    rng = np.random.default_rng(0)
    first = [
        Row([fmpq(-int(i == k)) for i in range(dimension)], fmpq(int(rng.integers(-9, 10)))) for k in range(dimension)
    ]
    first.append(Row([fmpq(int(rng.integers(1, 9))) for _ in range(dimension)], fmpq(1)))
    source = Row([*(fmpq(-int(rng.integers(50, 90))) for _ in range(dimension)), fmpq(1)], fmpq(-10))
    other = Row([*(fmpq(-int(rng.integers(50, 90))) for _ in range(dimension)), fmpq(1)], fmpq(-20))
    last = Row([None, fmpq(1)], fmpq(-1))
    layers = [FoundLayer(rows, [1] * len(rows)) for rows in (first, [source, other], [last])]
    trials = Trials(over(layers), np.random.default_rng(0))
    tried = next(t for t in itertools.chain(trials.quick(), trials.thorough()) if t.points)
    z = stacked(dimension, layers[:2]).values64(np.array([[float(x.p) / float(x.q) for x in p] for p in tried.points]))
    assert np.all(z[-1][:, 0] > 0)


def test_weights_of_one_row_are_harmless_only_together():
    """Either of two weights leaves the neuron off, both together would turn it on."""
    first = [*(Row([fmpq(-1)], fmpq(k)) for k in range(4)), Row([fmpq(1)], fmpq(0))]

    def weights(second):
        last = Row([None, second, fmpq(-2), fmpq(-2), fmpq(2)], fmpq(-1, 2))
        return everything(over([FoundLayer(first, [1] * 5), FoundLayer([last], [1])]))

    assert weights(None) == ([], set())
    assert weights(fmpq(0)) == ([], {(1, 0, 0)})


def test_what_is_proven_behind_an_open_weight_is_not_claimed():
    weights = [(1, 0, 0), (1, 0, 1), (1, 2, 0), (2, 0, 0)]
    assert harmless_together(weights, weights) == set(weights)
    assert harmless_together(weights[1:], weights) == {(1, 2, 0)}
    assert harmless_together(weights[:3], weights) == {*weights[:3]}


def test_the_allowance_bounds_all_that_is_tried(monkeypatch):
    """Without programs neither climbs nor proofs are begun, and random inputs are still looked at."""
    monkeypatch.setattr(where_they_act, "Meeting", None)
    assert everything(open_weights([-1, -1, -1, -1]), programs=0) == ([], set())
    assert everything(open_weights([0, 0, 0, 0]), programs=0)[0]


def test_every_weight_is_told_of_while_it_is_tried():
    told = []
    trials = Trials(open_weights([-1, -1, -1, -1]), np.random.default_rng(0), begun=lambda *at: told.append(at))
    assert list(trials.quick()) and told == [(1, 1)]
    assert list(trials.thorough()) and told == [(1, 1), (1, 1)]
