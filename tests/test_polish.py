"""Gauss-Newton on all parameters: what it reaches, what it says of it, where it declines."""

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from jaxtract import CallableOracle, DepthTwoOptions, Float64NetworkOracle, Outcome, extract_depth_two, float64, mp
from jaxtract.certificate.matching import match
from jaxtract.measurement.noise import measured_context
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import exact_network, he
from jaxtract.oracle.counting import BudgetSpent, CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.points import scattered
from jaxtract.oracle.serve import ExactNetworkOracle
from jaxtract.polish.chosen_inputs import MOST_PARAMETERS
from jaxtract.polish.gauss_newton import MOST_AT_ALL, _descended, polish, rounding_bound
from jaxtract.polish.known_answers import Answered, rational_answers
from jaxtract.polish.least_absolute import least_absolute
from jaxtract.polish.least_squares import least_squares
from jaxtract.polish.loose_parameters import Shown, inputs_for_loose
from jaxtract.polish.missing_neuron import with_missing_neuron
from jaxtract.polish.one_layer import polish_one_layer
from jaxtract.polish.parameters import Parameters
from jaxtract.polish.rounding_steps import ASKED, ROUNDS, biases_from_steps
from jaxtract.polish.signs_again import with_signs
from jaxtract.polish.weights_from_outputs import WANTED, inputs_hardly_read, weights_from_outputs
from precision.balls import to_float
from precision.dyadic import from_float64, power_of_two


def disturbed(network, bits, seed):
    """Every number off by up to 2^-bits."""
    rng = np.random.default_rng(seed)

    def moved(matrix):
        unit = power_of_two(-bits - 20)
        entries = [x + unit * int(rng.integers(-(1 << 20), 1 << 20)) for x in matrix.entries()]
        return fmpq_mat(matrix.nrows(), matrix.ncols(), entries)

    return ExactNetwork(tuple(map(moved, network.weights)), tuple(map(moved, network.biases)))


def bits_between(one, two):
    """-log2 of the largest error of a number against the largest of its row."""
    matching = match(*(float64_scaled(canonical_form(n)) for n in (one, two)))
    assert matching.unmatched == 0 and matching.error
    return -np.log2(to_float(matching.error * 2**200)) + 200


@pytest.mark.parametrize(("widths", "seed"), [((6, 8, 2), 0), ((6, 6, 5, 1), 1), ((5, 6, 6, 4, 3), 2)])
@pytest.mark.parametrize("prec", [64, 200])
def test_polish_ends_at_the_rounding_of_the_answers(widths, seed, prec):
    network = exact_network(he(widths, seed, bias_std=0.5))
    # Thirds: no answer is short enough to escape rounding.
    network = ExactNetwork(
        tuple(w * fmpq(1, 3) for w in network.weights), tuple(b * fmpq(1, 3) for b in network.biases)
    )
    context = mp(prec)
    oracle = CountingOracle(ExactNetworkOracle(network), context)
    polished = polish(oracle, disturbed(network, 30, seed), np.random.default_rng(0))
    assert polished is not None and context.answer_bits is not None
    assert polished.network.widths == network.widths
    if not polished.unseen:
        reached = bits_between(polished.network, network)
        assert context.answer_bits - 24 < polished.accuracy_bits - 2 <= reached
    assert oracle.count.measure == oracle.count.total < 3 * network.parameters + 16


def test_the_jacobian_is_the_derivative():
    network = exact_network(he((4, 5, 3, 2), 0, bias_std=0.5))
    parameters = Parameters(network)
    points = np.random.default_rng(1).standard_normal((7, 4))
    jacobian = parameters.jacobian(points)
    assert jacobian.shape == (14, parameters.count)
    assert parameters.count == network.parameters - 8

    def values(p):
        state = points
        for k, (w, b) in enumerate(zip(p._weights64, p._biases64, strict=True)):
            state = (state if k == 0 else np.maximum(state, 0)) @ w.T + b
        return state.ravel()

    for column in (0, 7, 21, parameters.count - 1):
        step = np.zeros(parameters.count)
        step[column] = 1.0
        difference = (values(parameters.moved(step, power_of_two(-20), 80)) - values(parameters)) * 2**20
        assert np.allclose(difference, jacobian[:, column], atol=1e-6)


