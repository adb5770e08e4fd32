"""The signs of a layer from the rounded equations of one neuron behind it, as a subset sum.

Once the E of neurons that were not crossed are eliminated, few equations are left for many signs, but each sign is one
of two: where the equations have more bits than there are signs, no wrong choice fulfils them to their errors. (Exact
equations tell them by lattice reduction, ``jaxtract.layers.any_depth.signs.layer_signs``.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import arb

from jaxtract.layers.any_depth.walk.row_system import RowSystem
from precision.balls import bits_in_use, radius, to_float
from precision.context import FEW_BITS
from precision.sign_choices import sign_choices

CAUTION = 8.0
"""Equations hold to so many of their estimated errors."""

SPARE_BITS = 20
"""Bits that they must have beyond the signs that they tell: a wrong neuron fulfils them once in a million times."""

ROUNDING = 2.0**-50
"""What float64 adds to the error of an equation, as a share of its terms."""


@dataclasses.dataclass(frozen=True)
class RoundedEquations:
    """Equations sum_i table[r, i] s_i = target[r], each to an error of about one.

    Attributes:
        neurons: whose signs are asked for, (k,).
        table, target: (equations, k) and (equations,); the rows are orthogonal.
        slack: what signs that hardly matter may add.
        contradicted: whether no choice can fulfil them.
    """

    neurons: list[int]
    table: np.ndarray
    target: np.ndarray
    slack: float
    contradicted: bool

    @property
    def spare_bits(self) -> float:
        """Bits of the equations beyond one for every sign; none where they are contradicted."""
        if self.contradicted or not self.neurons:
            return -np.inf
        shares = np.linalg.norm(self.table, axis=1) / (CAUTION + self.slack)
        return float(np.sum(np.log2(np.maximum(shares, 1.0)))) - len(self.neurons)

    def signs(self) -> dict[int, int]:
        """Those that all choices have in common; none where the equations are too few to be believed."""
        if self.spare_bits < SPARE_BITS:
            return {}
        found = sign_choices(self.table, self.target, CAUTION + self.slack)
        if found is None or not len(found):
            return {}
        common = np.all(found == found[0], axis=0)
        return {i: int(s) for i, s, same in zip(self.neurons, found[0], common, strict=True) if same}


def tells_signs(system: RowSystem) -> bool:
    """Whether the equations of a neuron are enough for the open signs of all neurons that were crossed."""
    return system.tells_signs() or (
        is_rounded(system) and rounded_equations(system, system.signs.tolist()).spare_bits >= SPARE_BITS
    )


def is_rounded(system: RowSystem) -> bool:
    """Whether its equations are between balls of few bits."""
    return bits_in_use() < FEW_BITS and any(isinstance(value, arb) for _, value in system.rows)


def rounded_equations(system: RowSystem, signs: Sequence[int]) -> RoundedEquations:
    """The equations in the open signs alone, orthogonal, those that say nothing left out."""
    free, crossed, rows = system.sign_rows(signs)
    columns = len(free) + len(crossed) + 1
    middles = np.array([[to_float(x) for x in row] for row in rows]).reshape(len(rows), columns)
    radii = np.array([[to_float(radius(x)) for x in row] for row in rows]).reshape(len(rows), columns)
    largest = max((abs(to_float(w)) for w in system.weights.values()), default=1.0)
    # An E that is eliminated is about as large as a weight.
    sizes = np.array([*([largest] * len(free)), *([1.0] * (len(crossed) + 1))])
    errors = radii @ sizes + ROUNDING * (np.abs(middles) @ sizes) + np.finfo(np.float64).tiny
    scaled = middles * sizes / errors[:, None]
    left, shown, _ = np.linalg.svd(scaled[:, : len(free)])
    rest = left[:, int(np.sum(shown > 1.0)) :].T @ scaled[:, len(free) :]
    terms, target = rest[:, :-1], rest[:, -1]
    matters = np.linalg.norm(terms, axis=0) > 1.0
    slack = float(np.sum(np.linalg.norm(terms[:, ~matters], axis=0)))
    across, shares, along = np.linalg.svd(terms[:, matters])
    told = int(np.sum(shares > CAUTION + slack))
    turned = across.T @ target
    room = CAUTION + slack + np.sqrt(matters.sum()) * float(np.linalg.norm(shares[told:]))
    return RoundedEquations(
        [i for i, own in zip(crossed, matters, strict=True) if own],
        shares[:told, None] * along[:told],
        turned[:told],
        slack,
        bool(np.any(np.abs(turned[told:]) > room)),
    )
