"""Batches of points, exact evaluation, and what happens to every answer on its way into an extraction."""

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from flint import fmpq, fmpq_mat, fmpz, fmpz_mat
from helpers import Recording, network, random_rational_network
from hypothesis import given
from hypothesis import strategies as st

import jaxtract.oracle.counting
import jaxtract.oracle.evaluate
import jaxtract.oracle.serve
from jaxtract.network.exact_network import ExactNetwork, rational
from jaxtract.network.families import he
from jaxtract.oracle.call import CallableOracle, oracle_function
from jaxtract.oracle.counting import BudgetSpent, CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator
from jaxtract.oracle.oracle import OracleError
from jaxtract.oracle.points import PointBatch, on_lines, points_on_line, rays, scattered, stars
from jaxtract.oracle.serve import ExactNetworkOracle, Float64NetworkOracle
from precision.dyadic import DyadicMatrix, dyadic_matrix, power_of_two
from precision.exact import ExactContext
from precision.rounded import float64, mp

dyadics = st.builds(lambda p, e: fmpq(p) * power_of_two(e), st.integers(-1000, 1000), st.integers(-40, 20))


def points(*rows):
    return scattered(dyadic_matrix([[rational(x) for x in row] for row in rows], len(rows[0])))


def random_batch(rng, dimension, count=40):
    """Points with repeated anchors and directions, steps of very different size, on several grids."""
    anchors = fmpz_mat(5, dimension, [int(x) for x in rng.integers(-99, 99, 5 * dimension)])
    directions = fmpz_mat(4, dimension, [int(x) for x in rng.integers(-99, 99, 4 * dimension)])
    return PointBatch(
        DyadicMatrix(anchors, int(rng.integers(-3, 9))),
        DyadicMatrix(directions, int(rng.integers(0, 9))),
        tuple(int(i) for i in rng.integers(5, size=count)),
        tuple(int(i) for i in rng.integers(4, size=count)),
        tuple(fmpz(int(x)) for x in rng.integers(-(2**20), 2**20, count)),
        int(rng.integers(-8, 30)),
    )


# --- batches of points


def test_every_point_is_anchor_plus_step_times_direction(seed):
    batch = random_batch(np.random.default_rng(seed), 3)
    assert batch.directions is not None
    anchors, directions = batch.anchors.rows(), batch.directions.rows()
    unit = power_of_two(-batch.step_exponent)
    for row, a, d, step in zip(batch.dense().rows(), batch.anchor, batch.direction, batch.steps, strict=True):
        assert row == [p + step * unit * v for p, v in zip(anchors[a], directions[d], strict=True)]


def test_the_written_out_forms_agree(seed):
    batch = random_batch(np.random.default_rng(seed), 3)
    assert len(batch) == 40 and batch.dimension == 3
    rows = batch.dense().rows()
    assert batch.dense().exponent == batch.exponent
    assert batch.fractions() == [[Fraction(int(x.p), int(x.q)) for x in row] for row in rows]
    assert batch.to_float64().tolist() == [[int(x.p) / int(x.q) for x in row] for row in rows]


def test_taking_and_chunking_is_slicing(seed):
    batch = random_batch(np.random.default_rng(seed), 2, count=23)
    rows = batch.dense().rows()
    assert batch.take(3, 11).dense().rows() == rows[3:11]
    chunks = list(batch.chunks(7))
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 2]
    assert [row for chunk in chunks for row in chunk.dense().rows()] == rows
    assert all(chunk.anchors is batch.anchors and chunk.directions is batch.directions for chunk in chunks)
    assert list(batch.take(5, 5).chunks(7)) == []


@given(st.lists(dyadics, min_size=2, max_size=2), st.lists(dyadics, min_size=2, max_size=2), st.lists(dyadics))
def test_lines_and_scattered_points_agree(base, direction, positions):
    written = points_on_line(base, direction, positions)
    lines = on_lines(dyadic_matrix([base], 2), dyadic_matrix([direction], 2), [0] * len(positions), positions)
    assert lines.dense().rows() == scattered(written).dense().rows() == written.rows()
    assert written.rows() == [[p + t * v for p, v in zip(base, direction, strict=True)] for t in positions]


