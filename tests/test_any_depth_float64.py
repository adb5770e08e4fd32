"""Networks of any depth from a black box that answers in doubles: the noise, the estimates, and what comes out."""

from fractions import Fraction

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq
from hypothesis import given
from hypothesis import strategies as st

from jaxtract import CallableOracle, ExtractOptions, Outcome, extract_network, float64
from jaxtract.certificate.matching import match
from jaxtract.geometry.known_layers import AffineForm, KnownLayers
from jaxtract.geometry.rational_form import AnchoredForm, value_at
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, merge_rows, stacked
from jaxtract.layers.any_depth.kinks.input_slice import whole_space
from jaxtract.layers.any_depth.kinks.pool import Pool, SearchedLine
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.rows.first_layer import _independent
from jaxtract.layers.any_depth.rows.more_sightings import see_again
from jaxtract.layers.any_depth.rows.refined_rows import SPARE_KINKS, activations_at, refined
from jaxtract.layers.any_depth.walk.joint_form import JointForm
from jaxtract.layers.any_depth.walk.row_system import InconsistentRow, determined, sign_of
from jaxtract.layers.any_depth.walk.star import common_ratio, roughest, roughness, star_around
from jaxtract.measurement.balls import measured_profile, measuring
from jaxtract.measurement.bend_test import bends
from jaxtract.measurement.gradients import gradients_on_line
from jaxtract.measurement.noise import measure_noise, measured_context
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.families import he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.report.progress import NoProgressMeter
from jaxtract.search.context_lines import search_line, settings_for
from jaxtract.search.lines import Line, LineProfile
from jaxtract.search.random_lines import random_line
from precision.balls import ball, independent_sum, to_float, vanishes
from precision.dyadic import from_float, power_of_two
from precision.estimates import NoFitError, combined, fitted, improved
from precision.kink import Piece

ONE = 1 << 256
WORKING = 112
"""Bits of balls around doubles."""


def numpy_oracle(network):
    weights, biases = [np.asarray(w) for w in network.weights], [np.asarray(b) for b in network.biases]

    def f(x):
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = np.maximum(x @ weight.T + bias, 0)
        return x @ weights[-1].T + biases[-1]

    return CallableOracle(f, inputs=network.inputs, outputs=network.outputs)


def true_bits(found, network):
    """-log2 of the largest error of a number against the largest of its row, both networks in canonical form."""
    matching = match(*(float64_scaled(canonical_form(n)) for n in (found, network)))
    assert matching.unmatched == 0 and matching.error
    return -np.log2(float(Fraction(int(matching.error.p), int(matching.error.q))))


@pytest.mark.parametrize(("widths", "seed"), [((10, 10, 10, 1), 2), ((10, 10, 10, 1), 7), ((12, 8, 6, 2), 0)])
def test_deep_networks_from_doubles(widths, seed):
    network = he(widths, seed)
    options = ExtractOptions(seed=seed, verify_inputs=200, verify_lines=4)
    found = extract_network(numpy_oracle(network), float64(), options=options)
    assert found.outcome is Outcome.COMPLETE and found.claim == "approximate"
    assert found.network is not None and found.network.widths == widths
    reached = true_bits(found.network, network.exact())
    assert found.accuracy_bits is not None and found.accuracy_bits <= reached
    assert reached >= 43
    assert found.queries.total < 25 * network.exact().parameters + 1500


@pytest.mark.parametrize(
    ("widths", "seed", "deep"),
    [((40, 40, 1), 0, False), ((40, 40, 1), 3, False), ((80, 30, 1), 4, False), ((12, 8, 8, 1), 0, True)],
)
def test_bend_test_tells_the_depth_from_doubles(widths, seed, deep):
    """A boundary that is missed far out since its slope is known roughly does not bend."""
    rng = np.random.default_rng(seed)
    asker = CountingOracle(numpy_oracle(he(widths, seed)), float64())
    asker.context = measured_context(asker, rng)
    line = random_line(widths[0], rng)
    profile = search_line(asker, line, settings_for(asker.context))
    assert bends(asker, line, profile, rng, kinks=len(profile.kinks)) is deep


