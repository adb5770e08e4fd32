"""Rows that are not of their layer: seen much more seldom at their predicted zeros than the others."""

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
from jaxtract.layers.any_depth.rows.confirm_rows import (
    SELDOM,
    audit,
    chances_unseen,
    keep_rows,
    refuted_beside_others,
)
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.report.progress import NoProgressMeter
from jaxtract.search.context_lines import settings_for


def test_a_row_that_lines_miss_beside_others_that_they_meet():
    chances = chances_unseen([11, 30, 26, 19], [8, 0, 0, 1])
    assert [chance < SELDOM for chance in chances] == [True, False, False, False]


def test_where_all_rows_are_missed_none_is_refuted():
    """The layers before lack neurons then, and predict wrongly for all of them."""
    assert min(chances_unseen([6, 7, 5, 3, 5], [6, 3, 3, 3, 5])) >= SELDOM


def test_few_misses_and_a_row_alone_say_nothing():
    assert min(chances_unseen([7, 20, 30], [1, 0, 0])) >= SELDOM
    assert chances_unseen([3], [9]) == [1.0]
    assert chances_unseen([], []) == []


def test_rows_seen_at_half_their_places_are_refuted_one_after_the_other():
    """The worst ones first: beside them the next would be none of the worst."""
    counts = dict.fromkeys(range(14), (24, 0)) | {14: (11, 13), 15: (12, 12), 16: (17, 7)}
    assert refuted_beside_others(counts) == {14, 15, 16}


def test_a_row_that_is_mostly_seen_is_not_refuted_by_others_that_always_are():
    assert refuted_beside_others({**dict.fromkeys(range(40), (24, 0)), 40: (20, 4)}) == set()
    assert refuted_beside_others({0: (3, 9)}) == set()
    assert refuted_beside_others(dict.fromkeys(range(6), (12, 12))) == set()


@pytest.mark.parametrize("seed", range(3))
def test_a_deeper_neuron_taken_for_one_of_the_layer_is_refuted_all_over_its_boundary(seed):
    network = exact_network(he((6, 10, 8, 6, 1), seed))
    first, second, third = true_layers(network, 3)
    # What the first neuron of layer 3 is where all of layer 2 is on.
    row, before = third.rows[0], [one.in_integers() for one in second.rows]
    weights = [sum(w * one.weights[k] for w, one in zip(row.weights, before, strict=True)) for k in range(10)]
    bias = row.bias + sum(w * one.bias for w, one in zip(row.weights, before, strict=True))
    rows = [*second.rows, Row(weights, bias)]
    counted = CountingOracle(ExactNetworkOracle(network), ExactContext())
    rng = np.random.default_rng(seed)
    state = Recovery(counted, ExactContext(), settings_for(ExactContext()), rng, NoProgressMeter(), None)
    state.slice, state.layers = whole_space(6), [first, FoundLayer(rows, [0] * 9)]
    state.pool = Pool(counted, 6)
    assert audit(state, 2)
    assert state.layers[1].rows == second.rows
    assert not audit(state, 2)


@pytest.mark.parametrize(("weight", "stays"), [(fmpq(0), True), (None, True), (fmpq(1, 3), False)])
def test_what_is_behind_a_refuted_row_stays_unless_something_reads_it(weight, stays):
    network = exact_network(he((6, 10, 8, 6, 1), 0))
    layers = true_layers(network, 3)
    layers[1] = FoundLayer([*layers[1].rows, Row([fmpq(1)] * 10, fmpq(0))], [1] * 9)
    behind = [list(row.weights) for row in layers[2].rows]
    layers[2] = FoundLayer(
        [dataclasses.replace(row, weights=[*row.weights, weight]) for row in layers[2].rows], list(layers[2].signs)
    )
    counted = CountingOracle(ExactNetworkOracle(network), ExactContext())
    rng = np.random.default_rng(0)
    state = Recovery(counted, ExactContext(), settings_for(ExactContext()), rng, NoProgressMeter(), None)
    state.slice, state.layers = whole_space(6), layers
    keep_rows(state, 2, range(8))
    assert [len(layer.rows) for layer in state.layers] == ([10, 8, 6] if stays else [10, 8])
    assert all(state.layers[1].signs) == stays
    if stays:
        assert [list(row.weights) for row in state.layers[2].rows] == behind
