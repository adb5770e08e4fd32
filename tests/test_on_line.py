"""Known layers on lines and in regions: exact zeros, and regions told by float64 where that proves them."""

import numpy as np
import pytest
from flint import fmpq, fmpq_mat, fmpz_mat
from helpers import found_layers

from jaxtract.geometry.grid import ONE, floats_to_grid, to_floats
from jaxtract.geometry.known_layers import AffineForm, KnownLayers
from jaxtract.geometry.on_line import image_of, zeros_on_line
from jaxtract.geometry.rational_form import RationalForm
from jaxtract.layers.any_depth.found_layers import stacked
from jaxtract.layers.any_depth.kinks.pool import Pool
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.serve import ExactNetworkOracle
from jaxtract.search.context_lines import search_lines, settings_for
from jaxtract.search.random_lines import random_line
from jaxtract.verification.own_kinks import RecoveredAsker, kinks_of_network
from precision.dyadic import dyadic_matrix
from precision.exact import ExactContext

EXACT = ExactContext()


def integer_layers(network, rows):
    """The first hidden layers of a network in its own scale, times common denominators; of the last so many rows."""
    weights, biases, scale = [], [], 1
    for weight, bias, _ in zip(network.weights, network.biases, rows, strict=False):
        joint = fmpq_mat([[*row, b] for row, b in zip(weight.tolist(), bias.entries(), strict=True)])
        whole, denominator = joint.numer_denom()
        table = whole.tolist()
        weights.append([row[:-1] for row in table])
        biases.append([int(row[-1]) * scale for row in table])
        scale *= int(denominator)
    kept = [(w[:count], b[:count]) for w, b, count in zip(weights, biases, rows, strict=True)]
    return KnownLayers([fmpz_mat(w) for w, _ in kept], [b for _, b in kept])


@pytest.mark.parametrize("widths", [(6, 9, 1), (5, 8, 7, 2), (4, 6, 6, 6, 1), (2, 3, 3, 3, 3, 1), (1, 5, 4, 1)])
def test_kinks_of_an_exact_network_are_those_that_a_search_finds(widths):
    """The zeros of its neurons at which f bends, and nothing else."""
    network, rng = exact_network(he(widths, 3)), np.random.default_rng(7)
    evaluator = FlintEvaluator(network)
    chosen = [random_line(widths[0], rng) for _ in range(4)]
    bases, directions = (
        dyadic_matrix([getattr(line, end) for line in chosen], widths[0]) for end in ("base", "direction")
    )
    settings = settings_for(EXACT)
    searched = search_lines(RecoveredAsker(evaluator, EXACT), bases, directions, settings=settings)
    found = kinks_of_network(evaluator, EXACT, settings, bases, directions)
    assert found == [list(profile.kinks) for profile in searched]
    assert sum(map(len, found)) > 4


def test_zeros_where_the_first_layer_has_none():
    """z1 = (1, x), z2 = (2 - a1 + a2, 3 - a1): along y nothing is met; along x one of each layer."""
    layers = KnownLayers([fmpz_mat([[0, 0], [1, 0]]), fmpz_mat([[-1, 1], [-1, 0]])], [[1, 0], [-2, 3]])
    along_y = image_of(layers, [fmpq(5), fmpq(1)], [fmpq(0), fmpq(1)])
    assert zeros_on_line(layers, along_y) == []
    along_x = image_of(layers, [fmpq(1, 3), fmpq(1)], [fmpq(2), fmpq(1)])
    assert zeros_on_line(layers, along_x) == [fmpq(-1, 6), fmpq(4, 3)]


