"""What an extraction returns: the network, how it ended, what was verified, what was left open."""

from __future__ import annotations

import dataclasses
import enum

from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import QueryCount
from jaxtract.verification.agreement import Verified


class Outcome(enum.Enum):
    """How an extraction ended; the value is the message for the user."""

    COMPLETE = "every fresh query is explained by the recovered network"
    BUDGET_SPENT = "the query budget is spent; what was found is kept: raise --max-queries and run again"
    INTERRUPTED = "interrupted; what was found is kept"
    ORACLE_FAILED = "the oracle failed; what was found before is kept"
    NOT_ONE_HIDDEN_LAYER = (
        "the boundaries bend: f is not a network of one hidden layer; the parts found are kept, "
        "but this method cannot finish"
    )
    WEIGHTS_OPEN = (
        "every fresh query is explained, but not every weight is known: a row is rough, or signs of the last hidden "
        "layer do not come out (a weight is wrong, or two neurons lie on one hyperplane); try another --seed"
    )
    COUNTEREXAMPLES_LEFT = (
        "some fresh queries still disagree after the last round; raise --resolution or the number of rounds"
    )


@dataclasses.dataclass(frozen=True)
class Extraction:
    """The result of an extraction.

    Attributes:
        network: the recovered network over the rationals (rounded contexts: the numbers they ended with),
            or None if nothing was found.
        outcome: how it ended.
        claim: ``exact``, ``refined``, ``approximate`` or ``incomplete``.
        context, prec: number system; bits asked (None when exact).
        queries: counts by purpose.
        seconds, oracle_seconds: wall clock, in all and inside the oracle.
        verified: what fresh queries said of the network.
        accuracy_bits: bits to which every weight and bias is known, against the largest of its row: estimated from the
            residuals where all parameters were polished together, else proven if answers are as good as the
            context says; None where they are exact, or nothing of the kind was shown.
        sign_method: how the signs were found, in words.
        resolution_bits, reach_bits: kinks nearer than 2^-resolution_bits on a line, or farther out than
            2^reach_bits, were not looked for.
        not_resolved: one sentence for everything that stays open, with its resolution.
        seed: of all random choices.
    """

    network: ExactNetwork | None
    outcome: Outcome
    claim: str
    context: str
    prec: int | None
    queries: QueryCount
    seconds: float
    oracle_seconds: float
    verified: Verified
    sign_method: str
    resolution_bits: int
    reach_bits: int
    not_resolved: tuple[str, ...]
    seed: int
    accuracy_bits: int | None = None

    @property
    def queries_per_parameter(self) -> float | None:
        """(search + measure) over weights and biases of the recovered network."""
        if self.network is None:
            return None
        return (self.queries.search + self.queries.measure) / self.network.parameters
