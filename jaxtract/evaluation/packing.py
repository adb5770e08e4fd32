"""Dyadic rationals as NumPy words in two's complement, and back to FLINT."""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpz_mat
from jaxtyping import Int, UInt8, UInt64

from jaxtract.evaluation.bounds import limbs_for
from precision.dyadic import DyadicMatrix


@dataclasses.dataclass(frozen=True)
class Packed:
    """A matrix of dyadic rationals as NumPy words: value = mantissa * 2^-exponent.

    A mantissa is a two's-complement integer of ``limbs`` 64-bit words, the least significant first.

    Raises:
        ValueError: ``words`` is not a three-dimensional uint64 array.
    """

    words: UInt64[np.ndarray, "batch n limbs"]
    exponent: int

    def __post_init__(self) -> None:
        if not isinstance(self.words, np.ndarray) or self.words.ndim != 3 or self.words.dtype != np.uint64:
            raise ValueError(
                f"words has type {type(self.words).__name__}, shape {getattr(self.words, 'shape', None)} and dtype "
                f"{getattr(self.words, 'dtype', None)}; give a NumPy uint64 array (batch, numbers, limbs)"
            )

    def __len__(self) -> int:
        return self.words.shape[0]

    @property
    def mantissa_bytes(self) -> UInt8[np.ndarray, "batch n bytes"]:
        """The same memory byte by byte, the least significant byte first."""
        return np.ascontiguousarray(self.words).astype("<u8", copy=False).view(np.uint8)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packed):
            return NotImplemented
        return self.exponent == other.exponent and np.array_equal(self.words, other.words)

    __hash__ = None  # type: ignore[assignment]


def pack(matrix: DyadicMatrix, *, exponent: int, bits: int) -> Packed:
    """Write a dyadic matrix on the grid 2^-exponent in two's complement of at least ``bits`` bits.

    Every number passes through a Python integer (about a microsecond each): not for the inner loop.

    Raises:
        ValueError: a number is off the grid or does not fit.
    """
    return Packed(words_of(matrix.at_exponent(exponent), bits), exponent)


def words_of(matrix: fmpz_mat, bits: int) -> UInt64[np.ndarray, "rows columns limbs"]:
    """Integers in two's complement of ``limbs_for(bits)`` words. Raises ValueError if one does not fit."""
    limbs = limbs_for(bits)
    try:
        joined = b"".join([int(entry).to_bytes(8 * limbs, "little", signed=True) for entry in matrix.entries()])
    except OverflowError as error:
        raise ValueError(f"an entry does not fit in {64 * limbs} bits; pack with more bits") from error
    words = np.frombuffer(joined, "<u8").astype(np.uint64, copy=False)
    return words.reshape(matrix.nrows(), matrix.ncols(), limbs)


def unpack(packed: Packed) -> DyadicMatrix:
    """The same numbers as a FLINT matrix; one Python integer per number, as ``pack``."""
    return DyadicMatrix(matrix_of(packed.words), packed.exponent)


def matrix_of(words: UInt64[np.ndarray, "rows columns limbs"]) -> fmpz_mat:
    """Two's-complement words as FLINT integers, (rows, columns)."""
    rows, columns, limbs = words.shape
    size = 8 * limbs
    joined = np.ascontiguousarray(words).astype("<u8", copy=False).tobytes()
    entries = [int.from_bytes(joined[i : i + size], "little", signed=True) for i in range(0, len(joined), size)]
    return fmpz_mat(rows, columns, entries)


def pack_float64(values: np.ndarray, *, exponent: int, bits: int) -> Packed:
    """A (points, n) float64 array on the grid 2^-exponent, without a Python integer per number.

    Raises:
        ValueError: NaN or infinity, a value off the grid, or one beyond ``bits`` bits.
    """
    if values.ndim != 2 or values.dtype != np.float64 or not np.isfinite(values).all():
        raise ValueError(
            f"values has shape {values.shape} and dtype {values.dtype}; give a finite (points, n) float64 array"
        )
    fraction, power = np.frexp(values)
    mantissa = np.ldexp(fraction, 53).astype(np.int64)
    shift = np.where(mantissa == 0, 0, power.astype(np.int64) - 53 + exponent)
    if (mantissa & ((np.int64(1) << np.clip(-shift, 0, 54)) - 1)).any():
        raise ValueError(f"values hold numbers finer than the grid 2^-{exponent}; use a larger exponent")
    if _overflows(mantissa, shift, bits):
        raise ValueError(f"values hold numbers that do not fit in {bits} bits on the grid 2^-{exponent}")
    return Packed(_shifted_words(mantissa >> np.clip(-shift, 0, 54), np.maximum(shift, 0), limbs_for(bits)), exponent)


def _overflows(mantissa: Int[np.ndarray, "points n"], shift: Int[np.ndarray, "points n"], bits: int) -> np.bool_:
    length = np.frexp(np.where(mantissa < 0, -mantissa - 1, mantissa).astype(np.float64))[1]
    return (length + shift > bits - 1).any()


def _shifted_words(
    mantissa: Int[np.ndarray, "points n"], shift: Int[np.ndarray, "points n"], limbs: int
) -> UInt64[np.ndarray, "points n limbs"]:
    """mantissa * 2^shift in two's complement."""
    words = np.empty((*mantissa.shape, limbs), np.uint64)
    sign = mantissa >> 63
    for limb in range(limbs):
        # Word ``limb`` shows the mantissa from bit 64 limb - shift on; a negative start leaves zeros below.
        start = 64 * limb - shift
        above = np.where(start < 64, mantissa >> np.clip(start, 0, 63), sign)
        below = np.where(start > -64, mantissa << np.clip(-start, 0, 63), 0)
        words[:, :, limb] = np.where(start >= 0, above, below).view(np.uint64)
    return words
