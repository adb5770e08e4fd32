"""The signs of a layer's rows, from what lies behind it.

Two ways, both exact. A gradient of f is a combination of the gradients of the layer's active neurons: where these
are independent, a coefficient that is not zero says that its neuron is on. Otherwise the neurons of the next layer
tell: their normals are linear in the unknown signs once the weights are known from crossings.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence

import numpy as np
from flint import arb_mat, fmpq, nmod_mat

from jaxtract.geometry.known_layers import KnownLayers, Matrix, Pattern
from jaxtract.layers.any_depth.walk.rounded_signs import is_rounded, rounded_equations
from jaxtract.layers.any_depth.walk.row_system import (
    FEWEST_EQUATIONS,
    InconsistentRow,
    RowSystem,
    determined,
    reduced_rows,
    sign_of,
)
from precision.ball_algebra import ball_rank, has_balls, reduce_rows
from precision.balls import bits_in_use, to_float, vanishes
from precision.context import FEW_BITS, Number
from precision.estimates import NoFitError, fitted
from precision.lattice import signs_by_lattice
from precision.modular import annihilator, joined_rows, masked_rows, modular

SUBSET_SUM_BITS = 256
"""Leading bits of the equations that lattice reduction looks at; what it proposes must hold exactly."""


PRESENT, ABSENT = 2.0**-12, 2.0**-20
"""Coefficients of a combination, against the largest, above which a neuron takes part, and below which it does not.

Their radii are estimates: errors that many rows have in common are no reason for all of them to take part.
"""

Gradient = np.ndarray | nmod_mat
"""Numbers; or, where all is exact, these modulo the prime, every row times some factor."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A region of the known layers in which the gradient of f is known.

    Attributes:
        pattern: sides of all known neurons.
        gradient: (outputs, inputs) of f.
        borders: neurons of the last layer whose boundary bounds the region where f was seen to bend.
    """

    pattern: Pattern
    gradient: Gradient
    borders: frozenset[int]


@dataclasses.dataclass(frozen=True)
class Composition:
    """Which neurons' gradients take part in a gradient of f: certainly, and certainly not."""

    present: frozenset[int]
    absent: frozenset[int]


def composition(matrix: Matrix, gradient: Gradient) -> Composition | None:
    """Write a gradient of f as a combination of the rows of ``matrix``; only coefficients that are unique count.

    Args:
        matrix: (width, inputs), the gradients of all pre-activations in a region, up to sign: integers, these modulo
            the prime, or balls.
        gradient: (outputs, inputs) of f in a part of that region.

    Returns:
        None when the gradient of f is no combination of the rows. A coefficient that is zero modulo the prime is
        taken for zero; what follows from it is proven by later equations or not at all.
    """
    if isinstance(matrix, arb_mat):
        assert isinstance(gradient, np.ndarray), "between balls nothing is known modulo a prime"
        return _composition_balls(matrix, gradient)
    right = modular(gradient)
    width, columns = matrix.nrows(), matrix.nrows() + right.nrows()
    reduced, rank = joined_rows(modular(matrix), right).transpose().rref()
    flat = [int(x) for x in reduced.entries()]
    present, absent = [], []
    for r in range(rank):
        row = flat[r * columns : (r + 1) * columns]
        pivot = next(k for k, x in enumerate(row) if x)
        if pivot >= width:
            return None
        if not any(row[pivot + 1 : width]):
            (present if any(row[width:]) else absent).append(pivot)
    return Composition(frozenset(present), frozenset(absent))


def _composition_balls(matrix: arb_mat, gradient: np.ndarray) -> Composition | None:
    """The same between balls; where too little is known of them, no coefficient counts.

    Elimination adds up errors until nothing is known of many rows; where bits are few, least squares know more.
    """
    if len(gradient) and bits_in_use() < FEW_BITS and matrix.nrows() <= matrix.ncols():
        found = _composition_fitted(matrix, gradient)
        if found is not None:
            return found
    width = matrix.nrows()
    rows = [[*column, *right] for column, right in zip(matrix.transpose().tolist(), gradient.T.tolist(), strict=True)]
    reduced = reduce_rows(rows, width)
    if any(x != 0 for row in reduced.rest for x in row):
        return None
    if not reduced.decided:
        return Composition(frozenset(), frozenset())
    free = [k for k in range(width) if k not in set(reduced.pivots)]
    present, absent = [], []
    for pivot, row in zip(reduced.pivots, reduced.rows, strict=True):
        if all(vanishes(row[k]) for k in free):
            (present if any(x != 0 for x in row[width:]) else absent).append(pivot)
    return Composition(frozenset(present), frozenset(absent))


