"""Any Python callable as an oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxtract.oracle.oracle import NumberSystem, Oracle
from jaxtract.oracle.points import PointBatch
from precision.rounded import FLOAT32_BITS


class CallableOracle(Oracle):
    """``function`` asked batch by batch.

    Args:
        function: takes a batch and returns one row of ``outputs`` numbers per point.
            ``float64``: gets a float64 array (points, inputs), returns an array (points, outputs).
            ``exact``: gets a list of lists of ``fractions.Fraction``, returns rationals (``Fraction``,
            ``int`` or ``flint.fmpq``). ``mp``: as ``exact`` with a second argument, the correct bits
            asked of every answer; returns rationals or ``mpmath.mpf``.
        inputs, outputs: dimensions of a point and of an answer.
        number_system: how the function answers.
        input_bits: significand bits that the function keeps of a coordinate, 24 for one that computes in float32;
            None where that is not known.

    Raises:
        ValueError: dimensions below one, an unknown number system, or fewer input bits than an extraction needs.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        inputs: int,
        outputs: int = 1,
        number_system: NumberSystem = "float64",
        input_bits: int | None = None,
    ):
        if inputs < 1 or outputs < 1:
            raise ValueError(f"inputs and outputs must be at least 1; got {inputs} and {outputs}")
        if number_system not in ("exact", "mp", "float64"):
            raise ValueError(f"number_system is {number_system!r}; choose 'exact', 'mp' or 'float64'")
        if input_bits is not None and input_bits < FLOAT32_BITS:
            raise ValueError(
                f"input_bits is {input_bits}; an extraction needs {FLOAT32_BITS}, those of float32, or more"
            )
        self.function = function
        self.inputs = inputs
        self.outputs = outputs
        self.number_system = number_system
        self.input_bits = input_bits

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        match self.number_system:
            case "float64":
                return np.asarray(self.function(points.to_float64()))
            case "exact":
                return np.array(self.function(points.fractions()), dtype=object)
            case "mp":
                return np.array(self.function(points.fractions(), answer_bits), dtype=object)


def oracle_function(
    *, inputs: int, outputs: int = 1, number_system: NumberSystem = "float64", input_bits: int | None = None
) -> Callable[[Callable[..., Any]], CallableOracle]:
    """Decorator that declares a function's dimensions, so that the command line can be pointed at it."""

    def declare(function: Callable[..., Any]) -> CallableOracle:
        return CallableOracle(
            function, inputs=inputs, outputs=outputs, number_system=number_system, input_bits=input_bits
        )

    return declare
