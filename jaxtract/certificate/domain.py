"""Sets of inputs on which two networks are compared: boxes and balls with rational bounds."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

from flint import fmpq

WORD_BITS = 32
"""Random numbers are whole multiples of 2^-32."""

ROOT_BITS = 128
"""Square roots are rounded up to multiples of 2^-128 times a power of two near them."""


@dataclasses.dataclass(frozen=True)
class Box:
    """{x: low <= x_j <= high for every j}.

    Raises:
        ValueError: low is not below high.
    """

    low: fmpq
    high: fmpq

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"box from {self.low} to {self.high} is empty; the first number must be the smaller one")

    def contains(self, point: Sequence[fmpq]) -> bool:
        return all(self.low <= x <= self.high for x in point)

    def sample(self, seed: int, index: int, inputs: int) -> list[fmpq]:
        """Uniform in the box: point ``index`` of a sequence that anybody can draw again (SHA-256)."""
        side = (self.high - self.low) / (1 << WORD_BITS)
        return [self.low + side * word for word in words(seed, index, inputs)]

    def as_dict(self) -> dict[str, str]:
        return {"low": str(self.low), "high": str(self.high)}


@dataclasses.dataclass(frozen=True)
class Ball:
    """{x: |x| <= radius} in the Euclidean norm.

    Raises:
        ValueError: the radius is not positive.
    """

    radius: fmpq

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"ball of radius {self.radius}; give a positive radius")

    def contains(self, point: Sequence[fmpq]) -> bool:
        return sum((x * x for x in point), fmpq(0)) <= self.radius * self.radius

    def sample(self, seed: int, index: int, inputs: int) -> list[fmpq]:
        """Uniform in the ball but for directions from sums of twelve bytes in place of Gaussian numbers.

        The radius is R times the largest of d uniform numbers, whose law is that of U^(1/d).
        """
        drawn = words(seed, index, 4 * inputs)
        radial = max(drawn[:inputs])
        sides = [2 * sum(_bytes(drawn[inputs + 3 * j : inputs + 3 * j + 3])) - 12 * 255 for j in range(inputs)]
        norm = math.isqrt(sum(g * g for g in sides)) + 1
        unit = self.radius * radial * ((1 << 64) // norm) / (1 << (64 + WORD_BITS))
        return [unit * g for g in sides]

    def as_dict(self) -> dict[str, str]:
        return {"radius": str(self.radius)}


Domain = Box | Ball


def words(seed: int, index: int, count: int) -> list[int]:
    """``count`` uniform integers below 2^32, from SHA-256 of "seed/index/block"."""
    found: list[int] = []
    block = 0
    while len(found) < count:
        digest = hashlib.sha256(f"{seed}/{index}/{block}".encode("ascii")).digest()
        found.extend(int.from_bytes(digest[i : i + 4], "big") for i in range(0, 32, 4))
        block += 1
    return found[:count]


def root_up(value: Fraction) -> Fraction:
    """A number at least the square root of ``value``, larger by less than one part in 2^126."""
    if value == 0:
        return Fraction(0)
    shift = max(0, 2 * ROOT_BITS - (value.numerator.bit_length() - value.denominator.bit_length()))
    shift += shift % 2
    root = math.isqrt(-(-(value.numerator << shift) // value.denominator)) + 1
    return Fraction(root, 1 << (shift // 2))


def _bytes(numbers: Sequence[int]) -> list[int]:
    return [b for x in numbers for b in x.to_bytes(4, "big")]
