"""A batch anchor + step * direction for packed evaluation: the first layer is linear, so it maps the parts.

The images of anchors and directions are few and come from FLINT; the points are formed on the device, from
their digits or residues. No coordinate of a point ever exists, and no Python integer per coordinate.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpz, fmpz_mat
from jaxtyping import Int, UInt64

from jaxtract.evaluation.bounds import InputFormat, IntegerNetwork
from jaxtract.evaluation.packing import words_of
from jaxtract.oracle.points import PointBatch


@dataclasses.dataclass(frozen=True)
class StructuredPoints:
    """First-layer values of point r: anchors[anchor[r]] + steps[r] * directions[direction[r]], on the grid 2^-e_1.

    Attributes:
        anchors: W^ a + b^, (anchors, width).
        directions: W^ v, (directions, width), or None for the axes, whose images are the rows of W^.
        anchor, direction: row indices, one per point.
        steps: two's-complement words within the bits of the format.
    """

    anchors: fmpz_mat
    directions: fmpz_mat | None
    anchor: Int[np.ndarray, " points"]
    direction: Int[np.ndarray, " points"]
    steps: UInt64[np.ndarray, "points limbs"]

    def __len__(self) -> int:
        return len(self.anchor)


def structured(points: PointBatch, integers: IntegerNetwork) -> StructuredPoints:
    """Map anchors and directions through the first layer.

    Raises:
        ValueError: the points have another dimension, are finer than the grid of the format, or may exceed its bits.
    """
    format = integers.format
    if points.dimension != integers.widths[0]:
        raise ValueError(f"points have {points.dimension} coordinates, but the network has {integers.widths[0]} inputs")
    needed = format_of(points)
    if needed.exponent > format.exponent:
        raise ValueError(f"points lie on the grid 2^-{needed.exponent}, finer than 2^-{format.exponent} of the format")
    if needed.bits - needed.exponent > format.bits - format.exponent:
        raise ValueError(
            f"points may reach 2^{needed.bits - needed.exponent - 1}, beyond the {format.bits} bits that the bounds "
            "were proven for; build an evaluator with more bits"
        )
    weight, bias = integers.weights[0], integers.biases[0]
    # Shifted after the product, whose factors are shorter then.
    anchors = points.anchors.mantissa * weight * (fmpz(1) << (format.exponent - points.anchors.exponent))
    anchors = anchors + fmpz_mat(anchors.nrows(), 1, [1] * anchors.nrows()) * bias
    shift = format.exponent - points.step_exponent - points.direction_exponent
    steps = fmpz_mat(len(points), 1, list(points.steps)) * (fmpz(1) << shift)
    return StructuredPoints(
        anchors,
        None if points.directions is None else points.directions.mantissa * weight,
        np.array(points.anchor, np.int32),
        np.array(points.direction, np.int32),
        words_of(steps, format.bits)[:, 0],
    )


def format_of(points: PointBatch) -> InputFormat:
    """A format that holds every point of the batch, every anchor, and every step as a number of its own."""
    exponent = points.exponent
    unit = exponent - points.step_exponent - points.direction_exponent
    step = max(1, _largest(points.steps)) << unit
    # At least 1 each: a zero direction still has steps that must fit, and a zero step a direction.
    reach = step * max(1, 1 if points.directions is None else _largest(points.directions.mantissa.entries()))
    anchor = _largest(points.anchors.mantissa.entries()) << (exponent - points.anchors.exponent)
    return InputFormat(exponent, (anchor + reach).bit_length() + 1)


def repeated_rows(matrix: fmpz_mat) -> fmpz_mat:
    """The last row repeated until their number is a power of two: few shapes, few compilations."""
    rows = matrix.tolist()
    rows += [rows[-1]] * ((1 << (len(rows) - 1).bit_length()) - len(rows))
    return fmpz_mat(len(rows), matrix.ncols(), [entry for row in rows for entry in row])


def _largest(numbers: object) -> int:
    return int(max((abs(z) for z in numbers), default=fmpz(0)))  # type: ignore[attr-defined]