@given(st.lists(st.lists(dyadics, min_size=3, max_size=3), min_size=1, max_size=3), st.data())
def test_stars_and_rays_agree(bases, data):
    steps = data.draw(st.lists(dyadics, min_size=len(bases), max_size=len(bases)))
    axes = data.draw(st.lists(st.sampled_from([0, 1, 2]), max_size=3, unique=True))
    matrix = dyadic_matrix(bases, 3)
    wanted = [
        [x + (step if i == axis else 0) for i, x in enumerate(base)]
        for base, step in zip(bases, steps, strict=True)
        for axis in axes
    ]
    assert stars(matrix, steps, axes).dense().rows() == wanted
    unit_vectors = dyadic_matrix([[fmpq(int(i == axis)) for i in range(3)] for axis in axes], 3)
    assert rays(matrix, unit_vectors, steps).dense().rows() == wanted


# --- exact evaluation


@pytest.mark.parametrize("widths", [(3, 2), (2, 5, 1), (4, 6, 5, 2), (3, 4, 4, 4, 2)])
@pytest.mark.parametrize("kind", ["rational", "float64"])
def test_exact_evaluation_is_the_networks_own(widths, kind, seed):
    rng = np.random.default_rng(seed)
    net = random_rational_network(widths, rng) if kind == "rational" else he(widths, seed).exact()
    batch = random_batch(rng, widths[0])
    values = FlintEvaluator(net)(batch)
    assert values.shape == (40, widths[-1])
    assert all(type(x) is fmpq for x in values.ravel())
    assert [list(row) for row in values] == [net(point) for point in batch.dense().rows()]
    # The same points in another form, and another batch with the same evaluator.
    evaluate = FlintEvaluator(net)
    bases = dyadic_matrix(batch.dense().rows()[:6], widths[0])
    for other in (scattered(batch.dense()), stars(bases, [power_of_two(-70)] * 6, range(widths[0]))):
        assert [list(row) for row in evaluate(other)] == [net(point) for point in other.dense().rows()]


def test_points_on_kinks(seed):
    """Every first-layer neuron is zero at one of the points; a neuron at zero gives zero."""
    rng = np.random.default_rng(seed)
    net = random_rational_network((3, 6, 4, 2), rng)
    spots = [[fmpq(int(x), 8) for x in row] for row in rng.integers(-40, 40, (6, 3))]
    rows = net.weights[0].tolist()
    biases = [-sum(w * x for w, x in zip(row, spot, strict=True)) for row, spot in zip(rows, spots, strict=True)]
    net = network(
        (rows, biases), *((w.tolist(), b.entries()) for w, b in zip(net.weights[1:], net.biases[1:], strict=True))
    )
    batch = scattered(dyadic_matrix(spots, 3))
    assert [list(row) for row in FlintEvaluator(net)(batch)] == [net(spot) for spot in spots]
    # And a step of 2^-300 on both sides of the kink is not the same as on it.
    axis = next(i for i, w in enumerate(rows[0]) if w != 0) if any(w != 0 for w in rows[0]) else None
    if axis is not None:
        for side in (1, -1):
            near = stars(dyadic_matrix(spots[:1], 3), [side * power_of_two(-300)], [axis])
            assert [list(FlintEvaluator(net)(near)[0])] == [net(near.dense().rows()[0])]


def test_batches_longer_than_a_chunk(monkeypatch, seed):
    monkeypatch.setattr(jaxtract.oracle.evaluate, "CHUNK", 16)
    net = he((2, 4, 1), 0).exact()
    batch = random_batch(np.random.default_rng(seed), 2)
    assert [list(row) for row in FlintEvaluator(net)(batch)] == [net(point) for point in batch.dense().rows()]


