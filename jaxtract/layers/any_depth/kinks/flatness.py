"""Is the boundary behind a kink flat throughout the cell that it is in? A few queries tell before any walk is paid for.

The boundary of a neuron bends only where neurons of earlier layers change state. In a cell of the layers before level
l, where none of these does, a neuron of level l has a flat boundary however far the cell reaches; one of a deeper
level bends at the first neuron of level l that it meets (Rolnick and Koerding 2020, section 4.1: bent hyperplanes).
So f is asked on the straight continuation, behind a known boundary of level l that it meets in the cell, or where
there is none, at the far end of the cell. A kink whose gradients are not measured is continued in a plane: of the line
and one coordinate, whose derivative belongs to the gradients that may be measured later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.geometry.far_corners import FAR, NEAR_END, Cell
from jaxtract.geometry.grid import ONE, floats_to_grid
from jaxtract.geometry.known_layers import Pattern
from jaxtract.geometry.rational_form import RationalForm
from jaxtract.layers.any_depth.kinks.pool import SearchedLine
from jaxtract.layers.any_depth.recovery import Kink, Recovery
from jaxtract.layers.any_depth.walk.way import first_hit
from jaxtract.measurement.bend_test import bent
from jaxtract.oracle.points import scattered
from precision.balls import middle, steepest, to_float, vanishes
from precision.dyadic import dyadic_matrix, from_float, power_of_two, round_to_grid

PLACES = 2
"""Places that are asked at most; a neuron of the level is unseen where nothing that it feeds is on."""

NEAREST = 6
"""Known boundaries of the level behind which a place is looked for."""

BEHIND = (0.3, 0.9)
"""Where to ask between such a boundary and the end of the cell behind it, as a share of the way."""

PLACE_BITS = 200

Coordinates = list[fmpq]


@dataclasses.dataclass(frozen=True)
class Boundary:
    """A kink and the straight continuation of its boundary.

    Attributes:
        point: the kink, in float64.
        normal: of the boundary, where it is known.
        way: a direction along the boundary; all that is known where the normal is not.
        put: the point a step along the boundary leads to, on the continuation exactly enough for ``across``.
        across: a short step off the boundary.
    """

    point: np.ndarray
    normal: np.ndarray | None
    way: np.ndarray
    put: Callable[[np.ndarray], Coordinates]
    across: Coordinates


def _steps_behind(cell: Cell, gradients: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Steps to where affine functions have changed their sign, for those that do so in the cell; at most PLACES.

    A boundary of a deeper level has bent there, one of this level has not.
    """
    found: list[np.ndarray] = []
    for gradient, value in zip(gradients, values, strict=True):
        step = cell.corner(np.sign(value) * gradient)
        if step is None or abs(gradient @ step) <= abs(value):
            continue
        reached = abs(value) / abs(gradient @ step)
        found.append(step * (reached + (1 - reached) * rng.uniform(*BEHIND)))
        if len(found) == PLACES:
            break
    return found


