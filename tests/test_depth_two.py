"""One hidden layer, end to end: every family, every number system, every way to fall short."""

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq, fmpq_mat
from helpers import HARD, SHAPES, Recording, family, network, random_rational_network

import jaxtract.layers.depth_two as depth_two
from jaxtract import (
    AnyDepthOptions,
    CallableOracle,
    DepthTwoOptions,
    ExactContext,
    ExactNetwork,
    ExactNetworkOracle,
    Float64NetworkOracle,
    OracleError,
    Outcome,
    certify,
    extract_any_depth,
    extract_depth_two,
    float64,
    mp,
)
from jaxtract.network.canonical import canonical_form
from jaxtract.network.families import he
from jaxtract.oracle.oracle import Oracle
from jaxtract.signs.solve_signs import SignMethod
from jaxtract.verification.agreement import Verified

EXACT = ExactContext()


def extract(oracle, context=EXACT, *, keep=None, **options):
    """With fewer fresh queries than the default, unless told."""
    chosen = DepthTwoOptions(**({"verify_inputs": 110, "verify_lines": 4} | options))
    if isinstance(oracle, ExactNetwork):
        oracle = ExactNetworkOracle(oracle)
    return extract_depth_two(oracle, context, options=chosen, keep=keep)


class Tampered(Oracle):
    """A network whose answers pass through ``change(answers, points, batch number)`` on their way out."""

    def __init__(self, net, change, *, number_system="exact"):
        self.inner = ExactNetworkOracle(net) if number_system != "float64" else Float64NetworkOracle(net)
        self.inputs, self.outputs, self.number_system = net.inputs, net.outputs, number_system
        self.change = change
        self.batches = itertools.count(1)

    def answer(self, points, answer_bits):
        return self.change(self.inner.answer(points, answer_bits), points, next(self.batches))


def affine(matrix, constant):
    return ExactNetwork((fmpq_mat(matrix),), (fmpq_mat(len(constant), 1, constant),))


# --- the families


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", sorted(HARD))
def test_every_family_is_recovered_exactly(name, shape):
    """Identical functions, proven over the rationals: worst cases of position and of scale included."""
    for seed in range(3):
        net = family(name, shape, seed)
        result = extract(net, seed=seed)
        assert (result.claim, result.outcome) == ("exact", Outcome.COMPLETE)
        certificate = certify(result.network, net)
        assert certificate.verdict == "identical"
        # Open is at most how the function is written down, and then the result says so.
        assert bool(result.not_resolved) == (result.sign_method == SignMethod.AFFINE.value)
        if not result.not_resolved:
            assert result.network.widths[1] <= shape[1]
        assert result.queries_per_parameter <= (12 if "gap" in name else 2.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(HARD))
def test_every_family_with_many_seeds(name):
    for shape, seed in itertools.product(SHAPES, range(3, 30)):
        net = family(name, shape, seed)
        result = extract(net, seed=seed)
        assert result.claim == "exact" and certify(result.network, net).verdict == "identical", (shape, seed)


@pytest.mark.parametrize(
    ("widths", "per_parameter", "seeds"),
    [((20, 10, 1), 1.5, 5), ((10, 40, 1), 1.5, 5), ((784, 32, 1), 1.1, 1), ((10, 100, 1), 1.5, 1)],
)
def test_what_a_parameter_costs(widths, per_parameter, seeds):
    for seed in range(seeds):
        net = he(widths, seed).exact()
        result = extract(net, seed=seed)
        assert canonical_form(result.network) == canonical_form(net)
        assert result.queries_per_parameter <= per_parameter
        asked = result.queries.search + result.queries.measure
        assert result.queries_per_parameter == asked / net.parameters


def test_rational_weights_that_no_double_holds(seed):
    for widths in ((4, 7, 2), (3, 10, 1)):
        net = random_rational_network(widths, np.random.default_rng(seed))
        result = extract(net, seed=seed)
        assert result.claim == "exact" and certify(result.network, net).verdict == "identical"