def test_noise_is_that_of_the_oracle():
    network = he((10, 10, 10, 1), 0)
    oracle = CountingOracle(numpy_oracle(network), float64())
    noise = measure_noise(oracle, np.random.default_rng(0))
    assert 47 <= noise.bits <= 54 and oracle.count.measure == 72
    exact = numpy_oracle(network)
    rough = CallableOracle(lambda x: exact.function(x).astype(np.float32), inputs=10)
    rough_noise = measure_noise(CountingOracle(rough, float64()), np.random.default_rng(0))
    assert 18 <= rough_noise.bits <= 25
    constant = CallableOracle(lambda x: np.zeros((len(x), 1)), inputs=3)
    assert measure_noise(CountingOracle(constant, float64()), np.random.default_rng(0)).unit > 0


def test_independent_errors_add_up_as_squares():
    with ctx.workprec(WORKING):
        total = independent_sum([ball(fmpq(1), fmpq(3, 1000)), ball(fmpq(2), fmpq(4, 1000)), 5])
        assert total.mid() == 8 and abs(float(total.rad()) - 0.005) < 1e-6


def noisy(values, size, rng):
    """Balls of six standard deviations around values with such an error."""
    return [
        ball(fmpq(round((x + size / 6 * rng.standard_normal()) * 2**80), 1 << 80), fmpq(1, 1 << 40)) for x in values
    ]


@given(st.integers(1, 5), st.integers(3, 8), st.integers(0, 2**32))
def test_fits_hold_the_truth(unknowns, spare, seed):
    rng = np.random.default_rng(seed)
    matrix, truth = rng.standard_normal((unknowns + spare, unknowns)), rng.standard_normal(unknowns)
    with ctx.workprec(WORKING):
        left = [[arb(float(x)) for x in row] for row in matrix]
        right = noisy(matrix @ truth, 2.0**-40, rng)
        solution = fitted(left, right)
        if np.linalg.cond(matrix) < 1e3:
            assert solution is not None
            assert all(abs(to_float(x) - y) <= 2 * float(x.rad()) for x, y in zip(solution, truth, strict=True))
            start = [ball(fmpq(round(x * 2**60), 1 << 60), fmpq(1, 1 << 20)) for x in truth]
            better = improved(left, right, start)
            assert all(abs(to_float(x) - y) <= 2 * float(x.rad()) + 1e-15 for x, y in zip(better, truth, strict=True))
            assert all(float(x.rad()) < 2.0**-25 for x in better)
        assert fitted([[*row, row[0]] for row in left], right) is None
        if np.linalg.cond(matrix) < 10:
            with pytest.raises(NoFitError):
                fitted(left, [right[0] + 1, *right[1:-1], right[-1] - 3])


@given(st.integers(1, 5), st.integers(2, 8), st.integers(0, 2**32))
def test_combinations_are_known_where_the_equations_tell_them(unknowns, spare, seed):
    rng = np.random.default_rng(seed)
    matrix, truth = rng.standard_normal((unknowns + spare, unknowns)), rng.standard_normal(unknowns + 1)
    with ctx.workprec(WORKING):
        # The last unknown enters no equation: combinations without it are known, it is as rough as before.
        left = [[*(arb(float(x)) for x in row), arb(0)] for row in matrix]
        right = noisy(matrix @ truth[:-1], 2.0**-40, rng)
        factors = rng.standard_normal(unknowns)
        told, rough = combined(left, right, [[*factors, 0.0], [*factors, 1.0]], 2.0**4)
        if np.linalg.cond(matrix) < 1e3:
            assert abs(to_float(told) - factors @ truth[:-1]) <= 2 * float(told.rad()) < 2.0**-20
            with pytest.raises(NoFitError):
                combined([*left, left[0]], [*right, right[0] + 1], [[*factors, 0.0]], 2.0**4)
        assert float(rough.rad()) > 2.0


def test_an_unknown_that_rough_equations_alone_show_is_fitted_from_them():
    """A coefficient that is rough far out says nothing against one that is sharp: equations weigh what they carry."""
    with ctx.workprec(WORKING):
        sharp = [[arb(float(k)), arb(1)] for k in range(6)]
        rough = [[ball(fmpq(1000), fmpq(1)), arb(1)] for _ in range(3)]
        right = noisy(np.array([2.0 * k + 1 for k in range(6)]), 2.0**-40, np.random.default_rng(0))
        solution = fitted([*sharp, *rough], [*right, *(ball(fmpq(2001), fmpq(2)) for _ in range(3))])
        assert solution is not None
        assert abs(to_float(solution[0]) - 2) < 2.0**-38 and abs(to_float(solution[1]) - 1) < 2.0**-36
        assert fitted(rough, [ball(fmpq(2001), fmpq(2)) for _ in range(3)]) is None


