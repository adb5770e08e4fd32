"""What was asked about a boundary's straight continuation is not asked again."""

import numpy as np
import pytest
from helpers import true_layers

from jaxtract import ExactContext, ExactNetworkOracle
from jaxtract.layers.any_depth.kinks.flatness import Flatness
from jaxtract.layers.any_depth.kinks.input_slice import whole_space
from jaxtract.layers.any_depth.kinks.pool import Pool
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.report.progress import NoProgressMeter
from jaxtract.search.context_lines import settings_for
from jaxtract.search.random_lines import random_line


@pytest.fixture(params=range(3))
def state(request):
    """Two lines through a network of four hidden layers, of which three are known; all gradients are measured."""
    network, rng = exact_network(he((8, 10, 8, 8, 8, 1), request.param)), np.random.default_rng(request.param)
    context = ExactContext()
    counted = CountingOracle(ExactNetworkOracle(network), context)
    found = Recovery(counted, context, settings_for(context), rng, NoProgressMeter(), None)
    found.slice, found.layers = whole_space(8), true_layers(network, 3)
    found.pool = Pool(counted, 8)
    found.pool.search([random_line(8, rng) for _ in range(2)], found.settings)
    found.pool.measure(found.pool.all_kinks())
    return found


def asked_for(state, flatness, level, kinks):
    before = state.oracle.count.measure
    flat = np.array(flatness.flat(level, kinks))
    return flat, state.oracle.count.measure - before


def test_a_layer_that_is_renewed_without_a_new_boundary_costs_little(state):
    flatness, kinks = Flatness(state), state.pool.all_kinks()
    flat, first = asked_for(state, flatness, 2, kinks)
    state.renewed(1)
    again, second = asked_for(state, flatness, 2, kinks)
    assert first > 60 and second < first / 3
    assert again[~flat].sum() <= 1, "only where there was one place to ask, a second one may tell more"


def test_what_refutes_a_layer_refutes_those_before_it(state):
    flatness = Flatness(state)
    third, _ = asked_for(state, flatness, 3, state.pool.all_kinks())
    refuted = [kink for kink, flat in zip(state.pool.all_kinks(), third, strict=True) if not flat]
    second, cost = asked_for(state, flatness, 2, refuted)
    assert refuted and not second.any() and cost < len(refuted), "a second place where there was but one"


def test_kinks_of_the_level_are_flat(state):
    later, layers = set(state.unexplained()), state.layers
    state.layers = layers[:2]
    of_third = [kink for kink in state.unexplained() if kink not in later]
    state.layers = layers
    assert of_third and all(Flatness(state).flat(3, of_third))
