"""Gradient oracles, and one hidden layer read from gradients, from gradients with values, and from values."""

import math

import jax
import numpy as np
import pytest
from flint import fmpq, fmpq_mat, fmpz_mat
from hypothesis import given
from hypothesis import strategies as st
from test_skips import with_skips

from jaxtract import DepthTwoOptions, ExactNetwork, ExactNetworkOracle, Outcome, certify, float64, mp
from jaxtract.methods import milli
from jaxtract.methods.assumptions import without_biases
from jaxtract.methods.milli_biases import independent_groups, simplest
from jaxtract.methods.milli_gradients import CONSTANT_IS_OPEN
from jaxtract.network.families import FAMILIES, exact_network, he
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.gradients import GradientOracle, callable_gradients
from jaxtract.oracle.oracle import OracleError
from jaxtract.oracle.points import scattered
from jaxtract.oracle.record import RecordedOracle
from jaxtract.oracle.serve import Float64NetworkOracle, exact_gradients
from jaxtract.search.gradient_lines import search_gradients
from precision.dyadic import from_float64
from precision.exact import ExactContext

EXACT = ExactContext()
QUICK = DepthTwoOptions(verify_inputs=60, verify_lines=2)
GRID = 2.0**-20


def without(network, *, outputs=False):
    """The network with all hidden biases zero, and those of the outputs, too, if wished."""
    *hidden, last = network.biases
    zeros = [fmpq_mat(b.nrows(), 1) for b in (*hidden, last)]
    return ExactNetwork(network.weights, (*zeros[:-1], zeros[-1] if outputs else last))


def from_gradients(network, **changes):
    """Gradients for the kinks, one value for the constants of the outputs."""
    arguments = {"values": ExactNetworkOracle(network), "kinks": "gradients", "options": QUICK} | changes
    return milli(exact_gradients(network), EXACT, **arguments)


@pytest.mark.parametrize(
    "network",
    [he((3, 5, 4, 2), 1), he((5, 2), 2), with_skips([(0, 2), (1, 3), (0, 4)])],
)
def test_exact_gradients_are_those_of_jax(network):
    points = np.round(np.random.default_rng(0).standard_normal((40, network.inputs)) / GRID) * GRID
    found = exact_gradients(network).rows.answer(scattered(from_float64(points)), None)
    expected = np.asarray(jax.jit(jax.vmap(jax.jacobian(lambda x: network(x[None])[0])))(points))
    floats = np.array([float(x.p) / float(x.q) for x in found.ravel()]).reshape(expected.shape)
    assert np.allclose(floats, expected, rtol=1e-12, atol=1e-12)


def test_differences_inside_a_region_are_the_gradient_exactly():
    network = he((3, 4, 3, 2), 3).exact()
    point = [fmpq(1, 3 << k) for k in range(3)]
    point = [fmpq(int(x.p) << 40, int(x.q)).floor() / fmpq(1 << 40) for x in point]
    matrix = from_float64(np.array([[float(x) for x in point]]))
    jacobian = exact_gradients(network).rows.answer(scattered(matrix), None).reshape(2, 3)
    step = fmpq(1, 1 << 60)
    for j in range(3):
        moved = [x + step * (i == j) for i, x in enumerate(point)]
        difference = [(a - b) / step for a, b in zip(network(moved), network(point), strict=True)]
        assert difference == list(jacobian[:, j])


def test_a_neuron_on_its_boundary_is_off():
    """s(x) and s(-x): at 0 both count as off, as frameworks have it; 2 s(x - 1) joins in to the right of 1."""
    one = ExactNetwork(
        (fmpq_mat(3, 1, [1, -1, 1]), fmpq_mat(1, 3, [5, 7, 2])), (fmpq_mat(3, 1, [0, 0, -1]), fmpq_mat(1, 1, [4]))
    )
    points = from_float64(np.array([[0.0], [1.0], [1.5], [-1.0]]))
    answers = exact_gradients(one).rows.answer(scattered(points), None)
    assert answers.ravel().tolist() == [0, 5, 7, -7]


def test_gradient_oracles_say_what_does_not_fit():
    values = ExactNetworkOracle(he((3, 4, 2), 0))
    with pytest.raises(
        ValueError, match=r"2 output\(s\) over 3 input\(s\) answers 6 numbers a point; this one answers 2"
    ):
        GradientOracle(values, 2)
    with pytest.raises(ValueError, match="both must be of one function"):
        milli(exact_gradients(he((3, 4, 1), 0)), EXACT, values=values)
    with pytest.raises(ValueError, match="an oracle of values alone is the first argument"):
        milli(values, EXACT, values=values)
    with pytest.raises(ValueError, match="gradients alone are read without rounding, not in the mp context"):
        milli(exact_gradients(he((3, 4, 1), 0)), mp(100))
    with pytest.raises(ValueError, match="answers in float64, which the exact context cannot use"):
        milli(callable_gradients(lambda x: x, inputs=3), EXACT)