def test_order_and_scale_of_neurons_change_nothing(seed):
    """The same canonical network, from oracles that give the same answers for other reasons."""
    rng = np.random.default_rng(seed)
    net = he((6, 9, 2), seed).exact()
    order = [int(i) for i in rng.permutation(9)]
    scales = [fmpq(int(a), int(b)) for a, b in rng.integers(1, 99, (9, 2))]
    inner, outer = net.weights[0].tolist(), net.weights[1].transpose().tolist()
    bias = net.biases[0].entries()
    other = network(
        ([[w * s for w in inner[i]] for i, s in zip(order, scales, strict=True)],
         [bias[i] * s for i, s in zip(order, scales, strict=True)]),
        (fmpq_mat([[c / s for c in outer[i]] for i, s in zip(order, scales, strict=True)]).transpose().tolist(),
         net.biases[1].entries()),
    )  # fmt: skip
    one, two = extract(net), extract(other)
    assert one.queries == two.queries
    assert canonical_form(one.network) == canonical_form(two.network) == canonical_form(net)


def test_the_seed_decides_the_queries_and_not_the_result():
    net = he((5, 8, 1), 3).exact()
    recorded = []
    for seed in (0, 0, 1):
        oracle = Recording(ExactNetworkOracle(net))
        result = extract(oracle, seed=seed)
        assert result.seed == seed and canonical_form(result.network) == canonical_form(net)
        recorded.append([batch.dense().rows() for batch in oracle.batches])
    assert recorded[0] == recorded[1] != recorded[2]


@pytest.mark.parametrize("pack", [2, 7, 64])
def test_packed_answers_give_the_same_network(pack):
    net = he((40, 12, 2), 1).exact()
    one, packed = extract(net), extract(net, pack=pack)
    assert packed.claim == "exact" and canonical_form(packed.network) == canonical_form(net)
    assert packed.queries.measure <= one.queries.measure / min(pack, 40) + 13 * 2
    # Weights that are on no dyadic grid cannot be packed, and are measured one by one.
    thirds = random_rational_network((6, 8, 1), np.random.default_rng(0))
    assert certify(extract(thirds, pack=pack).network, thirds).verdict == "identical"


# --- the other number systems


# Weights over twelve orders of magnitude leave too few of 64 bits to the smallest.
ROUNDED = [(name, prec) for name in ("he", "uniform", "orthogonal", "integer", "dead") for prec in (64, 200)]


@pytest.mark.parametrize(("name", "prec"), [*ROUNDED, ("wide-range", 200), ("wide-range", 400)])
def test_rounded_answers_give_as_many_bits_as_asked(name, prec):
    for shape in ((8, 12, 2), (20, 10, 1)):
        net = family(name, shape, 1)
        result = extract(net, mp(prec))
        assert (result.claim, result.outcome, result.prec) == ("refined", Outcome.COMPLETE, prec)
        assert result.verified.residual_bits >= prec
        certificate = certify(result.network, net)
        assert certificate.unmatched == 0
        assert certificate.max_relative_error <= math.ldexp(1, 10 - prec)


@pytest.mark.parametrize("name", sorted(HARD))
def test_rounded_answers_never_claim_more_than_was_verified(name):
    """The worst cases where answers are rounded: the residual that the claim names, or no claim."""
    for context, shape in itertools.product((mp(200), float64()), ((8, 12, 2), (4, 24, 1), (1, 6, 2))):
        net = family(name, shape, 1)
        result = extract(net, context)
        if result.claim == "incomplete":
            assert result.outcome is Outcome.COUNTEREXAMPLES_LEFT and result.not_resolved
            continue
        bits = 200 if context.name == "mp" else 20
        points = [
            [fmpq(int(x), 64) for x in row] for row in np.random.default_rng(5).integers(-128, 128, (20, shape[0]))
        ]
        pairs = [(result.network(point), net(point)) for point in points]
        size = max(abs(y) for _, truth in pairs for y in truth)
        error = max(abs(x - y) for found, truth in pairs for x, y in zip(found, truth, strict=True))
        assert result.verified.size > 0 and error <= 16 * size / fmpq(2) ** bits


@pytest.mark.parametrize("widths", [(8, 12, 2), (20, 10, 1), (64, 32, 10)])
def test_doubles_from_a_device(widths):
    net = he(widths, 2)
    result = extract(Float64NetworkOracle(net), float64())
    assert (result.claim, result.outcome) == ("approximate", Outcome.COMPLETE)
    certificate = certify(result.network, net.exact())
    assert certificate.unmatched == 0 and certificate.max_relative_error < 1e-5


