"""One hidden layer from doubles by way of a slice: what it costs, where steps leave their region, where it declines."""

import dataclasses

import numpy as np
import pytest
from flint import fmpq_mat, fmpz, fmpz_mat

from jaxtract import CallableOracle, DepthTwoOptions, Outcome, extract_depth_two, float64
from jaxtract.certificate.matching import match
from jaxtract.layers import depth_two
from jaxtract.layers.depth_two import DepthTwo
from jaxtract.layers.lifted_layer import independent_rows, lifted_layer
from jaxtract.measurement.line_slice import dimensions_for, slice_around
from jaxtract.measurement.noise import measured_context
from jaxtract.measurement.ridge_form import RidgeForm
from jaxtract.network.canonical import canonical_form, float64_scaled
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.families import he
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import PointBatch
from jaxtract.polish.lift_rows import lift_rows
from jaxtract.report.progress import NoProgressMeter
from jaxtract.search.context_lines import search_line, settings_for
from jaxtract.search.random_lines import gaussian_points, random_line
from precision.balls import to_float
from precision.dyadic import DyadicMatrix

OPTIONS = DepthTwoOptions(verify_inputs=100, verify_lines=2)


def changed(network, change):
    """With other weights of the first layer and biases: ``change`` works on copies, in place."""
    weights, biases = [np.array(w) for w in network.weights], [np.array(b) for b in network.biases]
    change(weights[0], biases[0])
    return ReLUNetwork(weights, biases)


def numpy_oracle(network, before=lambda count: None, decimals=None):
    """``before`` is told, before every batch, how many points were asked."""
    (inner, outer), (biases, constant) = ([np.asarray(x) for x in y] for y in (network.weights, network.biases))
    asked = [0]

    def f(x):
        before(asked[0])
        asked[0] += len(x)
        values = np.maximum(x @ inner.T + biases, 0) @ outer.T + constant
        return values if decimals is None else np.round(values, decimals)

    return CallableOracle(f, inputs=network.inputs, outputs=network.outputs)


def error_bits(found, network):
    """-log2 of the largest error of a number against the largest of its row."""
    matching = match(*(float64_scaled(canonical_form(n)) for n in (found, network.exact())))
    assert matching.unmatched == 0 and matching.error
    return -np.log2(to_float(matching.error * 2**200)) + 200


def extracted(network, **options):
    return extract_depth_two(numpy_oracle(network), float64(), options=dataclasses.replace(OPTIONS, **options))


@pytest.mark.parametrize(
    ("widths", "seed", "cost"),
    [((60, 8, 1), 0, 1.7), ((20, 10, 1), 3, 2.75), ((120, 24, 1), 1, 1.45), ((100, 10, 10), 0, 1.27)],
)
def test_a_layer_comes_out_of_doubles_for_hardly_more_than_its_own_gradients(widths, seed, cost):
    """Twice that, at the least, where the first line is measured in all coordinates."""
    network = he(widths, seed)
    found = extracted(network, seed=seed)
    assert found.outcome is Outcome.COMPLETE and found.network is not None and found.network.widths == widths
    assert found.accuracy_bits is not None and found.accuracy_bits <= error_bits(found.network, network) + 1
    assert error_bits(found.network, network) > 42
    assert found.queries.search + found.queries.measure < cost * network.exact().parameters


@pytest.mark.parametrize(("decimals", "seed", "bits"), [(10, 0, 28), (10, 1, 26), (9, 0, 26), (9, 1, 22)])
def test_pieces_that_are_known_roughly_are_near_enough(decimals, seed, bits):
    """Though the network on the slice does not agree with the black box as one must that is verified."""
    network = he((20, 10, 1), seed)
    found = extract_depth_two(numpy_oracle(network, decimals=decimals), float64(), options=OPTIONS)
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert error_bits(found.network, network) > bits


def sparse(weights, biases):
    weights *= np.random.default_rng(1).random(weights.shape) < 0.5


def dead_inputs(weights, biases):
    weights[:, np.random.default_rng(1).random(weights.shape[1]) < 0.3] = 0


@pytest.mark.parametrize("change", [sparse, dead_inputs])
def test_zeros_among_the_weights_cost_nothing(change):
    network = changed(he((150, 10, 1), 0), change)
    found = extracted(network)
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert error_bits(found.network, network) > 42
    assert found.queries.search + found.queries.measure < 1.35 * network.exact().parameters


