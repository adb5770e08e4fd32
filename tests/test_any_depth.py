"""Networks of any depth and unknown widths."""

import dataclasses

import numpy as np
import pytest
from flint import fmpq, fmpq_mat, fmpz_mat
from helpers import found_layers
from hypothesis import given
from hypothesis import strategies as st

from jaxtract import AnyDepthOptions, ExtractOptions, Outcome, certify, extract_any_depth, extract_network, load_target
from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.grid import ONE, floats_to_grid, to_floats, to_grid
from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.geometry.rational_form import RationalForm
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, merge_rows, stacked, without_unread
from jaxtract.layers.any_depth.kinks.foretold import quiet_places
from jaxtract.layers.any_depth.kinks.input_slice import InputSlice, SliceAsker
from jaxtract.layers.any_depth.kinks.pool import Pool, SearchedLine
from jaxtract.layers.any_depth.rows.first_layer import straight
from jaxtract.layers.any_depth.signs.layer_signs import (
    Region,
    composition,
    is_explained,
    signs_by_gradients,
    signs_by_rows,
)
from jaxtract.layers.any_depth.walk.row_system import (
    Combinations,
    InconsistentRow,
    RowSystem,
    Shared,
    determined,
    solve_shared,
)
from jaxtract.layers.any_depth.walk.transversal import kink_between
from jaxtract.layers.any_depth.whole.extreme_lines import extreme_line, extreme_points
from jaxtract.measurement.bend_test import bends
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import scattered, stars
from jaxtract.oracle.serve import ExactNetworkOracle
from jaxtract.search.context_lines import search_lines, settings_for
from jaxtract.search.lines import Line
from jaxtract.search.random_lines import random_line
from precision.dyadic import dyadic_matrix, from_float64, power_of_two
from precision.exact import ExactContext

EXACT = ExactContext()


def rationals(*rows):
    table = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        table[i, :] = [fmpq(x) for x in row]
    return table


def verdict(found, network):
    assert found.network is not None, found.not_resolved
    return certify(found.network, network).verdict


def cost(found):
    """Queries per parameter."""
    assert found.queries_per_parameter is not None
    return found.queries_per_parameter


def extract(network, seed=0, **options):
    return extract_network(ExactNetworkOracle(network), EXACT, options=ExtractOptions(seed=seed, **options))


@pytest.mark.parametrize(
    ("widths", "seed"),
    [
        ((10, 10, 10, 1), 0),
        ((10, 10, 10, 1), 1),
        ((10, 10, 10, 1), 2),
        ((10, 10, 10, 1), 3),
        ((10, 15, 15, 1), 0),
        ((30, 8, 6, 3), 0),
        ((30, 8, 6, 3), 1),
        ((12, 20, 8, 2), 0),
    ],
)
def test_deep_networks_are_read_off_exactly(widths, seed):
    network = exact_network(he(widths, seed))
    found = extract(network, seed)
    assert found.outcome is Outcome.COMPLETE and found.claim == "exact"
    assert verdict(found, network) == "identical"
    assert found.network is not None and found.network.widths == widths
    assert cost(found) < 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_three_hidden_layers(seed):
    network = exact_network(he((40, 20, 10, 10, 1), seed + 2))
    found = extract(network, seed + 2)
    assert verdict(found, network) == "identical"
    assert cost(found) < 8


def test_shipped_deep_network():
    network = load_target("digits-deep").exact()
    found = extract(network)
    assert found.network is not None and found.network.widths == (64, 32, 16, 10)
    assert verdict(found, network) == "identical"
    assert cost(found) < 2.5


def test_the_same_seed_asks_the_same():
    network = exact_network(he((10, 10, 10, 1), 4))
    first, second = extract(network, 7), extract(network, 7)
    assert first.queries == second.queries and first.network == second.network


@pytest.mark.parametrize("budget", [5, 150, 700])
def test_a_spent_budget_keeps_to_it_and_says_so(budget):
    network = exact_network(he((10, 10, 10, 1), 0))
    found = extract(network, max_queries=budget)
    assert found.outcome is Outcome.BUDGET_SPENT and found.claim == "incomplete"
    assert found.queries.total <= budget
    assert found.not_resolved


