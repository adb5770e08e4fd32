"""What is known of max |f - f'| on a set of inputs: proven above, attained below, and rarely exceeded."""

from __future__ import annotations

import dataclasses

from flint import fmpq

from jaxtract.certificate.bound import Upper
from jaxtract.certificate.domain import Domain
from jaxtract.certificate.equivalence import Equivalence
from jaxtract.certificate.lower import Lower
from jaxtract.certificate.pairing import Paired
from jaxtract.certificate.witness import values
from jaxtract.network.exact_network import ExactNetwork

CLOSE = fmpq(1, 2**20)
"""Without a tolerance of the user's, close means 2^-20 of the largest output met on the domain."""

SIZE_SAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Bounds:
    """lower.bound <= max over the domain of max_o |f'_o - f_o| <= upper.bound, both exact rationals.

    Attributes:
        domain: the inputs.
        paired: the networks over common units, on which the upper bound rests.
        upper: (epsilon, 0)-functional equivalence with epsilon = upper.bound, proven.
        lower: an input in the domain with this difference, exactly.
        random: (epsilon, delta)-functional equivalence with a confidence.
        tolerance: what the upper bound must not exceed for the verdict ``close``.
    """

    domain: Domain
    paired: Paired
    upper: Upper
    lower: Lower
    random: Equivalence
    tolerance: fmpq

    @property
    def close(self) -> bool:
        return self.upper.bound <= self.tolerance

    @property
    def ratio(self) -> float | None:
        """Upper over lower bound: 1 would be the exact maximum. None where no difference was found."""
        return float(self.upper.bound / self.lower.bound) if self.lower.bound != 0 else None


def usual_tolerance(reference: ExactNetwork, domain: Domain, seed: int) -> fmpq:
    """2^-20 of the largest |output| of the reference at 64 random inputs of the domain."""
    points = [domain.sample(seed, i, reference.inputs) for i in range(SIZE_SAMPLES)]
    return CLOSE * max((abs(y) for row in values(reference, points) for y in row), default=fmpq(0))
