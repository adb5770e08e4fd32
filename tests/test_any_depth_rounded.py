"""Networks of any depth from answers that are rounded to many bits: the numbers, and what comes out."""

import random
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat
from hypothesis import given
from hypothesis import strategies as st

from jaxtract import AnyDepthOptions, ExtractOptions, Outcome, extract_any_depth, extract_network, mp
from jaxtract.certificate.matching import match
from jaxtract.geometry.boundary_points import boundary_points
from jaxtract.geometry.known_layers import carrying_before
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, merge_rows, stacked
from jaxtract.layers.any_depth.rows.more_sightings import see_again
from jaxtract.layers.any_depth.rows.refined_rows import activations_at, passed_on, refined
from jaxtract.layers.any_depth.rows.sharper_readers import sharper_readers
from jaxtract.layers.any_depth.signs.layer_signs import composition, determinable
from jaxtract.layers.any_depth.walk.row_system import (
    InconsistentRow,
    Shared,
    determined,
    independent,
    sign_of,
    solve_shared,
)
from jaxtract.measurement.balls import BallAsker, measuring
from jaxtract.measurement.bend_test import bends
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import scattered
from jaxtract.oracle.serve import ExactNetworkOracle
from jaxtract.search.context_lines import search_lines, settings_for
from jaxtract.search.random_lines import gaussian_points, random_line
from precision.ball_algebra import ball_rank, reduce_rows
from precision.balls import BallContext, accuracy_bits, ball, middle, quotient, to_float, vanishes
from precision.dyadic import dyadic_matrix, power_of_two


def long_network(widths, seed, bits=4096):
    """A He network whose numbers are no float64 and no short rationals, so that answers really are rounded."""
    rng = random.Random(seed)
    drawn = exact_network(he(widths, seed))

    def longer(matrix):
        unit = fmpq(1, 1 << (bits + 52))
        return type(matrix)(
            matrix.nrows(), matrix.ncols(), [x * (1 + unit * rng.getrandbits(bits)) for x in matrix.entries()]
        )

    return ExactNetwork(tuple(map(longer, drawn.weights)), tuple(map(longer, drawn.biases)))


def true_bits(found, network):
    """-log2 of the largest error of a number against the largest of its row, both networks in canonical form."""
    matching = match(*(float64_scaled(canonical_form(n)) for n in (found, network)))
    assert matching.unmatched == 0 and matching.error
    return -np.log2(float(Fraction(int(matching.error.p), int(matching.error.q)) * 2**200)) + 200


@pytest.mark.parametrize(
    ("widths", "seed", "prec"),
    [
        ((10, 10, 10, 1), 0, 200),
        ((10, 10, 10, 1), 1, 64),
        ((10, 15, 15, 1), 1, 200),
        ((30, 8, 6, 3), 0, 200),
        ((12, 20, 8, 2), 0, 400),
    ],
)
def test_deep_networks_are_refined(widths, seed, prec):
    network = long_network(widths, seed)
    options = ExtractOptions(seed=seed, verify_inputs=200, verify_lines=4)
    found = extract_network(ExactNetworkOracle(network), mp(prec), options=options)
    assert found.outcome is Outcome.COMPLETE and found.claim == "refined"
    assert found.network is not None and found.network.widths == widths
    reached = true_bits(found.network, network)
    assert found.accuracy_bits is not None
    # What is claimed holds, and no less comes out than was asked for. Where every parameter was polished the claim is
    # an estimate near the truth; else it is what balls prove along the walks.
    answer_bits = mp(prec).answer_bits
    assert answer_bits is not None
    assert answer_bits - 160 <= found.accuracy_bits <= reached <= answer_bits + 4
    assert reached >= prec
    assert found.verified.residual_bits is not None and found.verified.residual_bits >= prec


@pytest.mark.slow
def test_three_hidden_layers_are_refined():
    network = long_network((40, 20, 10, 10, 1), 2)
    found = extract_network(ExactNetworkOracle(network), mp(200), options=ExtractOptions(seed=2))
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert true_bits(found.network, network) >= 200