def test_a_network_without_neurons_is_a_constant():
    constant = ExactNetwork((fmpq_mat(0, 2), fmpq_mat(1, 0)), (fmpq_mat(0, 1), fmpq_mat(1, 1, [fmpq(5, 3)])))
    assert FlintEvaluator(constant)(points([1, 2], [-3, 4])).tolist() == [[fmpq(5, 3)], [fmpq(5, 3)]]


def test_answers_rounded_to_bits():
    """Exact without bits; with bits within half a unit in the last place of every single answer."""
    net = random_rational_network((3, 5, 2), np.random.default_rng(1))
    oracle = ExactNetworkOracle(net)
    batch = random_batch(np.random.default_rng(2), 3)
    exact = oracle.answer(batch, None)
    assert [list(row) for row in exact] == [net(point) for point in batch.dense().rows()]
    for bits in (20, 300):
        rounded = oracle.answer(batch, bits)
        for x, y in zip(exact.ravel(), rounded.ravel(), strict=True):
            assert abs(x - y) <= abs(x) * power_of_two(-bits)
        assert (rounded != exact).any()


@pytest.mark.parametrize("count", [1, 64, 65, 300])
def test_float64_answers_are_close_to_exact_ones(count):
    net = he((10, 30, 20, 3), 4)
    batch = scattered(DyadicMatrix(fmpz_mat(count, 10, _gaussian(count * 10)), 16))
    values = Float64NetworkOracle(net).answer(batch, None)
    assert values.dtype == np.float64 and values.shape == (count, 3)
    exact = [[float(x.p) / float(x.q) for x in row] for row in ExactNetworkOracle(net).answer(batch, None)]
    # Thirty terms of size about 1 per sum, three layers: a few hundred roundings at most.
    np.testing.assert_allclose(values, exact, rtol=0, atol=300 * 2.0**-53 * np.abs(exact).max())


def test_float64_answers_in_several_chunks(monkeypatch):
    net = he((3, 4, 1), 0)
    batch = random_batch(np.random.default_rng(0), 3, count=150)
    whole = Float64NetworkOracle(net).answer(batch, None)
    monkeypatch.setattr(jaxtract.oracle.serve, "FLOAT64_CHUNK", 64)
    assert (Float64NetworkOracle(net).answer(batch, None) == whole).all()


def _gaussian(count):
    return [int(x) for x in np.rint(np.random.default_rng(5).standard_normal(count) * 2**16)]


# --- any callable


def absolute(x):
    return abs(x[0]) + Fraction(1, 4) * x[1]


CALLABLES = {
    "exact": lambda batch: [[absolute(x)] for x in batch],
    "mp": lambda batch, bits: [[absolute(x)] for x in batch],
    "float64": lambda batch: np.abs(batch[:, :1]) + batch[:, 1:] / 4,
}
SERVED = {"exact": ["exact", "mp", "float64"], "mp": ["mp", "float64"], "float64": ["float64"]}
CONTEXTS = {"exact": ExactContext(), "mp": mp(80), "float64": float64()}


@pytest.mark.parametrize(("system", "context"), [(s, c) for s, served in SERVED.items() for c in served])
@pytest.mark.parametrize("flat", [False, True])
def test_callables_in_every_number_system_and_context(system, context, flat):
    """A column or, for one output, a flat list; the numbers arrive as those of the context."""

    def function(batch, *bits):
        rows = CALLABLES[system](batch, *bits)
        return [row[0] for row in rows] if flat else rows

    oracle = CallableOracle(function, inputs=2, number_system=system)
    chosen = CONTEXTS[context]
    answers = CountingOracle(oracle, chosen).ask(points([-2, 1], [0.5, 0], [0, -4]), "search")
    assert answers.shape == (3, 1)
    assert [chosen.rational(x) for x in answers.ravel()] == [fmpq(9, 4), fmpq(1, 2), -1]


