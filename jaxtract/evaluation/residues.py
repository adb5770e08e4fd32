"""Exact evaluation in residues: one float64 product per prime, no carries inside a layer.

An integer is kept as its balanced residues modulo odd primes m_i of about 22 bits. A layer is a product
modulo every prime, and ReLU masks residues. The sign is what residues do not show: with M = prod m_i and
xi_i = x_i (M / m_i)^-1 mod m_i, x = sum_i xi_i M / m_i - q M for the integer q = round(sum_i xi_i / m_i), as
long as |x| <= 0.4 M. The digits of that sum come from one small product with the digits of M / m_i and M.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from flint import fmpz, fmpz_mat
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt64

from jaxtract._x64 import require_x64
from jaxtract.evaluation.bounds import InputFormat, IntegerNetwork, integer_network
from jaxtract.evaluation.digits import (
    balanced_digits,
    balanced_length,
    carry,
    field_count,
    integer_digits,
    words_from_fields,
)
from jaxtract.evaluation.evaluator import ExactEvaluator, Masks
from jaxtract.evaluation.sharding import Device, on_every_device, points_mesh, run_sharded
from jaxtract.evaluation.structured import StructuredPoints, repeated_rows
from jaxtract.network.exact_network import ExactNetwork

PRODUCT_BYTES = 1 << 23
"""Size of the residues of a chunk in its widest layer, as for digit slices."""

LARGEST_RADIX_BITS = 22


class _Layer(eqx.Module):
    """Residues of one layer, and the digits that turn its values back into integers.

    ``recombine`` holds the digits of M / m_i, one column each, and of -M in the last column, for the product
    M of the first primes, as many as this layer's bound needs.
    """

    weight: Float[Array, "primes fan_in width"]
    bias: Float[Array, "primes 1 width"]
    inverse: Float[Array, "layer_primes 1 1"]
    recombine: Float[Array, "digits layer_primes_and_one"]


class _Images(eqx.Module):
    """Residues of what the first layer makes of anchors (with the bias) and of directions (without)."""

    anchors: Float[Array, "primes anchors width"]
    directions: Float[Array, "primes directions width"]


class _Kernel(eqx.Module):
    """All that the compiled function depends on."""

    layers: tuple[_Layer, ...]
    primes: Float[Array, "primes 1 1"]
    powers: Float[Array, "primes input_digits"]
    radix_bits: int = eqx.field(static=True)
    output_limbs: int = eqx.field(static=True)


@final
class ResidueEvaluator(ExactEvaluator):
    """Residues modulo primes of about 22 bits in float64: fewer operations than digits at high precision.

    Raises:
        ValueError: x64 is off, a parameter is not dyadic, or the fan-in is too large for exact sums.
    """

    integers: IntegerNetwork = eqx.field(static=True)
    chunk: int = eqx.field(static=True)
    mesh: Mesh = eqx.field(static=True)
    prime_numbers: tuple[int, ...] = eqx.field(static=True)
    kernel: _Kernel

    def __init__(
        self,
        network: ExactNetwork,
        format: InputFormat,
        *,
        chunk: int | None = None,
        devices: Sequence[Device] | None = None,
    ):
        require_x64()
        self.integers = integer_network(network, format)
        self.mesh = points_mesh(devices)
        largest_bounds = [max(1, bound) for bound in self.integers.bounds]
        self.prime_numbers = tuple(_primes(max(self.integers.widths[:-1]), largest_bounds))
        self.kernel = on_every_device(_kernel(self.integers, list(self.prime_numbers)), self.mesh)
        self.chunk = self.mesh.size * (_chunk(self.integers, len(self.prime_numbers)) if chunk is None else chunk)

    def evaluate_chunk(
        self, words: UInt64[np.ndarray, "points inputs limbs"]
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], Masks]:
        return run_sharded(_from_words, self.mesh, self.chunk, self.kernel, (words,))

    def first_images(self, points: StructuredPoints) -> _Images:
        anchors = self._residues(points.anchors)
        moved = points.directions
        images = _Images(anchors, self.kernel.layers[0].weight if moved is None else self._residues(moved))
        return on_every_device(images, self.mesh)

    def _residues(self, matrix: fmpz_mat) -> Float[Array, "primes rows columns"]:
        return jnp.asarray(_residues(repeated_rows(matrix), list(self.prime_numbers), self.kernel.radix_bits))

    def evaluate_images(
        self,
        images: _Images,
        anchor: Int[np.ndarray, " points"],
        direction: Int[np.ndarray, " points"],
        steps: UInt64[np.ndarray, "points limbs"],
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], Masks]:
        return run_sharded(_from_images, self.mesh, self.chunk, (self.kernel, images), (anchor, direction, steps))


def _from_words(kernel: _Kernel, split: tuple[UInt64[Array, "points inputs limbs"]]):
    (words,) = split
    first = kernel.layers[0]
    return _from_sums(kernel, jnp.matmul(_input_residues(kernel, words), first.weight) + first.bias)


def _from_images(shared: tuple[_Kernel, _Images], split: tuple[Array, Array, UInt64[Array, "points limbs"]]):
    kernel, images = shared
    anchor, direction, steps = split
    moves = _input_residues(kernel, steps[:, None]) * images.directions[:, direction]
    return _from_sums(kernel, images.anchors[:, anchor] + moves)


def _input_residues(kernel: _Kernel, words: UInt64[Array, "points n limbs"]) -> Float[Array, "primes points n"]:
    digits = balanced_digits(words, kernel.radix_bits, kernel.powers.shape[1], jnp.dtype(jnp.float64))
    return _reduce(jnp.tensordot(kernel.powers, digits, 1), kernel.primes)


def _from_sums(kernel: _Kernel, sums: Float[Array, "primes points width"]):
    """All that follows the first layer's products: packed outputs, and the masks."""
    residues, masks = _reduce(sums, kernel.primes), []
    for layer, following in itertools.pairwise(kernel.layers):
        places = _integer_sums(layer, residues, kernel.primes)
        _, positive = carry(places, kernel.radix_bits, jnp.dtype(jnp.float64), balanced=True)
        masks.append(positive)
        sums = jnp.matmul(jnp.where(positive, residues, 0.0), following.weight) + following.bias
        residues = _reduce(sums, kernel.primes)
    places = _integer_sums(kernel.layers[-1], residues, kernel.primes)
    fields, _ = carry(places, kernel.radix_bits, jnp.dtype(jnp.uint64), balanced=False)
    return words_from_fields(fields, kernel.radix_bits, kernel.output_limbs), tuple(masks)