def test_more_bits_lose_no_more():
    """Bits lost do not grow with the bits of an answer."""
    network = long_network((8, 8, 8, 1), 1)
    lost = []
    for prec in (100, 400):
        context = mp(prec)
        options = AnyDepthOptions(seed=1, verify_inputs=50, verify_lines=2)
        found = extract_any_depth(ExactNetworkOracle(network), context, options=options)
        assert found.network is not None and context.answer_bits is not None
        lost.append(context.answer_bits - true_bits(found.network, network))
    assert max(lost) < 20 and abs(lost[0] - lost[1]) < 10


def test_the_precision_of_balls_is_set_for_the_extraction_alone():
    before = ctx.prec
    options = AnyDepthOptions(seed=0, max_queries=300)
    found = extract_any_depth(ExactNetworkOracle(long_network((6, 5, 5, 1), 0)), mp(200), options=options)
    assert found.outcome is Outcome.BUDGET_SPENT and ctx.prec == before


@pytest.mark.parametrize(("widths", "deep"), [((12, 9, 2), False), ((4, 30, 1), False), ((12, 8, 8, 1), True)])
def test_bend_test_tells_the_depth_from_rounded_answers(widths, deep):
    context = mp(100)
    asker = CountingOracle(ExactNetworkOracle(long_network(widths, 1)), context)
    line = random_line(widths[0], np.random.default_rng(1))
    bases, directions = (dyadic_matrix([ends], widths[0]) for ends in (line.base, line.direction))
    (profile,) = search_lines(asker, bases, directions, settings=settings_for(context))
    assert bends(asker, line, profile, np.random.default_rng(2), kinks=len(profile.kinks)) is deep


# -- balls --


def test_balls_know_what_they_cannot_tell():
    assert vanishes(ball(fmpq(1, 1000), fmpq(1, 100))) and not vanishes(ball(fmpq(1), fmpq(1, 100)))
    assert vanishes(fmpq(0)) and vanishes(0) and not vanishes(fmpq(1, 10**9))
    assert middle(ball(fmpq(3, 4), fmpq(1))) == fmpq(3, 4) and middle(fmpq(1, 3)) == fmpq(1, 3)
    assert quotient(3, 4) == fmpq(3, 4) and quotient(fmpq(1, 2), 3) == fmpq(1, 6)
    assert to_float(fmpq(1, 4)) == to_float(arb(0.25)) == 0.25
    assert accuracy_bits(arb(1), 1) >= 1_000_000 and accuracy_bits(arb(0, 1), 1) == 0
    assert abs(accuracy_bits(ball(fmpq(1), power_of_two(-90)), 1) - 90) <= 1
    assert sign_of(ball(fmpq(1), fmpq(1, 8))) == 1 and sign_of(ball(fmpq(-1), fmpq(1, 8))) == -1
    assert sign_of(ball(fmpq(1, 2), fmpq(1, 8))) is None and sign_of(ball(fmpq(0), fmpq(5))) == 0


@given(st.integers(0, 2**32))
def test_answers_lie_in_their_balls(seed):
    rng = np.random.default_rng(seed)
    network = long_network((5, 4, 3, 2), seed)
    context = mp(64)
    batch = scattered(gaussian_points(6, 5, int(rng.integers(-4, 30)), rng))
    rounded = BallAsker(CountingOracle(ExactNetworkOracle(network), context), context)
    with rounded.context.working():
        answers = rounded.ask(batch, "measure")
        truth = ExactNetworkOracle(network).answer(batch, None)
        assert all(x.contains(y) for x, y in zip(answers.ravel(), truth.ravel(), strict=True))
        size = max(abs(x) for x in answers.ravel()).mid() + 1
        assert all(accuracy_bits(x, size) >= 150 for x in answers.ravel())


