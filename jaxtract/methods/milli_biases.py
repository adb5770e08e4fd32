"""Biases from gradients alone: one gradient halves the brackets of as many neurons as there are inputs.

When a line has shown the rows w_i of all neurons, a gradient at x says of each of them on which side of its hyperplane
x is. For neurons with independent rows a point with w_i.x = t_i exists for any t_i: at t_i in the middle of what is
known of -b_i, one query halves the brackets of all of them. A rational bias is reached in the end: the simplest number
in a bracket is the candidate, and two queries next to it on both sides say whether it is the bias, for any other
rational that near has a denominator of more than 318 bits (those of float64 weights have some sixty).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from flint import arb, arb_mat, ctx, fmpq, fmpz_mat, nmod_mat

from jaxtract.search.gradient_lines import Jump
from jaxtract.search.lines import Line
from precision.context import Context, integer_rows
from precision.dyadic import DyadicMatrix, dyadic_matrix, floor_log2, power_of_two, round_to_grid
from precision.modular import PRIME

TRUST_BITS = 320
"""A confirmed bias is the only rational in its bracket whose denominator is below 2^318."""

FINEST_BITS = 512
"""Brackets narrower than this, relative to their ends, are no brackets of rationals that float64 weights have."""

STEPS = 12
"""Halvings between two tries of the simplest number."""

TRIES = 40
"""Points tried before an ambiguous one (where the side of another neuron is not known) is given up."""

SOLVER_BITS = (1024, 4096, 16384)
"""Working precision of the solver: more where rows are nearly dependent."""


@dataclasses.dataclass
class Bend:
    """A neuron whose row is known: the gradient changes by ``factor`` (outer) ``normal`` where normal.x + b = 0.

    Attributes:
        normal: primitive integers, shape (inputs,).
        factor: shape (outputs,).
        low, high: low <= b <= high.
        bias: b, once it is found.
    """

    normal: np.ndarray
    factor: np.ndarray
    low: fmpq
    high: fmpq
    bias: fmpq | None = None

    @property
    def likeliest(self) -> fmpq:
        """The bias, or the middle of what is known of it."""
        return (self.low + self.high) / 2 if self.bias is None else self.bias

    def side(self, cut: fmpq) -> int:
        """Sign of normal.x + b where normal.x = -cut; 0 if it is not known."""
        if self.bias is not None:
            return (self.bias > cut) - (self.bias < cut)
        return 1 if cut < self.low else -1 if cut > self.high else 0


class Inconsistent(Exception):  # noqa: N818  (a finding about the rows)
    """A gradient is no sum of the known rows: one of them is two neurons, or a neuron is missing."""


def bend_of(context: Context, line: Line, jump: Jump) -> Bend:
    """The neuron behind a jump, turned so that it goes on along the line.

    Raises:
        Inconsistent: the change is of higher rank, or does not change the slope of the line: it is two neurons.
    """
    row = next(r for r in jump.change if any(x != 0 for x in r))
    normal, _ = context.normalise_row(row)
    speed = normal @ np.array(line.direction, dtype=object)
    if speed == 0:
        raise Inconsistent
    if speed < 0:
        normal, speed = -normal, -speed
    lead = next(i for i, x in enumerate(normal) if x != 0)
    factor = jump.change[:, lead] / normal[lead]
    if np.any(np.outer(factor, normal) != jump.change):
        raise Inconsistent
    offset = normal @ np.array(line.base, dtype=object)
    return Bend(normal, factor, -(offset + jump.right * speed), -(offset + jump.left * speed))


def settle_biases(
    ask: Callable[[DyadicMatrix], np.ndarray], bends: Sequence[Bend], matrix: np.ndarray, rng: np.random.Generator
) -> None:
    """Fill in the biases of all bends that have one of moderate height; brackets of the rest are narrowed.

    Args:
        ask: gradients at some points, without rounding, shape (points, outputs, inputs).
        bends: all neurons.
        matrix: the affine part of sum |normal.x + b| factor / 2 + matrix x, shape (outputs, inputs).
        rng: chooses points.

    Raises:
        Inconsistent: the gradients are no sums of these bends.
    """
    search = _Search(ask, bends, matrix, rng)
    search.confirm()
    while search.open:
        for _ in range(STEPS):
            search.halve()
        search.confirm()


def simplest(low: fmpq, high: fmpq) -> fmpq:
    """The rational of the smallest denominator, then of the smallest modulus, with low <= x <= high."""
    if low <= 0 <= high:
        return fmpq(0)
    if high < 0:
        return -simplest(-high, -low)
    whole = fmpq(low.ceil())
    if whole <= high:
        return whole
    whole = fmpq(low.floor())
    return whole + 1 / simplest(1 / (high - whole), 1 / (low - whole))


@dataclasses.dataclass(frozen=True)
class _Group:
    """Bends with independent rows, and what solves for points on given sides of them.

    Attributes:
        members: indices of the bends.
        solver: N^T (N N^T)^-1 for their rows N, shape (inputs, members), and the precision that it was found in.
        columns: factor (outer) normal of every member, shape (outputs * inputs, members).
        equations, inverse: as many independent rows of ``columns``, and their inverse modulo ``PRIME``.
    """

    members: list[int]
    solver: tuple[arb_mat, int]
    columns: np.ndarray
    equations: list[int]
    inverse: nmod_mat

    def signs(self, target: np.ndarray) -> list[int]:
        """The +-1 with columns @ signs = target: found modulo a prime, proved over the rationals.

        Raises:
            Inconsistent: there are none.
        """
        count = len(self.members)
        right = nmod_mat(count, 1, [_residue(target[i]) for i in self.equations], PRIME)
        found = [int(x) for x in (self.inverse * right).entries()]
        signs = [1 if x == 1 else -1 for x in found]
        if set(found) <= {1, PRIME - 1} and not np.any(self.columns @ np.array(signs, dtype=object) != target):
            return signs
        raise Inconsistent


class _Search:
    def __init__(
        self,
        ask: Callable[[DyadicMatrix], np.ndarray],
        bends: Sequence[Bend],
        matrix: np.ndarray,
        rng: np.random.Generator,
    ):
        self.ask, self.bends, self.matrix, self.rng = ask, bends, matrix, rng
        self.normals = np.stack([bend.normal for bend in bends])
        self.factors = np.stack([bend.factor for bend in bends])
        self.rows = integer_rows(self.normals)
        self.given_up: set[int] = set()
        self.groups = [self._group(members) for members in independent_groups(self.rows)]

    @property
    def open(self) -> bool:
        return any(self._is_open(i) for i in range(len(self.bends)))

    def halve(self) -> None:
        """One query for every group: each bracket is cut near its middle."""
        self._cut([{i: None for i in group.members if self._is_open(i)} for group in self.groups])

    def confirm(self) -> None:
        """Two queries for every group: just below and just above the simplest number of each bracket."""
        tried = {i: simplest(b.low, b.high) for i, b in enumerate(self.bends) if self._is_open(i)}
        for side in (-1, 1):
            wanted = {i: x + side * power_of_two(-TRUST_BITS) / x.q for i, x in tried.items()}
            self._cut([{i: wanted[i] for i in group.members if i in wanted} for group in self.groups])
        for i, x in tried.items():
            bend = self.bends[i]
            margin = 2 * power_of_two(-TRUST_BITS) / x.q
            if bend.low <= x <= bend.high and bend.high - bend.low <= 2 * margin:
                bend.bias = x
            elif bend.high - bend.low < power_of_two(-FINEST_BITS) * max(abs(bend.low), abs(bend.high)):
                self.given_up.add(i)

    def _is_open(self, i: int) -> bool:
        return self.bends[i].bias is None and i not in self.given_up

    def _cut(self, wishes: Sequence[dict[int, fmpq | None]]) -> None:
        """Ask one point a group: cuts near the wishes, or near the middle of the bracket where there is none."""
        asked = [(group, wish) for group, wish in zip(self.groups, wishes, strict=True) if wish]
        if not asked:
            return
        points, sides = zip(*(self._point(group, wish) for group, wish in asked), strict=True)
        gradients = self.ask(dyadic_matrix(list(points), self.normals.shape[1]))
        for (group, wish), known, gradient in zip(asked, sides, gradients, strict=True):
            self._learn(group, wish, known, gradient)

    def _point(self, group: _Group, wish: dict[int, fmpq | None]) -> tuple[list[fmpq], list[fmpq]]:
        """A point that cuts the wished bends of a group, with the cuts -normal.x of all bends.

        Raises:
            Inconsistent: no point was found where the sides of all others are known.
        """
        for _ in range(TRIES):
            cuts = [self._near(i, wish.get(i), i in wish) for i in group.members]
            finest = min(self._room(i, wish[i]) for i in wish)
            point = self._solved(group, cuts, finest)
            exact = [-x for x in _products(self.rows, point)]
            others = (i for i in range(len(self.bends)) if i not in wish)
            if all(self.bends[i].side(exact[i]) != 0 for i in others) and all(
                self.bends[i].low < exact[i] < self.bends[i].high or wish[i] is not None for i in wish
            ):
                return point, exact
        raise Inconsistent

    def _near(self, i: int, wished: fmpq | None, cut: bool) -> fmpq:
        """Where a bend is cut; those of the group that are settled are passed at a distance."""
        bend = self.bends[i]
        if not cut:
            known = bend.bias if bend.bias is not None else bend.high
            return known + (1 + abs(known)) * fmpq(int(self.rng.integers(1, 256)), 64)
        if wished is not None:
            return wished
        return bend.low + (bend.high - bend.low) * fmpq(int(self.rng.integers(96, 160)), 256)

    def _room(self, i: int, wished: fmpq | None) -> fmpq:
        """By how much a cut may miss its place."""
        bend = self.bends[i]
        return (bend.high - bend.low) / 16 if wished is None else power_of_two(-TRUST_BITS - 3) / wished.q

    def _solved(self, group: _Group, cuts: Sequence[fmpq], room: fmpq) -> list[fmpq]:
        """A short dyadic point x with normal.x = -cut for all members, up to ``room``."""
        rows = [self.normals[i] for i in group.members]
        start = [fmpq(int(x), 1 << 12) for x in np.rint(self.rng.standard_normal(len(rows[0])) * (1 << 12))]
        missing = [-cut - row @ np.array(start, dtype=object) for cut, row in zip(cuts, rows, strict=True)]
        size = max(sum((abs(x) for x in row), fmpq(0)) for row in rows)
        bits = floor_log2(size) - floor_log2(room) + 2
        solver, prec = group.solver
        with ctx.workprec(prec):
            moved = solver * arb_mat(len(missing), 1, [arb(x) for x in missing])
            return [round_to_grid(x + _rational(m), bits) for x, m in zip(start, moved.entries(), strict=True)]

    def _learn(self, group: _Group, wish: dict[int, fmpq | None], cuts: list[fmpq], gradient: np.ndarray) -> None:
        """Which side each bend of the group is on, from what the others leave of the gradient."""
        others = [i for i in range(len(self.bends)) if i not in set(group.members)]
        known = np.array([self.bends[i].side(cuts[i]) for i in others], dtype=object)
        rest = 2 * (gradient - self.matrix)
        if others:
            rest = rest - (self.factors[others] * known[:, None]).T @ self.normals[others]
        for i, sign in zip(group.members, group.signs(rest.reshape(-1)), strict=True):
            bend = self.bends[i]
            if i in wish and sign > 0:
                bend.low = max(bend.low, cuts[i])
            elif i in wish:
                bend.high = min(bend.high, cuts[i])
            if (i not in wish and bend.side(cuts[i]) != sign) or bend.low > bend.high:
                raise Inconsistent

    def _group(self, members: list[int]) -> _Group:
        outer = self.factors[members, :, None] * self.normals[members, None, :]
        columns = outer.reshape(len(members), -1).T
        equations = _pivots(_modular(columns.T))
        return _Group(
            members, _pseudo_inverse(self.normals[members]), columns, equations, _modular(columns[equations]).inv()
        )


def _residue(x: fmpq) -> int:
    return int(x.p) * pow(int(x.q), -1, PRIME) % PRIME


def _modular(matrix: np.ndarray) -> nmod_mat:
    return nmod_mat(matrix.shape[0], matrix.shape[1], [_residue(x) for x in matrix.ravel()], PRIME)


def _pivots(matrix: nmod_mat) -> list[int]:
    """The first columns that span all columns."""
    reduced, rank = matrix.rref()
    return [next(j for j in range(matrix.ncols()) if reduced[r, j] != 0) for r in range(rank)]


def independent_groups(rows: fmpz_mat) -> list[list[int]]:
    """Indices of rows in linearly independent groups (rows are not zero).

    More than one group leaves a direction free in each, so that points on given sides of its members can be far from
    the hyperplanes of all others. Rows that are independent modulo a prime are independent.
    """
    left = list(range(rows.nrows()))
    table = rows.tolist()
    groups: list[list[int]] = []
    while left:
        entries = [int(x) for i in left for x in table[i]]
        pivots = _pivots(nmod_mat(len(left), rows.ncols(), entries, PRIME).transpose())
        if len(pivots) < rows.nrows():
            pivots = pivots[: max(1, rows.ncols() - 1)]
        groups.append([left[j] for j in pivots])
        left = [i for j, i in enumerate(left) if j not in set(pivots)]
    return groups


def _pseudo_inverse(rows: np.ndarray) -> tuple[arb_mat, int]:
    """(N^T (N N^T)^-1 of independent rows N, in balls far narrower than what is asked of them; their precision).

    Raises:
        Inconsistent: the rows are so nearly dependent that no precision was enough.
    """
    for prec in SOLVER_BITS:
        with ctx.workprec(prec):
            matrix = arb_mat(rows.shape[0], rows.shape[1], [arb(x) for x in rows.ravel()])
            try:
                found = matrix.transpose() * (matrix * matrix.transpose()).inv()
            except ZeroDivisionError:
                continue
            if all(x.rel_accuracy_bits() >= prec // 2 for x in found.entries() if x != 0):
                return found, prec
    raise Inconsistent


def _products(rows: fmpz_mat, point: Sequence[fmpq]) -> list[fmpq]:
    column = dyadic_matrix([list(point)], len(point))
    product = rows * column.mantissa.transpose()
    return [fmpq(x) * power_of_two(-column.exponent) for x in product.entries()]


def _rational(x: arb) -> fmpq:
    mantissa, exponent = x.mid().man_exp()
    return fmpq(mantissa) * power_of_two(int(exponent))