@pytest.mark.parametrize(("system", "context"), [("float64", "exact"), ("float64", "mp"), ("mp", "exact")])
def test_contexts_that_an_oracle_cannot_serve(system, context):
    oracle = CallableOracle(CALLABLES[system], inputs=2, number_system=system)
    with pytest.raises(ValueError, match=f"answers in {system}, which the {context} context cannot use"):
        CountingOracle(oracle, CONTEXTS[context])


def test_what_a_callable_is_given():
    """float64: an array. exact: Fractions. mp: Fractions and the bits of the context."""
    seen = []

    def remember(*arguments):
        seen.append(arguments)
        return [[0]] if len(arguments[0]) == 1 else None

    for system in ("exact", "mp"):
        oracle = CallableOracle(remember, inputs=1, number_system=system)
        CountingOracle(oracle, CONTEXTS[system]).ask(points([0.25]), "search")
    assert seen == [([[Fraction(1, 4)]],), ([[Fraction(1, 4)]], CONTEXTS["mp"].answer_bits)]

    arrays = []
    oracle = CallableOracle(lambda x: arrays.append(x) or x, inputs=1)
    CountingOracle(oracle, float64()).ask(points([0.25], [3]), "search")
    assert arrays[0].dtype == np.float64 and arrays[0].tolist() == [[0.25], [3.0]]


@pytest.mark.parametrize(
    "third",
    [fmpq(1, 3), Fraction(1, 3), mpmath.mpf("0.25"), 7, 0.5, np.float64(0.5)],
    ids=["fmpq", "Fraction", "mpf", "int", "float", "np.float64"],
)
def test_answers_of_every_kind_in_mp(third):
    context = mp(80)
    answer = CountingOracle(CallableOracle(lambda x, bits: [[third]], inputs=1, number_system="mp"), context)
    value = answer.ask(points([1]), "search")[0, 0]
    wanted = fmpq(1, 3) if isinstance(third, fmpq | Fraction) else fmpq(*float(third).as_integer_ratio())
    assert abs(context.rational(value) - wanted) <= power_of_two(-context.arithmetic.prec)


def test_exact_answers_of_mixed_kinds_become_rationals():
    """max(0, z) gives the int 0 among rationals: every answer is converted, not only when the first needs it."""
    mixed = CallableOracle(lambda batch: [[fmpq(1, 3)], [0], [Fraction(1, 2)]], inputs=1, number_system="exact")
    answers = CountingOracle(mixed, ExactContext()).ask(points([1], [2], [3]), "search")
    assert [type(x) for x in answers.ravel()] == [fmpq] * 3
    assert answers.ravel().tolist() == [fmpq(1, 3), 0, fmpq(1, 2)]


def test_the_decorator_declares_dimensions():
    @oracle_function(inputs=3, outputs=2, number_system="exact")
    def twice(batch):
        return [[2 * x[0], 2 * x[1]] for x in batch]

    assert isinstance(twice, CallableOracle)
    assert (twice.inputs, twice.outputs, twice.number_system) == (3, 2, "exact")
    assert twice.answer(points([1, 2, 3]), None).tolist() == [[2, 4]]


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 1), (1, 0), (-2, 3)])
def test_dimensions_below_one_are_refused(inputs, outputs):
    with pytest.raises(ValueError, match=f"must be at least 1; got {inputs} and {outputs}"):
        CallableOracle(CALLABLES["exact"], inputs=inputs, outputs=outputs)


def test_unknown_number_systems_are_refused():
    with pytest.raises(ValueError, match="number_system is 'float32'; choose 'exact', 'mp' or 'float64'"):
        CallableOracle(CALLABLES["exact"], inputs=1, number_system="float32")  # type: ignore[arg-type]


# --- counting and budget


