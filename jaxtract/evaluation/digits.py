"""Integers as digits on a JAX device: from packed words to digits, through carries, and back to words.

A number is x = sum_k d_k R^k with R = 2^radix_bits. *Balanced* digits lie in [-R/2, R/2 - 1]; every integer
has at most one balanced form of n digits, its residue modulo R^n decides it, and its sign is the sign of
its top non-zero digit: the digits below weigh at most (R/2) (R^k - 1) / (R - 1) < R^k. Digit axes come first.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flint import fmpz_mat
from jaxtyping import Array, Bool, Int, Num, UInt64

from jaxtract._x64 import enable_x64
from jaxtract.evaluation.packing import words_of

enable_x64()


def balanced_length(bound: int, radix_bits: int) -> int:
    """The fewest balanced digits that reach every integer of modulus at most ``bound``."""
    radix, digits = 1 << radix_bits, 1
    while (radix // 2 - 1) * (radix**digits - 1) // (radix - 1) < bound:
        digits += 1
    return digits


def field_count(limbs: int, radix_bits: int) -> int:
    """The fewest digits of ``radix_bits`` bits that cover ``limbs`` words."""
    return -(-64 * limbs // radix_bits)


def balanced_digits(
    words: UInt64[Array, "points n limbs"], radix_bits: int, digits: int, dtype: jnp.dtype
) -> Num[Array, "digits points n"]:
    """Balanced digits of two's-complement mantissas that ``digits`` of them can hold.

    Adding R/2 in every place turns balanced digits into ordinary bit fields, R/2 too large each.
    """
    limbs = max(words.shape[2], -(-radix_bits * digits // 64))
    planes = jnp.moveaxis(words, 2, 0)
    sign = jnp.where(planes[-1:] >> 63 == 1, ~jnp.uint64(0), jnp.uint64(0))
    planes = jnp.concatenate([planes, jnp.repeat(sign, limbs - words.shape[2], axis=0)])
    half = (1 << radix_bits) // 2
    offset = _constant_words(sum(half << (radix_bits * k) for k in range(digits)), limbs)
    shifted = _add_words(planes, jnp.asarray(offset))
    fields = _fields(jnp.concatenate([shifted, jnp.zeros_like(sign)]), radix_bits, digits)
    return (fields.astype(jnp.int64) - half).astype(dtype)


def _constant_words(number: int, limbs: int) -> np.ndarray:
    return np.frombuffer(number.to_bytes(8 * limbs, "little"), "<u8").astype(np.uint64)


def _add_words(planes: UInt64[Array, "limbs points n"], constant: UInt64[Array, " limbs"]):
    """Sum modulo 2^(64 limbs)."""

    def step(carry, operands):
        plane, word = operands
        partial = plane + word
        total = partial + carry
        return ((partial < word) | (total < carry)).astype(jnp.uint64), total

    return jax.lax.scan(step, jnp.zeros_like(planes[0]), (planes, constant))[1]


def _fields(planes, radix_bits: int, digits: int):
    """Bit fields of uint64 words (limbs + 1, points, n), NumPy or JAX, the least significant first.

    A field touches at most two words.
    """
    start = radix_bits * np.arange(digits)
    word, shift = start // 64, (start % 64).astype(np.uint64)[:, None, None]
    # The upper word moves left in two steps because a shift by 64 is not defined.
    joined = (planes[word] >> shift) | ((planes[word + 1] << np.uint64(1)) << (np.uint64(63) - shift))
    return joined & np.uint64((1 << radix_bits) - 1)


def carry(
    sums: Int[Array, "digits points n"], radix_bits: int, dtype: jnp.dtype, *, balanced: bool
) -> tuple[Num[Array, "digits points n"], Bool[Array, "points n"]]:
    """Digits of sum_k sums_k R^k modulo R^digits, and whether that number is positive.

    Without ``balanced`` the digits lie in [0, R - 1], which are the bit fields of the two's complement, and
    the second answer has no meaning.
    """
    half = (1 << radix_bits) // 2 if balanced else 0
    mask = (1 << radix_bits) - 1

    def step(state, place):
        over, positive = state
        total = place + over
        digit = ((total + half) & mask) - half
        positive = jnp.where(digit == 0, positive, digit > 0)
        return ((total - digit) >> radix_bits, positive), digit.astype(dtype)

    start = jnp.zeros_like(sums[0]), jnp.zeros(sums.shape[1:], jnp.bool_)
    (_, positive), digits = jax.lax.scan(step, start, sums)
    return digits, positive


def words_from_fields(
    fields: UInt64[Array, "digits points n"], radix_bits: int, limbs: int
) -> UInt64[Array, "points n limbs"]:
    """Two's-complement words whose bit fields these are; fields beyond the last word are cut off."""
    first = 64 * np.arange(limbs)
    words = jnp.zeros((limbs, *fields.shape[1:]), jnp.uint64)
    for offset in range(-(-64 // radix_bits) + 1):
        index = first // radix_bits + offset
        shift = radix_bits * index - first
        used = (index < fields.shape[0]) & (shift < 64)
        part = jnp.where(jnp.asarray(used)[:, None, None], fields[np.minimum(index, fields.shape[0] - 1)], 0)
        left = jnp.asarray(np.clip(shift, 0, 63).astype(np.uint64))[:, None, None]
        right = jnp.asarray(np.clip(-shift, 0, 63).astype(np.uint64))[:, None, None]
        words = words | ((part << left) >> right)
    return jnp.moveaxis(words, 0, 2)


def integer_digits(
    matrix: fmpz_mat, radix_bits: int, digits: int | None = None
) -> Int[np.ndarray, "digits rows columns"]:
    """Balanced digits of FLINT integers, as few as hold all of them unless told; no JAX, so nothing is compiled."""
    if digits is None:
        largest = max(abs(int(entry)) for entry in matrix.entries())
        digits = balanced_length(largest, radix_bits)
    half = (1 << radix_bits) // 2
    offset = sum(half << (radix_bits * k) for k in range(digits))
    shifted = fmpz_mat(matrix.nrows(), matrix.ncols(), [entry + offset for entry in matrix.entries()])
    planes = np.moveaxis(words_of(shifted, radix_bits * digits + 65), 2, 0)
    return _fields(planes, radix_bits, digits).astype(np.int64) - half