def test_verification_is_what_finds_cancelling_neurons(monkeypatch):
    """Without fresh queries a bump that no line shows is missed, and the claim would be false."""
    net = network(([[1, 2], [1, 2], [1, 2], [3, -1]], [0, -1, -2, 1]), ([[1, -2, 1, 5]], [7]))
    assert certify(extract(net).network, net).verdict == "identical"
    monkeypatch.setattr(depth_two, "verify", lambda *args, **options: Verified())
    blind = extract(net)
    assert blind.claim == "exact" and certify(blind.network, net).verdict == "different"


def test_a_resolution_that_is_too_coarse_is_named():
    """Pairs 2^-200 apart at a resolution of 2^-100: no claim, and the reason. At the default: exact."""
    net = family("gap-200", (4, 8, 1), 2)
    coarse = extract(net, resolution_bits=100)
    assert coarse.claim == "incomplete" and coarse.resolution_bits == 100
    assert any("taken for one" in sentence or "--resolution" in sentence for sentence in coarse.not_resolved)
    fine = extract(net)
    assert fine.claim == "exact" and fine.resolution_bits == 256 and certify(fine.network, net).verdict == "identical"


@pytest.mark.parametrize(("context", "bits"), [(mp(64), 57), (mp(200), 117), (float64(), 15)])
def test_the_resolution_of_rounded_answers_is_reported(context, bits):
    """A third of the bits of an answer; never the 256 that were asked."""
    assert extract(he((3, 4, 1), 0).exact(), context).resolution_bits == bits


# --- the budget


