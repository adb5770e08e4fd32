"""What has been measured of one neuron's row: single weights from crossings, linear equations from the rest.

Where z_i = +-(the pre-activations before ReLU) are the known forms of the layer before, the neuron is sum_i E_i
z_i + b in a region: E_i is s_i w_i where neuron i is on and 0 where it is off. Crossing z_i = 0 changes E_i by the
weight w_i alone, whatever the sign s_i; so one vector, the E of the region where the walk began, is all that is
unknown beside the weights, and every other measurement is one linear equation in it. At the end E_i and w_i
together tell the sign: 2 E_i / w_i - (side of the start) is +1 or -1, or the neuron is not of this layer.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import numpy as np
from flint import arb, fmpq, fmpq_mat, fmpz, fmpz_mat

from precision.ball_algebra import ball_rank, has_balls, reduce_rows
from precision.balls import bits_in_use, vanishes
from precision.context import FEW_BITS, Number, integer_rows, object_matrix, rational_matrix
from precision.estimates import NoFitError, fitted
from precision.modular import modular

FEWEST_EQUATIONS = 2
"""Exact equations in the signs alone that are believed: a wrong neuron fulfils not even one but by accident."""


class InconsistentRow(Exception):  # noqa: N818  (a finding about the neuron, not a failure)
    """The equations contradict each other: the neuron does not belong to this layer."""


class RowSystem:
    """One neuron's unknown row over a layer of known forms.

    Args:
        side: booleans, on which side of every z_i = 0 the walk begins.
        signs: +1 or -1 per neuron of that layer, 0 where it is not known whether the row is z or -z.

    Attributes:
        weights: w_i where known.
        measured: neurons whose weight was seen at a crossing, or elsewhere.
        start: E_i of the first region where known.
        rows: equations sum_i c_i E_i = value, (coefficients, value).
        _rest: their values less what the E that are known add to them.
        _solved: the equations, solved for what they tell, until something new is known.
    """

    def __init__(self, side: np.ndarray, signs: Sequence[int]):
        self.side = side.copy()
        self.width = len(side)
        self.weights: dict[int, Number] = {}
        self.measured: set[int] = set()
        self.start: dict[int, Number] = {}
        self.rows: list[tuple[list[Number], Number]] = []
        self._rest: list[Number] = []
        self._solved: Combinations | None = None
        self.learn_signs(signs)

    def learn_signs(self, signs: Sequence[int]) -> None:
        """Raises InconsistentRow where a known sign contradicts what was measured."""
        self.signs = np.array(signs, dtype=int)
        for i in range(self.width):
            if self.signs[i] and (self.signs[i] > 0) != self.side[i]:
                self._set_start(i, fmpq(0))
        self._weights_from_start()

    def count_as_off(self, neurons: Sequence[int]) -> None:
        """Neurons that were never crossed: what they add is affine there, and left to units that carry the same.

        Their weights stay open. Raises InconsistentRow.
        """
        for i in neurons:
            self._set_start(i, fmpq(0))
        self.resolve()
        for i in neurons:
            self.weights.pop(i, None)

    @property
    def unknown(self) -> list[int]:
        """Neurons whose weight is open."""
        return [i for i in range(self.width) if i not in self.weights]

    def know(self, weights: Mapping[int, Number]) -> None:
        """Weights that were found elsewhere."""
        for i, weight in weights.items():
            self.set_weight(i, weight)

    def value(self, side: np.ndarray, coefficients: Sequence[Number]) -> Number | None:
        """sum_i c_i E_i in a region (its sides), or None when it is not determined."""
        total, open_ = self._change(side, coefficients), False
        for i, c in enumerate(coefficients):
            if c == 0:
                continue
            if i in self.start:
                total += c * self.start[i]
            else:
                open_ = True
        if not open_:
            return total
        rest = self._combined(coefficients)
        return None if rest is None else total + rest

    def add(self, side: np.ndarray, coefficients: Sequence[Number], value: Number) -> None:
        """sum_i c_i E_i = value in a region (its sides)."""
        at_start = value - self._change(side, coefficients)
        self.rows.append((list(coefficients), at_start))
        self._rest.append(at_start - sum((coefficients[i] * x for i, x in self.start.items()), fmpq(0)))
        self._solved = None

    def _change(self, side: np.ndarray, coefficients: Sequence[Number]) -> Number:
        """sum_i c_i (E_i there - E_i at the start): every crossing in between was of a known weight."""
        total = fmpq(0)
        for i in np.nonzero(side != self.side)[0].tolist():
            total += coefficients[i] * (self.weights[i] if side[i] else -self.weights[i])
        return total

    def resolve(self) -> None:
        """Everything that the equations determine by now. Raises InconsistentRow."""
        open_, rows = self._open_rows()
        if rows and open_ and _may_determine(rows, len(open_)):
            for column, value in determined(rows, len(open_)).items():
                self._set_start(open_[column], value)
        elif not open_ and any(row[-1] != 0 for row in rows):
            raise InconsistentRow
        self._weights_from_start()

    def tells_signs(self) -> bool:
        """Whether the equations are enough for the open signs of all neurons that were crossed.

        Each is one of two: where all is exact, few equations tell them, once those that were not crossed are
        eliminated. Between balls all E must be determined.
        """
        open_, rows = self._open_rows()
        if not open_:
            return True
        rank = rank_of([row[:-1] for row in rows]) if rows else 0
        if rank == len(open_):
            return True
        free = sum(i not in self.weights for i in open_)
        return not has_balls(rows) and rank - free >= FEWEST_EQUATIONS

    def sign_rows(self, signs: Sequence[int]) -> tuple[list[int], list[int], list[list[Number]]]:
        """The equations in what is open where the layer has these signs: (free, crossed, rows).

        Every row has a coefficient of E_i for each neuron ``free`` that was not crossed, one of s_i for each that was
        ``crossed`` and has an open sign, and the value.
        """
        crossed = [i for i in range(self.width) if i in self.weights and i not in self.start and not signs[i]]
        known = dict(self.start)
        for i in range(self.width):
            if i in self.weights and i not in known and signs[i]:
                known[i] = self.weights[i] * (((1 if self.side[i] else -1) + signs[i]) // 2)
        free = [i for i in range(self.width) if i not in known and i not in crossed]
        rows = []
        for coefficients, value in self.rows:
            rest = 2 * value - 2 * sum((coefficients[i] * x for i, x in known.items()), fmpq(0))
            terms = [coefficients[i] * self.weights[i] for i in crossed]
            for i, term in zip(crossed, terms, strict=True):
                rest = rest - (term if self.side[i] else -term)
            rows.append([*(fmpq(2) * coefficients[i] for i in free), *terms, rest])
        return free, crossed, rows

    def signs_found(self) -> dict[int, int]:
        """Signs of rows of the layer before, where E and w tell. Raises InconsistentRow when it is no sign.

        Once some were told so, or the equations were put to the test by others, E is believed where no crossing shows
        the weight, too: what takes part is on. As many equations as unknowns hold for a wrong layer as well.
        """
        found: dict[int, int] = {}
        for i, weight in self.weights.items():
            if vanishes(weight) or i not in self.start or self.signs[i]:
                continue
            sign = sign_of(2 * self.start[i] / weight - (1 if self.side[i] else -1))
            if sign is None:
                raise InconsistentRow
            if sign:
                found[i] = sign
        on = [i for i, e in self.start.items() if e != 0 and i not in self.weights and not self.signs[i]]
        if on and len(found) + self._spare() >= FEWEST_EQUATIONS:
            found.update((i, 1 if self.side[i] else -1) for i in on)
        return found

    def _spare(self) -> int:
        """Independent equations beyond those that it takes to tell the E that no measured weight and sign tell."""
        off = np.array([bool(s) and (s > 0) != side for s, side in zip(self.signs, self.side, strict=True)])
        told = np.array([bool(s) and i in self.measured for i, s in enumerate(self.signs)])
        if not self.rows or off.all():
            return 0
        table = np.array([coefficients for coefficients, _ in self.rows], dtype=object)
        open_ = table[:, ~off & ~told]
        return rank_of(table[:, ~off].tolist()) - (rank_of(open_.tolist()) if open_.shape[1] else 0)

    def _open_rows(self) -> tuple[list[int], list[list[Number]]]:
        """Equations in the E that are not known: (their indices, rows of coefficients and value)."""
        open_ = [i for i in range(self.width) if i not in self.start]
        rows = [
            [*(coefficients[i] for i in open_), rest]
            for (coefficients, _), rest in zip(self.rows, self._rest, strict=True)
        ]
        return open_, rows

    def _combined(self, coefficients: Sequence[Number]) -> Number | None:
        """The open part of sum_i c_i E_i as a combination of the equations."""
        if not self.rows:
            return None
        if self._solved is not None:
            return self._solved.value(coefficients)
        open_, rows = self._open_rows()
        if has_balls(rows) or has_balls([coefficients]):
            return _combined_balls(rows, [coefficients[i] for i in open_])
        self._solved = Combinations(open_, rows)
        return self._solved.value(coefficients)

    def set_weight(self, neuron: int, weight: Number) -> None:
        """A weight that was measured. Raises InconsistentRow when another one is known."""
        self.measured.add(neuron)
        self._put_weight(neuron, weight)

    def _put_weight(self, neuron: int, weight: Number) -> None:
        if self.weights.setdefault(neuron, weight) != weight:
            raise InconsistentRow
        if self.signs[neuron] and (self.signs[neuron] > 0) == self.side[neuron]:
            self._set_start(neuron, weight * int(self.signs[neuron]))

    def sharpen(self, weights: Mapping[int, Number]) -> None:
        """Weights that are known already, between smaller balls; their E, too, where their signs are known."""
        for i, weight in weights.items():
            self.weights[i] = weight
            if self.signs[i] and (self.signs[i] > 0) == self.side[i]:
                self.start[i] = weight * int(self.signs[i])
        self._solved = None
        self._rest = [
            value - sum((coefficients[i] * x for i, x in self.start.items()), fmpq(0))
            for coefficients, value in self.rows
        ]

    def _set_start(self, neuron: int, value: Number) -> None:
        if neuron not in self.start:
            self.start[neuron] = value
            self._solved = None
            self._rest = [
                rest - coefficients[neuron] * value if coefficients[neuron] != 0 else rest
                for (coefficients, _), rest in zip(self.rows, self._rest, strict=True)
            ]
        elif self.start[neuron] != value:
            raise InconsistentRow

    def _weights_from_start(self) -> None:
        """Where a neuron of known sign was on at the start, E tells its weight, and the other way round."""
        for i in range(self.width):
            if not self.signs[i] or (self.signs[i] > 0) != self.side[i]:
                continue
            if i in self.start:
                self._put_weight(i, self.start[i] * int(self.signs[i]))
            elif i in self.weights:
                self._set_start(i, self.weights[i] * int(self.signs[i]))


def sign_of(value: Number) -> int | None:
    """+1 or -1; None when the value is neither, 0 when it is a ball too wide to tell."""
    if isinstance(value, arb):
        if value.rad() >= 1:
            return 0
        return None if abs(value) != 1 else 1 if value > 0 else -1
    return None if abs(value) != 1 else int(value.p)


class Combinations:
    """Which linear forms some equations tell, and their values: the equations are solved once for many forms.

    They are brought to x_p + sum_q R_pq x_q = v_p, p the pivots and q the other unknowns.

    Args:
        unknowns: indices of the coefficients that belong to unknowns; the others are left out.
        rows: coefficients of the unknowns, then value, rationals.
    """

    def __init__(self, unknowns: Sequence[int], rows: Sequence[Sequence[fmpq | int]]):
        table = _table(rows)
        basis = table[independent(table[:, :-1].tolist())]
        pivots = independent(basis[:, :-1].T.tolist())
        others = [k for k in range(len(unknowns)) if k not in set(pivots)]
        square, rest = (rational_matrix(basis[:, columns].copy()) for columns in (pivots, [*others, len(unknowns)]))
        self._reduced = square.solve(rest)
        self._pivots, self._others = ([unknowns[k] for k in columns] for columns in (pivots, others))

    def value(self, form: Sequence[fmpq | int]) -> fmpq | None:
        """The value of a form, all its coefficients given, on all solutions; None where these differ."""
        own = fmpq_mat(1, len(self._pivots), [form[k] for k in self._pivots])
        *others, value = (own * self._reduced).entries()
        return value if all(x == form[k] for x, k in zip(others, self._others, strict=True)) else None


def _combined_balls(rows: Sequence[Sequence[Number]], target: Sequence[Number]) -> Number | None:
    """The value of a combination of equations with the given coefficients; None when there is no such combination."""
    transposed = [[*(row[k] for row in rows), target[k]] for k in range(len(target))]
    reduced = reduce_rows(transposed, len(rows))
    if not reduced.decided or any(row[0] != 0 for row in reduced.rest):
        return None
    return sum((row[-1] * rows[k][-1] for row, k in zip(reduced.rows, reduced.pivots, strict=True)), fmpq(0))


def determined(rows: Sequence[Sequence[Number]], unknowns: int) -> dict[int, Number]:
    """The unknowns that the linear equations ``rows`` (coefficients, then value) fix, by column.

    Where all is exact, which they are is told modulo a prime; their values solve all equations.

    Raises:
        InconsistentRow: no solution.
    """
    if has_balls(rows):
        return _determined_balls(rows, unknowns)
    table = _table(rows)
    reduced, rank = modular(table).rref()
    flat, width = [int(x) for x in reduced.entries()], unknowns + 1
    pivots = [next(k for k in range(width) if flat[r * width + k]) for r in range(rank)]
    if unknowns in pivots:
        raise InconsistentRow
    if not pivots:
        return {}
    chosen = independent(table[:, pivots].tolist())
    solution = rational_matrix(table[np.ix_(chosen, pivots)]).solve(rational_matrix(table[chosen, unknowns:]))
    if rational_matrix(table[:, pivots]) * solution != rational_matrix(table[:, unknowns:]):
        raise InconsistentRow
    # What is not determined is zero in this solution; an unknown that none of it enters is the same in all.
    return {
        pivot: value
        for r, (pivot, value) in enumerate(zip(pivots, object_matrix(solution)[:, 0], strict=True))
        if not any(flat[r * width + k] for k in range(pivot + 1, unknowns))
    }


def _may_determine(rows: Sequence[Sequence[Number]], unknowns: int) -> bool:
    """Whether the equations fix some unknown, or contradict each other, modulo a prime; of balls it is not known."""
    if has_balls(rows):
        return True
    reduced, rank = modular(_table(rows)).rref()
    flat, width = [int(x) for x in reduced.entries()], unknowns + 1
    return any(sum(x != 0 for x in flat[r * width : r * width + unknowns]) <= 1 for r in range(rank))


def _determined_balls(rows: Sequence[Sequence[Number]], unknowns: int) -> dict[int, Number]:
    """The same between balls; where bits are few least squares know more than elimination, if all is determined."""
    if bits_in_use() < FEW_BITS:
        try:
            solution = fitted([row[:unknowns] for row in rows], [row[unknowns] for row in rows])
        except NoFitError as error:
            raise InconsistentRow from error
        if solution is not None:
            return dict(enumerate(solution))
    reduced = reduce_rows(rows, unknowns)
    if not reduced.decided:
        return {}
    if any(row[0] != 0 for row in reduced.rest):
        raise InconsistentRow
    free = [k for k in range(unknowns) if k not in set(reduced.pivots)]
    return {
        pivot: row[unknowns]
        for pivot, row in zip(reduced.pivots, reduced.rows, strict=True)
        if all(vanishes(row[k]) for k in free)
    }


class Shared(enum.Enum):
    """Why a system with many right-hand sides has no unique solution."""

    OPEN = "fewer independent equations than unknowns"
    CONTRADICTORY = "no solution"


def solve_shared(rows: Sequence[Sequence[Number]], unknowns: int) -> np.ndarray | Shared:
    """The unique solution (unknowns, right-hand sides) of rows (coefficients, then right-hand sides), exactly.

    Independent equations are chosen modulo a prime, solved over the rationals, and all others put to the test.
    """
    if has_balls(rows):
        return _solve_shared_balls(rows, unknowns)
    table = _table(rows)
    chosen = independent([row[:unknowns] for row in rows])
    if len(chosen) < unknowns:
        return Shared.OPEN
    solution = rational_matrix(table[chosen, :unknowns]).solve(rational_matrix(table[chosen, unknowns:]))
    if rational_matrix(table[:, :unknowns]) * solution != rational_matrix(table[:, unknowns:]):
        return Shared.CONTRADICTORY
    return object_matrix(solution)


def _solve_shared_balls(rows: Sequence[Sequence[Number]], unknowns: int) -> np.ndarray | Shared:
    if bits_in_use() < FEW_BITS:
        return _fit_shared(rows, unknowns)
    reduced = reduce_rows(rows, unknowns)
    if reduced.rank < unknowns:
        return Shared.OPEN
    if any(x != 0 for row in reduced.rest for x in row):
        return Shared.CONTRADICTORY
    solution = np.empty((unknowns, len(rows[0]) - unknowns), dtype=object)
    for pivot, row in zip(reduced.pivots, reduced.rows, strict=True):
        solution[pivot, :] = row[unknowns:]
    return solution


def _fit_shared(rows: Sequence[Sequence[Number]], unknowns: int) -> np.ndarray | Shared:
    """The same by least squares over all equations, where bits are few."""
    left = [row[:unknowns] for row in rows]
    solution = np.empty((unknowns, len(rows[0]) - unknowns), dtype=object)
    for k in range(unknowns, len(rows[0])):
        try:
            column = fitted(left, [row[k] for row in rows])
        except NoFitError:
            return Shared.CONTRADICTORY
        if column is None:
            return Shared.OPEN
        solution[:, k - unknowns] = column
    return solution


def expressed_in(basis: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The factors with vectors = factors @ basis, independent vectors, if there are such; (vectors, basis)."""
    columns = independent(basis.T.tolist())
    square = rational_matrix(basis[:, columns].T.copy())
    return object_matrix(square.solve(rational_matrix(vectors[:, columns].T.copy()))).T