def large_entries(sign):
    def change(weights, biases):
        weights[3, 5], weights[4, 7] = sign * 40.0, 5.0

    return change


def one_entry_each(weights, biases):
    weights[:] = 0
    weights[np.arange(len(weights)), 3 * np.arange(len(weights))] = np.where(np.arange(len(weights)) % 2, 1.0, -1.5)


@pytest.mark.parametrize("change", [large_entries(1), large_entries(-1), one_entry_each])
def test_steps_that_reach_a_boundary_are_asked_again(change):
    """Where one weight is far larger than the others of its row, a step along its coordinate is too long."""
    network = changed(he((200, 6, 1), 0), change)
    found = extracted(network)
    assert found.outcome is Outcome.COMPLETE and found.network is not None
    assert error_bits(found.network, network) > 42
    dimensions = dimensions_for(6, 200)
    assert dimensions is not None
    plain = 72 + 7 * (dimensions - 1) + 6 * 201 + 6 + 2 + 8
    assert plain < found.queries.measure < plain + 60


def parallel(weights, biases):
    weights[1] = 1.5 * weights[0]


def opposite(weights, biases):
    weights[1], biases[1] = -weights[0], -biases[0]


def cancelling(weights, biases):
    weights[1], biases[1] = weights[0], biases[0] + 2.0**-9


@pytest.mark.parametrize("change", [parallel, opposite, cancelling])
def test_rows_that_depend_on_each_other_are_measured_as_before(change):
    """The slice is given up, the function found all the same; nothing is polished row by row."""
    network = changed(he((30, 6, 1), 1), change)
    found = extracted(network)
    assert found.outcome is Outcome.COMPLETE and found.network is not None and found.verified.agrees
    # The gradients of the line in all coordinates, and those on the slice beside them.
    assert found.queries.measure > 6 * 29 + 6 * 10


def test_a_neuron_that_the_line_does_not_meet_is_found_on_the_slice():
    drawn, rng = he((80, 10, 1), 0), np.random.default_rng(0)
    line = random_line(80, rng)
    along = np.array([to_float(x) for x in line.direction])

    def change(weights, biases):
        weights[4] -= (weights[4] @ along) / (along @ along) * along

    network = changed(drawn, change)
    shallow = DepthTwo(numpy_oracle(network), float64(), OPTIONS, NoProgressMeter())
    shallow._check_oracle()
    profile = search_line(shallow.oracle, line, settings_for(shallow.context))
    assert len(profile.kinks) == 9
    before = shallow.oracle.count.total
    assert shallow._lift(line, profile) and shallow.lifted is not None
    assert shallow.lifted.network.widths == (80, 10, 1)
    assert error_bits(shallow.lifted.network, network) > 42
    assert shallow.oracle.count.total - before < 1.5 * network.exact().parameters


def test_what_a_refuted_layer_lacks_is_searched(monkeypatch):
    """What is right of it is kept: the residual costs the gradients of one neuron, and the polish those of all."""
    network = he((60, 8, 1), 0)

    def lacking(*arguments):
        lifted = lifted_layer(*arguments)
        assert lifted is not None
        (inner, outer), (biases, constant) = lifted.network.weights, lifted.network.biases
        weights = fmpq_mat(inner.tolist()[:-1]), fmpq_mat([row[:-1] for row in outer.tolist()])
        less = ExactNetwork(weights, (fmpq_mat(biases.tolist()[:-1]), constant))
        return dataclasses.replace(lifted, network=less)

    monkeypatch.setattr(depth_two, "lifted_layer", lacking)
    found = extracted(network)
    assert found.outcome is Outcome.COMPLETE and found.network is not None and found.network.widths == (60, 8, 1)
    assert error_bits(found.network, network) > 42
    assert found.queries.measure < 760 + 3 * 60 + 9 * 61


