"""The course of an extraction: queries by purpose, neurons and phases, thinned to a few hundred moments."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from jaxtract.oracle.counting import QueryCount
from jaxtract.report.progress import ProgressMeter

MOST_MOMENTS = 256
"""Twice as many are thinned to these; moments stay evenly spread over the batches."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """What was known when a batch had been answered.

    Attributes:
        seconds: since the extraction began.
        phase: what was being done.
        search, measure, verify: queries so far.
        neurons: hidden neurons found so far.
    """

    seconds: float
    phase: str
    search: int
    measure: int
    verify: int
    neurons: int

    @property
    def queries(self) -> int:
        return self.search + self.measure + self.verify


class CourseMeter:
    """A ``ProgressMeter`` that keeps the course, and passes everything on to another one."""

    def __init__(self, meter: ProgressMeter, *, clock: Callable[[], float] = time.perf_counter):
        self._meter, self._clock = meter, clock
        self._begun = clock()
        self._phase, self._neurons, self._count = "start", 0, QueryCount()
        self._moments: list[Moment] = []
        self._batches, self._stride = 0, 1

    def phase(self, name: str) -> None:
        self._phase = name
        self._meter.phase(name)

    def queries(self, count: QueryCount) -> None:
        self._count = count
        if self._batches % self._stride == 0:
            self._moments.append(self._now())
        self._batches += 1
        if len(self._moments) >= 2 * MOST_MOMENTS:
            self._moments = self._moments[::2]
            self._stride *= 2
        self._meter.queries(count)

    def neurons(self, found: int, expected: int | None) -> None:
        self._neurons = found
        if self._moments and self._moments[-1].queries == self._count.total:
            self._moments[-1] = self._now()  # it took no query beyond these
        self._meter.neurons(found, expected)

    def moments(self) -> list[Moment]:
        """The course up to now, this moment included."""
        return [*self._moments, self._now()]

    def _now(self) -> Moment:
        count, seconds = self._count, round(self._clock() - self._begun, 3)
        return Moment(seconds, self._phase, count.search, count.measure, count.verify, self._neurons)


def course_as_dict(moments: Sequence[Moment]) -> dict[str, Any]:
    """Columns, ready for JSON: a name for every attribute of a moment."""
    return {field.name: [getattr(moment, field.name) for moment in moments] for field in dataclasses.fields(Moment)}


def course_from_dict(columns: Any) -> list[Moment]:
    """The course from its columns.

    Raises:
        ValueError: they are not such columns.
    """
    kinds = {"seconds": (int, float), "phase": (str,)}
    names = [field.name for field in dataclasses.fields(Moment)]
    if not isinstance(columns, dict) or not all(isinstance(columns.get(name), list) for name in names):
        raise ValueError(f"a course has the columns {', '.join(names)}")
    if len({len(columns[name]) for name in names}) != 1:
        raise ValueError("the columns of a course must be of one length")
    for name in names:
        if not all(isinstance(x, kinds.get(name, (int,))) for x in columns[name]):
            raise ValueError(f"column {name} of a course holds something else than {name}")
    return [Moment(*values) for values in zip(*(columns[name] for name in names), strict=True)]