def test_queries_are_counted_by_purpose(monkeypatch):
    monkeypatch.setattr(jaxtract.oracle.counting, "CHUNK", 4)
    seen = []
    recording = Recording(ExactNetworkOracle(he((2, 3, 1), 0)))
    oracle = CountingOracle(recording, ExactContext(), on_queries=lambda count: seen.append(count.as_dict()))
    batch = random_batch(np.random.default_rng(0), 2, count=10)
    for purpose, count in (("search", 10), ("measure", 3), ("verify", 1), ("search", 2)):
        oracle.ask(batch.take(0, count), purpose)
    assert oracle.count.as_dict() == {"total": 16, "search": 12, "measure": 3, "verify": 1}
    assert [len(sent) for sent in recording.batches] == [4, 4, 2, 3, 1, 2]
    assert [d["total"] for d in seen] == [4, 8, 10, 13, 14, 16]
    assert oracle.seconds > 0 and (oracle.inputs, oracle.outputs) == (2, 1)


@pytest.mark.parametrize("budget", [0, 1, 9, 10, 11])
def test_a_batch_that_does_not_fit_is_not_asked_at_all(budget):
    recording = Recording(ExactNetworkOracle(he((2, 3, 1), 0)))
    oracle = CountingOracle(recording, ExactContext(), max_queries=budget)
    batch = random_batch(np.random.default_rng(0), 2, count=10)
    if budget < 10:
        with pytest.raises(BudgetSpent):
            oracle.ask(batch, "search")
        assert oracle.count.total == 0 and not recording.batches
        oracle.ask(batch.take(0, budget), "search")  # a smaller one still fits
        assert oracle.count.total == budget
        return
    oracle.ask(batch, "measure")
    with pytest.raises(BudgetSpent):
        oracle.ask(batch.take(0, 2), "verify")
    assert oracle.count.total == 10


# --- answers that break the contract: every message names what arrived


def ask(function, *, system="exact", context=None, outputs=1, count=2):
    oracle = CallableOracle(function, inputs=1, outputs=outputs, number_system=system)
    counting = CountingOracle(oracle, context or CONTEXTS[system])
    return counting.ask(points(*([i] for i in range(count))), "search")


@pytest.mark.parametrize("system", ["exact", "float64"])
@pytest.mark.parametrize(
    ("answer", "outputs", "shape"),
    [
        (lambda n: [[1]] * (n + 1), 1, r"\(3, 1\)"),
        (lambda n: [[1, 2]] * n, 1, r"\(2, 2\)"),
        (lambda n: [1] * n, 2, r"\(2,\)"),
        (lambda n: [[[1]]] * n, 1, r"\(2, 1, 1\)"),
        (lambda n: 1, 1, r"\(\)"),
        (lambda n: [], 1, r"\(0,\)"),
        (lambda n: [[1] * n] * 3, 3, r"\(3, 2\)"),
    ],
)
def test_wrong_shapes(system, answer, outputs, shape):
    message = rf"asked 2 points .* {outputs} output\(s\) and got an array of shape {shape}"
    with pytest.raises(OracleError, match=message):
        ask(lambda batch: answer(len(batch)), system=system, outputs=outputs)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_not_finite_doubles(bad, dtype):
    with pytest.raises(OracleError, match=rf"answer 1 of a batch of 2 is \[{bad}\]"):
        ask(lambda x: np.array([[0.0], [bad]], dtype), system="float64")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), mpmath.mpf("nan"), mpmath.mpf("-inf")])
def test_not_finite_numbers_in_mp(bad):
    name = "inf" if "inf" in str(bad) else "nan"
    with pytest.raises(OracleError, match=rf"an answer is .*{name}.* of type (float|mpf); the mp context reads finite"):
        ask(lambda x, bits: [[Fraction(1)], [bad]], system="mp")


@pytest.mark.parametrize("first", [Fraction(1), fmpq(1), 1])
@pytest.mark.parametrize(("bad", "shown"), [(0.5, "0.5 of type float"), ("a", "'a' of type str"), (None, "None of")])
def test_numbers_that_an_exact_oracle_must_not_give(first, bad, shown):
    with pytest.raises(OracleError, match=f"an answer is {shown}.*the exact context reads Fraction, int or flint.fmpq"):
        ask(lambda x: [[first], [bad]])