@pytest.mark.parametrize(
    ("answer", "number_system", "message"),
    [
        (lambda x: np.zeros((len(x), 3)), "float64", r"got an array of shape \(1, 3\); return one Jacobian per point"),
        (lambda x: np.full((len(x), 2, 3), np.nan), "float64", "an oracle must answer every finite point"),
        (lambda x: [[[0.5] * 3] * 2] * len(x), "exact", "the exact context reads Fraction, int or flint.fmpq"),
    ],
)
def test_bad_gradients_are_named(answer, number_system, message):
    oracle = callable_gradients(answer, inputs=3, outputs=2, number_system=number_system)
    context = EXACT if number_system == "exact" else float64()
    with pytest.raises(OracleError, match=message):
        CountingOracle(oracle.rows, context).ask(scattered(from_float64(np.ones((1, 3)))), "search")


def test_gradients_are_recorded_like_answers(tmp_path):
    network = he((4, 3, 2), 0).exact()
    given_oracle = exact_gradients(network)
    for expected in ("asked", "replayed"):
        with RecordedOracle(given_oracle.rows, tmp_path / "record.sqlite") as record:
            found = milli(GradientOracle(record, 2), EXACT, values=ExactNetworkOracle(network), options=QUICK)
            assert getattr(record, expected) == found.gradients.total == 4
        assert certify(found.network, network).verdict == "identical"


SIZES = ((10, 5, 1), (12, 12, 1), (6, 20, 1), (5, 8, 3), (1, 4, 1), (2, 9, 2))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("widths", SIZES)
@pytest.mark.parametrize("biases", [True, False])
def test_gradients_and_one_value(widths, seed, biases):
    network = exact_network(he(widths, seed))
    network = network if biases else without(network)
    found = from_gradients(network)
    assert found.network is not None and certify(found.network, network).verdict == "identical"
    assert found.named.extraction.claim == "exact" and found.values.measure == 1 and found.values.search == 0
    h = found.network.widths[1]
    assert found.gradients.verify == 0 and found.gradients.search < 12 * h * (2 + math.log2(h + 1))
    dependent = h > widths[0]
    assert found.named.covered == (not biases and not dependent)
    assert ("no biases" in found.named.describe()) and ("VIOLATED" in found.named.describe()) == (biases or dependent)


def test_gradients_alone_leave_one_constant():
    network = he((8, 6, 2), 1).exact()
    found = milli(exact_gradients(network), EXACT, options=QUICK)
    extraction = found.named.extraction
    assert found.values.total == 0 and found.gradients.verify == 60 == extraction.verified.inputs
    assert extraction.outcome is Outcome.COMPLETE and extraction.claim == "incomplete"
    assert extraction.not_resolved == (CONSTANT_IS_OPEN,)
    points = [[fmpq(3 * i - j, 7) for j in range(8)] for i in range(20)]
    offsets = {tuple(x - y for x, y in zip(network(p), found.network(p), strict=True)) for p in points}
    assert len(offsets) == 1 and offsets != {(0, 0)}


def test_without_biases_gradients_show_everything():
    network = without(he((16, 10, 1), 0).exact(), outputs=True)
    found = milli(exact_gradients(network), EXACT, options=QUICK)
    assert certify(found.network, network).verdict == "identical"
    assert found.named.covered and "covers this network" in found.named.describe()
    assert found.gradients.measure == 2  # b = 0 is the simplest number in all brackets: two queries say so


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("kinks", ["gradients", "values"])
def test_worst_cases(family, kinks):
    network = exact_network(FAMILIES[family]((5, 8, 2), 0))
    found = from_gradients(network, kinks=kinks)
    if (family, kinks) == ("gap", "gradients"):
        # s(z) - s(z + 2^-200) is a step of the values, and its gradient is zero but for the width of the step.
        assert found.named.extraction.outcome is Outcome.COUNTEREXAMPLES_LEFT
        assert found.named.extraction.claim == "incomplete"
        return
    assert certify(found.network, network).verdict == "identical"
    assert found.named.extraction.claim == "exact"


@pytest.mark.parametrize("inputs", [8, 32, 128])
def test_with_values_one_gradient_a_region_is_enough(inputs):
    """h + 1 gradients whatever the dimension, and values for the kinks alone."""
    network = he((inputs, 12, 1), 0).exact()
    found = from_gradients(network, kinks="values")
    assert certify(found.network, network).verdict == "identical"
    assert found.gradients.as_dict() == {"total": 13, "search": 0, "measure": 13, "verify": 0}
    assert found.values.measure == 0 and found.values.search < 10 * 12


def test_values_alone_go_by_the_name_too():
    network = he((9, 5, 1), 0).exact()
    found = milli(ExactNetworkOracle(network), EXACT, options=QUICK)
    assert certify(found.network, network).verdict == "identical"
    assert found.gradients.total == 0 and found.values == found.named.extraction.queries
    assert "from values alone" in found.named.statement.lower()