@pytest.mark.parametrize("seed", range(3))
def test_a_hint_of_widths_saves_queries_and_a_wrong_one_does_no_harm(seed):
    network = exact_network(he((12, 9, 7, 1), seed))
    plain = extract(network, seed)
    told = extract(network, seed, widths=(12, 9, 7, 1))
    lied = extract(network, seed, widths=(12, 5, 20, 4, 1))
    assert all(verdict(found, network) == "identical" for found in (plain, told, lied))
    assert told.queries.total - told.queries.verify <= plain.queries.total - plain.queries.verify


def test_a_hint_that_does_not_fit_is_refused():
    network = exact_network(he((12, 9, 7, 1), 0))
    with pytest.raises(ValueError, match="12-9-7-2 do not fit the black box: it has 12 inputs and 1 outputs"):
        extract(network, widths=(12, 9, 7, 2))
    with pytest.raises(ValueError, match="widths are positive"):
        extract(network, widths=(12,))


def test_the_fresh_inputs_are_asked_that_were_wished_for():
    network = exact_network(he((10, 10, 10, 1), 2))
    found = extract(network, 2, verify_inputs=33, verify_lines=2)
    assert found.verified.lines == 2 and found.verified.inputs >= 33


def test_one_hidden_layer_is_read_by_the_deep_method_too():
    network = exact_network(he((8, 6, 2), 0))
    found = extract_any_depth(ExactNetworkOracle(network), EXACT, options=AnyDepthOptions(seed=1))
    assert verdict(found, network) == "identical"


@pytest.mark.parametrize("seed", range(4))
def test_bend_test_tells_the_depth(seed):
    rng = np.random.default_rng(seed)
    for widths, deep in (((12, 9, 2), False), ((4, 30, 1), False), ((12, 8, 8, 1), True), ((10, 15, 15, 1), True)):
        asker = CountingOracle(ExactNetworkOracle(exact_network(he(widths, seed))), EXACT)
        line = random_line(widths[0], rng)
        bases, directions = (dyadic_matrix([ends], widths[0]) for ends in (line.base, line.direction))
        (profile,) = search_lines(asker, bases, directions, settings=settings_for(EXACT))
        assert bends(asker, line, profile, rng, kinks=len(profile.kinks)) is deep
        assert asker.count.measure <= 8 * len(profile.kinks)


# -- the parts --


def small_layers():
    """z1 = (x, y, x + y - 1), z2 = a1 - 2 a2 + a3 + 1."""
    return KnownLayers([fmpz_mat([[1, 0], [0, 1], [1, 1]]), fmpz_mat([[1, -2, 1]])], [[0, 0, -1], [1]])


def test_known_layers_agree_with_themselves():
    layers = small_layers()
    points = fmpz_mat([[3, 1], [-2, 5], [1, 0]])
    scales = [2, 1, 3]
    first, second = layers.preactivations(points, scales)
    assert first.tolist() == [[3, 1, 2], [-2, 5, 2], [1, 0, -2]]
    assert second.tolist() == [[3 - 2 + 2 + 2], [0 - 10 + 2 + 1], [1 - 0 + 0 + 3]]
    for k, pattern in enumerate(layers.pattern(points, scales)):
        form = layers.form(1, 0, pattern)
        value = sum(n * int(points[k, i]) for i, n in enumerate(form.normal)) + form.offset * scales[k]
        assert value == second[k, 0]
        matrix, offsets = layers.forms(1, pattern)
        assert [int(x) for x in matrix.entries()] == form.normal and int(offsets[0]) == form.offset
        # float64 forms are the same up to a positive factor
        normal, offset = layers.forms64(pattern)[1]
        assert np.allclose(np.cross([*normal[0], offset[0]], [*form.normal, form.offset]), 0)
    assert layers.derivative(0, 1, 1, layers.pattern(points, scales)[0]) == [-2]


def test_long_weights_do_not_overflow_float64():
    layers = KnownLayers([fmpz_mat([[1 << 2000, 1]]), fmpz_mat([[1 << 1500]])], [[3], [-(1 << 3400)]])
    (first, second) = layers.values64(np.array([[1.0, 2.0]]))
    assert np.isfinite(first).all() and np.isfinite(second).all()


