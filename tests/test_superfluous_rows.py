"""Rows of a layer all of whose kinks are those of a neuron behind it, or that nothing reads."""

import dataclasses

import numpy as np
import pytest
from flint import fmpq
from helpers import true_layers

from jaxtract import ExactContext, ExactNetworkOracle
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row
from jaxtract.layers.any_depth.kinks.input_slice import whole_space
from jaxtract.layers.any_depth.kinks.pool import Pool
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.rows.superfluous_rows import drop_explained_behind, drop_unread
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.report.progress import NoProgressMeter
from jaxtract.search.context_lines import settings_for
from jaxtract.search.random_lines import random_line

EXACT = ExactContext()


def recovery(seed, *, weight):
    """All layers of a network; layer 2 with a row that is zero where neuron 0 of layer 3 is in the pattern of one kink.

    ``weight``: from that row, of every neuron of layer 3.
    """
    network = exact_network(he((5, 6, 4, 5, 2), seed))
    first, second, third = true_layers(network, 3)
    counted = CountingOracle(ExactNetworkOracle(network), EXACT)
    rng = np.random.default_rng(seed)
    state = Recovery(counted, EXACT, settings_for(EXACT), rng, NoProgressMeter(), None)
    state.slice, state.pool = whole_space(5), Pool(counted, 5)
    state.layers = [first, second, third]
    state.pool.search([random_line(5, rng) for _ in range(10)], state.settings)
    kinks = state.pool.all_kinks()
    heights, _ = state.pool.heights(state.known(3), state.pool.places(kinks))
    for neuron in range(5):
        at = [k for k in range(len(kinks)) if heights[2][k, neuron] == 0]
        patterns = [tuple(x > 0 for x in heights[1].tolist()[k]) for k in at]
        most = max(set(patterns), key=patterns.count, default=None)
        if most is not None and 2 <= patterns.count(most) < len(at):
            break
    before = [row.in_integers() for row in second.rows]
    own = third.rows[neuron]
    terms = [(w, one) for w, one, on in zip(own.weights, before, most, strict=True) if on]
    row = Row(
        [sum((w * one.weights[k] for w, one in terms), fmpq(0)) for k in range(6)],
        own.bias + sum((w * one.bias for w, one in terms), fmpq(0)),
    )
    # Its zeros elsewhere are not those of the neuron: only lines on which they are stay.
    state.layers = [
        first,
        FoundLayer([*second.rows, row], [1] * 5),
        FoundLayer([dataclasses.replace(r, weights=[*r.weights, weight]) for r in third.rows], list(third.signs)),
    ]
    heights, _ = state.pool.heights(state.known(3), state.pool.places(kinks))
    foreign = {
        i
        for (i, _), own, z in zip(kinks, heights[1].tolist(), heights[2].tolist(), strict=True)
        if own[4] == 0 and z[neuron] != 0
    }
    assert not foreign, "zeros of the row that are kinks are the neuron's"
    return state


@pytest.mark.parametrize("weight", [fmpq(0), None])
@pytest.mark.parametrize("seed", range(4))
def test_they_are_dropped_and_what_is_behind_them_stays(seed, weight):
    state = recovery(seed, weight=weight)
    behind = [list(row.weights[:4]) for row in state.layers[2].rows]
    asked = state.oracle.count.total
    assert drop_explained_behind(state)
    assert state.oracle.count.total == asked
    assert [len(layer.rows) for layer in state.layers] == [6, 4, 5]
    assert [list(row.weights) for row in state.layers[2].rows] == behind
    assert not drop_explained_behind(state)


def test_a_row_that_is_read_is_kept():
    state = recovery(0, weight=fmpq(1, 3))
    assert not drop_explained_behind(state)
    assert len(state.layers[1].rows) == 5


def test_a_row_that_all_readers_are_known_not_to_read_is_dropped_once():
    state, dropped = recovery(0, weight=fmpq(0)), set()
    before = list(state.layers)
    assert drop_unread(state, dropped)
    assert [len(layer.rows) for layer in state.layers] == [6, 4, 5]
    assert not drop_unread(state, dropped)
    # Found again, it is believed.
    state.layers = before
    assert not drop_unread(state, dropped)


@pytest.mark.parametrize("weight", [None, fmpq(1, 3)])
def test_a_row_that_may_be_read_is_not_dropped(weight):
    assert not drop_unread(recovery(0, weight=weight), set())
