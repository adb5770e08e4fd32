"""Linear programs answered exactly, and what is decided by cases."""

import numpy as np
import pytest
from certificate_helpers import accepted
from flint import fmpq
from helpers import network, random_rational_network
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxtract.certificate.certify import certify
from jaxtract.equality.cases import decide_zero
from jaxtract.equality.exact_program import largest_margin
from jaxtract.equality.expressions import CONSTANT, value
from jaxtract.equality.farkas import Constraint, exact_answer, refutes, search_point
from jaxtract.equality.units import UnitTable, differences, over_units


def constraints(draw, count, variables):
    """Integer constraints on a few variables, some strict: often degenerate, feasible or not."""
    found = []
    for i in range(count):
        numbers = [draw(st.integers(-3, 3)) for _ in range(variables + 1)]
        expression = {-j: fmpq(x) for j, x in enumerate(numbers) if x}
        found.append(Constraint(("side", i), expression, draw(st.booleans())))
    return found


def holds(constraint, point):
    total = value(constraint.expression, point)
    return total > 0 if constraint.strict else total >= 0


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 7), st.integers(1, 3))
def test_both_programs_prove_what_they_say(data, count, variables):
    given_constraints = constraints(data.draw, count, variables)
    exact, quick = exact_answer(given_constraints), search_point(given_constraints)
    assert (exact.multipliers is None) == (quick.multipliers is None)
    if exact.multipliers is None:
        point = {CONSTANT: fmpq(1), **{-j: exact.point.get(-j, fmpq(0)) for j in range(1, variables + 1)}}
        assert all(holds(c, point) for c in given_constraints)
    for answer in (exact, quick):
        if answer.multipliers is not None:
            weights = dict(answer.multipliers)
            assert refutes(given_constraints, [weights.get(c.name, fmpq(0)) for c in given_constraints])


def test_margins_by_hand():
    """x >= t, 1 - x >= t: t = 1/2 at x = 1/2. x > 0 and -x > 0: t = 0. x >= 0 and -x - 1 >= 0: no point."""
    one = fmpq(1)
    solved = largest_margin([[one], [-one]], [fmpq(0), one], [True, True])
    assert (solved.best, solved.point) == (fmpq(1, 2), [fmpq(1, 2)])
    solved = largest_margin([[one], [-one]], [fmpq(0), fmpq(0)], [True, True])
    assert solved.best == 0 and solved.multipliers == [fmpq(1, 2), fmpq(1, 2)]
    solved = largest_margin([[one], [-one]], [fmpq(0), -one], [False, False])
    assert solved.best is None and solved.multipliers[0] == solved.multipliers[1] > 0


@pytest.mark.parametrize("bits", [10, 60, 400])
def test_slabs_thinner_than_float64_are_told_apart(bits):
    """0 < x < 2^-bits has a point; 2^-bits < x < 0 has none."""
    tiny, one = fmpq(1, 1 << bits), fmpq(1)
    thin = [Constraint(("side", 0), {-1: one}, True), Constraint(("side", 1), {-1: -one, CONSTANT: tiny}, True)]
    empty = [Constraint(("side", 0), {-1: one, CONSTANT: -tiny}, True), Constraint(("side", 1), {-1: -one}, True)]
    answer = exact_answer(thin)
    assert answer.point is not None and 0 < answer.point[-1] < tiny
    assert search_point(thin).multipliers is None
    assert search_point(empty).multipliers is not None


def test_no_combination_of_true_constraints_refutes():
    one = fmpq(1)
    positive = [Constraint(("side", 0), {-1: one}), Constraint(("side", 1), {-1: -one})]
    assert not refutes(positive, [one, one])  # x = 0 is a point
    assert not refutes(positive, [-one, -one])
    assert not refutes(positive, [one, fmpq(2)])
    strict = [Constraint(("side", 0), {-1: one}, True), positive[1]]
    assert refutes(strict, [one, one])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_small_networks_are_always_decided(widths, seed):
    """Two networks of rationals that differ in one weight: equal or not, one of the two is proved."""
    rng = np.random.default_rng(seed)
    one = random_rational_network(widths, rng, largest=3)
    weights = [w.tolist() for w in one.weights]
    layer = int(rng.integers(len(weights)))
    row = weights[layer][int(rng.integers(len(weights[layer])))]
    row[int(rng.integers(len(row)))] += fmpq(1, int(rng.integers(1, 50)))
    two = network(*zip(weights, (b.entries() for b in one.biases), strict=True))
    table = UnitTable()
    reference = over_units(one, table)
    targets = differences(over_units(two, table), reference)
    decision = decide_zero(table.rows, targets, widths[0], budget=4000)
    assert (decision.proof is None) != (decision.point is None)
    if decision.point is not None:
        assert one(decision.point) != two(decision.point)
    certificate = certify(two, one)
    assert certificate.verdict == ("identical" if decision.point is None else "different")
    assert accepted(certificate, two, one) == certificate.verdict


def test_the_budget_is_kept():
    one = network(([[1], [1]], [0, -1]), ([[1, -1]], [0]), ([[1]], [0]))
    two = network(([[1], [1]], [0, -1]), ([[1, -1]], [0]))
    table = UnitTable()
    reference = over_units(two, table)
    targets = differences(over_units(one, table), reference)
    for budget in range(8):
        told = []
        decision = decide_zero(table.rows, targets, 1, budget=budget, progress=told.append)
        assert decision.cases <= budget and told == list(range(1, decision.cases + 1))
    assert decision.proof is not None and decision.point is None