def noisy(rows, bits, rng):
    """Numbers as balls of radius 2^-bits, the truth somewhere inside."""
    unit = power_of_two(-bits)
    return [[ball(x + unit * fmpq(int(rng.integers(-99, 100)), 100), unit) for x in row] for row in rows]


@given(st.integers(1, 6), st.integers(0, 3), st.integers(0, 2**32))
def test_reduced_rows_hold_the_solution(unknowns, spare, seed):
    rng = np.random.default_rng(seed)
    solution = [fmpq(int(x), 8) for x in rng.integers(-64, 65, unknowns)]
    rows = [[fmpq(int(x), 4) for x in rng.integers(-99, 100, unknowns)] for _ in range(unknowns + spare)]
    whole = [[*row, sum((a * x for a, x in zip(row, solution, strict=True)), fmpq(0))] for row in rows]
    with ctx.workprec(200):
        balls = noisy(whole, 120, rng)
        reduced = reduce_rows(balls, unknowns)
        for pivot, row in zip(reduced.pivots, reduced.rows, strict=True):
            if reduced.rank == unknowns:
                assert row[-1].contains(solution[pivot]) and accuracy_bits(row[-1], 1) > 60
        assert all(vanishes(x) for row in reduced.rest for x in row) and reduced.decided
        if reduced.rank == unknowns:
            shared = solve_shared(balls, unknowns)
            assert isinstance(shared, np.ndarray)
            assert all(x.contains(y) for x, y in zip(shared[:, 0], solution, strict=True))
            assert set(determined(balls, unknowns)) == set(range(unknowns))
            assert len(independent([row[:-1] for row in balls])) == unknowns


def test_balls_find_rank_and_contradiction():
    rng = np.random.default_rng(0)
    with ctx.workprec(200):
        twice = noisy([[fmpq(1), fmpq(2), fmpq(3)], [fmpq(2), fmpq(4), fmpq(6)]], 100, rng)
        assert determined(twice, 2) == {} and solve_shared(twice, 2) is Shared.OPEN
        assert BallContext(mp(64)).rank(np.array(twice, dtype=object)[:, :2]) == 1
        wrong = noisy([[fmpq(1), fmpq(2), fmpq(3)], [fmpq(2), fmpq(4), fmpq(7)]], 100, rng)
        with pytest.raises(InconsistentRow):
            determined(wrong, 2)
        # Balls as wide as the numbers prove neither rank nor contradiction.
        rough = [[ball(x.mid().fmpq(), fmpq(9)) for x in row] for row in wrong]
        assert determined(rough, 2) == {}


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_a_rank_between_balls_is_that_of_rationals_or_not_certain(height, width, seed):
    rng = np.random.default_rng(seed)
    inner = int(rng.integers(1, min(height, width) + 1))
    left, right = rng.integers(-9, 10, (height, inner)), rng.integers(-9, 10, (inner, width))
    sizes = 2.0 ** -rng.integers(0, 60, inner)
    with ctx.workprec(200):
        rows = [[fmpq(*float(x).as_integer_ratio()) for x in row] for row in (left * sizes) @ right]
        true = fmpq_mat(height, width, [x for row in rows for x in row]).rank()
        assert ball_rank(noisy(rows, 190, rng)) == true
        assert ball_rank(noisy(rows, 20, rng)) <= true
        reduced = reduce_rows(noisy(rows, 190, rng), width)
        for pivot, row in zip(reduced.pivots, reduced.rows, strict=True):
            assert all(vanishes(row[k] - int(k == pivot)) for k in reduced.pivots)


def test_composition_between_balls():
    rng = np.random.default_rng(1)
    with ctx.workprec(200):
        matrix = arb_mat(noisy([[fmpq(1), fmpq(0), fmpq(2)], [fmpq(0), fmpq(3), fmpq(1)]], 100, rng))
        gradient = np.array(noisy([[fmpq(2), fmpq(0), fmpq(4)]], 90, rng), dtype=object)
        found = composition(matrix, gradient)
        assert found is not None and found.present == {0} and found.absent == {1}
        assert determinable(matrix) == [0, 1]
        outside = np.array(noisy([[fmpq(2), fmpq(0), fmpq(5)]], 90, rng), dtype=object)
        assert composition(matrix, outside) is None


