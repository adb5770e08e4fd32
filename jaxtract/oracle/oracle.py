"""The black box: one small abstract class. Extraction gets an oracle and nothing else."""

from __future__ import annotations

import abc
from typing import Literal

import numpy as np

from jaxtract.oracle.points import PointBatch

NumberSystem = Literal["exact", "mp", "float64"]


class OracleError(ValueError):
    """The oracle broke its contract; the message names what arrived and what to do."""


class Oracle(abc.ABC):
    """Answers f(x) for batches of points. Implementations declare what they are.

    Attributes:
        inputs, outputs: dimensions of x and f(x).
        number_system: ``exact`` (rationals, no rounding), ``mp`` (as many correct bits as are asked) or
            ``float64``.
        input_bits: significand bits of a coordinate that the black box takes without rounding it: 24 where it
            computes in float32; None where that is not known.
    """

    inputs: int
    outputs: int
    number_system: NumberSystem
    input_bits: int | None = None

    @abc.abstractmethod
    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        """f at every point of the batch, in its order.

        Args:
            points: the batch; ``dense``, ``fractions`` and ``to_float64`` write it out.
            answer_bits: correct bits asked of each answer, relative to the largest term that the value
                is summed from; None asks for exact rationals. Only ``mp`` oracles need to look at it;
                answering with more bits is allowed.

        Returns:
            Shape (points, outputs). Exact and mp oracles: an object array of ``flint.fmpq`` (or
            ``fractions.Fraction`` or ``int``); float64 oracles: a float64 array.
        """
