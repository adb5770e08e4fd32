"""Open weights from how f bends where the neuron that they read switches on."""

import numpy as np
import pytest
from flint import arb, fmpq
from helpers import true_layers

from jaxtract import ExactContext, ExactNetworkOracle, mp
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, stacked
from jaxtract.layers.any_depth.unseen.bends_at_sources import weights_at_sources
from jaxtract.measurement.balls import measuring
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle

WIDTHS = (8, 10, 6, 6, 2)


def _read(network, layers):
    oracle = CountingOracle(ExactNetworkOracle(network), ExactContext())
    seen_at = [[] for _ in layers[-2].rows]
    found = weights_at_sources(oracle, stacked(network.inputs, layers), seen_at, np.random.default_rng(0))
    return found, oracle.count


@pytest.mark.parametrize("seed", range(6))
def test_open_weights_come_out_whatever_is_behind_the_layer(seed):
    network = exact_network(he(WIDTHS, seed))
    layers = true_layers(network, 2)
    rows = layers[1].rows
    truth = {}
    for reader, source in ((0, 3), (0, 5), (2, 3), (4, 9)):
        truth[reader, source], rows[reader].weights[source] = rows[reader].weights[source], None
    found, count = _read(network, layers)
    assert found, "some source switches on where one of its readers is on"
    for (reader, source), weight in found.items():
        assert weight == truth[reader, source] * rows[reader].integer_factor()
    assert count.measure % (network.inputs + 2) == 0


@pytest.mark.parametrize("bits", [64, 256])
def test_open_weights_come_out_of_rounded_answers(bits):
    network = exact_network(he(WIDTHS, 0))
    asker = measuring(CountingOracle(ExactNetworkOracle(network), mp(bits)))
    with asker.context.working():
        layers = true_layers(network, 2, error=arb(0, 2.0 ** -(2 * asker.context.answer_bits // 3)))
        rows, truth = layers[1].rows, {}
        for reader, source in ((0, 3), (0, 5), (2, 3), (4, 9)):
            truth[reader, source], rows[reader].weights[source] = rows[reader].weights[source], None
        found = weights_at_sources(asker, stacked(8, layers), [[] for _ in layers[0].rows], np.random.default_rng(0))
        assert found, "some source switches on where one of its readers is on"
        for (reader, source), weight in found.items():
            assert weight.overlaps(truth[reader, source] * rows[reader].integer_factor())
            assert weight.rad() < 2.0 ** -(asker.context.answer_bits // 4)


def test_a_layer_that_lacks_a_neuron_tells_nothing():
    network = exact_network(he(WIDTHS, 1))
    layers = true_layers(network, 2)
    layers[1] = FoundLayer(layers[1].rows[:-1], [1] * 5)
    weight, layers[1].rows[0].weights[3] = layers[1].rows[0].weights[3], None
    found, count = _read(network, layers)
    assert count.measure > 0
    assert all(x == weight * layers[1].rows[0].integer_factor() for x in found.values())


def test_several_weights_of_a_row_are_filled_in_one_scale():
    row = Row([fmpq(6), None, None], fmpq(4))
    row.fill({1: fmpq(1, 7), 2: fmpq(9)})
    assert row.weights == [6, fmpq(2, 7), 18]
    assert row.integers() == ([21, 1, 63], 14)
