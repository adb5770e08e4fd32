"""E |F(x) - F'(x)|^2 for x ~ N(0, I), as a number with a confidence interval."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.stats import beta, chi2

CAP = 4.0
"""Squares are cut off at this many times the largest of a first sample."""


@dataclasses.dataclass(frozen=True)
class SquareLoss:
    """A measured square loss. Squares above ``cap`` count as ``cap`` in the first three numbers.

    Attributes:
        mean: of the squares.
        lower, upper: two-sided interval for their expectation at ``confidence``.
        inputs: fresh Gaussian inputs that it was measured at.
        confidence: probability that the interval holds the expectation, and ``share_beyond`` the share.
        cap: largest square that the interval allows for.
        above: how many squares were larger. Where any was, the interval leaves out what they add.
        share_beyond: upper limit of the share of inputs whose square is above ``cap``.
        most_beyond: what these may add to the expectation if the difference grows no faster than assumed; infinite
            where nothing was assumed.
    """

    mean: float
    lower: float
    upper: float
    inputs: int
    confidence: float
    cap: float
    above: int
    share_beyond: float
    most_beyond: float

    def __str__(self) -> str:
        return (
            f"{self.mean:.2e} in [{self.lower:.2e}, {self.upper:.2e}] at {100 * self.confidence:g} % "
            f"({self.inputs} inputs, squares above {self.cap:.1e} at less than {100 * self.share_beyond:.2g} % of them)"
        )


def empirical_bernstein(squares: np.ndarray, cap: float, confidence: float) -> tuple[float, float]:
    """Two-sided interval for the mean of numbers in [0, cap] (Maurer and Pontil 2009, theorem 4)."""
    count = len(squares)
    if count < 2:
        return 0.0, cap
    logarithm = math.log(4 / (1 - confidence))
    mean, variance = float(np.mean(squares)), float(np.var(squares, ddof=1))
    radius = math.sqrt(2 * variance * logarithm / count) + 7 * cap * logarithm / (3 * (count - 1))
    return max(0.0, mean - radius), min(cap, mean + radius)


def largest_share(seen: int, count: int, confidence: float) -> float:
    """Clopper and Pearson's upper limit of a share of which ``seen`` of ``count`` were seen."""
    return 1.0 if seen >= count else float(beta.ppf(confidence, seen + 1, count - seen))


def most_on_share(share: float, inputs: int, constant: float, slope: float) -> float:
    """The largest E[(constant + slope |x|)^2; A] over events A of probability ``share``, from above.

    (a + b)^2 <= 2 a^2 + 2 b^2, and |x|^2 is chi-square: its part above a quantile is d P(chi2_{d+2} > quantile).
    """
    if share <= 0:
        return 0.0
    quantile = chi2.isf(share, inputs)
    return 2 * constant**2 * share + 2 * slope**2 * inputs * float(chi2.sf(quantile, inputs + 2))


def measure_loss(
    first: np.ndarray,
    squares: np.ndarray,
    *,
    inputs: int,
    confidence: float,
    constant: float,
    slope: float,
    largest_weight: float = 1.0,
) -> SquareLoss:
    """The loss from squared differences at fresh inputs, each times the weight of its input.

    Args:
        first: (n0,) weighted squares at other fresh inputs, which set the cap.
        squares: (n,) weighted squares.
        inputs: dimension of an input.
        confidence: of the whole statement.
        constant, slope: the difference is at most constant + slope |x|, an assumption.
        largest_weight: the weights are densities of the Gaussian over that of the inputs, and at most this.
    """
    each = 1 - (1 - confidence) / 2
    cap = CAP * max(float(first.max()), np.finfo(np.float64).tiny)
    cut = np.minimum(squares, cap)
    lower, upper = empirical_bernstein(cut, cap, each)
    above = int((squares > cap).sum())
    share = min(1.0, largest_weight * largest_share(above, len(squares), each))
    beyond = most_on_share(share, inputs, constant, slope) if math.isfinite(slope) else math.inf
    return SquareLoss(float(cut.mean()), lower, upper, len(squares), confidence, cap, above, share, beyond)
