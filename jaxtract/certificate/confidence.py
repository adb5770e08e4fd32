"""How often something may still happen that was seen k times in n trials (Clopper and Pearson 1934)."""

from __future__ import annotations

import math
from fractions import Fraction

GRID_BITS = 24
"""Limits are rounded up to multiples of 2^-24."""


def upper_limit(failures: int, trials: int, confidence: Fraction) -> Fraction:
    """The least multiple q of 2^-24 such that at most ``failures`` in ``trials`` has probability <= 1 - confidence.

    If the true rate of failure is above q, independent trials would show so few failures with probability at
    most 1 - confidence: the one-sided Clopper-Pearson limit, over the rationals.

    Raises:
        ValueError: numbers that are no such count, or a confidence outside (0, 1).
    """
    if not 0 <= failures <= trials:
        raise ValueError(f"{failures} failures in {trials} trials; give 0 <= failures <= trials")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a number between 0 and 1")
    if failures == trials:
        return Fraction(1)
    low, high = 0, 1 << GRID_BITS  # the probability falls with q: above 1 - confidence at low, not at high
    while high - low > 1:
        middle = (low + high) // 2
        if tail(failures, trials, Fraction(middle, 1 << GRID_BITS)) <= 1 - confidence:
            high = middle
        else:
            low = middle
    return Fraction(high, 1 << GRID_BITS)


def tail(failures: int, trials: int, rate: Fraction) -> Fraction:
    """P(at most ``failures`` of ``trials``) when each fails with probability ``rate``, exactly."""
    p, q = rate.numerator, rate.denominator
    terms = (math.comb(trials, i) * p**i * (q - p) ** (trials - i) for i in range(failures + 1))
    return Fraction(sum(terms), q**trials)
