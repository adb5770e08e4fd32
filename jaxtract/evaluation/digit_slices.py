"""Exact evaluation as one machine-number matrix product per layer: digits of the weights and activations.

With x = sum_i x_i R^i and w = sum_j w_j R^j the product is sum_k R^k sum_{i+j=k} x_i w_j. All digit products
of a layer are one product (digits * points, fan-in) @ (fan-in, slices * width), whose every partial sum is
at most fan-in * (R/2)^2. As long as the machine numbers represent that exactly, the order of summation and
fused multiply-adds do not matter, and the result is the integer itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flint import fmpz_mat
from jax.sharding import Mesh
from jaxtyping import Array, Int, Num, UInt64

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

DigitType = Literal["int8", "float64"]

PRODUCT_BYTES = 1 << 23
"""Size of the digit products of a chunk: about a cache; chunks of many times that were three times slower."""

DIRECTION_DIGITS = 4
"""Digits of directions are counted in such steps, and their rows in powers of two, to compile few shapes."""


class DigitLayer(eqx.Module):
    """Digits of one layer. ``slices`` names the places whose weight digits are not all zero."""

    weight: Num[Array, "fan_in slices_width"]
    bias: Int[Array, "digits 1 width"]
    slices: tuple[int, ...] = eqx.field(static=True)


class _Images(eqx.Module):
    """Digits of what the first layer makes of anchors (with the bias) and of directions (without)."""

    anchors: Int[Array, "digits anchors width"]
    directions: Num[Array, "directions slices_width"]
    places: tuple[int, ...] = eqx.field(static=True)


class _Kernel(eqx.Module):
    """All that the compiled function depends on."""

    layers: tuple[DigitLayer, ...]
    radix_bits: int = eqx.field(static=True)
    input_digits: int = eqx.field(static=True)
    output_limbs: int = eqx.field(static=True)


@final
class DigitSliceEvaluator(ExactEvaluator):
    """Balanced digits of 8 bits in int8 with int32 sums, or of 19 to 26 bits in float64.

    Raises:
        ValueError: x64 is off, a parameter is not dyadic, or the fan-in is too large for exact sums.
    """

    integers: IntegerNetwork = eqx.field(static=True)
    chunk: int = eqx.field(static=True)
    mesh: Mesh = eqx.field(static=True)
    kernel: _Kernel

    def __init__(
        self,
        network: ExactNetwork,
        format: InputFormat,
        *,
        digit_type: DigitType,
        chunk: int | None = None,
        devices: Sequence[Device] | None = None,
    ):
        require_x64()
        self.integers = integer_network(network, format)
        self.mesh = points_mesh(devices)
        kernel = _kernel(self.integers, digit_type)
        self.kernel = on_every_device(kernel, self.mesh)
        self.chunk = self.mesh.size * (points_per_chunk(kernel.layers, kernel.input_digits) if chunk is None else chunk)

    def evaluate_chunk(
        self, words: UInt64[np.ndarray, "points inputs limbs"]
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], Masks]:
        return run_sharded(_from_words, self.mesh, self.chunk, self.kernel, (words,))

    def first_images(self, points: StructuredPoints) -> _Images:
        first, radix_bits = self.kernel.layers[0], self.kernel.radix_bits
        dtype = first.weight.dtype
        anchors = integer_digits(repeated_rows(points.anchors), radix_bits, first.bias.shape[0])
        if points.directions is None:
            directions, places = first.weight, first.slices
        else:
            digits = integer_digits(repeated_rows(points.directions), radix_bits)
            # Few shapes, few compilations: the number of digits grows in steps.
            missing = -len(digits) % DIRECTION_DIGITS
            digits = np.pad(digits, ((0, missing), (0, 0), (0, 0)))
            directions = jnp.asarray(np.moveaxis(digits, 0, 1).reshape(digits.shape[1], -1), dtype)
            places = tuple(range(len(digits)))
        images = _Images(jnp.asarray(anchors, first.bias.dtype), directions, places)
        return on_every_device(images, self.mesh)

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
    dtype = kernel.layers[0].weight.dtype
    digits = balanced_digits(words, kernel.radix_bits, kernel.input_digits, dtype)
    return _from_sums(kernel, layer_sums(kernel.layers[0], digits))


def _from_images(shared: tuple[_Kernel, _Images], split: tuple[Array, Array, UInt64[Array, "points limbs"]]):
    kernel, images = shared
    anchor, direction, steps = split
    dtype = kernel.layers[0].bias.dtype if kernel.layers[0].weight.dtype == jnp.int8 else jnp.dtype(jnp.float64)
    digits = balanced_digits(steps[:, None], kernel.radix_bits, kernel.input_digits, dtype)
    # One product of digits is exact wherever a sum of fan-in of them is.
    products = digits * images.directions[direction].astype(dtype)[None]
    width = images.anchors.shape[2]
    products = products.reshape(len(digits), len(anchor), len(images.places), width)
    return _from_sums(kernel, _at_places(images.anchors[:, anchor], products, images.places))


def _from_sums(kernel: _Kernel, sums: Int[Array, "digits points width"]):
    """All that follows the place-wise sums of the first layer: packed outputs, and the masks."""
    dtype = kernel.layers[0].weight.dtype
    masks = []
    for layer in kernel.layers[1:]:
        values, positive = carry(sums, kernel.radix_bits, dtype, balanced=True)
        masks.append(positive)
        sums = layer_sums(layer, jnp.where(positive, values, jnp.zeros((), dtype)))
    fields, _ = carry(sums, kernel.radix_bits, jnp.dtype(jnp.uint64), balanced=False)
    return words_from_fields(fields, kernel.radix_bits, kernel.output_limbs), tuple(masks)


def layer_sums(layer: DigitLayer, digits: Num[Array, "before points fan_in"]) -> Int[Array, "digits points width"]:
    """Place by place: bias digit plus all products x_i w_j with i + j = k, modulo R^digits."""
    before, points, fan_in = digits.shape
    places, _, width = layer.bias.shape
    product_type = jnp.int32 if digits.dtype == jnp.int8 else jnp.float64
    products = jax.lax.dot_general(
        digits.reshape(before * points, fan_in),
        layer.weight,
        (((1,), (0,)), ((), ())),
        preferred_element_type=product_type,
    ).reshape(before, points, len(layer.slices), width)
    return _at_places(jnp.broadcast_to(layer.bias, (places, points, width)), products, layer.slices)


def _at_places(
    sums: Int[Array, "digits points width"],
    products: Num[Array, "before points slices width"],
    slices: tuple[int, ...],
) -> Int[Array, "digits points width"]:
    """Add product (i, j) at place i + slices[j]."""
    before, places = products.shape[0], sums.shape[0]
    for index, place in enumerate(slices):
        # Places beyond the last are zero modulo R^digits; a negative pad cuts them off.
        part = products[:, :, index].astype(sums.dtype)
        sums = sums + jax.lax.pad(part, part.dtype.type(0), ((place, places - place - before, 0), (0, 0, 0), (0, 0, 0)))
    return sums


def _kernel(integers: IntegerNetwork, digit_type: DigitType) -> _Kernel:
    radix_bits = digit_radix_bits(max(integers.widths[:-1]), digit_type)
    dtype = jnp.dtype(digit_type)
    input_digits = balanced_length(1 << (integers.format.bits - 1), radix_bits)
    layers = []
    for index, (weight, bias) in enumerate(zip(integers.weights, integers.biases, strict=True)):
        if index + 1 < len(integers.weights):
            places = balanced_length(integers.bounds[index], radix_bits)
        else:
            places = field_count(integers.output_limbs, radix_bits)
        layers.append(digit_layer(weight, bias, radix_bits, places, dtype, input_digits))
    return _Kernel(tuple(layers), radix_bits, input_digits, integers.output_limbs)


def digit_radix_bits(fan_in: int, digit_type: DigitType) -> int:
    """The widest digits whose products sum exactly, fan_in * (R/2)^2 <= 2^53, or 8 for int8 if 2^31 holds."""
    if digit_type == "int8":
        if fan_in << 14 >= 1 << 31:
            raise ValueError(
                f"a layer has fan-in {fan_in}, but int32 sums of int8 digits are exact only below {1 << 17}; "
                "use digit_type='float64'"
            )
        return 8
    if digit_type != "float64":
        raise ValueError(f"digit_type is {digit_type!r}; give 'int8' or 'float64'")
    radix_bits = 26
    while fan_in << (2 * radix_bits - 2) > 1 << 53:
        radix_bits -= 1
    if radix_bits < 8:
        raise ValueError(f"a layer has fan-in {fan_in}, which leaves float64 digits of {radix_bits} bits; use FLINT")
    return radix_bits


def digit_layer(
    weight: fmpz_mat, bias: fmpz_mat, radix_bits: int, places: int, dtype: jnp.dtype, input_digits: int
) -> DigitLayer:
    digits = integer_digits(weight, radix_bits)
    used = tuple(int(place) for place in np.flatnonzero(digits.any(axis=(1, 2)))) or (0,)
    side_by_side = np.moveaxis(digits[list(used)], 0, 1).reshape(weight.nrows(), -1)
    bias_digits = integer_digits(bias, radix_bits)[:places]
    padding = ((0, places - len(bias_digits)), (0, 0), (0, 0))
    half = 1 << (radix_bits - 1)
    # Products at one place: fan-in times slices in a layer, or digits of a step times digits of a direction.
    largest = (max(weight.nrows() * len(used), input_digits) + 2) * half * half
    if largest >= 1 << 62:
        raise ValueError(f"sums of digits reach {largest}, beyond the 2^62 that carries allow; use FLINT")
    # int32 sums where they suffice: they halve the traffic of the place-wise additions.
    sums = jnp.int32 if dtype == jnp.int8 and largest < 1 << 31 else jnp.int64
    return DigitLayer(
        jnp.asarray(side_by_side, dtype),
        jnp.asarray(np.pad(bias_digits, padding), sums),
        used,
    )


def points_per_chunk(layers: Sequence[DigitLayer], input_digits: int) -> int:
    """A power of two of points whose digit products stay within ``PRODUCT_BYTES``, 8 to 256."""
    digits, largest = input_digits, 1
    for layer in layers:
        size = 4 if layer.weight.dtype == jnp.int8 else 8
        largest = max(largest, digits * layer.weight.shape[1] * size)
        digits = layer.bias.shape[0]
    points = PRODUCT_BYTES // largest
    return min(256, max(8, 1 << points.bit_length() - 1)) if points else 8
