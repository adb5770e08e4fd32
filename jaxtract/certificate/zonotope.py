"""How far two paired networks can be apart on a set of inputs: affine forms for f and for the difference.

Every unit has two forms: h = s(z) of the reference, and D = s(z') - s(z), both affine in the inputs and in symbols
that lie in [-1, 1]. The difference is propagated itself (differential verification: Paulsen, Wang and Wang
2020, *ReluDiff*), so that an error of 1e-9 stays one:

    z' - z = sum_i w'_i D_i + sum_i (w'_i - w_i) h_i + (b' - b),    D = a (z' - z) with a in [0, 1].

A unit that may bend gets h = q z + [0, max(-q low, (1 - q) high)] and D = (z' - z) / 2 +- max|z' - z| / 2.

All steps are ring operations, absolute values and comparisons: in balls (arb) they prove a bound, over the
rationals they give it exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from flint import arb, arb_mat, ctx, fmpq, fmpq_mat

from jaxtract.certificate.domain import Ball, root_up
from jaxtract.certificate.pairing import Paired
from jaxtract.equality.expressions import CONSTANT, Expression, less
from jaxtract.network.exact_network import fraction, rational

SLOPE_UNIT = 256
"""Slopes q are multiples of 1/256: short evidence."""

Slope = Literal["on", "off"] | int
"""Both always on, both always off, or 256 q for a unit that may bend."""

Scalar = Any
"""``arb`` or ``fmpq``."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of the domain: intervals [low_j, high_j], or a ball."""

    intervals: tuple[tuple[fmpq, fmpq], ...] | None
    ball: Ball | None = None


@dataclasses.dataclass(frozen=True)
class Bounded:
    """What propagation found: the bound on max_o |f'_o - f_o|, and the slopes that it rests on."""

    bound: Scalar
    slopes: tuple[Slope, ...]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Some rows over (constant, inputs, earlier units): reference, difference, and f' over units."""

    constants: list[Scalar]
    inputs: list[list[Scalar]]
    units: Any
    difference_constants: list[Scalar]
    difference_inputs: list[list[Scalar]]
    difference_units: Any
    recovered_units: Any
    known: int


class Propagator:
    """Propagates forms through two paired networks in one kind of numbers.

    Args:
        paired: the networks.
        prec: bits of the balls, or None for exact rationals.
    """

    def __init__(self, paired: Paired, prec: int | None):
        self.paired, self.prec = paired, prec
        self.inputs = paired.inputs
        self.count = len(paired.reference.rows)
        with self._precision():
            self.levels = [self._rows(*run) for run in paired.runs()]

    def __call__(self, region: Region, slopes: Sequence[Slope] | None = None) -> Bounded:
        """The bound on a region, by this object's numbers; with the given slopes, or those that suit best."""
        with self._precision():
            return _Pass(self, region, slopes).run()

    def number(self, x: fmpq) -> Scalar:
        return x if self.prec is None else arb(x)

    def matrix(self, rows: Sequence[Sequence[Scalar]], columns: int) -> Any:
        kind = fmpq_mat if self.prec is None else arb_mat
        return kind(len(rows), columns, [x for row in rows for x in row])

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self.prec is None else ctx.workprec(self.prec)

    def _rows(self, recovered: Sequence[Expression], reference: Sequence[Expression], known: int) -> _Rows:
        difference = [less(e, g) for e, g in zip(recovered, reference, strict=True)]

        def numbers(rows: Sequence[Expression], keys: range) -> list[list[Scalar]]:
            zero = fmpq(0)
            return [[self.number(row.get(key, zero)) for key in keys] for row in rows]

        constant, inputs, units = range(CONSTANT, 1), range(-self.inputs, CONSTANT), range(1, 1 + known)
        return _Rows(
            [row[0] for row in numbers(reference, constant)],
            numbers(reference, inputs),
            self.matrix(numbers(reference, units), known),
            [row[0] for row in numbers(difference, constant)],
            numbers(difference, inputs),
            self.matrix(numbers(difference, units), known),
            self.matrix(numbers(recovered, units), known),
            known,
        )