class Flatness:
    """Remembers for every kink and level what was seen; nothing is asked twice."""

    def __init__(self, state: Recovery):
        self.state = state
        self._seen: dict[tuple[Kink, int, int, bool], bool] = {}

    def flat(self, level: int, kinks: Sequence[Kink]) -> list[bool]:
        """Whether the kinks can be those of neurons of ``level``; at most seven queries each, as ``measure``.

        What leads nowhere (a cell without room) counts as flat; two neurons at once do not.
        """
        version = self.state.versions[level - 1]
        # A border was followed to the neuron that is wanted; its line is too short to go far from.
        wanted = [kink for kink in kinks if not self.state.pool.lines[kink[0]].border]
        keys = {kink: (kink, level, version, self._closer(kink)) for kink in wanted}
        fresh = [kink for kink in wanted if keys[kink] not in self._seen]
        if fresh:
            for kink, seen in zip(fresh, self._ask(level, fresh), strict=True):
                self._seen[keys[kink]] = seen
        return [kink not in keys or self._seen[keys[kink]] for kink in kinks]

    def _closer(self, kink: Kink) -> bool:
        """Whether it is worth a second look, its normal known: one plane shows little, and walks are dear."""
        return self.state.numbers.few_bits and self.state.pool.is_measured(kink)

    def _ask(self, level: int, kinks: Sequence[Kink]) -> list[bool]:
        pool, layers = self.state.pool, self.state.known(level - 1)
        pool.measure_one_axis([kink for kink in kinks if not pool.is_measured(kink)], self.state.rng)
        places: list[list[tuple[Coordinates, Coordinates]]] = []
        flat = []
        for kink, pattern in zip(kinks, pool.patterns(layers, pool.places(kinks)), strict=True):
            boundary = self._boundary(kink)
            found = [] if boundary is None else self._far_places(level, pattern, boundary)
            places.append(found[:PLACES])
            flat.append(boundary is not None and not found)
        for turn in range(PLACES):
            asked = [i for i, found in enumerate(places) if len(found) > turn and not flat[i]]
            for i, seen in zip(asked, self._bends([places[i][turn] for i in asked]), strict=True):
                flat[i] = seen
        return flat

    def _bends(self, places: Sequence[tuple[Coordinates, Coordinates]]) -> list[bool]:
        if not places:
            return []
        rows = [
            [x + sign * s for x, s in zip(point, step, strict=True)] for point, step in places for sign in (-1, 0, 1)
        ]
        asker = self.state.pool.asker
        answers = asker.ask(scattered(dyadic_matrix(rows, self.state.slice.rank)), "measure")
        return [bent(three) for three in answers.reshape(len(places), 3, -1)]

    def _far_places(self, level: int, pattern: Pattern, boundary: Boundary) -> list[tuple[Coordinates, Coordinates]]:
        """(place, step across) within the cell, those first that tell most."""
        layers = self.state.known(level - 1)
        found = []
        for step in self._steps(level, pattern, boundary):
            point = boundary.put(step)
            there = layers.pattern(*_numerators(point))[0]
            if all(np.array_equal(a, b) for a, b in zip(there, pattern, strict=True)):
                found.append((point, boundary.across))
        return found

    def _steps(self, level: int, pattern: Pattern, boundary: Boundary) -> list[np.ndarray]:
        """Steps along the boundary, behind known boundaries of the level or to the ends of the cell."""
        forms = self.state.known(level - 1).walls64(pattern)
        rng = self.state.rng
        if boundary.normal is None:
            values = [matrix @ boundary.point + offset for matrix, offset in forms]
            endless = FAR * (1 + float(np.max(np.abs(boundary.point))))
            ways = [boundary.way, -boundary.way]
            hits = [first_hit([matrix for matrix, _ in forms], values, pattern, way) for way in ways]
            reach = [min(endless, endless if hit is None else hit[2]) for hit in hits]
            return [ways[k] * reach[k] * rng.uniform(*NEAR_END) for k in np.argsort(reach)[::-1]]
        cell = Cell.around(boundary.point, boundary.normal, forms, pattern)
        known = level <= len(self.state.layers)
        behind = _steps_behind(cell, *self._nearest(level, pattern, boundary), rng) if known else []
        if behind:
            return behind
        corners = [cell.random_corner(rng) for _ in range(PLACES)]
        return [corner * rng.uniform(*NEAR_END) for corner in corners if corner is not None]

    def _nearest(self, level: int, pattern: Pattern, boundary: Boundary) -> tuple[np.ndarray, np.ndarray]:
        """The boundaries of known neurons of the level that are nearest along the boundary, as gradients and values."""
        assert boundary.normal is not None
        matrix, offset = self.state.known(level).forms64(pattern)[level - 1]
        values = matrix @ boundary.point + offset
        tangent = np.linalg.norm(matrix - np.outer(matrix @ boundary.normal, boundary.normal), axis=1)
        with np.errstate(divide="ignore"):
            nearest = np.argsort(np.abs(values) / tangent)[:NEAREST]
        return matrix[nearest], values[nearest]

    def _boundary(self, kink: Kink) -> Boundary | None:
        """None when two neurons bend at once."""
        sighting, line = self.state.pool.sighting(*kink), self.state.pool.lines[kink[0]]
        if self.state.pool.is_measured(kink):
            return None if sighting.form is None else self._measured(sighting.form, sighting.point)
        return self._in_plane(line, kink[1])

    def _measured(self, form: RationalForm, point: Sequence[fmpq]) -> Boundary:
        normal = form.normal64()
        x = np.array([to_float(v) for v in point])
        across = [fmpq(v, ONE) * self._beside() for v in floats_to_grid(normal)]

        def put(step: np.ndarray) -> Coordinates:
            return [fmpq(v, ONE) for v in form.put_onto(floats_to_grid(x + step, 52))]

        return Boundary(x, normal, normal, put, across)

    def _in_plane(self, line: SearchedLine, kink: int) -> Boundary | None:
        """In the plane of the line and the one coordinate whose derivative is known in the regions beside the kink."""
        (axis,) = line.columns[kink].keys() & line.columns[kink + 1].keys()
        along = line.profile.pieces[kink + 1].slope - line.profile.pieces[kink].slope
        beside = line.columns[kink + 1][axis] - line.columns[kink][axis]
        o = steepest(along)
        slope = beside[o] / along[o]
        if any(not vanishes(b - a * slope) for a, b in zip(along, beside, strict=True)):
            return None
        position, slope = line.kinks[kink], middle(slope)
        direction = np.array([to_float(v) for v in line.line.direction])
        way = -to_float(slope) * direction
        way[axis] += 1
        x = np.array([to_float(v) for v in line.point(position)])

        def put(step: np.ndarray) -> Coordinates:
            s = round_to_grid(from_float(step[axis]), 40)
            t = round_to_grid(middle(position) - slope * s, PLACE_BITS)
            point = [p + t * v for p, v in zip(line.line.base, line.line.direction, strict=True)]
            point[axis] += s
            return point

        across = [v * self._beside() for v in line.line.direction]
        return Boundary(x, None, way, put, across)

    def _beside(self) -> fmpq:
        return power_of_two(-self.state.pool.asker.context.beside_bits)


def _numerators(point: Coordinates) -> tuple[fmpz_mat, list[fmpz]]:
    """A dyadic point as integers over one denominator."""
    matrix = dyadic_matrix([point], len(point))
    return matrix.mantissa, [fmpz(1) << matrix.exponent]
