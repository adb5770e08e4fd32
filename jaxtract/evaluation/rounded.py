"""P-bit mode: digits below 2^-P are dropped after every hidden layer, and the radius of the answer is proven.

Exact evaluation grows by 60 to 80 bits per layer. Here the activations h of a layer keep their digits from some
place k on: with balanced digits |h / R^k - h'| < 1, so that a unit of the next layer is off by at most the sum of
its weights' moduli times the radius before, plus 1 for its rounded bias. These radii are integers, computed once.
Where a unit's value is not larger than its radius, its sign is unknown and the point is evaluated exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from flint import fmpz_mat
from jax.sharding import Mesh
from jaxtyping import Array, Bool, UInt64

from jaxtract.evaluation.bounds import InputFormat, IntegerNetwork, limbs_for
from jaxtract.evaluation.digit_slices import (
    DigitLayer,
    DigitSliceEvaluator,
    DigitType,
    digit_layer,
    digit_radix_bits,
    layer_sums,
    points_per_chunk,
)
from jaxtract.evaluation.digits import balanced_digits, balanced_length, carry, field_count, words_from_fields
from jaxtract.evaluation.packing import Packed, matrix_of, words_of
from jaxtract.evaluation.sharding import Device, on_every_device, points_mesh, run_sharded
from jaxtract.network.exact_network import ExactNetwork

PAYS_BELOW = 0.6
"""Share of the exact digit products below which dropping digits is worth a second compiled function."""


@dataclasses.dataclass(frozen=True)
class Rounded:
    """f at a batch of points, |f - values| <= radius 2^-values.exponent in every entry.

    Attributes:
        values: (points, outputs).
        radius: in units of the last place.
        exact: the points that an undecided sign sent to the exact path.
    """

    values: Packed
    radius: int
    exact: Bool[np.ndarray, " points"]


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """One layer of the rounded network, on its own grid 2^-exponent.

    Attributes:
        weight, bias: integers; the bias is rounded to the grid.
        exponent: of the values before digits are dropped.
        bound: largest modulus of a value.
        radii: per unit, how far a value may be from the exact one.
        dropped: digits dropped after ReLU.
    """

    weight: fmpz_mat
    bias: fmpz_mat
    exponent: int
    bound: int
    radii: tuple[int, ...]
    dropped: int


def rounding_plan(integers: IntegerNetwork, prec: int, radix_bits: int) -> tuple[LayerPlan, ...]:
    """Grids, bounds and radii of all layers when activations keep at least ``prec`` fractional bits."""
    reach, radius, lost, plans = 1 << (integers.format.bits - 1), 0, 0, []
    for layer, (weight, bias) in enumerate(zip(integers.weights, integers.biases, strict=True)):
        exponent = integers.exponents[layer] - lost
        rounded = fmpz_mat(1, bias.ncols(), [(2 * int(b) + (1 << lost)) >> (lost + 1) for b in bias.entries()])
        inexact = [int(b) != int(r) << lost for b, r in zip(bias.entries(), rounded.entries(), strict=True)]
        sums = [sum(abs(int(w)) for w in column) for column in weight.transpose().tolist()]
        radii = tuple(total * radius + wrong for total, wrong in zip(sums, inexact, strict=True))
        bound = max(total * reach + abs(int(b)) for total, b in zip(sums, rounded.entries(), strict=True))
        last = layer + 1 == len(integers.weights)
        dropped = 0 if last else max(0, (exponent - prec) // radix_bits)
        plans.append(LayerPlan(weight, rounded, exponent, bound, radii, dropped))
        shift = dropped * radix_bits
        # Rounded up, and one more for the digits dropped.
        reach, radius = (-(-x >> shift) + (dropped > 0) for x in (bound, max(radii)))
        lost += shift
    return tuple(plans)


def rounding_pays(integers: IntegerNetwork, prec: int, *, digit_type: DigitType = "float64") -> bool:
    """Whether the digit products of the activations shrink below ``PAYS_BELOW`` of the exact ones."""
    radix_bits = digit_radix_bits(max(integers.widths[:-1]), digit_type)
    exact, rounded = 0, 0
    exact_digits = rounded_digits = -(-integers.format.bits // radix_bits)
    for plan, bound in zip(rounding_plan(integers, prec, radix_bits), integers.bounds, strict=True):
        size = plan.weight.nrows() * plan.weight.ncols()
        exact, rounded = exact + exact_digits * size, rounded + rounded_digits * size
        exact_digits = balanced_length(bound, radix_bits)
        rounded_digits = balanced_length(plan.bound, radix_bits) - plan.dropped
    return rounded < PAYS_BELOW * exact


class _RoundedLayer(eqx.Module):
    """``uncertain``: units whose radius is not 0. A digit at place ``decided_from`` or above decides their sign."""

    layer: DigitLayer
    uncertain: Bool[Array, " width"]
    decided_from: int = eqx.field(static=True)
    dropped: int = eqx.field(static=True)


class _Kernel(eqx.Module):
    layers: tuple[_RoundedLayer, ...]
    radix_bits: int = eqx.field(static=True)
    input_digits: int = eqx.field(static=True)
    output_limbs: int = eqx.field(static=True)


@final
class RoundedEvaluator(eqx.Module):
    """Digit slices with digits dropped after every hidden layer, and digit slices without for what stays undecided.

    Args:
        prec: fractional bits that activations keep; the radius of the answers follows from it and the weights.
        chunk: points per device and call.

    Raises:
        ValueError: as ``DigitSliceEvaluator``, or ``prec`` is below 1 or so small that no sign could ever be decided.
    """

    exact: DigitSliceEvaluator
    plan: tuple[LayerPlan, ...] = eqx.field(static=True)
    chunk: int = eqx.field(static=True)
    mesh: Mesh = eqx.field(static=True)
    kernel: _Kernel

    def __init__(
        self,
        network: ExactNetwork,
        format: InputFormat,
        prec: int,
        *,
        digit_type: DigitType = "float64",
        chunk: int | None = None,
        devices: Sequence[Device] | None = None,
    ):
        if prec < 1:
            raise ValueError(f"prec is {prec}; give the fractional bits that activations keep, at least 1")
        self.exact = DigitSliceEvaluator(network, format, digit_type=digit_type, chunk=chunk, devices=devices)
        self.mesh = points_mesh(devices)
        radix_bits = self.exact.kernel.radix_bits
        self.plan = rounding_plan(self.exact.integers, prec, radix_bits)
        kernel = _kernel(self.plan, radix_bits, self.exact.kernel.input_digits, digit_type)
        self.kernel = on_every_device(kernel, self.mesh)
        layers = [rounded.layer for rounded in kernel.layers]
        self.chunk = self.mesh.size * (points_per_chunk(layers, kernel.input_digits) if chunk is None else chunk)

    @property
    def radius(self) -> int:
        """Bound of the error of every output, in units of 2^-exponent of the values."""
        return max(1, *self.plan[-1].radii)

    def __call__(self, inputs: Packed) -> Rounded:
        """f at every packed point, within the radius.

        Raises:
            ValueError: as ``ExactEvaluator.__call__``.
        """
        self.exact.check(inputs)
        words = np.empty((len(inputs), self.exact.integers.widths[-1], self.kernel.output_limbs), np.uint64)
        undecided = np.empty(len(inputs), np.bool_)
        for start in range(0, len(inputs), self.chunk):
            rows = slice(start, min(start + self.chunk, len(inputs)))
            words[rows], undecided[rows] = run_sharded(
                _rounded, self.mesh, self.chunk, self.kernel, (inputs.words[rows],)
            )
        if undecided.any():
            words[undecided] = self._exactly(Packed(inputs.words[undecided], inputs.exponent))
        return Rounded(Packed(words, self.plan[-1].exponent), self.radius, undecided)

    def _exactly(self, inputs: Packed) -> UInt64[np.ndarray, "points outputs limbs"]:
        values = self.exact(inputs)
        matrix, shift = matrix_of(values.words), values.exponent - self.plan[-1].exponent
        floors = fmpz_mat(matrix.nrows(), matrix.ncols(), [entry >> shift for entry in matrix.entries()])
        return words_of(floors, 64 * self.kernel.output_limbs)


def _rounded(kernel: _Kernel, split: tuple[UInt64[Array, "points inputs limbs"]]):
    (words,) = split
    dtype = kernel.layers[0].layer.weight.dtype
    digits = balanced_digits(words, kernel.radix_bits, kernel.input_digits, dtype)
    undecided = jnp.zeros(words.shape[0], jnp.bool_)
    for rounded in kernel.layers[:-1]:
        values, positive = carry(layer_sums(rounded.layer, digits), kernel.radix_bits, dtype, balanced=True)
        small = ~(values[rounded.decided_from :] != 0).any(axis=0)
        undecided = undecided | (small & rounded.uncertain).any(axis=1)
        digits = jnp.where(positive, values[rounded.dropped :], jnp.zeros((), dtype))
    sums = layer_sums(kernel.layers[-1].layer, digits)
    fields, _ = carry(sums, kernel.radix_bits, jnp.dtype(jnp.uint64), balanced=False)
    return words_from_fields(fields, kernel.radix_bits, kernel.output_limbs), undecided


def _kernel(plan: Sequence[LayerPlan], radix_bits: int, input_digits: int, digit_type: DigitType) -> _Kernel:
    # Answers of the exact path differ from rounded ones by up to the radius.
    limbs = limbs_for((plan[-1].bound + max(plan[-1].radii) + 1).bit_length() + 1)
    layers = []
    for index, step in enumerate(plan):
        last = index + 1 == len(plan)
        places = field_count(limbs, radix_bits) if last else balanced_length(step.bound, radix_bits)
        layer = digit_layer(step.weight, step.bias, radix_bits, places, jnp.dtype(digit_type), input_digits)
        decided_from = _decided_from(max(step.radii), radix_bits)
        if not last and (decided_from >= places or step.dropped >= places):
            raise ValueError(
                f"the radius of hidden layer {index + 1} reaches its largest values, so that no sign is ever decided; "
                "raise prec"
            )
        layers.append(_RoundedLayer(layer, jnp.asarray([r > 0 for r in step.radii]), decided_from, step.dropped))
    return _Kernel(tuple(layers), radix_bits, input_digits, limbs)


def _decided_from(radius: int, radix_bits: int) -> int:
    """The lowest place at which a non-zero digit makes a number larger than the radius, whatever is below it."""
    radix, place = 1 << radix_bits, 0
    while radix**place - (radix // 2) * ((radix**place - 1) // (radix - 1)) <= radius:
        place += 1
    return place
