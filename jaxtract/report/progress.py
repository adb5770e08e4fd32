"""How an extraction tells what it is doing. The library is silent; the command line shows bars."""

from __future__ import annotations

from typing import Protocol

from jaxtract.oracle.counting import QueryCount


class ProgressMeter(Protocol):
    """Told of every phase, of every batch, and of every neuron found."""

    def phase(self, name: str) -> None: ...

    def queries(self, count: QueryCount) -> None: ...

    def neurons(self, found: int, expected: int | None) -> None: ...


class NoProgressMeter:
    """Says nothing."""

    def phase(self, name: str) -> None:
        del name

    def queries(self, count: QueryCount) -> None:
        del count

    def neurons(self, found: int, expected: int | None) -> None:
        del found, expected
