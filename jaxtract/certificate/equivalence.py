"""(epsilon, delta) functional equivalence: how rarely random inputs of a domain differ by more than epsilon.

Jagielski, Carlini, Berthelot, Kurakin and Papernot 2020 and Carlini, Jagielski and Mironov 2020, section 2.2: f' is
(epsilon, delta)-equivalent to f on S if |f'(x) - f(x)| <= epsilon for a share 1 - delta of S. (epsilon, 0) is what
``certificate.bound`` proves; a positive delta comes from random inputs, with a stated confidence.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from flint import fmpq

from jaxtract.certificate.bound import rounded_up
from jaxtract.certificate.confidence import upper_limit
from jaxtract.certificate.domain import Domain
from jaxtract.certificate.lower import largest_differences
from jaxtract.network.exact_network import ExactNetwork

CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """With the stated confidence, |f' - f| > epsilon on at most a share delta of the domain.

    ``exceed`` of ``samples`` random inputs, evaluated exactly, differed by more.
    """

    epsilon: fmpq
    delta: Fraction
    confidence: Fraction
    samples: int
    exceed: int
    seed: int


def equivalence(
    recovered: ExactNetwork,
    reference: ExactNetwork,
    domain: Domain,
    *,
    samples: int,
    confidence: Fraction,
    seed: int,
    epsilon: fmpq | None = None,
) -> Equivalence:
    """Ask random inputs of the domain.

    Without ``epsilon`` it is the largest difference met: that a fresh input exceeds the largest of n has the same
    distribution-free limit as no failure in n trials (Wilks 1941).
    """
    found: list[fmpq] = []
    for start in range(0, samples, CHUNK):
        indices = range(start, min(start + CHUNK, samples))
        points = [domain.sample(seed, i, reference.inputs) for i in indices]
        found += largest_differences(recovered, reference, points)
    chosen = rounded_up(max(found, default=fmpq(0))) if epsilon is None else epsilon
    exceed = sum(x > chosen for x in found)
    return Equivalence(chosen, upper_limit(exceed, samples, confidence), confidence, samples, exceed, seed)