def test_a_wrong_architecture_is_not_polished_into_a_right_one():
    network = exact_network(he((5, 6, 1), 0))
    smaller = ExactNetwork(
        (fmpq_mat(network.weights[0].tolist()[:5]), fmpq_mat([network.weights[1].tolist()[0][:5]])),
        (fmpq_mat(network.biases[0].tolist()[:5]), network.biases[1]),
    )
    oracle = CountingOracle(ExactNetworkOracle(network), mp(64))
    polished = polish(oracle, smaller, np.random.default_rng(0))
    assert polished is None or polished.accuracy_bits < 16


def test_a_budget_that_does_not_reach_is_not_touched():
    network = exact_network(he((5, 6, 1), 0))
    oracle = CountingOracle(ExactNetworkOracle(network), mp(64), max_queries=10)
    with pytest.raises(BudgetSpent):
        polish(oracle, network, np.random.default_rng(0))
    assert oracle.count.total == 0


@pytest.mark.parametrize("seed", range(2))
def test_doubles_give_weights_to_the_rounding_of_the_network(seed):
    drawn = he((20, 10, 1), seed)
    options = DepthTwoOptions(seed=seed, verify_inputs=100, verify_lines=4)
    found = extract_depth_two(Float64NetworkOracle(drawn), float64(), options=options)
    assert found.outcome is Outcome.COMPLETE and found.network is not None and found.claim == "approximate"
    # Without polishing 27 to 30 bits come out.
    assert bits_between(found.network, drawn.exact()) > 46
    assert found.accuracy_bits is not None and found.accuracy_bits > 36


def measured_oracle(drawn, **options):
    oracle = CountingOracle(Float64NetworkOracle(drawn), float64(), **options)
    oracle.context = measured_context(oracle, np.random.default_rng(0))
    return oracle


@pytest.mark.parametrize(
    ("widths", "seed", "bits", "weak"),
    [((20, 10, 1), 0, 44, 0), ((30, 30, 1), 0, 38, 1), ((64, 24, 5), 0, 44, 0), ((20, 10, 1), 5, 45, 1)],
)
def test_one_layer_is_refined_row_by_row_to_the_rounding_of_the_answers(widths, seed, bits, weak):
    """Of seed 5 an output weight is 7e-6 beside a constant of 0.28: its bias is read where the rounding of f steps."""
    drawn = he(widths, seed)
    oracle, before = measured_oracle(drawn), 72
    polished = polish_one_layer(oracle, disturbed(drawn.exact(), 20, 0), np.random.default_rng(0))
    assert polished is not None
    reached = bits_between(polished.network, drawn.exact())
    assert reached > bits and polished.accuracy_bits - 2 <= reached
    inputs, width = widths[:2]
    steps = weak * ROUNDS * ASKED
    assert oracle.count.measure == oracle.count.total == before + width * (inputs + 1) + width + 10 + steps


def test_one_layer_is_not_refined_where_that_cannot_be():
    rng = np.random.default_rng(0)
    dependent = he((5, 8, 1), 0)
    assert polish_one_layer(measured_oracle(dependent), dependent.exact(), rng) is None
    drawn, other = he((12, 8, 1), 0), he((12, 8, 1), 1)
    assert polish_one_layer(measured_oracle(drawn), other.exact(), rng) is None
    unmeasured = CountingOracle(Float64NetworkOracle(drawn), float64())
    assert polish_one_layer(unmeasured, drawn.exact(), rng) is None and unmeasured.count.total == 0
    poor = measured_oracle(drawn, max_queries=100)
    with pytest.raises(BudgetSpent):
        polish_one_layer(poor, drawn.exact(), rng)
    assert poor.count.total == 72


def test_many_parameters_come_out_of_doubles_for_two_queries_each():
    drawn = he((120, 24, 1), 0)
    parameters = drawn.exact().parameters
    assert parameters > MOST_PARAMETERS
    options = DepthTwoOptions(verify_inputs=100, verify_lines=2)
    found = extract_depth_two(Float64NetworkOracle(drawn), float64(), options=options)
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert bits_between(found.network, drawn.exact()) > 39
    assert found.queries.search + found.queries.measure < 2.2 * parameters


@pytest.mark.slow
def test_many_parameters_of_deep_networks_are_polished_without_choosing_inputs():
    """About half a minute: 2,711 parameters, all off by up to 2^-30."""
    drawn = he((80, 30, 8, 1), 0)
    assert MOST_PARAMETERS < drawn.exact().parameters < MOST_AT_ALL
    oracle = measured_oracle(drawn)
    polished = polish(oracle, disturbed(drawn.exact(), 30, 0), np.random.default_rng(0))
    assert polished is not None and polished.unseen == 0
    assert polished.accuracy_bits - 2 <= bits_between(polished.network, drawn.exact())
    assert bits_between(polished.network, drawn.exact()) > 40
    assert oracle.count.measure < 2.5 * drawn.exact().parameters


