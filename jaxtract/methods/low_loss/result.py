"""What ``chen_klivans_meka`` returns: a network, its measured loss, and how it ended."""

from __future__ import annotations

import dataclasses
import enum

from jaxtract.methods.low_loss.square_loss import SquareLoss
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import QueryCount

THEOREM = (
    "Chen, Klivans and Meka 2021: if F is an arbitrary network of one hidden layer, an algorithm outputs a network F' "
    "with E (F(x) - F'(x))^2 at most epsilon for x ~ N(0, I), from queries and in time polynomial in all parameters."
)


class LossOutcome(enum.Enum):
    """How it ended; the value is the message for the user."""

    REACHED = "the measured square loss is below epsilon, by the upper end of its interval"
    RESOLUTION = "the square loss is down to the noise of the answers, which allows no less: ask for a larger epsilon"
    NOT_REACHED = (
        "the square loss stays above epsilon; the best network found is returned: allow more rounds, or f is not of "
        "one hidden layer"
    )
    BUDGET_SPENT = "the query budget is spent; the best network found is returned, its loss not measured"


@dataclasses.dataclass(frozen=True)
class LowLoss:
    """A network of low square loss.

    Attributes:
        network: one hidden layer; two neurons carry each rank of the affine remainder.
        neurons: neurons without those of the remainder; those nearer than could be told apart are one.
        outcome: how it ended.
        epsilon: the square loss asked.
        loss: the square loss measured against the answers, their noise included; None where the budget was spent.
        noise: square loss that the noise of the answers alone makes, as estimated.
        queries, seconds, oracle_seconds, seed: what it took.
    """

    network: ExactNetwork
    neurons: int
    outcome: LossOutcome
    epsilon: float
    loss: SquareLoss | None
    noise: float
    queries: QueryCount
    seconds: float
    oracle_seconds: float
    seed: int

    @property
    def claim(self) -> str:
        """``approximate`` where epsilon was reached, else ``incomplete``."""
        return "approximate" if self.outcome is LossOutcome.REACHED else "incomplete"

    def describe(self) -> str:
        """Theorem, loss and outcome in words."""
        loss = "not measured" if self.loss is None else str(self.loss)
        return "\n".join(
            [
                THEOREM,
                f"asked: square loss at most {self.epsilon:.2e}",
                f"measured: {loss}",
                f"noise of the answers alone: {self.noise:.2e}",
                f"{self.claim}: {self.outcome.value}",
            ]
        )