@pytest.mark.parametrize("pack", [1, 8])
def test_a_spent_budget_keeps_what_was_found(pack):
    net = he((6, 8, 2), 4).exact()
    whole = extract(net, pack=pack)
    total = whole.queries.total
    ridges = []
    for budget in [*range(0, total, max(1, total // 40)), total - 1]:
        result = extract(net, pack=pack, max_queries=budget)
        assert (result.claim, result.outcome) == ("incomplete", Outcome.BUDGET_SPENT)
        assert result.queries.total <= budget
        assert Outcome.BUDGET_SPENT.value in result.not_resolved
        ridges.append(0 if result.network is None else result.network.widths[1])
    # Nothing before the first pieces were measured; then partial networks; then all neurons, unverified.
    assert ridges[0] == 0 and ridges[-1] >= 8
    assert len(set(ridges)) > (2 if pack == 1 else 1)
    enough = extract(net, pack=pack, max_queries=total)
    assert enough.claim == "exact" and enough.network == whole.network


def test_a_partial_network_is_right_where_it_was_measured():
    """The regions left of the first one that was not measured: the function there, exactly."""
    net = he((6, 8, 1), 4).exact()
    oracle = Recording(ExactNetworkOracle(net))
    whole = extract(oracle)
    searched = sum(len(batch) for batch in oracle.batches) - whole.queries.verify - whole.queries.measure
    partial = extract(net, max_queries=2 + 4 + searched + 4 * 5)  # five queries a region: four regions, three neurons
    assert partial.outcome is Outcome.BUDGET_SPENT and partial.queries.measure == 20
    assert "5 of 9 regions on the line were not measured" in partial.not_resolved
    true = {hyperplane(row) for row in rows_with_bias(net)}
    found = [hyperplane(row) for row in rows_with_bias(partial.network)]
    assert sum(row in true for row in found) == 3


def rows_with_bias(net):
    return [[*row, b] for row, b in zip(net.weights[0].tolist(), net.biases[0].entries(), strict=True)]


def hyperplane(row):
    lead = next(x for x in row if x != 0)
    return tuple(x / lead for x in row)


# --- functions that are not of one hidden layer


@pytest.mark.parametrize("widths", [(3, 8, 6, 1), (6, 12, 10, 1), (4, 5, 5, 5, 2), (10, 8, 4, 1), (9, 8, 8, 8, 3)])
@pytest.mark.parametrize("context", [EXACT, mp(64)], ids=["exact", "mp"])
def test_deeper_networks_are_recognised(widths, context):
    for seed in range(3):
        result = extract(he(widths, seed, bias_std=0.5).exact(), context, seed=seed)
        assert (result.claim, result.outcome) == ("incomplete", Outcome.NOT_ONE_HIDDEN_LAYER)
        assert result.network is not None and not result.verified.agrees
        assert any("the boundaries bend" in sentence for sentence in result.not_resolved)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: sum(t * t for t in x),
        lambda x: x[0] * x[1],
        lambda x: Fraction(math.tanh(float(x[0]))),
        lambda x: Fraction(float(max(0, x[0] + x[1] / 3)) * 0.1),  # a ReLU network whose answers are rounded
    ],
    ids=["square", "product", "tanh", "rounded"],
)
def test_functions_that_are_not_piecewise_linear_are_refused(function):
    oracle = CallableOracle(lambda batch: [[function(x)] for x in batch], inputs=2, number_system="exact")
    kept = []
    with pytest.raises(OracleError, match=r"not affine on three points|its answers look rounded"):
        extract(oracle, keep=kept.append)
    assert [(result.claim, result.outcome) for result in kept] == [("incomplete", Outcome.ORACLE_FAILED)]


# --- oracles that fail


def random_lies(answers, points, batch):
    """One answer in fifty is off by 2^-50."""
    for i in np.flatnonzero(np.random.default_rng(batch).random(len(answers)) < 0.02):
        answers[i] = answers[i] + fmpq(1, 2**50)
    return answers


def lies_far_out(answers, points, batch):
    """Wrong on a half-space: another function, and a discontinuous one."""
    for i, row in enumerate(points.dense().rows()):
        if row[0] > 3:
            answers[i] = answers[i] + 1
    return answers


def one_sided_lies(answers, points, batch):
    """Another network there: continuous, so a neuron more; an honest oracle of a different function."""
    for i, row in enumerate(points.dense().rows()):
        if row[0] > 3:
            answers[i] = answers[i] + (row[0] - 3)
    return answers


@pytest.mark.parametrize("change", [random_lies, lies_far_out])
def test_lies_never_end_in_a_claim(change):
    for seed in range(3):
        net = he((5, 9, 1), seed).exact()
        kept = []
        try:
            result = extract(Tampered(net, change), seed=seed, keep=kept.append, max_queries=20_000)
        except OracleError:
            (result,) = kept
        assert result.claim == "incomplete" and result.not_resolved


def test_a_lie_that_is_a_network_is_read_as_one():
    net = he((5, 9, 1), 0).exact()
    result = extract(Tampered(net, one_sided_lies))
    assert result.claim == "exact" and result.network.widths[1] == 10
    truth = network(
        ([*net.weights[0].tolist(), [1, 0, 0, 0, 0]], [*net.biases[0].entries(), -3]),
        ([[*net.weights[1].entries(), 1]], net.biases[1].entries()),
    )
    assert certify(result.network, truth).verdict == "identical"


def broken(kind):
    """(change, message): an oracle that breaks its contract from the n-th batch on."""

    def not_a_number(answers):
        return np.full(answers.shape, np.nan)

    return {
        "nan": (not_a_number, "an oracle must answer every finite point|returned dtype float64"),
        "infinity": (lambda answers: np.full(answers.shape, -np.inf), "every finite point|returned dtype float64"),
        "too few rows": (lambda answers: answers[:-1], "return one row per point"),
        "one output more": (lambda answers: np.concatenate([answers, answers], axis=1), "return one row per point"),
        "text": (lambda answers: answers.astype(str), "returned dtype <U"),
        "complex": (lambda answers: np.full(answers.shape, 1j), "returned dtype complex128"),
    }[kind]


@pytest.mark.parametrize("kind", ["nan", "infinity", "too few rows", "one output more", "text", "complex"])
@pytest.mark.parametrize("system", ["exact", "float64"])
@pytest.mark.parametrize("batch", [1, 3, 12])
def test_answers_that_break_the_contract_keep_what_was_found(kind, system, batch):
    change, message = broken(kind)
    kept = []
    oracle = Tampered(
        he((5, 9, 1), 0), lambda answers, points, i: change(answers) if i >= batch else answers, number_system=system
    )
    with pytest.raises(OracleError, match=message):
        extract(oracle, EXACT if system == "exact" else float64(), keep=kept.append)
    (partial,) = kept
    assert (partial.claim, partial.outcome) == ("incomplete", Outcome.ORACLE_FAILED)
    assert Outcome.ORACLE_FAILED.value in partial.not_resolved and partial.queries.total > 0


def test_an_oracle_that_is_not_deterministic():
    oracle = Tampered(he((5, 9, 1), 0), lambda answers, points, batch: answers + batch)
    with pytest.raises(OracleError, match=r"deterministic function: fix seeds, switch off dropout"):
        extract(oracle)


@pytest.mark.parametrize(("error", "caught"), [(RuntimeError("no more"), False), (KeyboardInterrupt(), True)])
@pytest.mark.parametrize("batch", [1, 5, 20])
def test_exceptions_and_interrupts(error, caught, batch):
    """An oracle's own exception passes through; an interrupt ends the extraction in good order."""
    net = he((5, 9, 1), 0)
    kept = []

    def fail(answers, points, i):
        if i == batch:
            raise error
        return answers

    if caught:
        result = extract(Tampered(net, fail), keep=kept.append)
        assert (result.claim, result.outcome) == ("incomplete", Outcome.INTERRUPTED) and not kept
        return
    with pytest.raises(RuntimeError, match="no more"):
        extract(Tampered(net, fail), keep=kept.append)
    (partial,) = kept
    assert partial.outcome is Outcome.ORACLE_FAILED


def test_a_context_that_the_oracle_cannot_serve():
    with pytest.raises(ValueError, match="answers in float64, which the exact context cannot use"):
        extract(Float64NetworkOracle(he((2, 3, 1), 0)))


# --- every outcome and every way to the signs is reached


def interrupted(answers, points, batch):
    raise KeyboardInterrupt


def failed_outcome():
    kept = []
    with pytest.raises(OracleError):
        extract(Tampered(he((3, 4, 1), 0), lambda answers, points, i: answers[:0]), keep=kept.append)
    return kept[0]


def signs_open():
    """Two neurons of the last hidden layer on one hyperplane, one on each side, seen in doubles."""
    drawn = he((5, 5, 4, 1), 0, bias_std=0.5).exact()
    rows, biases = drawn.weights[1].tolist(), drawn.biases[1].entries()
    rows[1], biases[1] = [-x for x in rows[0]], -biases[0]
    weights = (drawn.weights[0], fmpq_mat(rows), drawn.weights[2])
    net = ExactNetwork(weights, (drawn.biases[0], fmpq_mat([[x] for x in biases]), drawn.biases[2]))
    return extract_any_depth(ExactNetworkOracle(net), float64(), options=AnyDepthOptions(verify_inputs=60))


OUTCOMES = {
    Outcome.WEIGHTS_OPEN: signs_open,
    Outcome.COMPLETE: lambda: extract(he((3, 4, 1), 0).exact()),
    Outcome.BUDGET_SPENT: lambda: extract(he((3, 4, 1), 0).exact(), max_queries=10),
    Outcome.INTERRUPTED: lambda: extract(Tampered(he((3, 4, 1), 0), interrupted)),
    Outcome.ORACLE_FAILED: failed_outcome,
    Outcome.NOT_ONE_HIDDEN_LAYER: lambda: extract(he((6, 12, 10, 1), 0).exact()),
    Outcome.COUNTEREXAMPLES_LEFT: lambda: extract(family("gap-200", (4, 8, 1), 2), resolution_bits=100),
}


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_reached(outcome):
    result = OUTCOMES[outcome]()
    assert result.outcome is outcome
    assert (result.claim == "exact") == (outcome is Outcome.COMPLETE)
    assert (outcome.value in result.not_resolved) == (outcome is not Outcome.COMPLETE)


def opposite_pairs():
    """One hyperplane with a neuron on each side, fewer hyperplanes than inputs."""
    return network(
        ([[1, 2, 0, 1], [-1, -2, 0, -1], [0, 1, 1, 3], [0, -2, -2, -6]], [1, -1, 2, -4]),
        ([[1, 3, -2, 5]], [fmpq(1, 3)]),
    )


SIGNS = {
    SignMethod.NONE: (affine([[1, 2, 3], [0, fmpq(1, 3), 5]], [7, 0]), {}),
    SignMethod.LINEAR: (he((12, 8, 1), 0).exact(), {}),
    SignMethod.LATTICE: (he((4, 24, 1), 0).exact(), {}),
    SignMethod.PAIRS: (opposite_pairs(), {}),
    SignMethod.AFFINE: (he((4, 24, 1), 0).exact(), {"lattice_limit": 10}),
}


@pytest.mark.parametrize("method", SignMethod)
def test_every_way_to_the_signs_is_reached(method):
    net, options = SIGNS[method]
    result = extract(net, **options)
    assert result.sign_method == method.value and result.claim == "exact"
    assert certify(result.network, net).verdict == "identical"
    extra = {SignMethod.NONE: 4, SignMethod.AFFINE: 2}.get(method, 0)  # two for every rank of the affine rest
    hidden = 0 if method is SignMethod.NONE else net.widths[1]
    assert result.network.widths == (net.inputs, hidden + extra, net.outputs)
    assert bool(result.not_resolved) == (method is SignMethod.AFFINE)
    if method is SignMethod.AFFINE:
        assert "signs not determined" in result.not_resolved[0] and "(2 of them)" in result.not_resolved[0]


@pytest.mark.parametrize("context", [EXACT, mp(64), float64()], ids=["exact", "mp", "float64"])
@pytest.mark.parametrize(
    "net",
    [
        affine([[0, 0]], [0]),
        affine([[0, 0]], [fmpq(5, 4)]),
        affine([[3]], [-2]),
        network(([[0, 0], [0, 0]], [1, -1]), ([[3, 4]], [fmpq(1, 2)])),
        network(([[1], [-1]], [0, 0]), ([[1, -1]], [0])),  # s(x) - s(-x) = x
        network(([[1], [-1]], [0, 0]), ([[1, 1]], [0])),  # |x|
    ],
    ids=["zero", "constant", "affine", "constant neurons", "identity", "absolute value"],
)
def test_functions_of_hardly_any_neurons(net, context):
    result = extract(net, context)
    assert result.outcome is Outcome.COMPLETE
    # Both directions on one hyperplane are recognised over the rationals only; else the affine rest carries one.
    assert result.network.widths[1] <= (2 if context.exact else 3)
    for t in (fmpq(-7, 2), fmpq(0), fmpq(1, 4), fmpq(9)):
        point = [t] * net.inputs
        error = max(abs(x - y) for x, y in zip(result.network(point), net(point), strict=True))
        assert error <= (0 if context.exact else fmpq(1, 2**20 if context.name == "float64" else 2**60))


# --- what a result says of itself


def test_a_result_adds_up():
    net = he((5, 8, 2), 1).exact()
    oracle = Recording(ExactNetworkOracle(net))
    result = extract(oracle, verify_inputs=77, verify_lines=3)
    assert result.queries.total == sum(len(batch) for batch in oracle.batches)
    assert result.queries.total == result.queries.search + result.queries.measure + result.queries.verify
    assert 0 < result.oracle_seconds < result.seconds
    assert (result.verified.inputs, result.verified.lines) == (77, 3)
    assert (result.verified.disagreements, result.verified.unexplained_kinks) == (0, 0)
    assert (result.context, result.prec, result.resolution_bits, result.reach_bits) == ("exact", None, 256, 40)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.claim = "exact"


def test_no_fresh_queries_no_disagreement():
    """Nothing is verified, and the result says so: 0 inputs, 0 lines."""
    result = extract(he((5, 8, 2), 1).exact(), verify_inputs=0, verify_lines=0)
    assert (result.verified.inputs, result.verified.lines) == (0, 0)


def test_progress_is_told_and_complete():
    told = {"phase": [], "queries": [], "neurons": []}

    class Meter:
        def phase(self, name):
            told["phase"].append(name)

        def queries(self, count):
            told["queries"].append(count.total)

        def neurons(self, found, expected):
            told["neurons"].append((found, expected))

    net = he((5, 8, 2), 1).exact()
    result = extract_depth_two(ExactNetworkOracle(net), EXACT, progress=Meter())
    assert told["phase"] == ["search", "measure", "verify", "signs"]
    assert told["queries"] == sorted(told["queries"]) and told["queries"][-1] == result.queries.total
    assert told["neurons"] == [(i, 8) for i in range(9)]
