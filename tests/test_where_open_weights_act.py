"""Open weights: where they would change f, or the proof that they do nowhere."""

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, stacked
from jaxtract.layers.any_depth.unseen.open_weights import OpenWeights
from jaxtract.layers.any_depth.unseen.where_they_act import try_open
from jaxtract.layers.any_depth.whole.output_layer import Tail
from jaxtract.network.exact_network import ExactNetwork


def open_weights(second):
    """x and -x, and -x + 1 to -x + 4; a neuron over them whose weight on relu(-x) is open; f is that neuron."""
    first = [Row([fmpq(1)], fmpq(0))] + [Row([fmpq(-1)], fmpq(k)) for k in range(5)]
    last = Row([fmpq(1), None, *map(fmpq, second)], fmpq(-1))
    layers = [FoundLayer(first, [1] * 6), FoundLayer([last], [1])]
    known = stacked(1, layers)
    rows = fmpq_mat(1, 6, [fmpq(x) for x in known.weights[-1].entries()])
    output = ExactNetwork(
        (rows, fmpq_mat(1, 1, [fmpq(3)])), (fmpq_mat(1, 1, [fmpq(known.biases[-1][0])]), fmpq_mat(1, 1))
    )
    return OpenWeights(layers, known, Tail(output, "by hand", np.inf, np.array([True])))


def test_a_weight_between_neurons_that_are_never_on_together_is_harmless():
    """Where -x is on, the four others keep the neuron off, whatever is added up to twice its largest weight."""
    tried = try_open(open_weights([-1, -1, -1, -1]), np.random.default_rng(0))
    assert tried.harmless == {(1, 0, 1)}
    assert tried.points == []


def test_a_weight_that_may_turn_its_neuron_on_comes_with_inputs():
    tried = try_open(open_weights([0, 0, 0, 0]), np.random.default_rng(0))
    assert tried.harmless == set()
    assert tried.points
    assert all(x < 0 for (x,) in tried.points)