def reduced_rows(rows: Sequence[Sequence[fmpq | int]]) -> tuple[fmpz_mat, fmpz, int]:
    """Reduced row echelon form over the integers: (matrix, common pivot, rank)."""
    reduced, denominator, rank = integer_rows(_table(rows)).rref()
    return reduced, fmpz(denominator), rank


def _table(rows: Sequence[Sequence[fmpq | int]]) -> np.ndarray:
    table = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        table[i, :] = [x if isinstance(x, fmpq) else fmpq(x) for x in row]
    return table


def rank_of(rows: Sequence[Sequence[Number]]) -> int:
    """Rank, modulo a prime; of balls the rank that is certain."""
    return ball_rank(rows) if has_balls(rows) else modular(_table(rows)).rank()


def independent(rows: Sequence[Sequence[Number]]) -> list[int]:
    """Indices of independent rows that span all (modulo a prime, so that they are independent over Q)."""
    if has_balls(rows):
        return sorted(reduce_rows(rows, len(rows[0])).chosen)
    reduced, rank = modular(_table(rows)).transpose().rref()
    flat, width = [int(x) for x in reduced.entries()], reduced.ncols()
    found, column = [], 0
    for r in range(rank):
        while flat[r * width + column] == 0:
            column += 1
        found.append(column)
    return found