@pytest.mark.parametrize("signs", [[1, 1, 1], [1, 0, 1], [0, 0, 0]])
def test_places_on_a_boundary_tell_its_form_in_other_regions(signs):
    """z = w . max(h, 0) + b: from the normal in one region and places in others follows the normal anywhere."""
    w, b = [1.5, -2.0, 0.75], -0.5
    with ctx.workprec(WORKING):
        layers = KnownLayers([arb_mat([[1, 0, 0], [0, 1, 0], [0, 0, 1]])], [[arb(0)] * 3])
        start = [np.array([True, True, False])]
        joint = JointForm(layers, start[0], 2.0)
        joint.add_normal(start, [ball(from_float(x), fmpq(1, 1 << 40)) for x in (w[0], w[1], 0.0)])
        places = [(0.5, 0.125, -1.0), (2.0, 1.25, -3.0), (-1.0, -2.0, 2 / 3), (3.0, 2.375, 1.0), (-1.0, 0.25, 4 / 3)]
        for x in places:
            height = sum(a * max(v, 0) for a, v in zip(w, x, strict=True)) + b
            assert abs(height) < 1e-9
            point = [round(v * 2**60) << 196 for v in x]
            joint.add_place(point, [np.array([v > 0 for v in x])], arb(2.0**-40))
        there = [np.array([True, False, True])]
        form = joint.at([ONE, -ONE, -ONE], there, arb(0), signs)
        assert all(abs(to_float(n) - v) < 2.0**-32 for n, v in zip(form.normal, (w[0], 0.0, w[2]), strict=True))
        assert all(float(n.rad()) < 2.0**-28 for n in form.normal)
        for weight, truth, sign in zip(joint.weights(signs), w, signs, strict=True):
            assert abs(to_float(weight) - truth) < 2.0**-30 or not sign
        joint.add_place([3 * ONE, ONE, ONE], [np.array([True, True, True])], arb(2.0**-40))
        with pytest.raises(NoFitError):
            joint.at([ONE, -ONE, -ONE], there, arb(0), signs)


def test_steps_to_one_side_are_checked_by_the_slope_along_the_line():
    """A wall beside the line, which the line does not cross, spoils some steps: those regions are asked again."""
    truth, wall = np.array([1.0, 2.0, -1.0, 0.5]), np.array([0.5, -1.0, 0.0, 0.0])

    def f(x):
        return (np.maximum(x @ truth, 0) + np.maximum(x @ wall - 0.02, 0))[:, None]

    counted = CountingOracle(CallableOracle(f, inputs=4, outputs=1), float64())
    asker = measuring(counted)
    line = Line((fmpq(0),) * 4, (fmpq(1), fmpq(1, 2), fmpq(1, 4), fmpq(-3, 4)), 0)
    with asker.context.working():
        profile = measured_profile(asker, search_line(counted, line, settings_for(counted.context)))
        assert len(profile.kinks) == 1
        for known in ({}, {2: None}):
            before = [{k: np.array([arb(side * truth[k])]) for k in known} for side in (0.0, 1.0)]
            asked = counted.count.measure
            found = gradients_on_line(asker, line, profile, [0, 1], before)
            assert counted.count.measure - asked > 2 * (5 - len(known))
            for gradient, side in zip(found, (0, 1), strict=True):
                assert all(abs(to_float(x) - side * y) < 2.0**-20 for x, y in zip(gradient[0], truth, strict=True))


def test_a_weight_that_may_be_anything_stays_open():
    with ctx.workprec(WORKING):
        row = Row([ball(fmpq(1), fmpq(1, 1 << 30)), None, None], ball(fmpq(2), fmpq(1, 1 << 30)))
        assert not row.fill({1: ball(fmpq(1, 2), fmpq(1, 4))}) and row.missing == [1, 2]
        assert row.fill({1: ball(fmpq(1, 2), fmpq(1, 1 << 20)), 2: arb(0, 8.0)}) and row.missing == [2]