def without_neuron(network, neuron):
    """The network without one neuron of its last hidden layer."""
    *first, inner, last = network.weights
    *before, biases, constant = network.biases
    kept = [k for k in range(inner.nrows()) if k != neuron]
    rows, offsets = inner.tolist(), biases.entries()
    return ExactNetwork(
        (*first, fmpq_mat([rows[k] for k in kept]), fmpq_mat([[row[k] for k in kept] for row in last.tolist()])),
        (*before, fmpq_mat(len(kept), 1, [offsets[k] for k in kept]), constant),
    )


@pytest.mark.parametrize(("widths", "seed", "neuron"), [((8, 8, 6, 1), 0, 2), ((8, 8, 6, 2), 1, 4), ((12, 7, 1), 0, 3)])
def test_what_the_last_layer_lacks_is_read_where_the_polished_network_is_wrong(widths, seed, neuron):
    drawn = he(widths, seed)
    oracle, truth = measured_oracle(drawn), drawn.exact()
    polished = polish(oracle, disturbed(without_neuron(truth, neuron), 25, seed), np.random.default_rng(0))
    assert polished is not None and len(polished.outliers)
    assert polished.network.widths[-2] == widths[-2] - 1
    found = with_missing_neuron(oracle, polished, np.random.default_rng(1))
    assert found is not None
    extended, places = found
    assert len(places) and extended.widths == widths
    again = polish(oracle, extended, np.random.default_rng(2), near=places)
    assert again is not None and not len(again.outliers)
    assert bits_between(again.network, truth) > 36


def test_a_wrong_input_is_beyond_doubles_in_units_of_a_long_rounding():
    truth = he((8, 8, 6, 1), 0).exact()
    oracle = CountingOracle(ExactNetworkOracle(truth), mp(1024))
    polished = polish(oracle, disturbed(without_neuron(truth, 2), 25, 0), np.random.default_rng(0))
    assert polished is not None and len(polished.outliers)


def test_residuals_that_are_no_neuron_give_none():
    drawn, other = he((8, 8, 6, 1), 0), he((8, 8, 6, 1), 1)
    oracle = measured_oracle(drawn)
    polished = polish(oracle, disturbed(without_neuron(drawn.exact(), 2), 25, 0), np.random.default_rng(0))
    assert polished is not None
    elsewhere = CountingOracle(Float64NetworkOracle(other), oracle.context)
    assert with_missing_neuron(elsewhere, polished, np.random.default_rng(1)) is None


def test_what_was_asked_before_is_not_asked_again():
    drawn = he((8, 8, 6, 1), 0)
    oracle, truth = measured_oracle(drawn), drawn.exact()
    first = polish(oracle, disturbed(without_neuron(truth, 2), 25, 0), np.random.default_rng(0))
    assert first is not None and first.answered is not None
    before = oracle.count.measure
    found = with_missing_neuron(oracle, first, np.random.default_rng(1))
    assert found is not None
    read = oracle.count.measure
    again = polish(oracle, found[0], np.random.default_rng(2), near=found[1], before=first.answered)
    assert again is not None and again.answered is not None and not len(again.outliers)
    assert bits_between(again.network, truth) > 36
    asked = oracle.count.measure - read
    assert asked < before / 3 and len(again.answered.inputs) == len(first.answered.inputs) + asked
    few = Answered(first.answered.inputs[::3], first.answered.answers[::3])
    third = polish(oracle, found[0], np.random.default_rng(3), near=found[1], before=few)
    assert third is not None and bits_between(third.network, truth) > 36
    assert 0 < oracle.count.measure - read - asked < before


