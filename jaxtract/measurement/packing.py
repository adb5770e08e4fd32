"""Many weights in one exact answer.

An answer without rounding is not one number: stepping by h (e_1 + 2^-B e_2 + 2^-2B e_3 + ...) returns
h (G_1 + 2^-B G_2 + 2^-2B G_3 + ...), and when the gradient's entries are integers on a common grid 2^-e, less than
2^(B - e - 1) in size, its balanced digits in base 2^B are those entries (Kronecker substitution). The grid and
the size are read off the slopes along the line. That they were guessed right is checked: the entries must add up to the
slope that the search measured, over the rationals.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.search.lines import Line, LineProfile
from precision.context import Context
from precision.dyadic import DyadicMatrix, dyadic_exponent, floor_log2

MARGIN_BITS = 40
"""Room for entries larger than the slopes, which are sums of all of them times numbers below one."""


@dataclasses.dataclass(frozen=True)
class Packing:
    """``count`` entries to an answer, ``digit_bits`` apart, on the grid 2^-grid_bits."""

    count: int
    digit_bits: int
    grid_bits: int

    def blocks(self, inputs: int) -> list[range]:
        """The coordinates that share an answer."""
        return [range(start, min(start + self.count, inputs)) for start in range(0, inputs, self.count)]

    def directions(self, inputs: int) -> DyadicMatrix:
        """One direction per block, (blocks, inputs): 2^-(digit_bits j) for its j-th coordinate."""
        blocks = self.blocks(inputs)
        entries = [fmpz(0)] * (len(blocks) * inputs)
        for row, block in enumerate(blocks):
            for j, i in enumerate(block):
                entries[row * inputs + i] = fmpz(1) << (self.digit_bits * (self.count - 1 - j))
        return DyadicMatrix(fmpz_mat(len(blocks), inputs, entries), self.digit_bits * (self.count - 1))

    def unpack(self, derivatives: np.ndarray, line: Line) -> np.ndarray | None:
        """The gradient (outputs, inputs) from the derivatives along the blocks (blocks, outputs).

        None when they are not on the grid.
        """
        inputs = len(line.base)
        gradient = np.empty((derivatives.shape[1], inputs), dtype=object)
        unit = fmpz(1) << (self.grid_bits + self.digit_bits * (self.count - 1))
        grid = fmpz(1) << self.grid_bits
        for row, block in zip(derivatives, self.blocks(inputs), strict=True):
            for o, derivative in enumerate(row):
                scaled = derivative * unit
                if scaled.q != 1:
                    return None
                digits = _balanced_digits(int(scaled.p), self.digit_bits, self.count)
                if digits is None:
                    return None
                gradient[o, list(block)] = [fmpq(digit, grid) for digit in digits[: len(block)]]
        return gradient


def plan_packing(context: Context, line: Line, profile: LineProfile, count: int) -> Packing | None:
    """How to pack ``count`` entries, or None where packing does not apply (rounded answers, weights not dyadic)."""
    slopes = [x for piece in profile.pieces for x in piece.slope if x != 0]
    if not context.exact or count < 2 or not slopes:
        return None
    if any(x.q & (x.q - 1) != 0 for x in slopes):
        return None
    grid_bits = max(dyadic_exponent(x) for x in slopes)
    size_bits = max(floor_log2(x) for x in slopes) + 1
    return Packing(min(count, len(line.base)), max(1, grid_bits + size_bits) + MARGIN_BITS, grid_bits)


def _balanced_digits(value: int, bits: int, count: int) -> list[int] | None:
    """The ``count`` digits of a number in base 2^bits, most significant first, each in [-2^(bits-1), 2^(bits-1))."""
    half, mask = 1 << (bits - 1), (1 << bits) - 1
    digits = []
    for _ in range(count):
        digit = ((value + half) & mask) - half
        digits.append(digit)
        value = (value - digit) >> bits
    return digits[::-1] if value == 0 else None