@pytest.mark.parametrize("context", [mp(200), float64()])
def test_rounded_answers_with_rounded_gradients(context):
    network = he((6, 8, 2), 1)
    if context.name == "float64":
        gradients = callable_gradients(
            jax.jit(jax.vmap(jax.jacobian(lambda x: network(x[None])[0]))), inputs=6, outputs=2
        )
        values = Float64NetworkOracle(network)
    else:
        gradients, values = exact_gradients(network), ExactNetworkOracle(network)
    found = milli(gradients, context, values=values, options=QUICK)
    certificate = certify(found.network, network.exact())
    assert found.named.extraction.claim == context.claim
    assert certificate.unmatched == 0 and certificate.max_relative_error < (
        1e-9 if context.name == "float64" else 1e-50
    )
    assert found.gradients.total == 9


def test_a_residual_is_searched_with_gradients_too():
    """A bump that the first line may miss: what is left is asked less what is known."""
    network = exact_network(FAMILIES["bump"]((3, 6, 1), 4))
    found = from_gradients(network, kinks="values")
    assert certify(found.network, network).verdict == "identical"


@pytest.mark.parametrize("budget", [0, 7, 40])
@pytest.mark.parametrize("kinks", ["gradients", "values"])
def test_a_spent_budget_ends_in_good_order(budget, kinks):
    found = from_gradients(he((6, 8, 1), 0).exact(), kinks=kinks, options=DepthTwoOptions(max_queries=budget))
    assert found.named.extraction.outcome is Outcome.BUDGET_SPENT and found.named.extraction.claim == "incomplete"
    assert max(found.gradients.total, found.values.total) <= budget


@pytest.mark.parametrize("kinks", ["gradients", "values"])
def test_deeper_networks_are_not_claimed(kinks):
    network = he((4, 5, 4, 1), 0).exact()
    found = from_gradients(network, kinks=kinks, options=DepthTwoOptions(verify_inputs=60, verify_lines=2, rounds=3))
    assert found.named.extraction.claim == "incomplete" and found.named.extraction.outcome is not Outcome.COMPLETE


def test_affine_functions_have_no_jumps():
    network = he((4, 2), 0).exact()
    found = from_gradients(network)
    assert certify(found.network, network).verdict == "identical" and found.gradients.total == 3


def test_biases_of_great_height_are_left_open():
    """A bias with a denominator of 600 bits is a bracket and a sentence, no claim."""
    network = he((4, 3, 1), 0).exact()
    biases = fmpq_mat(3, 1, [fmpq(3**380, 7**214), *network.biases[0].entries()[1:]])
    network = ExactNetwork(network.weights, (biases, network.biases[1]))
    extraction = milli(exact_gradients(network), EXACT, options=QUICK).named.extraction
    assert extraction.claim == "incomplete"
    assert any("1 biases are no rationals of moderate height" in sentence for sentence in extraction.not_resolved)


@given(st.fractions(max_denominator=60), st.fractions(min_value=0, max_value=3, max_denominator=97))
def test_the_simplest_number_has_the_least_denominator(low, width):
    high = low + width
    found = simplest(fmpq(low.numerator, low.denominator), fmpq(high.numerator, high.denominator))
    denominators = (q for q in range(1, 61) if math.floor(high * q) >= math.ceil(low * q))
    least = next(denominators)
    assert int(found.q) == least
    numerators = range(math.ceil(low * least), math.floor(high * least) + 1)
    assert abs(int(found.p)) == min(map(abs, numerators))


def test_groups_are_independent_and_complete():
    rng = np.random.default_rng(0)
    table = [[int(x) for x in row] for row in rng.integers(-9, 10, (11, 4))]
    table[5] = [-2 * x for x in table[0]]
    groups = independent_groups(fmpz_mat(table))
    assert sorted(i for group in groups for i in group) == list(range(11))
    assert all(fmpz_mat([table[i] for i in group]).rank() == len(group) <= 3 for group in groups)
    assert independent_groups(fmpz_mat(table[:4])) == [[0, 1, 2, 3]]


def test_brackets_are_as_narrow_as_their_number_asks():
    """Jumps at 1/3 and 2/3: with two brackets 7 + 4 bits are left."""

    def ask(positions):
        return np.array([[[fmpq(int(t > fmpq(1, 3)) + 2 * int(t > fmpq(2, 3)))]] for t in positions], dtype=object)

    profile = search_gradients(ask, spare_bits=7)
    assert [jump.change[0, 0] for jump in profile.jumps] == [1, 2]
    for jump, kink in zip(profile.jumps, (fmpq(1, 3), fmpq(2, 3)), strict=True):
        assert jump.left <= kink <= jump.right and jump.right - jump.left <= fmpq(1, 1 << 11)
    assert (profile.first[0, 0], profile.last[0, 0]) == (0, 3)


def test_biases_are_counted():
    network = he((4, 3, 1), 0).exact()
    assert without_biases(network).measured == "3 neurons have one" and without_biases(without(network)).holds
