"""Diagrams of measured laws: growth on logarithmic axes, success rates, shares that grow with a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter

from jaxtract.certificate.confidence import upper_limit
from jaxtract.pictures.figures import colour, one_axes

CONFIDENCE = Fraction(39, 40)
"""Of each end of the intervals that are drawn: 95 % together."""

Points = Sequence[tuple[float, float]]


def exponent(points: Points) -> float:
    """Slope of the least-squares line through log y over log x; NaN where all x are the same."""
    if len({x for x, _ in points}) < 2:
        return float("nan")
    size, count = np.log(np.array(points, dtype=np.float64)).T
    return float(np.polyfit(size, count, 1)[0])


def growth(series: Mapping[str, Points], *, x: str, y: str, proportional: str | None = None) -> Figure:
    """Points of every series on logarithmic axes with their fitted lines, the exponents in the legend.

    Args:
        series: (x, y) points by name, all positive.
        x, y: what the axes show.
        proportional: what the line y = x stands for; none is drawn where None.
    """
    figure, axes = one_axes()
    for i, (name, points) in enumerate(series.items()):
        own = np.array(points, dtype=np.float64).reshape(-1, 2)
        power = exponent(points)
        label = name if np.isnan(power) else f"{name}: exponent {power:.2f}"
        axes.loglog(*own.T, "o", markersize=4, color=colour(i), label=label)
        if not np.isnan(power):
            ends = np.array([own[:, 0].min(), own[:, 0].max()])
            middle = np.exp(np.mean(np.log(own), axis=0))
            axes.loglog(ends, middle[1] * (ends / middle[0]) ** power, color=colour(i), linewidth=0.8)
    shown = [place for points in series.values() for place, _ in points]
    if proportional is not None and shown:
        ends = np.array([min(shown), max(shown)])
        axes.loglog(ends, ends, color="grey", linewidth=0.8, linestyle="--", label=proportional)
    axes.set(xlabel=x, ylabel=y)
    _plain_numbers(axes.xaxis)
    _plain_numbers(axes.yaxis)
    axes.legend(frameon=False, fontsize="small")
    return figure


def rates(series: Mapping[str, Sequence[tuple[float, int, int]]], *, x: str, y: str, log: bool = False) -> Figure:
    """Success rates with 95 % intervals (Clopper and Pearson 1934).

    Args:
        series: (x, successes, trials) by name.
        x, y: what the axes show.
        log: a logarithmic x axis.
    """
    figure, axes = one_axes()
    for i, (name, points) in enumerate(series.items()):
        share = [successes / trials for _, successes, trials in points]
        ends = [interval(successes, trials) for _, successes, trials in points]
        error = [
            [s - low for s, (low, _) in zip(share, ends, strict=True)],
            [h - s for s, (_, h) in zip(share, ends, strict=True)],
        ]
        axes.errorbar(
            [p[0] for p in points],
            share,
            np.maximum(error, 0),
            marker="o",
            markersize=4,
            capsize=3,
            linewidth=0.8,
            color=colour(i),
            label=name,
        )
    _shares(axes, x, y, log)
    return figure


def spread(
    series: Mapping[str, Sequence[tuple[float, Sequence[float]]]], *, x: str, y: str, log: bool = False
) -> Figure:
    """The mean of several shares at every x, and the band between their quartiles.

    Args:
        series: (x, shares) by name.
        x, y: what the axes show.
        log: a logarithmic x axis.
    """
    figure, axes = one_axes()
    for i, (name, points) in enumerate(series.items()):
        places = [place for place, _ in points]
        low, high = np.array([np.percentile(shares, (25, 75)) for _, shares in points]).T
        axes.plot(places, [np.mean(shares) for _, shares in points], "o-", markersize=4, color=colour(i), label=name)
        axes.fill_between(places, low, high, color=colour(i), alpha=0.2)
    _shares(axes, x, y, log)
    places = sorted({place for points in series.values() for place, _ in points})
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xticks([], minor=True)
    return figure


def interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a probability after so many successes of so many trials."""
    return 1 - float(upper_limit(trials - successes, trials, CONFIDENCE)), float(
        upper_limit(successes, trials, CONFIDENCE)
    )


def _shares(axes: Axes, x: str, y: str, log: bool) -> None:
    axes.set(xlabel=x, ylabel=y, ylim=(-0.03, 1.03), xscale="log" if log else "linear")
    if log:
        _plain_numbers(axes.xaxis)
    axes.legend(frameon=False, fontsize="small")


def _plain_numbers(axis: Axis) -> None:
    """20 and 300 on a logarithmic axis, not 2 times 10 to the 1 and 3 times 10 to the 2."""
    axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:.6g}"))
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))