def test_forms_are_known_best_at_their_anchor():
    with ctx.workprec(WORKING):
        unit = fmpq(1, 1 << 40)
        anchor = [3 * ONE, -2 * ONE]
        form = AnchoredForm([ball(fmpq(1), unit), ball(fmpq(2), unit)], anchor, arb(0))
        assert form.at(anchor) == 0 and float(form.at([0, 0]).rad()) > 3 * 2.0**-40
        assert form.at([3 * ONE + ONE // 2, -2 * ONE]).contains(fmpq(1, 2))
        wall = AffineForm([arb(1), arb(0)], arb(-3))
        assert value_at(wall, anchor) == 0
        bent, one = form.plus(ball(fmpq(-4), unit), wall, anchor)
        assert one == 1
        assert bent.normal[0].contains(-3) and bent.at(anchor).contains(0)


def test_star_measures_a_form_and_says_how_well():
    """Second differences of |z| at a point of its boundary give z up to a factor."""
    truth = np.array([0.5, -1.5, 0.25])
    with ctx.workprec(WORKING):
        walls = [(np.array([[1.0, 0, 0]]), np.array([0.5]))]
        star = star_around([0, 0, 0], truth / np.linalg.norm(truth), walls, np.empty((0, 3), dtype=object), 0)
        points = [np.array(star.asked.directions[place], dtype=object) * step / ONE for place, step in star.asked.steps]
        answers = np.array([[ball(from_float(float(abs(truth @ p.astype(float)))), fmpq(1, 1 << 50))] for p in points])
        form = star.form(answers, np.array([arb(0)], dtype=object))
        assert form is not None
        factor = common_ratio([arb(float(x)) for x in truth], form.normal)
        assert factor is not None and factor > 0
        assert roughness(form) < 2.0**-40 < roughest(form) <= 2.0**-20
        assert common_ratio([arb(1), arb(0), arb(0)], form.normal) is None


def test_rows_that_agree_to_fourteen_bits_are_one():
    """Of answers with few bits: errors are estimates there, and the two may be certainly different."""
    values = [3.0, -2.0, 0.5, 1.25, 0.75]
    with ctx.workprec(WORKING):

        def row(shift, *, hidden=None):
            balls = [ball(from_float(float(x + shift)), fmpq(1, 1 << 40)) for x in values]
            return Row([None if k == hidden else x for k, x in enumerate(balls[:-1])], balls[-1])

        (both,) = merge_rows([row(0), row(2.0**-20)])
        held = [arb(x) for x in [*both.weights, both.bias] if x is not None]
        assert all(x.contains(from_float(v)) for x, v in zip(held, values, strict=True))
        assert 17 <= both.accuracy <= 22
        (completed,) = merge_rows([row(0, hidden=1), row(2.0**-20)])
        assert completed.missing == []
        assert len(merge_rows([row(0), row(2.0**-8)])) == 2
        assert row(0).merged_roughly(Row([x and -2 * x for x in row(0).weights], -2 * row(0).bias)) is not None
    with ctx.workprec(300):
        assert len(merge_rows([row(0), row(2.0**-20)])) == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 7])
def test_a_neuron_that_is_hardly_ever_on_is_read_from_what_the_polished_network_leaves(seed):
    """Half a minute: one neuron is on for an input in ten thousand (seed 4); errors are underestimated (seed 7)."""
    network = he((10, 20, 20, 1), seed)
    options = ExtractOptions(seed=seed, verify_inputs=200, verify_lines=5)
    found = extract_network(numpy_oracle(network), float64(), options=options)
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert true_bits(found.network, network.exact()) > 34


def test_the_rank_of_rough_gradients_is_that_of_what_they_measure():
    """Twelve dimensions, one of them shown by few rows only, under errors that elimination would multiply."""
    rng = np.random.default_rng(0)
    shares = rng.standard_normal((40, 12))
    shares[:, 11] = np.where(np.arange(40) < 3, 2.0**-10, 0)
    truth = shares @ rng.standard_normal((12, 20))
    with ctx.workprec(WORKING):
        rows = [noisy(row, 2.0**-30, rng) for row in truth]
        table = np.array([[arb(x.mid(), 2.0**-30) for x in row] for row in rows], dtype=object)
        rank, columns, regions = _independent(table.reshape(40, 1, 20))
    assert rank == 12 == len(set(columns)) == len(set(regions))
    assert any(piece < 3 for piece, _ in regions)
    assert np.linalg.matrix_rank(truth[[piece for piece, _ in regions]][:, columns]) == 12


