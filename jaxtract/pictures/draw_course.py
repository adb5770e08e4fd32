"""The course of an extraction: queries by purpose, neurons found, bits of accuracy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxtract.pictures.figures import colour
from jaxtract.report.course import Moment

PURPOSES = ("search", "measure", "verify")


def draw_course(report: Mapping[str, Any], course: Sequence[Moment]) -> Figure:
    """Two diagrams of a finished run, from its report (``report_of``) and its course; a third of bits, if rounded."""
    bits, words = accuracy(report)
    figure = Figure(figsize=(7.5, 8.5 if bits else 7), layout="constrained")
    axes = figure.subplots(2 + bool(bits), 1, height_ratios=[5, 5, 2][: 2 + bool(bits)])
    _queries(axes[0], course)
    _neurons(axes[1], course, report["widths"])
    if bits:
        _bits(axes[2], bits, words)
    widths = "no network" if report["widths"] is None else "-".join(map(str, report["widths"]))
    below = report["outcome"].replace("_", " ") + ("" if bits else f"; {words}")
    figure.suptitle(f"{report['target']}: {widths}, {report['claim']}\n{below}")
    return figure


def draw_record(name: str, batches: Sequence[int]) -> Figure:
    """What a record alone shows of a run that left no course: queries by batch, their purpose unknown."""
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.step(np.arange(len(batches) + 1), np.cumsum([0, *batches]), where="post", color=colour(0))
    axes.set(title=f"{name}: a record without a report", xlabel="batches", ylabel="queries, of any purpose")
    return figure


def _queries(axes: Axes, course: Sequence[Moment]) -> None:
    seconds = [moment.seconds for moment in course]
    last = course[-1]
    axes.stackplot(
        seconds,
        [[getattr(moment, purpose) for moment in course] for purpose in PURPOSES],
        labels=[f"{purpose}: {getattr(last, purpose):,}" for purpose in PURPOSES],
        colors=[colour(i) for i in range(len(PURPOSES))],
        alpha=0.8,
    )
    axes.set(xlabel="seconds", ylabel="queries so far", xlim=(0, max(seconds) or 1), ylim=(0, None))
    axes.legend(loc="upper left", frameon=False)


def _neurons(axes: Axes, course: Sequence[Moment], widths: Sequence[int] | None) -> None:
    asked = [moment.queries for moment in course]
    axes.step(asked, [moment.neurons for moment in course], where="post", color=colour(0))
    hidden = () if widths is None else widths[1:-1]
    for layer, height in enumerate(itertools.accumulate(hidden), start=1):
        axes.axhline(height, color=colour(layer), linewidth=0.8, linestyle="--")
        label = f"{height}: layer {layer}" if layer == 1 else f"{height}: layers 1 to {layer}"
        axes.annotate(
            label, (1, height), xycoords=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize="small"
        )
    axes.set(xlabel="queries so far", ylabel="hidden neurons found", xlim=(0, max(asked) or 1), ylim=(0, None))


def _bits(axes: Axes, bits: Mapping[str, int], words: str) -> None:
    axes.barh(list(bits), list(bits.values()), color=[colour(i) for i in range(len(bits))])
    axes.set(xlabel="bits", title=words, xlim=(0, 1.1 * max(bits.values())))
    axes.invert_yaxis()
    for row, value in enumerate(bits.values()):
        axes.annotate(f" {value}", (value, row), va="center")


def accuracy(report: Mapping[str, Any]) -> tuple[dict[str, int], str]:
    """Bits of accuracy that a report shows, by what has them, and in words what they are."""
    if report["context"] == "exact":
        return {}, "exact: numbers are rationals, and no bit is lost"
    bits = {
        "asked": report["prec"],
        "weights": report["accuracy_bits"],
        "answers at fresh inputs": report["verified"]["residual_bits"],
    }
    shown = {name: int(value) for name, value in bits.items() if value is not None}
    hidden = [name for name, value in bits.items() if value is None]
    return shown, "bits of accuracy" + (f" (not shown by this run: {', '.join(hidden)})" if hidden else "")
