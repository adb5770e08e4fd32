"""Black boxes that explain: points in, gradients out.

A gradient oracle is an oracle whose answer at x is the Jacobian of f, its m * d numbers df_o/dx_j in one row, output
by output. So everything that is made for oracles serves gradients as well: they are counted and checked, recorded
(``RecordedOracle(gradients.rows, ...)``), and asked over HTTP.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxtract.oracle.call import CallableOracle
from jaxtract.oracle.oracle import NumberSystem, Oracle, OracleError


@dataclasses.dataclass(frozen=True)
class GradientOracle:
    """Gradients of a black box f.

    At a point where f has a kink an oracle answers the gradient of one side, or whatever its framework makes of it;
    that must not matter to those who ask, for they cannot tell beforehand where the kinks are.

    Attributes:
        rows: answers all entries of the Jacobian as one row, output by output.
        outputs: dimension m of f(x).

    Raises:
        ValueError: the rows cannot be Jacobians of so many outputs.
    """

    rows: Oracle
    outputs: int

    def __post_init__(self) -> None:
        if self.outputs < 1 or self.rows.outputs != self.outputs * self.rows.inputs:
            raise ValueError(
                f"an oracle of gradients of {self.outputs} output(s) over {self.rows.inputs} input(s) answers "
                f"{max(self.outputs, 0) * self.rows.inputs} numbers a point; this one answers {self.rows.outputs}"
            )

    @property
    def inputs(self) -> int:
        return self.rows.inputs


def callable_gradients(
    function: Callable[..., Any], *, inputs: int, outputs: int = 1, number_system: NumberSystem = "float64"
) -> GradientOracle:
    """Any Python callable as a gradient oracle.

    Args:
        function: takes a batch as ``CallableOracle`` hands it over in this number system and returns one Jacobian
            per point, shape (points, outputs, inputs); for one output (points, inputs) will do.
        inputs, outputs: dimensions of a point and of f(x).
        number_system: how the function answers.

    Raises:
        ValueError: dimensions below one, or an unknown number system.
    """

    def rows(*arguments: Any) -> np.ndarray:
        found = function(*arguments)
        jacobians = np.asarray(found) if number_system == "float64" else np.array(found, dtype=object)
        count = len(arguments[0])
        if jacobians.shape != (count, outputs, inputs) and (outputs, jacobians.shape) != (1, (count, inputs)):
            raise OracleError(
                f"asked the gradients of {outputs} output(s) over {inputs} input(s) at {count} points and got an array "
                f"of shape {jacobians.shape}; return one Jacobian per point, shape ({count}, {outputs}, {inputs})"
            )
        return jacobians.reshape(count, -1)

    oracle = CallableOracle(rows, inputs=inputs, outputs=outputs * inputs, number_system=number_system)
    return GradientOracle(oracle, outputs)
