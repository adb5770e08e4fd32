"""What every exact evaluator does: packed integers in, packed integers out, no rounding in between."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Int, UInt64

from jaxtract.evaluation.bounds import IntegerNetwork, limbs_for
from jaxtract.evaluation.packing import Packed
from jaxtract.evaluation.structured import StructuredPoints, structured
from jaxtract.oracle.points import PointBatch

Masks = tuple[Bool[np.ndarray, "points width"], ...]
"""For every hidden layer which units are positive; a unit at 0 is not."""


class ExactEvaluator(eqx.Module):
    """A network evaluated without rounding at a batch of points.

    Attributes:
        integers: the network over the integers, with the format of the inputs and the proven bounds.
        chunk: points evaluated together; memory is proportional to it, whatever the batch.
    """

    integers: eqx.AbstractVar[IntegerNetwork]
    chunk: eqx.AbstractVar[int]

    @abc.abstractmethod
    def evaluate_chunk(
        self, words: UInt64[np.ndarray, "points inputs limbs"]
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], Masks]:
        """Mantissas of the outputs, and the masks. ``words`` holds 1 to ``chunk`` points in the input format."""

    @abc.abstractmethod
    def first_images(self, points: StructuredPoints) -> Any:
        """The images of anchors and directions as ``evaluate_images`` wants them, once per batch."""

    @abc.abstractmethod
    def evaluate_images(
        self,
        images: Any,
        anchor: Int[np.ndarray, " points"],
        direction: Int[np.ndarray, " points"],
        steps: UInt64[np.ndarray, "points limbs"],
    ) -> tuple[UInt64[np.ndarray, "points outputs output_limbs"], Masks]:
        """As ``evaluate_chunk``, for 1 to ``chunk`` points made of images."""

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

    def with_masks(self, inputs: Packed) -> tuple[Packed, Masks]:
        """f at every point and, per hidden layer, which units are positive there."""
        self.check(inputs)
        return self._in_chunks(len(inputs), lambda rows: self.evaluate_chunk(inputs.words[rows]))

    def at_points(self, points: PointBatch) -> Packed:
        """f at every point of a batch that is kept as anchors, directions and steps, exactly.

        Raises:
            ValueError: the points have another dimension, are finer than the grid, or exceed the bits of the format.
        """
        return self.at_points_with_masks(points)[0]

    def at_points_with_masks(self, points: PointBatch) -> tuple[Packed, Masks]:
        """``at_points`` with the masks."""
        parts = structured(points, self.integers)
        images = self.first_images(parts)
        return self._in_chunks(
            len(parts),
            lambda rows: self.evaluate_images(images, parts.anchor[rows], parts.direction[rows], parts.steps[rows]),
        )

    def _in_chunks(self, count: int, evaluate: Callable[[slice], tuple[np.ndarray, Masks]]) -> tuple[Packed, Masks]:
        widths = self.integers.widths
        outputs = np.empty((count, widths[-1], self.integers.output_limbs), np.uint64)
        masks = tuple(np.empty((count, width), np.bool_) for width in widths[1:-1])
        for start in range(0, count, self.chunk):
            rows = slice(start, min(start + self.chunk, count))
            outputs[rows], positive = evaluate(rows)
            for mask, part in zip(masks, positive, strict=True):
                mask[rows] = part
        return Packed(outputs, self.integers.exponents[-1]), masks

    def check(self, inputs: Packed) -> None:
        """Raises ValueError if the inputs have another shape or grid, or exceed the bits of the format."""
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
