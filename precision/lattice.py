"""Signs as a vector subset sum, by lattice reduction (FLINT's LLL)."""

from __future__ import annotations

import numpy as np
from flint import fmpq, fmpz_mat

from precision.dyadic import floor_log2, power_of_two

BITS_PER_UNKNOWN = 5
"""Bits of right-hand side per sign in the first try; 4 were enough for 100 random signs, 3 were not."""


def signs_by_lattice(columns: np.ndarray, target: np.ndarray, *, error_bits: int | None = None) -> list[int] | None:
    """The signs s with sum_q s_q columns[:, q] = target, or None where the reduction does not show one.

    The embedding of Coster, Joux, LaMacchia, Odlyzko, Schnorr, Stern 1992, for several equations: with
    s = 2 e - 1 the lattice holds only odd s, which widens the gap to the next short vector by 2 per sign.
    A first reduction uses the leading bits alone; more bits are added while the reduced basis shows
    no sign vector.

    Args:
        columns: (equations, unknowns) array of ``fmpq``; exact, or rounded.
        target: (equations,) array of ``fmpq``.
        error_bits: bits to which the equations hold, relative to their largest coefficient; None: exactly.

    Returns:
        The signs as +1 and -1; they satisfy the equations, to ``error_bits`` where that is given.
    """
    equations, unknowns = columns.shape
    right = (target + sum(columns.T)) / fmpq(2)
    size = max(abs(x) for x in columns.ravel())
    most = _carried_bits(columns, size) if error_bits is None else error_bits
    bits = min(most, -(-BITS_PER_UNKNOWN * unknowns // equations) + unknowns.bit_length())
    while True:
        found = _reduce(columns, right, size, bits)
        if found is not None:
            # Columns that differ late (nearly parallel neurons) look the same to the leading bits alone.
            error = max(abs(x) for x in columns @ np.array([fmpq(s) for s in found], dtype=object) - target)
            if error == 0 or (error_bits is not None and error <= size * unknowns * power_of_two(-error_bits)):
                return found
        if bits >= most:
            return None
        bits = min(most, 2 * bits)


def _reduce(columns: np.ndarray, right: np.ndarray, size: fmpq, bits: int) -> list[int] | None:
    equations, unknowns = columns.shape
    shift = bits - floor_log2(size)
    scaled = [[_rounded(x, shift) for x in row] for row in columns.T]
    goal = [_rounded(x, shift) for x in right]
    # Rounding leaves half a unit per term, some sqrt(unknowns) in all: no larger than the vector itself.
    entries: list[int] = []
    for q in range(unknowns):
        entries += [2 if j == q else 0 for j in range(unknowns)] + [0] + scaled[q]
    entries += [1] * unknowns + [1] + goal
    basis = fmpz_mat(unknowns + 1, unknowns + 1 + equations, entries).lll()
    for row in basis.tolist():
        vector = [int(x) for x in row[: unknowns + 1]]
        if abs(vector[-1]) == 1 and all(abs(x) == 1 for x in vector[:-1]):
            # sum e_q column_q - goal = small, with coordinates (2 e - 1, -1): flip when the last is +1.
            return [-x * vector[-1] for x in vector[:-1]]
    return None


def _carried_bits(columns: np.ndarray, size: fmpq) -> int:
    """Bits below the largest coefficient that the exact coefficients really have (dyadic ones end)."""
    finest = max(int(x.q).bit_length() for x in columns.ravel())
    return max(1, floor_log2(size) + finest + 1)


def _rounded(value: fmpq, shift: int) -> int:
    numerator, denominator = int(value.p), int(value.q)
    if shift >= 0:
        return (2 * (numerator << shift) + denominator) // (2 * denominator)
    return (2 * numerator + (denominator << -shift)) // (denominator << (1 - shift))