def test_regions_are_told_in_float64_only_where_that_proves_them():
    network, rng = exact_network(he((6, 8, 8, 1), 1)), np.random.default_rng(2)
    layers = stacked(6, found_layers(network))
    told = 0
    for _ in range(40):
        point = floats_to_grid(rng.standard_normal(6), 52)
        (pattern,) = layers.pattern(fmpz_mat(1, 6, point), [ONE])
        told += layers.surely_in(to_floats(point), pattern) is True
        other = [side.copy() for side in pattern]
        other[1][3] = not other[1][3]
        assert layers.surely_in(to_floats(point), pattern) is not False
        assert layers.surely_in(to_floats(point), other) is not True
    assert told == 40
    form = layers.form(1, 2, pattern)
    exact = RationalForm([fmpq(n) for n in form.normal], fmpq(form.offset))
    on_it = exact.put_onto(point)
    there = layers.pattern(fmpz_mat(1, 6, on_it), [ONE])[0]
    assert layers.surely_in(to_floats(on_it), there) is None


def test_forms_in_integers_are_the_same_forms():
    form = RationalForm([fmpq(-3, 4), fmpq(5, 6)], fmpq(1, 2))
    whole, factor = form.in_integers()
    assert whole.normal == [-9, 10] and whole.offset == 6 and factor == fmpq(1, 12)
    wall = AffineForm([4, -2], 7)
    both, more = whole.plus(fmpq(3, 2), wall, [0, 0])
    assert [more * n for n in both.normal] == [-9 + 6, 10 - 3] and more * both.offset == 6 + fmpq(21, 2)
    assert np.gcd.reduce([*both.normal, both.offset]) == 1 and more > 0
    plain, one = form.plus(fmpq(3, 2), wall, [0, 0])
    assert one == 1 and plain.normal == [fmpq(-3, 4) + 6, fmpq(5, 6) - 3] and plain.offset == fmpq(11)
    point = [5 * ONE, -ONE // 3]
    assert whole.at(point) * factor == form.at(point) and whole.along(point) * factor == form.along(point)
    assert np.array_equal(whole.normal64(), form.normal64()) and whole.put_onto(point) == form.put_onto(point)


@pytest.mark.parametrize(("widths", "rows"), [((6, 8, 7, 2), (8, 7)), ((6, 8, 7, 1), (8, 4)), ((4, 9, 5, 3), (9,))])
def test_what_is_known_of_a_line_saves_queries_and_changes_nothing(widths, rows):
    """Kinks of known neurons and gradients across their boundaries: the same numbers from fewer queries."""
    network, rng = exact_network(he(widths, 5)), np.random.default_rng(1)
    known = integer_layers(network, rows)
    lines = [random_line(widths[0], rng) for _ in range(2)]
    pools = [Pool(CountingOracle(ExactNetworkOracle(network), EXACT), widths[0]) for _ in range(2)]
    costs = []
    for pool, layers in zip(pools, (None, known), strict=True):
        pool.search(lines, settings_for(EXACT), layers)
        kinks = [kink for kink in pool.all_kinks() if kink[1] % 3 < 2]
        pool.measure(kinks, layers)
        costs.append(pool.asker.count)
    for plain, helped in zip(pools[0].lines, pools[1].lines, strict=True):
        assert plain.kinks == helped.kinks and plain.gradients.keys() == helped.gradients.keys()
        assert all((plain.gradients[k] == helped.gradients[k]).all() for k in plain.gradients)
    assert costs[1].search < 0.8 * costs[0].search and costs[1].measure < 0.7 * costs[0].measure


def test_kinks_expected_where_none_are_do_no_harm():
    network, rng = exact_network(he((5, 8, 6, 1), 2)), np.random.default_rng(4)
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    line = random_line(5, rng)
    ends = [dyadic_matrix([end], 5) for end in (line.base, line.direction)]
    (plain,) = search_lines(oracle, *ends, settings=settings_for(EXACT))
    wrong = sorted({*plain.kinks[::2], *(t + fmpq(1, 97) for t in plain.kinks)})
    (found,) = search_lines(oracle, *ends, settings=settings_for(EXACT), expected=[wrong])
    assert found.kinks == plain.kinks