def _composition_fitted(matrix: arb_mat, gradient: np.ndarray) -> Composition | None:
    """The same where all coefficients are unique, else None; what is near zero and not nearer is left open."""
    columns = matrix.transpose().tolist()
    shares = []
    for row in gradient:
        try:
            factors = fitted(columns, row.tolist())
        except NoFitError:
            return None
        if factors is None:
            return None
        size = max(abs(to_float(x)) for x in factors)
        if any(float(x.rad()) > size * ABSENT for x in factors):
            return None
        shares.append([abs(to_float(x)) / size for x in factors])
    largest = np.max(shares, axis=0)
    present, absent = np.flatnonzero(largest > PRESENT), np.flatnonzero(largest < ABSENT)
    return Composition(frozenset(present.tolist()), frozenset(absent.tolist()))


def signs_by_gradients(layers: KnownLayers, regions: Iterable[Region]) -> list[int]:
    """Signs of the last layer's rows from gradients of f in known regions.

    A neuron that takes part is on in the region. One that takes no part but bends f at the region's border is on
    beyond it. 0 where nothing was seen, or where the same neuron was seen on at both sides: two neurons on one
    hyperplane. A neuron that is missing and on would show in a gradient that no combination explains, or, where the
    known ones explain every gradient, in one that takes part of all of them: only other regions count.
    """
    width = layers.widths[-1]
    plus, minus = np.zeros(width, dtype=bool), np.zeros(width, dtype=bool)
    for region in regions:
        taking = composition(_gradients(layers, layers.depth - 1, region.pattern), region.gradient)
        if taking is None or not (taking.absent or _shows_missing(layers, region.pattern)):
            continue
        side = region.pattern[-1]
        for i in taking.present | (taking.absent & region.borders):
            positive = bool(side[i]) == (i in taking.present)
            (plus if positive else minus)[i] = True
    signs = np.where(plus & ~minus, 1, np.where(minus & ~plus, -1, 0))
    return [int(s) for s in signs]


def is_explained(layers: KnownLayers, pattern: Pattern, gradient: Gradient) -> bool:
    """Whether a gradient of f in a region is a combination of those of the last layer's neurons (modulo a prime)."""
    matrix = _gradients(layers, layers.depth - 1, pattern)
    if not layers.exact:
        return composition(matrix, gradient) is not None
    left_over = modular(gradient) * annihilator(matrix)
    return left_over == left_over * 0


def _gradients(layers: KnownLayers, layer: int, pattern: Pattern) -> Matrix:
    """Of all pre-activations of a layer in a region, (width, inputs): balls, or modulo the prime."""
    return layers.gradients_modular(layer, pattern) if layers.exact else layers.forms(layer, pattern)[0]


def _shows_missing(layers: KnownLayers, pattern: Pattern) -> bool:
    """Whether the gradient of one neuron more would be no combination of those of the known ones."""
    return _rank(_gradients(layers, layers.depth - 1, pattern)) < _let_through(layers, pattern)


def _let_through(layers: KnownLayers, pattern: Pattern) -> int:
    """Dimension of the gradients that a neuron of the last layer can have in a region."""
    if layers.depth == 1:
        return layers.inputs
    return _rank(_chosen(_gradients(layers, layers.depth - 2, pattern), pattern[-2]))


def determinable(matrix: Matrix) -> list[int]:
    """Rows that are in no linear relation with the others (modulo a prime): their coefficients are unique."""
    if isinstance(matrix, arb_mat):
        found = _composition_balls(matrix, np.empty((0, matrix.ncols()), dtype=object))
        return sorted(found.absent) if found is not None else []
    width = matrix.nrows()
    reduced, rank = modular(matrix).transpose().rref()
    flat = [int(x) for x in reduced.entries()]
    found = []
    for r in range(rank):
        row = flat[r * width : (r + 1) * width]
        pivot = next(k for k, x in enumerate(row) if x)
        if not any(row[pivot + 1 :]):
            found.append(pivot)
    return found