def test_rows_between_balls_are_one_up_to_sign_and_scale():
    with ctx.workprec(200):
        unit = power_of_two(-80)
        first = Row([ball(fmpq(1), unit), None, ball(fmpq(-3), unit)], ball(fmpq(2), unit))
        second = Row([ball(fmpq(-2), unit), ball(fmpq(5), unit), ball(fmpq(6), unit)], ball(fmpq(-4), unit))
        other = Row([ball(fmpq(1), unit), ball(fmpq(5), unit), ball(fmpq(3), unit)], ball(fmpq(2), unit))
        merged = merge_rows([first, second, other])
        assert len(merged) == 2 and merged[0].missing == []
        weights, bias = merged[0].scaled()
        assert abs(sum((w * w for w in weights), arb(0)) - 1) < 4 * unit
        assert merged[0].accuracy == second.accuracy > first.accuracy
        assert vanishes(bias / weights[0] - 2)


@given(st.integers(2, 6), st.integers(0, 2**32))
def test_refined_rows_keep_the_truth_and_gain_bits(width, seed):
    rng = np.random.default_rng(seed)
    truth = [fmpq(int(x), 16) for x in rng.integers(8, 64, width)]
    bias = fmpq(int(rng.integers(-64, 64)), 16)
    with ctx.workprec(260):
        points = []
        for _ in range(4 * width + 4):
            point = [fmpq(int(x), 1 << 10) for x in rng.integers(-5000, 5000, width)]
            height = bias + sum((w * x for w, x in zip(truth, point, strict=True)), fmpq(0))
            point[0] -= height / truth[0]
            points.append(point)
        rough = noisy([[*truth, bias]], 50, rng)[0]
        row = Row(list(rough[:-1]), rough[-1])
        better = refined(row, noisy(points, 200, rng))
        assert better.accuracy >= 170 > 60 > row.accuracy
        factor = truth[0] / middle(better.weights[0])
        scaled = [x * arb(factor) for x in [*better.weights, better.bias]]
        slack = power_of_two(-165)
        assert all(abs(x - y) < slack for x, y in zip(scaled, [*truth, bias], strict=True))
        # With a weight that is open, kinks count at which what it reads is off.
        lacking = Row([*rough[:-1], None], rough[-1])
        partly = refined(lacking, [[*point, arb(k % 3 == 0)] for k, point in enumerate(noisy(points, 200, rng))])
        assert partly.missing == [width] and partly.accuracy >= 170
        # Kinks of another neuron contradict it: the row stays what it was.
        strange = [[x + 1 for x in point] for point in points]
        assert refined(row, noisy(strange, 200, rng)) is row


def test_few_sharp_kinks_do_not_hide_what_only_rougher_ones_show():
    rng, width = np.random.default_rng(0), 5
    with ctx.workprec(400):
        truth = [fmpq(int(x)) for x in rng.integers(1, 9, width)]
        points = [[fmpq(int(x), 64) for x in rng.integers(1, 640, width)] for _ in range(24)]
        for k, point in enumerate(points):
            point[0] = point[0] if k >= 12 else fmpq(0)
            point[-1] = -(fmpq(7) + sum(w * x for w, x in zip(truth[:-1], point, strict=False))) / truth[-1]
        rough = noisy([[*truth, fmpq(7)]], 60, rng)[0]
        row = Row(rough[:-1], rough[-1])
        better = refined(row, [*noisy(points[:12], 300, rng), *noisy(points[12:], 200, rng)])
        assert better.accuracy >= 170 > 64 > row.accuracy


def test_what_linear_units_pass_on_may_be_negative():
    assert passed_on([[arb(-2), arb(-3), arb(4)]], np.array([True, False, False])) == [[arb(-2), arb(0), arb(4)]]


