"""What every exact evaluator does: packed integers in, packed integers out, no rounding in between."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import numpy as np
from flint import fmpz_mat
from jaxtyping import Bool, Int, UInt8, UInt64

from jaxtract.evaluation.bounds import IntegerNetwork, limbs_for
from precision.dyadic import DyadicMatrix

if TYPE_CHECKING:
    # The class behind jax.Device, which type checkers take for a variable.
    from jaxlib._jax import Device
else:
    Device = jax.Device


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


class ExactEvaluator(eqx.Module):
    """A network evaluated without rounding at a batch of packed points.

    Attributes:
        integers: the network over the integers, with the format of the inputs and the proven bounds.
        chunk: points evaluated together; memory is proportional to it, whatever the batch.
    """

    integers: eqx.AbstractVar[IntegerNetwork]
    chunk: eqx.AbstractVar[int]

    @abc.abstractmethod
    def evaluate_chunk(
        self, words: UInt64[np.ndarray, "points inputs limbs"]
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], tuple[Bool[np.ndarray, "points width"], ...]]:
        """Mantissas of the outputs, and for every hidden layer which units are positive.

        ``words`` holds 1 to ``chunk`` points that lie in the input format.
        """

    def __call__(self, inputs: Packed) -> Packed:
        """f at every point, exactly.

        Args:
            inputs: (points, inputs) numbers on the grid ``integers.format.exponent``.

        Returns:
            (points, outputs) numbers on the grid ``integers.exponents[-1]``, ``integers.output_limbs`` limbs
            each. Every evaluator of the same network and format returns the same words.

        Raises:
            ValueError: the inputs have another shape or grid, or exceed the bits of the format.
        """
        return self.with_masks(inputs)[0]

    def with_masks(self, inputs: Packed) -> tuple[Packed, tuple[Bool[np.ndarray, "points width"], ...]]:
        """f at every point and, per hidden layer, which units are positive there (a unit at 0 is not)."""
        self._check(inputs)
        widths = self.integers.widths
        outputs = np.empty((len(inputs), widths[-1], self.integers.output_limbs), np.uint64)
        masks = tuple(np.empty((len(inputs), width), np.bool_) for width in widths[1:-1])
        for start in range(0, len(inputs), self.chunk):
            rows = slice(start, start + self.chunk)
            outputs[rows], positive = self.evaluate_chunk(inputs.words[rows])
            for mask, part in zip(masks, positive, strict=True):
                mask[rows] = part
        return Packed(outputs, self.integers.exponents[-1]), masks

    def _check(self, inputs: Packed) -> None:
        format, fan_in = self.integers.format, self.integers.widths[0]
        shape = (len(inputs), fan_in, limbs_for(format.bits))
        if inputs.words.shape != shape:
            raise ValueError(
                f"inputs have shape {inputs.words.shape} (points, numbers, limbs), expected {shape}; "
                f"pack {fan_in} numbers per point with {format.bits} bits"
            )
        if inputs.exponent != format.exponent:
            raise ValueError(
                f"inputs lie on the grid 2^-{inputs.exponent}, but this evaluator was built for 2^-{format.exponent}; "
                "pack them with that exponent or build another evaluator"
            )
        # Bits above the sign bit must repeat it: then shifting them out leaves 0 or -1.
        top = inputs.words[:, :, -1].view(np.int64) >> ((format.bits - 1) % 64)
        if not np.isin(top, (0, -1)).all():
            raise ValueError(
                f"inputs hold mantissas beyond the {format.bits} bits that the bounds were proven for; "
                "scale them down or build an evaluator with more bits"
            )


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


def padded(words: UInt64[np.ndarray, "points n limbs"], chunk: int) -> UInt64[np.ndarray, "chunk n limbs"]:
    """Zeros appended up to ``chunk`` points, so that one shape is compiled."""
    if len(words) == chunk:
        return words
    whole = np.zeros((chunk, *words.shape[1:]), np.uint64)
    whole[: len(words)] = words
    return whole