def test_open_weights_that_turn_a_neuron_off_show_where_they_are_hardly_read():
    """Where the neuron reads them it is off at most random inputs: the network is wrong, and no derivative helps."""
    drawn = he((8, 8, 6, 1), 3)
    truth = drawn.exact()
    weights = fmpq_mat(truth.weights[1])
    weights[2, 4] = fmpq(-3, 2)
    truth = ExactNetwork((truth.weights[0], weights, truth.weights[2]), truth.biases)
    opened = fmpq_mat(weights)
    opened[2, 4] = 0
    network = ExactNetwork((truth.weights[0], opened, truth.weights[2]), truth.biases)
    points = np.random.default_rng(0).standard_normal((4096, 8)).round(8)
    chosen = inputs_hardly_read(network, {2: [4]}, points)
    assert 0 < len(chosen) <= WANTED

    def left(points):
        batch = scattered(from_float64(points))
        return FlintEvaluator(truth)(batch) - FlintEvaluator(network)(batch)

    some = np.concatenate([chosen, points[:200]])
    wrong = some[(left(some) != 0).any(axis=1)]
    found = weights_from_outputs(network, {2: [4]}, wrong, left(wrong), 60)
    assert found is not None and abs(to_float(found.weights[1][2, 4]) + 1.5) < 1e-12
    assert weights_from_outputs(network, {2: [4]}, wrong, -left(wrong), 60) is None
    assert len(inputs_hardly_read(network, {}, points)) == 0


def test_a_wrong_minority_does_not_pull_at_least_absolute_residuals():
    rng = np.random.default_rng(0)
    matrix, truth = rng.standard_normal((40, 5)), rng.standard_normal(5)
    right = matrix @ truth
    right[:12] += rng.standard_normal(12)
    found = least_absolute(matrix, right)
    assert found is not None and np.allclose(found, truth, rtol=0, atol=1e-12)
    assert least_absolute(matrix[:8], right[:8]) is None
    assert least_absolute(matrix, rng.standard_normal(40)) is None


def test_signs_come_out_of_a_polished_affine_rest():
    """Two neurons turned round, and what that changes carried by a pair of opposite ones."""
    truth = exact_network(he((6, 8, 7, 1), 0))
    *first, inner, last = truth.weights
    *before, biases, constant = truth.biases
    rows, outer, offsets = inner.tolist(), last.tolist()[0], biases.entries()
    rest = [sum(outer[k] * rows[k][i] for k in (1, 4)) for i in range(8)]
    offset = sum(outer[k] * offsets[k] for k in (1, 4))
    turned = [[-x for x in row] if k in (1, 4) else row for k, row in enumerate(rows)]
    carried = ExactNetwork(
        (*first, fmpq_mat([*turned, rest, [-x for x in rest]]), fmpq_mat([[*outer, fmpq(1), fmpq(-1)]])),
        (
            *before,
            fmpq_mat(9, 1, [*(-b if k in (1, 4) else b for k, b in enumerate(offsets)), fmpq(0), fmpq(0)]),
            fmpq_mat([[constant[0, 0] + offset]]),
        ),
    )
    signed = with_signs(disturbed(carried, 44, 0), 40)
    assert signed is not None and signed.widths == truth.widths
    assert bits_between(signed, truth) > 30
    assert with_signs(carried, 20) is None  # hardly known: nothing is tried
    loose = ExactNetwork(carried.weights, (*before, carried.biases[-2], constant))
    assert with_signs(loose, 40) is not None  # a constant tells nothing
    other = fmpq_mat([*turned, rows[0], [-x for x in rows[0]]])
    assert with_signs(ExactNetwork((*first, other, carried.weights[-1]), carried.biases), 40) is None


def test_rounding_bounds_what_is_reached():
    """A neuron that hardly bends f is known as much less well; nothing computed in doubles gets far below."""
    plain, weak = (exact_network(he((10, 10, 10, 1), seed)) for seed in (2, 5))
    bounds = [rounding_bound(network, np.random.default_rng(0), 53) for network in (plain, weak)]
    assert bounds[0] < 2.0**-46 < 2.0**-42 < bounds[1] < 2.0**-34
    finer = rounding_bound(plain, np.random.default_rng(0), 63)
    assert np.isclose(finer * 1024, bounds[0], rtol=1e-6)
    with pytest.raises(ValueError, match="at most 2000"):
        rounding_bound(exact_network(he((80, 40, 20, 1), 0)), np.random.default_rng(0), 53)