def test_a_layer_that_is_not_there_is_not_lifted():
    drawn, other = he((60, 8, 1), 0), he((60, 8, 1), 1)
    rng = np.random.default_rng(0)
    oracle = CountingOracle(numpy_oracle(drawn), float64())
    oracle.context = measured_context(oracle, rng)
    chosen = slice_around(random_line(60, rng), 14, rng)

    def on_slice(network):
        """Weights and biases read off the truth, for once."""
        directions, base = chosen.directions.to_float64(), np.array([to_float(x) for x in chosen.base])
        (inner, outer), (biases, constant) = network.weights, network.biases
        inner, biases = np.asarray(inner), np.asarray(biases)
        return ReLUNetwork([inner @ directions.T, outer], [inner @ base + biases, constant]).exact()

    assert lift_rows(oracle, chosen, on_slice(other), rng, lambda network: None) is None
    lifted = lift_rows(oracle, chosen, on_slice(drawn), rng, lambda network: None)
    assert lifted is not None and error_bits(lifted.network, drawn) > 42


class NoMore(Exception):  # noqa: N818  (not an error of ours)
    pass


def test_neurons_that_were_lifted_before_an_exception_are_kept():
    network = he((600, 12, 1), 0)
    kept = []

    def fail(asked):
        if asked > 3000:
            raise NoMore

    with pytest.raises(NoMore):
        extract_depth_two(numpy_oracle(network, fail), float64(), options=OPTIONS, keep=kept.append)
    (partial,) = kept
    assert partial.outcome is Outcome.ORACLE_FAILED and isinstance(partial.network, ExactNetwork)
    true = np.asarray(network.weights[0])
    rows = np.array([[to_float(x) for x in row] for row in partial.network.weights[0].tolist()])
    cosines = np.abs(rows @ true.T) / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(true, axis=1)
    whole = np.flatnonzero(np.max(cosines, axis=1) > 1 - 2.0**-30)
    assert 6 <= len(whole) < 12


@pytest.mark.parametrize("budget", [200, 500, 700, 900])
def test_a_budget_that_does_not_reach_ends_in_good_order(budget):
    network = he((60, 8, 1), 0)
    found = extracted(network, max_queries=budget)
    assert found.queries.total <= budget
    assert found.outcome is Outcome.BUDGET_SPENT
    # In all coordinates, where the slice would leave nothing but itself.
    assert found.network is None or found.network.inputs == 60
    assert budget < 500 or found.network is not None


def test_a_batch_on_the_slice_is_a_batch_of_inputs():
    rng = np.random.default_rng(0)
    chosen = slice_around(random_line(9, rng), 6, rng)
    anchors = gaussian_points(3, 6, 0, rng)
    directions = DyadicMatrix(fmpz_mat(2, 6, rng.integers(-9, 9, 12).tolist()), 2)
    basis = np.array(chosen.directions.rows(), dtype=object)
    for ways in (None, directions):
        batch = PointBatch(anchors, ways, (0, 1, 2, 2), (0, 1, 1, 0), (fmpz(3), fmpz(0), fmpz(-5), fmpz(1)), 4)
        places = np.array(batch.dense().rows(), dtype=object)
        inputs = np.array(chosen.embed(batch).dense().rows(), dtype=object)
        assert np.all(inputs == np.array(chosen.base, dtype=object) + places @ basis)
    on_line = chosen.line
    assert [p for p, *_ in (on_line.base, on_line.direction)] == [0, 1] and not any(on_line.direction[1:])


def test_rows_that_are_too_many_or_none_are_not_independent():
    def form(rows):
        network = ReLUNetwork([rows, np.ones((1, len(rows)))], [np.zeros(len(rows)), np.zeros(1)])
        return RidgeForm.of_network(float64(), network.exact())

    assert independent_rows(form(np.eye(3)[:2])) and not independent_rows(form(np.eye(3)))
    assert not independent_rows(form(np.array([[1.0, 2.0, 0.5], [2.0, 4.0, 1.0]])))
    assert not independent_rows(RidgeForm.zero(float64(), 3, 1))


def test_a_slice_is_wider_than_its_kinks_and_narrower_than_the_input():
    assert [dimensions_for(kinks, 100) for kinks in (0, 1, 8, 40, 60, 71, 72, 200)] == [
        None,
        6,
        14,
        54,
        75,
        75,
        None,
        None,
    ]
    for kinks in range(1, 72):
        assert kinks + 4 <= (dimensions_for(kinks, 100) or 0) <= 75