def test_grid_vectors():
    assert to_grid([fmpq(1, 2), fmpq(-3)]) == [ONE // 2, -3 * ONE]
    values = np.array([1.5, -(2.0**-20), 0.0, 12345.678])
    assert np.allclose(to_floats(floats_to_grid(values, 52)), values, rtol=0, atol=12345 * 2.0**-51)
    form = RationalForm([fmpq(3), fmpq(-7)], fmpq(1, 3))
    moved = form.put_onto(to_grid([fmpq(5), fmpq(2)]))
    assert abs(form.at(moved)) < power_of_two(-250)


def test_kink_between():
    def on(kink, left, right):
        return np.array([[(left if s < kink else right) * (s - kink)] for s in (-2, -1, 1, 2)], dtype=object)

    assert kink_between(on(fmpq(1, 3), fmpq(2), fmpq(5))) == fmpq(1, 3)
    assert kink_between(on(fmpq(1, 3), fmpq(2), fmpq(2))) is None
    two = np.concatenate([on(fmpq(1, 3), fmpq(2), fmpq(5)), on(fmpq(1, 4), fmpq(1), fmpq(3))], axis=1)
    assert kink_between(two) is None


def test_pieces_in_which_a_known_neuron_changes_sign_are_not_quiet():
    network = exact_network(he((5, 6, 1), 0))
    pool = Pool(CountingOracle(ExactNetworkOracle(network), EXACT), 5)
    rng = np.random.default_rng(0)
    pool.search([random_line(5, rng) for _ in range(2)], settings_for(EXACT))
    weights, biases = network.weights[0].tolist(), network.biases[0].entries()
    rows = [Row(list(row), bias) for row, bias in zip(weights, biases, strict=True)]
    layers = stacked(5, [FoundLayer(rows, [1] * 6)])
    assert len(pool.known_values()) == len(quiet_places(pool, layers)) and quiet_places(pool, layers).all()
    # A search that missed the second kink of the first line: what is between the first and the third is one piece.
    line = pool.lines[0]
    missed = dataclasses.replace(
        line.profile,
        kinks=(line.kinks[0], *line.kinks[2:]),
        pieces=(line.profile.pieces[0], *line.profile.pieces[2:]),
    )
    pool.lines[0] = SearchedLine(line.line, missed, {})
    assert np.nonzero(~quiet_places(pool, layers))[0].tolist() == [2, 3]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_combinations_of_equations_have_their_values(unknowns, equations, seed):
    rng = np.random.default_rng(seed)
    table, truth = rng.integers(-2, 3, (equations, unknowns)), rng.integers(-9, 10, unknowns)
    rows = [[fmpq(int(x), 3) for x in (*row, row @ truth)] for row in table]
    solved = Combinations(range(unknowns), rows)
    factors = rng.integers(-3, 4, equations)
    own = [sum((int(f) * row[k] for f, row in zip(factors, rows, strict=True)), fmpq(0)) for k in range(unknowns + 1)]
    assert solved.value(own[:-1]) == own[-1]
    form = [fmpq(int(x)) for x in rng.integers(-2, 3, unknowns)]
    told = np.linalg.matrix_rank(np.vstack([table, [int(x.p) for x in form]])) == np.linalg.matrix_rank(table)
    assert (solved.value(form) is not None) == told


class TestRowSystem:
    """z = sum_i w_i max(0, s_i z_i), weights 3, -2, 5 and signs +, -, +; the walk begins where z > 0, < 0, < 0."""

    side = np.array([True, False, False])

    def test_known_signs_give_weights_from_equations(self):
        system = RowSystem(self.side, [1, -1, 1])
        system.add(self.side, [1, 1, 7], fmpq(3 + 2))
        system.add(self.side, [1, -1, 9], fmpq(3 - 2))
        system.resolve()
        assert system.weights == {0: 3, 1: -2}
        assert system.unknown == [2]
        assert system.value(self.side, [2, 0, 1]) == 6

    def test_crossings_and_equations_give_unknown_signs(self):
        system = RowSystem(self.side, [0, 0, 0])
        for i, weight in enumerate((3, -2, 5)):
            system.set_weight(i, fmpq(weight))
        system.add(self.side, [1, 0, 0], fmpq(3))
        system.add(self.side, [0, 1, 1], fmpq(2))
        assert system.value(self.side, [2, 3, 3]) == 12
        assert system.value(self.side, [0, 1, 0]) is None
        system.add(self.side, [0, 1, -1], fmpq(2))
        system.resolve()
        assert system.signs_found() == {0: 1, 1: -1, 2: 1}
        beyond = np.array([True, True, True])
        assert system.value(beyond, [0, 1, 1]) == 5

    def test_what_is_no_sign_is_refused(self):
        system = RowSystem(self.side, [0, 0, 0])
        system.set_weight(0, fmpq(3))
        system.add(self.side, [1, 0, 0], fmpq(2))
        system.resolve()
        with pytest.raises(InconsistentRow):
            system.signs_found()

    def test_contradictions_are_refused(self):
        system = RowSystem(self.side, [1, -1, 1])
        system.add(self.side, [1, 0, 0], fmpq(3))
        system.add(self.side, [2, 0, 0], fmpq(7))
        with pytest.raises(InconsistentRow):
            system.resolve()
        with pytest.raises(InconsistentRow):
            other = RowSystem(self.side, [1, -1, 1])
            other.set_weight(0, fmpq(1))
            other.set_weight(0, fmpq(2))


@pytest.mark.parametrize("seed", range(5))
def test_few_equations_tell_the_signs_of_what_was_crossed(seed):
    """Two equations in six signs, once what was not crossed is eliminated; for a wrong neuron nothing fits."""
    rng = np.random.default_rng(seed)
    side, signs = rng.integers(0, 2, 8).astype(bool), rng.choice([-1, 1], 8)
    weights = [fmpq(int(p), int(q)) for p, q in rng.integers(1, 10**9, (8, 2))]
    start = [w * (int(s) if (s > 0) == on else 0) for w, s, on in zip(weights, signs, side, strict=True)]
    for wrong in (False, True):
        system = RowSystem(side, [0] * 8)
        for row in rng.integers(-99, 100, (4, 8)).tolist():
            system.add(side, row, sum((c * e for c, e in zip(row, start, strict=True)), fmpq(int(wrong))))
        system.know({i: weights[i] for i in range(5)})
        assert not system.tells_signs()
        system.know({5: weights[5]})
        assert system.tells_signs()
        assert signs_by_rows([system]) == ([0] * 8 if wrong else [*signs[:6].tolist(), 0, 0])


def test_what_takes_part_is_on():
    """Once crossings have proven the equations, E tells more signs than those of the neurons that were crossed."""
    system = RowSystem(np.array([True, False, True, False]), [0] * 4)
    for i, value in enumerate([5, 0, 7, 3]):
        system.add(system.side, [int(i == k) for k in range(4)], fmpq(value))
    system.know({0: fmpq(5)})
    system.resolve()
    assert system.signs_found() == {0: 1}
    system.know({1: fmpq(9)})
    assert system.signs_found() == {0: 1, 1: 1, 2: 1, 3: -1}


def test_linear_systems():
    assert determined([[1, 0, 4], [0, 0, 0]], 2) == {0: 4}
    with pytest.raises(InconsistentRow):
        determined([[1, 0, 4], [2, 0, 9]], 2)
    rows = [[fmpq(x) for x in row] for row in ([1, 1, 3, 0], [1, -1, 1, 2], [2, 0, 4, 2])]
    solution = solve_shared(rows, 2)
    assert isinstance(solution, np.ndarray) and (solution == rationals([2, 1], [1, -1])).tolist() == [[True] * 2] * 2
    assert solve_shared(rows[:1], 2) is Shared.OPEN
    assert solve_shared([*rows, [fmpq(0), fmpq(1), fmpq(2), fmpq(0)]], 2) is Shared.CONTRADICTORY


def test_composition_names_what_certainly_takes_part():
    matrix = fmpz_mat([[1, 0, 0], [0, 1, 0], [0, 2, 0]])
    found = composition(matrix, rationals([5, 0, 0]))
    assert found is not None and found.present == {0} and not found.absent & {0}
    found = composition(matrix, rationals([0, 3, 0]))
    assert found is not None and not found.present and found.absent == {0}
    assert composition(matrix, rationals([0, 0, 1])) is None


def test_what_no_combination_explains_is_told_modulo_a_prime():
    """The annihilator and the composition say the same of gradients in a region with neurons that depend."""
    layers = KnownLayers([fmpz_mat([[1, 0, 0], [0, 1, 0], [0, 2, 0]])], [[0] * 3])
    pattern = [np.array([True, False, True])]
    for row in ([5, 0, 0], [1, 3, 0], [0, 0, 1], [0, 0, 0]):
        gradient = rationals(row) / fmpq(7)
        assert is_explained(layers, pattern, gradient) == (composition(layers.weights[0], gradient) is not None)


def test_heights_on_lines_are_the_pre_activations_times_their_scales():
    """Lines with bases that are not dyadic, places of several lines in any order."""
    network = exact_network(he((5, 4, 3, 1), 2))
    layers = stacked(5, found_layers(network))
    oracle = CountingOracle(ExactNetworkOracle(network), EXACT)
    pool = Pool(oracle, 5)
    rng = np.random.default_rng(3)
    pool.search([random_line(5, rng) for _ in range(2)], settings_for(EXACT))
    thirds = tuple(fmpq(int(x), 3) for x in rng.integers(-9, 9, 10))
    pool.lines.append(SearchedLine(Line(thirds[:5], thirds[5:], 0), pool.lines[0].profile, {}))
    places = [(0, fmpq(1, 7)), (2, fmpq(-5, 3)), (2, fmpq(2)), (0, pool.lines[0].kinks[0]), (1, fmpq(0))]
    heights, scales = pool.heights(layers, places)
    assert all(scale > 0 for scale in scales)
    for k, (line, t) in enumerate(places):
        state = fmpq_mat(5, 1, pool.lines[line].point(t))
        for z, weight, bias in zip(heights, layers.weights, layers.biases, strict=True):
            here = fmpq_mat(weight) * state + fmpq_mat(len(bias), 1, bias)
            assert [fmpq(x, scales[k]) for x in z.tolist()[k]] == here.entries()
            state = fmpq_mat(len(bias), 1, [max(x, fmpq(0)) for x in here.entries()])
    assert any(x == 0 for z in heights for x in z.tolist()[3])


@pytest.mark.parametrize(("known", "share"), [(2, 0.5), (4, 0.5), (6, 0.8)])
def test_a_layer_that_lacks_neurons_gets_no_wrong_signs(known, share):
    """Gradients have as many dimensions as there are known rows at most, so that all of them are explained."""
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first, second = (rng.integers(-99, 100, (6, 6)) for _ in range(2))
        behind = rng.integers(1, 100, 6)
        sides = [rng.random((2, 6)) < [[share], [0.5]] for _ in range(12)]
        layers = KnownLayers([fmpz_mat(first.tolist()), fmpz_mat(second[:known].tolist())], [[0] * 6, [0] * known])
        regions = [
            Region([a, b[:known]], rationals(((behind * b) @ second @ np.diag(a) @ first).tolist()), frozenset())
            for a, b in sides
        ]
        signs = signs_by_gradients(layers, regions)
        assert -1 not in signs
        found += sum(signs)
    assert known < 6 or found > 40


def test_slice_completes_rows_and_moves_points():
    rng = np.random.default_rng(0)
    weight = rationals(*rng.integers(-9, 9, size=(3, 6)).tolist())
    basis = rationals([1, 2, 0], [0, 1, 1], [3, 0, 1]) @ weight
    axes = (0, 2, 5)
    chosen = InputSlice(6, axes, basis)
    assert (chosen.full_rows(weight[:, list(axes)]) == weight).all()
    points = rationals(*rng.integers(-9, 9, size=(4, 6)).tolist())
    moved = chosen.equivalent(points)
    assert (moved @ weight[:, list(axes)].T == points @ weight.T).all()
    batch = chosen.embed(stars(dyadic_matrix([[fmpq(1), fmpq(2), fmpq(3)]], 3), [fmpq(1, 2)], [1]))
    assert batch.dense().rows() == [[1, 0, fmpq(5, 2), 0, 0, 3]]


def test_first_layer_is_told_from_deeper_ones():
    network = exact_network(he((6, 8, 5, 1), 3))
    asker = SliceAsker(CountingOracle(ExactNetworkOracle(network), EXACT), InputSlice(6, tuple(range(6)), None))
    first = [
        RationalForm(list(row), bias)
        for row, bias in zip(network.weights[0].tolist(), network.biases[0].entries(), strict=True)
    ]
    rng = np.random.default_rng(0)
    others = [RationalForm([fmpq(int(x)) for x in rng.integers(-9, 9, size=6)], fmpq(1)) for _ in range(5)]
    forms = first + others
    free = [[np.zeros(len(forms), dtype=bool)] for _ in forms]
    assert straight(asker, forms, free, rng, most_places=6) == [True] * 8 + [False] * 5


def test_rows_of_one_neuron_are_merged():
    one = Row([fmpq(2), None, fmpq(-4)], fmpq(6))
    same = Row([fmpq(-1), fmpq(5), fmpq(2)], fmpq(-3))
    other = Row([fmpq(1), fmpq(5), fmpq(2)], fmpq(-3))
    merged = merge_rows([one, same, other])
    assert len(merged) == 2
    assert merged[0].weights == [2, -10, -4] and merged[0].bias == 6
    assert merged[0].integers() == ([1, -5, -2], 3)


def test_unread_neurons_are_dropped():
    first = FoundLayer([Row([fmpq(1)], fmpq(0)), Row([fmpq(2)], fmpq(1))], [1, 1])
    second = FoundLayer([Row([fmpq(1), fmpq(0)], fmpq(0)), Row([fmpq(0), fmpq(3)], fmpq(1))], [1, 1])
    layers, gamma = without_unread([first, second], rationals([4, 0]))
    assert gamma.tolist() == [[4]]
    assert [len(layer.rows) for layer in layers] == [1, 1]
    assert layers[1].rows[0].weights == [1]


def test_boundary_points_lie_on_the_boundary():
    rng = np.random.default_rng(0)
    far = np.array([30.0, 0.0])

    def value(x):
        return 1.0 - np.linalg.norm(x - far, axis=1)

    assert len(boundary_points(value, 2, [], rng)) < 5
    points = boundary_points(value, 2, [far + np.array([1.0, 0.0])], rng)
    assert len(points) > 20 and np.allclose(value(points), 0, atol=1e-9)


def test_extreme_lines_reach_what_random_ones_miss():
    """Extremes reach neurons most of whose weights are negative, which are hardly ever on."""
    rng = np.random.default_rng(1)
    layers = stacked(
        8,
        [
            FoundLayer(
                [
                    Row([fmpq(int(x)) for x in row], fmpq(int(b)))
                    for row, b in zip(rng.integers(-99, 99, (12, 8)), rng.integers(-9, 9, 12), strict=True)
                ],
                [1] * 12,
            )
        ],
    )
    rare = [w / np.linalg.norm(w) for w in rng.standard_normal((40, 12)) - 1]

    def shares(points):
        a = np.maximum(layers.values64(points)[-1], 0)
        return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ np.array(rare).T

    extreme = shares(extreme_points(layers, 200, rng)).max(axis=0)
    usual = shares(rng.standard_normal((200, 8))).max(axis=0)
    assert np.mean(extreme > usual) > 0.7 and extreme.mean() > usual.mean() + 0.1
    line = extreme_line(layers, rng)
    assert line.direction[line.pivot] == 1 and all(abs(x) <= 1 for x in line.direction)


def test_slices_ask_the_black_box_where_they_should():
    network = exact_network(he((5, 4, 3, 1), 0))
    chosen = InputSlice(5, (1, 3), rationals([0, 1, 0, 0, 0], [0, 0, 0, 1, 0]))
    asker = SliceAsker(CountingOracle(ExactNetworkOracle(network), EXACT), chosen)
    answers = asker.ask(scattered(from_float64(np.array([[1.5, -2.0]]))), "measure")
    assert answers[0, 0] == network([0, fmpq(3, 2), 0, -2, 0])[0]


def test_a_function_that_is_constant_on_most_lines_is_no_error():
    """All that is not constant is near the origin, where hardly any line comes."""
    inner = he((6, 12, 1), 0).exact().weights[0]
    both = fmpq_mat(inner.tolist() + [[-x for x in row] for row in inner.tolist()])
    weights = (both, fmpq_mat([[fmpq(-1)] * 24]), fmpq_mat([[fmpq(1)]]))
    biases = (fmpq_mat([[fmpq(0)]] * 24), fmpq_mat([[fmpq(1, 1000)]]), fmpq_mat([[fmpq(0)]]))
    oracle = ExactNetworkOracle(ExactNetwork(weights, biases))
    found = extract_any_depth(oracle, EXACT, options=AnyDepthOptions(verify_inputs=20, rounds=1))
    assert found.outcome is Outcome.COUNTEREXAMPLES_LEFT and found.claim == "incomplete" and found.network is None


def test_lines_that_bring_a_neuron_are_no_round_in_vain():
    network = he((12, 8, 6, 4, 1), 7).exact()
    options = AnyDepthOptions(seed=7, rounds=0, verify_inputs=100, verify_lines=2, max_queries=9000)
    found = extract_any_depth(ExactNetworkOracle(network), EXACT, options=options)
    assert found.outcome is Outcome.COMPLETE
    assert certify(found.network, network).verdict == "identical"


def test_an_extraction_that_ends_in_contradictions_begins_once_more():
    """What the first lines meet of the second layer passes for rows of the first, which has three neurons."""
    network = exact_network(he((6, 3, 6, 1), 3))
    found = extract_any_depth(ExactNetworkOracle(network), EXACT, options=AnyDepthOptions(seed=3, rounds=1))
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert certify(found.network, network).verdict == "identical"