def test_a_black_box_that_rounds_elsewhere_tells_no_bias():
    """Noise in the place of rounding: the answers contradict each other, and the bias stays as it was."""
    drawn = he((20, 10, 1), 5)
    inner, outer = (np.asarray(w) for w in drawn.weights)
    biases, constant = np.asarray(drawn.biases[0]), float(drawn.biases[1][0])
    weak = np.array([np.argmin(np.abs(outer[0]))])
    anchor = np.linalg.pinv(inner) @ (np.where(np.arange(10) == weak[0], 0, -4.0) - biases)
    wrong = biases[weak] + 3e-12
    rng = np.random.default_rng(0)

    def told(function):
        oracle = CountingOracle(CallableOracle(function, inputs=20), float64())
        return biases_from_steps(oracle, anchor[None], inner[weak], wrong, outer[0, weak], constant)

    noisy = told(lambda x: constant + 2.0**-53 * rng.integers(-1, 2, (len(x), 1)))
    assert noisy[0] == wrong and np.isinf(noisy[1])
    found, error = told(lambda x: np.maximum(x @ inner.T + biases, 0) @ outer.T + constant)
    assert abs(found - biases[weak]) < 1e-13 and abs(found - biases[weak]) <= 2 * error


def test_what_hardly_any_input_shows_is_looked_for():
    """The second parameter enters only where the first coordinate is beyond 3; it was asked just behind that."""

    def rows_at(points):
        return np.stack([np.ones(len(points)), np.maximum(points[:, 0] - 3, 0)], axis=1)

    asked = np.array([[0.0, 0.0], [1.0, 2.0], [3.0 + 2.0**-20, 0.0]])
    found = inputs_for_loose(rows_at, asked, np.ones(2), 2.0**12, np.random.default_rng(0))
    before, after = Shown.by(rows_at(asked)), Shown.by(rows_at(np.concatenate([asked, found])))
    assert before.spread[1] > 2.0**19 and after.spread[1] < 1
    assert not len(inputs_for_loose(rows_at, np.concatenate([asked, found]), np.ones(2), 2.0**12, None))


def test_an_input_that_shows_a_parameter_better_than_all_others_mends_it():
    """It is far off for the error of that parameter alone, and no sign of a neuron that is missing."""
    drawn, rng = he((6, 8, 1), 2), np.random.default_rng(0)
    oracle, truth = measured_oracle(drawn), drawn.exact()
    row, offset = np.asarray(drawn.weights[0])[0], np.asarray(drawn.biases[0])[0]
    points = rng.standard_normal((4000, 6))
    off, on = points[points @ row + offset < -0.1][:400], points * np.array([1, 1e-8, 1, 1, 1, 1])
    on = on[on @ row + offset > 0.1][:400]
    deep = on[:1] + np.array([0, 3 * np.sign(row[1]), 0, 0, 0, 0])
    start = disturbed(truth, 30, 0)
    weights = start.weights[0].tolist()
    weights[0][1] += fmpq(1, 1 << 12)
    start = ExactNetwork((fmpq_mat(weights), start.weights[1]), start.biases)
    inputs = np.concatenate([off, on, deep])
    answers = rational_answers(oracle, scattered(from_float64(inputs)))
    reached = []
    for count in (len(inputs), len(inputs) - 1):
        polished = _descended(oracle, Answered(inputs[:count], answers[:count]), Parameters(start))
        assert polished is not None and not len(polished.outliers)
        reached.append(bits_between(polished.network, truth))
        # From there no step is left that would make the residuals smaller.
        again = _descended(oracle, Answered(inputs[:count], answers[:count]), Parameters(polished.network))
        assert again is not None and not len(again.outliers)
    assert reached[0] > 42 and reached[1] < 36


def test_least_squares_tell_along_which_directions_nothing_is_determined():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((30, 5))
    matrix[:, 3] = matrix[:, 0] - 2 * matrix[:, 1]
    matrix = np.concatenate([matrix, np.zeros((30, 1))], axis=1)
    truth = np.arange(1.0, 7.0)
    solution, known = least_squares(matrix, matrix @ truth)
    assert np.allclose(matrix @ solution, matrix @ truth)
    assert known.seen.sum() == 4 and not known.seen[5] and known.free.shape == (6, 2)
    assert np.allclose(matrix @ known.free, 0, atol=1e-9)
    assert np.linalg.matrix_rank(known.free) == 2
    assert np.array_equal(np.isinf(known.spread), ~known.seen)
    covariance = np.linalg.inv(matrix[:, known.seen].T @ matrix[:, known.seen])
    rows = rng.standard_normal((3, 6)) * known.seen
    expected = np.sqrt(np.einsum("ki,ij,kj->k", rows[:, known.seen], covariance, rows[:, known.seen]))
    assert np.allclose(known.foreseen(rows), expected)