def _reduce(
    sums: Float[Array, "primes points n"], primes: Float[Array, "primes 1 1"]
) -> Float[Array, "primes points n"]:
    """The balanced residue of integers up to 2^52.

    Quotient times prime stays an integer below 2^53, so fused multiply-adds change nothing. The rounded
    quotient may be one off near a half; the second pass mends that.
    """
    inverse = 1 / primes
    for _ in range(2):
        sums = sums - jnp.rint(sums * inverse) * primes
    return sums


def _integer_sums(layer: _Layer, residues: Float[Array, "primes points n"], primes: Float[Array, "primes 1 1"]):
    """Place-wise sums of the digits of x = sum_i xi_i M / m_i - q M."""
    count = layer.inverse.shape[0]
    weights = _reduce(residues[:count] * layer.inverse, primes[:count])
    quotient = jnp.rint(jnp.sum(weights / primes[:count], axis=0, keepdims=True))
    return jnp.tensordot(layer.recombine, jnp.concatenate([weights, quotient]), 1).astype(jnp.int64)


def _kernel(integers: IntegerNetwork, primes: list[int]) -> _Kernel:
    radix_bits = _radix_bits(integers, primes)
    column = jnp.asarray(np.array(primes, np.float64))[:, None, None]
    layers = []
    for index, (weight, bias, bound) in enumerate(zip(integers.weights, integers.biases, integers.bounds, strict=True)):
        if index + 1 < len(integers.weights):
            places = balanced_length(bound, radix_bits)
        else:
            places = field_count(integers.output_limbs, radix_bits)
        weights, biases = (jnp.asarray(_residues(matrix, primes, radix_bits)) for matrix in (weight, bias))
        inverse, recombine = _recombination(primes[: _count_for(primes, bound)], radix_bits, places)
        layers.append(_Layer(weights, biases, inverse, recombine))
    input_digits = balanced_length(1 << (integers.format.bits - 1), radix_bits)
    powers = jnp.asarray(_powers(primes, radix_bits, input_digits))
    return _Kernel(tuple(layers), column, powers, radix_bits, integers.output_limbs)