class Span(enum.Enum):
    """Whether a vector is a combination of given gradients, and whether that says anything."""

    OUTSIDE = 0
    INSIDE = 1
    EVERYTHING = 2


def span_of(layers: KnownLayers, pattern: Pattern, on: np.ndarray, normal: Sequence[Number]) -> Span:
    """Is ``normal`` a combination of the gradients of the neurons ``on`` of the last layer (modulo a prime)?"""
    if not on.any():
        return Span.OUTSIDE
    explaining = _chosen(_gradients(layers, layers.depth - 1, pattern), on)
    if isinstance(explaining, arb_mat):
        return _span_balls(explaining.tolist(), normal)
    if explaining.rank() == len(normal):
        return Span.EVERYTHING
    target = np.empty((1, len(normal)), dtype=object)
    target[0, :] = list(normal)
    return Span.OUTSIDE if (modular(target) * annihilator(explaining)).rank() else Span.INSIDE


class Sides(enum.Enum):
    """What the gradients of f on both sides of a kink say about a neuron that the last known layer lacks."""

    BORDER = "one side is explained by the known neurons, the other is not: the kink may be the missing neuron's"
    SAME = "both sides are explained, or both lack the same: no missing neuron of this layer makes this kink"
    OPEN = "nothing can be told"


def missing_at(layers: KnownLayers, pattern: Pattern, left: Gradient, right: Gradient) -> Sides:
    """Whether a kink between two gradients of f (outputs, inputs) can be that of a neuron missing in the last layer.

    What is missing adds its own gradient on one side of its boundary only. Modulo the gradients of the known neurons
    (and a prime) both sides then differ; for any other kink they span the same, unless several neurons are missing.
    """
    known = _gradients(layers, layers.depth - 1, pattern)
    most, rank = _let_through(layers, pattern), _rank(known)
    if rank >= most:
        return Sides.OPEN
    first, second, both = _beyond(known, rank, left, right)
    if min(first, second) == 0:
        return Sides.SAME if max(first, second) == 0 else Sides.BORDER
    if most - rank < 2:
        return Sides.OPEN
    return Sides.SAME if both == first == second else Sides.OPEN


def _beyond(known: Matrix, rank: int, left: Gradient, right: Gradient) -> tuple[int, int, int]:
    """Ranks that two gradients of f, and both together, add to the rows of ``known``."""
    if isinstance(known, arb_mat):
        first, second = ([*known.tolist(), *gradient.tolist()] for gradient in (left, right))
        ranks = (_rank(arb_mat(rows)) for rows in (first, second, [*first, *right.tolist()]))
        one, other, both = (found - rank for found in ranks)
        return one, other, both
    beyond = annihilator(known)
    first, second = modular(left) * beyond, modular(right) * beyond
    return first.rank(), second.rank(), first.rank() + (second * annihilator(first)).rank()


def _chosen(matrix: Matrix, mask: np.ndarray) -> Matrix:
    """Some of the rows; modulo the prime the others are zero."""
    if isinstance(matrix, arb_mat):
        chosen = [row for row, kept in zip(matrix.tolist(), mask, strict=True) if kept]
        return arb_mat(len(chosen), matrix.ncols(), [x for row in chosen for x in row])
    return masked_rows(matrix, mask)


def _rank(matrix: Matrix) -> int:
    """Modulo a prime; of balls the rank that is certain."""
    return ball_rank(matrix.tolist()) if isinstance(matrix, arb_mat) else matrix.rank()


def _span_balls(rows: Sequence[Sequence[Number]], normal: Sequence[Number]) -> Span:
    transposed = [[*(row[k] for row in rows), normal[k]] for k in range(len(normal))]
    reduced = reduce_rows(transposed, len(rows))
    if reduced.rank == len(normal) or not reduced.decided:
        return Span.EVERYTHING
    return Span.OUTSIDE if any(row[0] != 0 for row in reduced.rest) else Span.INSIDE