def rough_layer(weights, biases, scale, bits, rng):
    """Rows between balls of a layer over one whose rows were divided by ``scale``, all signs known."""
    rows = [
        Row([x * c for x, c in zip(row, scale, strict=True)], b)
        for row, (b,) in zip(noisy(weights.tolist(), bits, rng), noisy(biases.tolist(), bits, rng), strict=True)
    ]
    return FoundLayer(rows, [1] * len(rows))


def scales(layer):
    return [1 / row.integer_factor() for row in layer.rows]


def test_rough_rows_are_sharpened_where_they_are_seen_again():
    network = exact_network(he((6, 8, 5, 2), 0))
    asker = measuring(CountingOracle(ExactNetworkOracle(network), mp(128)))
    rng = np.random.default_rng(0)
    with asker.context.working():
        first = rough_layer(network.weights[0], network.biases[0], [1] * 6, 200, rng)
        layers = [first, rough_layer(network.weights[1], network.biases[1], scales(first), 60, rng)]
        known, rows = stacked(6, layers), layers[1].rows
        see_again(asker, known, rows, range(5), rng)
        for i, row in enumerate(rows):
            heights = known.preactivations(arb_mat(row.sightings), [1] * len(row.sightings))[-1].tolist()
            own = [point for point, z in zip(row.sightings, heights, strict=True) if vanishes(z[i])]
            assert len(own) >= 10
            assert refined(row, activations_at(stacked(6, [first]), own)).accuracy > 140 > 62 > row.accuracy


@pytest.mark.parametrize("uncrossed", [0, 1])
def test_readers_of_neurons_that_are_always_on_are_sharpened_past_their_layer(uncrossed):
    """One such neuron the layer lacks; another one it may have, never crossed: what it adds counts with the first."""
    width, lift, drawn = 5, 100, exact_network(he((6, 8, 5, 6, 2), 0))
    past = [*range(uncrossed), width - 1]
    lifted = [b + lift * (i in past) for i, b in enumerate(drawn.biases[1].entries())]
    less = [b - lift * sum(drawn.weights[2][k, i] for i in past) for k, b in enumerate(drawn.biases[2].entries())]
    biases = (drawn.biases[0], fmpq_mat(width, 1, lifted), fmpq_mat(6, 1, less), drawn.biases[3])
    asker = measuring(CountingOracle(ExactNetworkOracle(ExactNetwork(drawn.weights, biases)), mp(128)))
    rng = np.random.default_rng(0)
    with asker.context.working():
        first = rough_layer(drawn.weights[0], biases[0], [1] * 6, 200, rng)
        second = rough_layer(drawn.weights[1], biases[1], scales(first), 200, rng)
        third = rough_layer(drawn.weights[2], biases[2], [1] * width, 60, rng)
        wide = carrying_before(stacked(6, [first, second.chosen(range(width - 1))]))
        everything, rows = stacked(6, [first, second, third]), []
        for k, reader in enumerate(third.rows):
            beside = np.array([reader.weights[i] for i in past]) @ np.array([second.rows[i].weights for i in past])
            bias = sum((reader.weights[i] * second.rows[i].bias for i in past), reader.bias)
            own = [w * c for w, c in zip(reader.weights[: width - 1], scales(second), strict=False)]
            places = boundary_points(lambda x, k=k: everything.values64(x)[-1][:, k], 6, [], rng)
            weights = [*(None if i in past else w for i, w in enumerate(own)), *beside]
            rows += [Row(weights, bias, [*places[:3]])] if len(places) else []
        found = sharper_readers(asker, wide, rows, rng)
        # What is off wherever a reader is seen stays as rough as it was.
        assert all(after.accuracy >= before.accuracy for after, before in zip(found, rows, strict=True))
        assert sum(after.accuracy > 140 > 62 > before.accuracy for after, before in zip(found, rows, strict=True)) >= 2
