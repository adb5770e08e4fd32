"""A float64 program over a few layers that is kept from case to case: splitting a unit moves two bounds of it.

Variables are s(z) of the units and what they read, which is not negative, and inputs, which are what they are. It is
homogeneous, so that the constant is a variable too, and its answer is a ray; it is bounded by the sum of all that is
not negative. HiGHS goes on from the basis of the case before (Huangfu and Hall 2018, the dual simplex method), which
is a hundred times faster than to begin anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import highspy
import numpy as np

from jaxtract.equality.expressions import CONSTANT, table64

TOLERANCE = 1e-9
"""Feasibility of the program."""


@dataclasses.dataclass(frozen=True)
class Ray:
    """Values of the variables, and how far the unit that is asked for is on its side."""

    values: np.ndarray
    margin: float


class HeldProgram:
    """How far can a unit be on its side, where others are on or off as told?

    Args:
        rows: z of the exact units and of ``unit``, in float64.
        exact: units of which it is known that s(z) is between z and its positive part.
        unit: the one that is asked for.
        on: its side.
    """

    def __init__(self, rows: Mapping[int, Mapping[int, float]], exact: Sequence[int], unit: int, on: bool):
        self.exact = sorted(exact)
        read = {key for k in (*exact, unit) for key in rows[k] if key != CONSTANT}
        self.variables = [*sorted(read | set(exact)), CONSTANT]
        self.column = {key: i for i, key in enumerate(self.variables)}
        self.row = {k: i for i, k in enumerate(self.exact)}
        self.heights = table64(rows, [*self.exact, unit], self.column)
        """z over the variables, (units, variables); the last one is that of ``unit``."""
        self.states: dict[int, bool] = {}
        self._goal = self.heights[-1] if on else -self.heights[-1]
        self._solver = self._begin()

    @property
    def free(self) -> list[int]:
        """Variables of which nothing is known but that they are not negative."""
        return [v for v in self.variables if v > CONSTANT and v not in self.row]

    def fix(self, unit: int, on: bool) -> None:
        """Put a unit on, s(z) = z, or off, s(z) = 0 >= z."""
        self.states[unit] = on
        self._bound(unit, highspy.kHighsInf if not on else 0.0, highspy.kHighsInf if on else 0.0)

    def release(self, unit: int) -> None:
        """What ``fix`` did is undone."""
        del self.states[unit]
        self._bound(unit, highspy.kHighsInf, highspy.kHighsInf)

    def solve(self) -> Ray:
        """The ray on which ``unit`` is furthest on its side."""
        self._solver.run()
        if self._solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            # From a bad basis the method may lose its way.
            self._solver.clearSolver()
            self._solver.run()
        values = np.array(self._solver.getSolution().col_value)
        return Ray(values, float(self._goal @ values))

    def taken_too_much(self, ray: Ray) -> list[tuple[float, int, bool]]:
        """Units that are neither on nor off, by how much their s(z) is above max(0, z), and whether z is positive."""
        z = self.heights[:-1] @ ray.values
        above = ray.values[[self.column[k] for k in self.exact]] - np.maximum(z, 0.0)
        return sorted(
            ((float(above[i]), k, bool(z[i] > 0)) for k, i in self.row.items() if k not in self.states), reverse=True
        )

    def _bound(self, unit: int, row_upper: float, column_upper: float) -> None:
        self._solver.changeRowBounds(self.row[unit], 0.0, row_upper)
        self._solver.changeColBounds(self.column[unit], 0.0, column_upper)

    def _begin(self) -> highspy.Highs:
        """z <= s(z) <= its positive part for every exact unit; the sum of all that is not negative is at most one."""
        count, infinite = len(self.variables), highspy.kHighsInf
        signed = np.array([v < CONSTANT for v in self.variables])
        own = table64({k: {k: 1.0} for k in self.exact}, self.exact, self.column)
        z = self.heights[:-1]
        below = (np.maximum(z, 0.0) - own)[~z[:, signed].any(axis=1)]
        table = np.vstack([own - z, below, np.where(signed, 0.0, 1.0)])
        rows, columns = np.nonzero(table)
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = count, len(table)
        model.col_cost_ = -self._goal
        model.col_lower_, model.col_upper_ = np.where(signed, -1.0, 0.0), np.where(signed, 1.0, infinite)
        model.row_lower_ = np.zeros(model.num_row_)
        model.row_upper_ = np.array([infinite] * (len(table) - 1) + [1.0])
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.searchsorted(rows, np.arange(len(table) + 1)).astype(np.int32)
        model.a_matrix_.index_, model.a_matrix_.value_ = columns.astype(np.int32), table[rows, columns]
        solver = highspy.Highs()
        options = {"output_flag": False, "threads": 1, "presolve": "off"}
        tolerances = {"primal_feasibility_tolerance": TOLERANCE, "dual_feasibility_tolerance": TOLERANCE}
        for name, value in (options | tolerances).items():
            solver.setOptionValue(name, value)
        solver.passModel(model)
        return solver