def signs_by_rows(systems: Sequence[RowSystem], doubtful: Sequence[RowSystem] = ()) -> list[int]:
    """Signs of the layer before, from the equations of several neurons whose crossings are known.

    A neuron whose E is determined tells signs alone. What is left open is solved from all of them together: where a
    weight w_i is known, E_i = (side_i + s_i) w_i / 2 is linear in the sign. Systems that contradict the others are left
    out; a solution counts only where it is +1 or -1. Where all are fewer equations than signs, a subset sum tells;
    between balls each neuron's own equations as far as they have the bits, also those of the ``doubtful``.
    """
    if not systems and not doubtful:
        return []
    first = [*systems, *doubtful][0]
    width = first.width
    signs = [int(s) for s in first.signs]
    for system in systems:
        try:
            found = system.signs_found()
        except InconsistentRow:
            continue
        for i, sign in found.items():
            signs[i] = signs[i] or sign
    kept: list[list[Number]] = []
    for system in sorted(systems, key=lambda s: len(s.unknown)):
        if all(signs):
            break
        if is_rounded(system):
            signs = _by_choices(system, signs)
        rows = _sign_equations(system, signs)
        solution = _consistent(kept + rows, width) if rows else None
        if solution is None:
            continue
        kept += rows
        for i, sign in {**_by_subset_sum(rows, width), **solution}.items():
            signs[i] = sign or signs[i]
    for system in sorted(doubtful, key=lambda s: len(s.unknown)):
        signs = _by_choices(system, signs)
    return signs


def _by_choices(system: RowSystem, signs: Sequence[int]) -> list[int]:
    """With the signs that the rounded equations of one neuron tell."""
    found = {} if all(signs) else rounded_equations(system, signs).signs()
    return [found.get(i, sign) for i, sign in enumerate(signs)]


def _by_subset_sum(rows: list[list[Number]], width: int) -> dict[int, int]:
    """The signs that the equations of one neuron hold for exactly; none where they are too few to be believed."""
    if has_balls(rows) or len(rows) < FEWEST_EQUATIONS:
        return {}
    table = np.array([[fmpq(x) for x in row] for row in rows], dtype=object)
    open_ = [i for i in range(width) if any(x != 0 for x in table[:, i])]
    if not open_:
        return {}
    sizes = [max(abs(x) for x in row) for row in table]
    table = np.array([row / size for row, size in zip(table, sizes, strict=True)], dtype=object)
    columns, target = table[:, open_], table[:, width]
    found = signs_by_lattice(columns, target, error_bits=SUBSET_SUM_BITS)
    if found is None or any(x != 0 for x in columns @ np.array([fmpq(s) for s in found], dtype=object) - target):
        return {}
    return dict(zip(open_, found, strict=True))


def _consistent(rows: list[list[Number]], width: int) -> dict[int, int] | None:
    """The signs that equations determine, 0 where it is too rough to tell; None when one is no sign."""
    try:
        found = {i: sign_of(value) for i, value in determined(rows, width).items()}
    except InconsistentRow:
        return None
    known = {i: sign for i, sign in found.items() if sign is not None}
    return known if len(known) == len(found) else None


def _sign_equations(system: RowSystem, signs: Sequence[int]) -> list[list[Number]]:
    """Equations in the open signs alone, (coefficients, value); the E of uncrossed neurons are eliminated."""
    width = system.width
    free, crossed, short = system.sign_rows(signs)
    place = {i: len(free) + k for k, i in enumerate(crossed)}
    rows = [
        [*row[: len(free)], *(row[place[i]] if i in place else fmpq(0) for i in range(width)), row[-1]] for row in short
    ]
    if not rows:
        return []
    if has_balls(rows):
        reduction = reduce_rows(rows, len(free))
        return reduction.rest if reduction.decided else []
    reduced, _, rank = reduced_rows(rows)
    table = []
    for r in range(rank):
        row = [reduced[r, k] for k in range(len(free) + width + 1)]
        if all(x == 0 for x in row[: len(free)]):
            table.append([fmpq(x) for x in row[len(free) :]])
    return table
