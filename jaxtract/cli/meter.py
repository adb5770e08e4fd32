"""Progress on the terminal: phase, queries by purpose, neurons found."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jaxtract.oracle.counting import QueryCount


class RichMeter:
    """A ``ProgressMeter`` on standard error, alive inside a ``with`` block."""

    def __init__(self, console: Console, *, enabled: bool):
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[neurons]}"),
            TextColumn("{task.fields[queries]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not enabled,
        )
        self._task = self._progress.add_task("start", total=None, neurons="", queries="")

    def __enter__(self) -> RichMeter:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def phase(self, name: str) -> None:
        self._progress.update(self._task, description=name)

    def queries(self, count: QueryCount) -> None:
        shown = f"queries: search {count.search:,} measure {count.measure:,} verify {count.verify:,}"
        self._progress.update(self._task, queries=shown)

    def neurons(self, found: int, expected: int | None) -> None:
        known = f"{found}" if expected is None else f"{found} of {expected}"
        self._progress.update(self._task, total=expected, completed=found, neurons=f"{known} neurons")
