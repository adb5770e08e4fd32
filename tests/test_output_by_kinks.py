"""The output layer from how f bends at kinks of its neurons, and their signs from values of all outputs."""

import dataclasses

import numpy as np
import pytest
from flint import fmpq
from helpers import true_layers

from jaxtract import ExactContext, ExactNetworkOracle
from jaxtract.layers.any_depth.found_layers import stacked
from jaxtract.layers.any_depth.kinks.foretold import bends
from jaxtract.layers.any_depth.kinks.pool import Pool
from jaxtract.layers.any_depth.whole.output_layer import (
    _signed,
    _signed_by_doubtful,
    _signed_by_some_lines,
    known_at,
)
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.search.context_lines import settings_for
from jaxtract.search.random_lines import random_line
from precision.context import object_matrix

EXACT = ExactContext()


def searched(widths, seed, lines=4):
    """A network, its true layers, and a pool of lines."""
    network, rng = exact_network(he(widths, seed)), np.random.default_rng(seed)
    pool = Pool(CountingOracle(ExactNetworkOracle(network), EXACT), widths[0])
    pool.search([random_line(widths[0], rng) for _ in range(lines)], settings_for(EXACT))
    return network, stacked(widths[0], true_layers(network, len(widths) - 2)), pool


def values_of(pool, layers, chosen):
    """What is known of f at those places of the lines that are chosen by the activations of the layer before."""
    known = pool.known_values()
    heights, scales = pool.heights(layers, [place for place, _ in known])
    values = known_at(layers, heights, scales, [], [value for _, value in known])
    return values.at([k for k, a in enumerate(values.before) if chosen(a)])


@pytest.mark.parametrize("widths", [(5, 6, 9, 4), (4, 7, 5, 8, 3), (6, 6, 4, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_bends_are_the_weights_of_the_output_layer(widths, seed):
    network, layers, pool = searched(widths, seed)
    outgoing = object_matrix(network.weights[-1])
    told = bends(pool, layers)
    assert any(bend is not None for bend in told)
    for i, bend in enumerate(told):
        if bend is not None:
            (factor,) = {w / b for w, b in zip(outgoing[:, i], bend, strict=True)}
            assert factor > 0, "rows of the true layers are scaled, and not turned"


@pytest.mark.parametrize("seed", range(4))
def test_more_neurons_than_the_layer_before_get_their_signs_where_much_of_that_is_off(seed):
    _, layers, pool = searched((5, 6, 9, 4), seed, lines=12)
    told = bends(pool, layers)
    assert all(bend is not None for bend in told)
    rng = np.random.default_rng(seed)
    known = values_of(pool, layers, lambda a: a[0] == 0)
    tail = _signed(layers, told, known, rng)
    assert tail is not None
    for before, value in zip(known.before[:20], known.values, strict=False):
        hidden = [max(fmpq(0), z) for z in tail.network.weights[0].tolist() @ np.array(before) + biases(tail, 0)]
        assert (tail.network.weights[1].tolist() @ np.array(hidden) + biases(tail, 1) == value).all()


def biases(tail, layer):
    return np.array(tail.network.biases[layer].entries(), dtype=object)


def test_one_output_does_not_tell_them_and_a_neuron_without_a_bend_neither():
    _, layers, pool = searched((5, 4, 9, 1), 0, lines=12)
    told = bends(pool, layers)
    known = values_of(pool, layers, lambda a: True)
    assert _signed(layers, told, known, np.random.default_rng(0)) is None
    assert _signed(layers, [None, *told[1:]], known, np.random.default_rng(0)) is None
    assert _signed(layers, (), known, np.random.default_rng(0)) is None


def test_values_of_another_function_contradict():
    _, layers, pool = searched((5, 6, 9, 4), 1, lines=12)
    told, known = bends(pool, layers), values_of(pool, layers, lambda a: True)
    assert _signed(layers, told, known, np.random.default_rng(0)) is not None
    for value in known.values:
        value[0] = value[0] ** 2
    assert _signed(layers, told, known, np.random.default_rng(0)) is None


@pytest.mark.parametrize("seed", range(3))
def test_doubtful_values_tell_signs_where_the_least_doubtful_are_right(seed):
    _, layers, pool = searched((5, 6, 9, 4), seed, lines=12)
    told, known = bends(pool, layers), values_of(pool, layers, lambda a: True)
    right = _signed(layers, told, known, np.random.default_rng(seed))
    assert right is not None
    wrong = [value + 1 for value in known.values]
    order = [*range(20), *range(40, len(wrong))]
    values = [known.values[k] if k < 20 else wrong[k] for k in order]
    doubtful = dataclasses.replace(known.at(order), values=values)
    tail = _signed_by_doubtful(layers, told, doubtful, np.random.default_rng(seed))
    assert tail is not None and tail.network == right.network
    contradicting = dataclasses.replace(known, values=[v + k for k, v in enumerate(known.values)])
    assert _signed_by_doubtful(layers, told, contradicting, np.random.default_rng(seed)) is None
    assert _signed_by_doubtful(layers, [None, *told[1:]], doubtful, np.random.default_rng(seed)) is None
    assert _signed_by_doubtful(layers, told, doubtful.at([]), np.random.default_rng(seed)) is None


@pytest.mark.parametrize("widths", [(5, 6, 9, 4), (6, 6, 4, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_lines_along_which_an_unknown_neuron_is_on_are_left_out(widths, seed):
    _, layers, pool = searched(widths, seed, lines=14)
    told, known = bends(pool, layers), values_of(pool, layers, lambda a: True)
    lines = [line for (line, _), _ in pool.known_values()]
    rng = np.random.default_rng(seed)
    right = _signed(layers, told, known, rng)
    assert right is not None
    disturbed = [
        value + k if line in (0, 4, 7) else value
        for k, (line, value) in enumerate(zip(lines, known.values, strict=True), start=1)
    ]
    contradicting = dataclasses.replace(known, values=disturbed)
    assert _signed(layers, told, contradicting, rng) is None
    tail = _signed_by_some_lines(layers, told, contradicting, lines, rng)
    assert tail is not None and tail.network == right.network
    everywhere = dataclasses.replace(known, values=[value + k for k, value in enumerate(known.values)])
    assert _signed_by_some_lines(layers, told, everywhere, lines, rng) is None
    assert _signed_by_some_lines(layers, [None, *told[1:]], contradicting, lines, rng) is None
    assert _signed_by_some_lines(layers, told, contradicting, [0] * len(lines), rng) is None
