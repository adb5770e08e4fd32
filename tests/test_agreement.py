"""What fresh queries said, taken together."""

from flint import fmpq

from jaxtract.verification.agreement import Verified


def test_further_queries_add_up_and_the_worst_residual_counts():
    inputs = Verified(inputs=1000, disagreements=1, residual_bits=40, size=3, counterexamples=[[fmpq(1)]])
    lines = Verified(lines=20, unexplained_kinks=2, residual_bits=38, size=5, counterexamples=[[fmpq(2)]])
    both = inputs.followed_by(lines)
    assert both.as_dict() == {
        "inputs": 1000,
        "disagreements": 1,
        "lines": 20,
        "unexplained_kinks": 2,
        "residual_bits": 38,
    }
    assert both.size == 5 and both.counterexamples == [[1], [2]] and not both.agrees


def test_no_residual_at_all_stays_none():
    both = Verified(inputs=10).followed_by(Verified(lines=2))
    assert both.agrees and both.residual_bits is None
    assert Verified(inputs=10).followed_by(Verified(lines=2, residual_bits=7)).residual_bits == 7