class _Pass:
    """One propagation over one region."""

    def __init__(self, owner: Propagator, region: Region, slopes: Sequence[Slope] | None):
        self.owner, self.region, self.given = owner, region, slopes
        self.width = 1 + owner.inputs + 2 * owner.count  # constant, inputs, two symbols for every unit
        self.h: list[list[Scalar]] = []
        self.d: list[list[Scalar]] = []
        self.slopes: list[Slope] = []
        number = owner.number
        self.zero, self.half = number(fmpq(0)), number(fmpq(1, 2))
        if region.intervals is not None:
            self.middles = [number((low + high) / 2) for low, high in region.intervals]
            self.radii = [number((high - low) / 2) for low, high in region.intervals]

    def run(self) -> Bounded:
        *hidden, last = self.owner.levels
        for level in hidden:
            z, d = self._affine(level)
            for row, difference in zip(z, d, strict=True):
                self._unit(row, difference)
        _, outputs = self._affine(last)
        bound = self.zero
        for row in outputs:
            middle, radius = self._range(row)
            bound = _larger(bound, abs(middle) + radius)
        return Bounded(bound, tuple(self.slopes))

    def _affine(self, level: _Rows) -> tuple[list[list[Scalar]], list[list[Scalar]]]:
        """Forms of z and of z' - z for some rows."""
        blank = [self.zero] * (self.width - 1 - self.owner.inputs)
        z = [[c, *x, *blank] for c, x in zip(level.constants, level.inputs, strict=True)]
        d = [[c, *x, *blank] for c, x in zip(level.difference_constants, level.difference_inputs, strict=True)]
        if level.known and z:
            h_units = self.owner.matrix(self.h, self.width)
            d_units = self.owner.matrix(self.d, self.width)
            z = (self.owner.matrix(z, self.width) + level.units * h_units).tolist()
            moved = level.difference_units * h_units + level.recovered_units * d_units
            d = (self.owner.matrix(d, self.width) + moved).tolist()
        return z, d

    def _unit(self, z: list[Scalar], d: list[Scalar]) -> None:
        """Append the forms of s(z) and of s(z') - s(z)."""
        k = len(self.slopes)
        low, high = self._interval(z)
        d_low, d_high = self._interval(d)
        far = _larger(abs(d_low), abs(d_high))
        slope = self._slope(k, low, high, lambda: self._interval([x + y for x, y in zip(z, d, strict=True)]))
        self.slopes.append(slope)
        if slope == "on":
            h, difference = z, d
        elif slope == "off":
            h, difference = [self.zero] * self.width, [self.zero] * self.width
        else:
            q = self.owner.number(fmpq(slope, SLOPE_UNIT))
            h, difference = [q * x for x in z], [self.half * x for x in d]
            wide = self.half * _larger(-q * low, (1 - q) * high)
            h[0] += wide
            h[self._symbol(k)] += wide
            difference[self._symbol(k) + 1] += self.half * far
        self.h.append(h)
        self.d.append(difference)

    def _slope(self, k: int, low: Scalar, high: Scalar, other: Any) -> Slope:
        if self.given is not None:
            return self.given[k]
        if low >= 0 and other()[0] >= 0:
            return "on"
        if high <= 0 and other()[1] <= 0:
            return "off"
        left, right = float(low), float(high)
        return min(SLOPE_UNIT, max(0, round(SLOPE_UNIT * right / (right - left)))) if right > left else 0

    def _symbol(self, k: int) -> int:
        """Column of the first of a unit's two symbols: one for h, one for D."""
        return 1 + self.owner.inputs + 2 * k

    def _interval(self, form: list[Scalar]) -> tuple[Scalar, Scalar]:
        middle, radius = self._range(form)
        return middle - radius, middle + radius

    def _range(self, form: list[Scalar]) -> tuple[Scalar, Scalar]:
        """Middle and radius of the values of a form."""
        slope = form[1 : 1 + self.owner.inputs]
        radius: Scalar = sum((abs(x) for x in form[1 + self.owner.inputs :]), self.zero)
        if self.region.ball is not None:
            return form[0], radius + self.owner.number(self.region.ball.radius) * self._norm(slope)
        middle = sum((x * m for x, m in zip(slope, self.middles, strict=True)), form[0])
        return middle, sum((abs(x) * r for x, r in zip(slope, self.radii, strict=True)), radius)

    def _norm(self, slope: Sequence[Scalar]) -> Scalar:
        square: Scalar = sum((x * x for x in slope), self.zero)
        return rational(root_up(fraction(square))) if self.owner.prec is None else square.sqrt()


def _larger(x: Scalar, y: Scalar) -> Scalar:
    return max(x, y) if isinstance(x, fmpq) else x.max(y)