def _primes(fan_in: int, bounds: list[int]) -> list[int]:
    """Odd primes, the largest first, with fan_in ((m-1)/2)^2 + m <= 2^52 and a product beyond 2.5 bounds."""
    candidate = min(2 * math.isqrt(((1 << 52) - (1 << 27)) // fan_in) + 1, (1 << 26) - 1)
    primes: list[int] = []
    product, goal = 1, 5 * max(bounds)
    while 2 * product <= goal:
        if candidate < 1 << 12:
            raise ValueError(
                f"fan-in {fan_in} and values of {max(bounds).bit_length()} bits leave too few primes whose products "
                "sum exactly in float64; use FLINT"
            )
        if fmpz(candidate).is_prime():
            primes.append(candidate)
            product *= candidate
        candidate -= 2
    return primes


def _count_for(primes: list[int], bound: int) -> int:
    """How many of the first primes determine integers of modulus up to ``bound``."""
    product, count = 1, 0
    while 2 * product <= 5 * max(1, bound):
        product *= primes[count]
        count += 1
    return count


def _radix_bits(integers: IntegerNetwork, primes: list[int]) -> int:
    """Digits so wide that sums of residue times digit stay below 2^52."""
    parameters = (entry for matrix in (*integers.weights, *integers.biases) for entry in matrix.entries())
    largest = max(1 << (integers.format.bits - 1), integers.bounds[0], *(abs(int(entry)) for entry in parameters))
    for radix_bits in range(LARGEST_RADIX_BITS, 7, -1):
        # Inputs, weights and first images become residues digit by digit, residues become digits prime by prime.
        terms = max(len(primes) + 1, balanced_length(largest, radix_bits))
        if terms * (primes[0] // 2 + 1) << (radix_bits - 1) <= 1 << 52:
            return radix_bits
    raise ValueError(f"{len(primes)} primes leave no digits whose sums are exact in float64; use FLINT")


def _powers(primes: list[int], radix_bits: int, digits: int) -> Float[np.ndarray, "primes digits"]:
    """Balanced residues of R^k."""
    table = [[_balanced(pow(1 << radix_bits, k, prime), prime) for k in range(digits)] for prime in primes]
    return np.array(table, np.float64)


def _balanced(residue: int, prime: int) -> int:
    return residue - prime if residue > prime // 2 else residue


def _residues(matrix: fmpz_mat, primes: list[int], radix_bits: int) -> Float[np.ndarray, "primes rows columns"]:
    """Balanced residues of FLINT integers."""
    digits = integer_digits(matrix, radix_bits)
    column = np.array(primes, np.int64)[:, None, None]
    half = column // 2
    # float64 is exact here, by the choice of the radix, and much faster than NumPy's integer products.
    sums = np.tensordot(_powers(primes, radix_bits, len(digits)), digits.astype(np.float64), 1).astype(np.int64)
    return ((sums + half) % column - half).astype(np.float64)


def _recombination(
    primes: list[int], radix_bits: int, places: int
) -> tuple[Float[Array, "primes 1 1"], Float[Array, "digits primes_and_one"]]:
    product = math.prod(primes)
    cofactors = [product // prime for prime in primes]
    inverse = [_balanced(pow(cofactor, -1, prime), prime) for cofactor, prime in zip(cofactors, primes, strict=True)]
    digits = integer_digits(fmpz_mat(1, len(primes) + 1, [*cofactors, -product]), radix_bits)[:places, 0]
    table = np.pad(digits, ((0, places - len(digits)), (0, 0)))
    return jnp.asarray(np.array(inverse, np.float64))[:, None, None], jnp.asarray(table, jnp.float64)


def _chunk(integers: IntegerNetwork, primes: int) -> int:
    """A power of two of points whose residues stay within ``PRODUCT_BYTES``, 8 to 256."""
    points = PRODUCT_BYTES // (8 * primes * max(integers.widths))
    return min(256, max(8, 1 << points.bit_length() - 1)) if points else 8
