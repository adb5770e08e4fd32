"""The signs of a layer's rows, from what lies behind it.

Two ways, both exact. A gradient of f is a combination of the gradients of the layer's active neurons: where these are
independent, a coefficient that is not zero says that its neuron is on. Otherwise the neurons of the next layer tell: their
normals are linear in the unknown signs once the weights are known from crossings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from flint import fmpq, fmpz_mat, nmod_mat

from jaxtract.geometry.known_layers import KnownLayers, Pattern
from jaxtract.layers.any_depth.row_system import InconsistentRow, RowSystem, determined, reduced_rows
from precision.context import integer_rows

PRIME = (1 << 61) - 1


def active_by_gradient(matrix: fmpz_mat, gradient: np.ndarray) -> list[int] | None:
    """Neurons whose gradient certainly takes part in the gradient of f.

    Args:
        matrix: (width, inputs), the gradients of all pre-activations in a region, up to sign.
        gradient: (outputs, inputs) of f in a part of that region.

    Returns:
        Indices; None when the gradient of f is no combination of the rows.
    """
    width, inputs = matrix.nrows(), matrix.ncols()
    outputs = gradient.shape[0]
    right = integer_rows(gradient)
    rows = [[int(x) % PRIME for x in row] for row in matrix.transpose().tolist()]
    targets = [[int(x) % PRIME for x in row] for row in right.transpose().tolist()]
    joined = nmod_mat(inputs, width + outputs, [x for a, b in zip(rows, targets, strict=True) for x in (*a, *b)], PRIME)
    reduced, rank = joined.rref()
    table = [[int(x) for x in reduced.entries()[r * (width + outputs) : (r + 1) * (width + outputs)]]
             for r in range(rank)] if rank else []
    active = []
    for row in table:
        pivot = next(k for k, x in enumerate(row) if x)
        if pivot >= width:
            return None
        if not any(row[pivot + 1 : width]) and any(row[width:]):
            active.append(pivot)
    return active


def signs_by_gradients(
    layers: KnownLayers, regions: Iterable[tuple[Pattern, np.ndarray]]
) -> tuple[list[int], int]:
    """Signs of the last layer's rows from gradients of f in known regions: (signs, regions not explained).

    A neuron seen active on one side of its boundary has its sign from there; 0 where none was seen. One that is
    seen active on both sides is two neurons on one hyperplane, and stays 0.
    """
    width = layers.widths[-1]
    plus, minus = np.zeros(width, dtype=bool), np.zeros(width, dtype=bool)
    unexplained = 0
    for pattern, gradient in regions:
        matrix, _ = layers.forms(layers.depth - 1, pattern)
        active = active_by_gradient(matrix, gradient)
        if active is None:
            unexplained += 1
            continue
        side = pattern[-1]
        plus[[i for i in active if side[i]]] = True
        minus[[i for i in active if not side[i]]] = True
    signs = np.where(plus & ~minus, 1, np.where(minus & ~plus, -1, 0))
    return [int(s) for s in signs], unexplained


def signs_by_rows(systems: Sequence[RowSystem]) -> list[int]:
    """Signs of the layer before, from the equations of several neurons whose crossings are known.

    The coefficient of an uncrossed neuron is one more unknown of its system. Systems that contradict the others
    are left out; a solution counts only where it is +1 or -1.
    """
    if not systems:
        return []
    width = systems[0].width
    kept: list[list[fmpq]] = []
    signs = list(systems[0].signs)
    for system in sorted(systems, key=lambda s: len(s.unknown)):
        rows = _sign_equations(system, signs)
        if not rows:
            continue
        found = _consistent(kept + rows, width)
        if found is None:
            continue
        kept += rows
        for i, value in found.items():
            signs[i] = int(value)
        if all(signs):
            break
    return signs


def _consistent(rows: list[list[fmpq]], width: int) -> dict[int, fmpq] | None:
    try:
        found = determined(rows, width)
    except InconsistentRow:
        return None
    return found if all(abs(value) == 1 for value in found.values()) else None


def _sign_equations(system: RowSystem, signs: Sequence[int]) -> list[list[fmpq]]:
    """Equations in the signs alone, (coefficients, value); uncrossed neurons are eliminated."""
    width = system.width
    unknown = system.unknown
    rows = []
    for equation in system.equations:
        row = [fmpq(0)] * (len(unknown) + width)
        value = 2 * equation.value
        for i, weight in system.weights.items():
            term = weight * equation.coefficients[i]
            row[len(unknown) + i] = term
            value = value - (term if equation.side[i] else -term)
        for k, i in enumerate(unknown):
            row[k] = fmpq(2 * equation.coefficients[i])
        rows.append([*row, value])
    if not rows:
        return []
    reduced, _, rank = reduced_rows(rows)
    free = len(unknown)
    table = []
    for r in range(rank):
        row = [reduced[r, k] for k in range(free + width + 1)]
        if all(x == 0 for x in row[:free]):
            table.append([fmpq(x) for x in row[free:]])
    known = [row for row in (_put(table_row, signs) for table_row in table) if any(x != 0 for x in row)]
    return known


def _put(row: list[fmpq], signs: Sequence[int]) -> list[fmpq]:
    """An equation with the signs that are known already put in."""
    value = row[-1]
    out = list(row)
    for i, sign in enumerate(signs):
        if sign:
            value = value - row[i] * int(sign)
            out[i] = fmpq(0)
    out[-1] = value
    return out