@pytest.mark.parametrize(("bad", "dtype"), [(1.5, "float64"), (1, "int64"), (True, "bool"), (1j, "complex128")])
def test_arrays_that_an_exact_oracle_must_not_give(bad, dtype):
    class Raw(CallableOracle):
        def answer(self, points, answer_bits):
            return np.full((len(points), 1), bad)

    oracle = CountingOracle(Raw(lambda x: x, inputs=1, number_system="exact"), ExactContext())
    with pytest.raises(OracleError, match=f"declares exact answers but returned dtype {dtype}"):
        oracle.ask(points([1]), "search")


@pytest.mark.parametrize(("bad", "dtype"), [(1j, "complex128"), ("a", "<U1"), (True, "bool")])
def test_arrays_that_are_not_real_numbers(bad, dtype):
    with pytest.raises(OracleError, match=f"returned dtype {dtype}; return real numbers"):
        ask(lambda x: np.full((len(x), 1), bad), system="float64")


@pytest.mark.parametrize("number", [1, 1.0])
def test_arrays_of_other_real_dtypes_are_fine(number):
    for dtype in (np.int64, np.float32, np.uint8):
        assert ask(lambda x, d=dtype: np.full((len(x), 1), number, d), system="float64").ravel().tolist() == [1, 1]


def test_an_oracle_that_is_not_deterministic():
    counter = itertools.count(17)
    oracle = CallableOracle(lambda batch: [[next(counter)] for _ in batch], inputs=1, number_system="exact")
    counting = CountingOracle(oracle, ExactContext())
    with pytest.raises(OracleError, match=r"answered 17 and then 18 at the same point.*deterministic"):
        counting.check_determinism(points([1]))
    assert counting.count.as_dict() == {"total": 2, "search": 0, "measure": 0, "verify": 2}


def test_a_deterministic_oracle_passes():
    counting = CountingOracle(ExactNetworkOracle(he((2, 3, 1), 0)), ExactContext())
    counting.check_determinism(points([1, 2], [3, 4]))
    assert counting.count.verify == 4


def near():
    """Three points in a row, 2^-320 apart, and one at 2^-40."""
    return points(*([1 + step] for step in (fmpq(0), power_of_two(-320), power_of_two(-319), power_of_two(-40))))


def test_a_square_is_not_piecewise_linear():
    square = CallableOracle(lambda batch: [[x * x] for (x,) in batch], inputs=1, number_system="exact")
    with pytest.raises(OracleError, match=r"not affine on three points 2\^-320 apart"):
        CountingOracle(square, ExactContext()).check_affine(near())


def test_rounded_answers_are_not_exact():
    """Doubles are constant over 2^-320 and not over 2^-40; that one of two outputs is rounded is enough."""
    for outputs in (1, 2):
        rounded = CallableOracle(
            lambda batch, n=outputs: [[Fraction(float(x)), x][:n] for (x,) in batch],
            inputs=1,
            outputs=outputs,
            number_system="exact",
        )
        with pytest.raises(OracleError, match=r"constant over a distance of 2\^-320 and not over 2\^-40"):
            CountingOracle(rounded, ExactContext()).check_affine(near())


def test_constants_are_affine():
    CountingOracle(
        CallableOracle(lambda batch: [[7] for _ in batch], inputs=1, number_system="exact"), ExactContext()
    ).check_affine(near())


def test_affine_functions_pass_and_rounded_contexts_do_not_ask():
    line = CallableOracle(lambda batch: [[3 * x + 1] for (x,) in batch], inputs=1, number_system="exact")
    counting = CountingOracle(line, ExactContext())
    counting.check_affine(near())
    assert counting.count.verify == 4
    rounding = CountingOracle(line, mp(64))
    rounding.check_affine(near())
    assert rounding.count.total == 0