def test_equations_that_determine_all_are_solved_by_least_squares():
    rng = np.random.default_rng(1)
    matrix, truth = rng.standard_normal((60, 40)), rng.choice([-1.0, 1.0], 40)
    with ctx.workprec(WORKING):
        rows = [
            [*(ball(from_float(float(x)), fmpq(1, 1 << 24)) for x in row), ball(from_float(float(y)), fmpq(1, 1 << 22))]
            for row, y in zip(matrix, matrix @ truth, strict=True)
        ]
        found = determined(rows, 40)
        assert [sign_of(found[k]) for k in range(40)] == truth.tolist()
        rows[7][-1] += 1
        with pytest.raises(InconsistentRow):
            determined(rows, 40)


def test_two_boundaries_too_near_to_be_told_apart_explain_a_kink():
    """Zeros of two neurons on both sides of a kink, near it: theirs. Of one neuron, or farther away: not."""
    counted = CountingOracle(CallableOracle(lambda x: x, inputs=1, outputs=1), float64())
    rng = np.random.default_rng(0)
    state = Recovery(counted, float64(), settings_for(float64()), rng, NoProgressMeter(), None)
    with state.numbers.working():
        rows = [Row([arb(1)], arb(-offset)) for offset in (1, 1 + 2.0**-12, 1.5)]
        state.slice, state.layers = whole_space(1), [FoundLayer(rows, [1] * 3)]
        zero = np.array([arb(0)], dtype=object)
        pieces = tuple(Piece(fmpq(k), zero, zero, fmpq(1), arb(0)) for k in range(4))
        profile = LineProfile(pieces, (arb(0.5), arb(1 + 2.0**-13), arb(1.625)), (), 0)
        state.pool = Pool(measuring(counted), 1)
        state.pool.lines = [SearchedLine(Line((fmpq(0),), (fmpq(1),), 0), profile, {})]
        assert state.unexplained() == [(0, 0), (0, 2)]


def rough_layers(network, bits, rng):
    """The first layers of a network, every number of layer k as a ball of radius 2^-bits[k]."""
    layers = []
    for weight, bias, few in zip(network.weights[:-1], network.biases[:-1], bits, strict=True):
        scale = [1 / row.integer_factor() for row in layers[-1].rows] if layers else [1] * weight.ncols()
        unit = power_of_two(-few)

        def rough(x, unit=unit):
            return ball(x + unit * fmpq(int(rng.integers(-99, 100)), 100), unit)

        rows = [
            Row([rough(x) * c for x, c in zip(row, scale, strict=True)], rough(b))
            for row, (b,) in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        layers.append(FoundLayer(rows, [1] * len(rows)))
    return layers


@pytest.mark.parametrize("level", [1, 2])
def test_rows_are_sharpened_to_the_rounding_of_doubles_where_they_are_seen_again(level):
    drawn = he((6, 8, 5, 2), 0)
    counted, rng = CountingOracle(numpy_oracle(drawn), float64()), np.random.default_rng(0)
    counted.context = measured_context(counted, rng)
    asker = measuring(counted)
    with asker.context.working():
        layers = rough_layers(drawn.exact(), (28, 28) if level == 1 else (46, 28), rng)[:level]
        known, rows = stacked(6, layers), layers[-1].rows
        asked = counted.count.measure
        counts = see_again(asker, known, rows, range(len(rows)), rng, each=1)
        assert counted.count.measure - asked == 4 * len(rows) * (len(rows[0].weights) + SPARE_KINKS)
        for i, row in enumerate(rows):
            points = row.sightings
            heights = known.preactivations(arb_mat(points), [1] * len(points))[-1].tolist()
            own = [point for point, z in zip(points, heights, strict=True) if vanishes(z[i])]
            assert counts[i][0] == len(points) >= 6
            before = own if level == 1 else activations_at(stacked(6, layers[:1]), own)
            assert refined(row, before).accuracy > 38 > 30 > row.accuracy


def test_a_form_of_which_nothing_is_known_is_as_rough_as_can_be():
    with ctx.workprec(WORKING):
        assert roughness(AnchoredForm([arb(0, 1), arb(0)], [0, 0], arb(0))) == np.inf
