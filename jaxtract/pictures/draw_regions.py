"""A slice of input space with all boundaries, coloured by layer."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxtract.pictures.boundaries import Boundaries
from jaxtract.pictures.figures import colour, one_axes
from jaxtract.pictures.plane import Window

THIN, WIDE = 0.9, 4.5
"""Widths of lines in points: of boundaries, and of true ones under found ones."""

PALE = 0.3


def draw_regions(
    window: Window, boundaries: Boundaries, *, title: str, truth: Boundaries | None = None, words: Sequence[str] = ()
) -> Figure:
    """The picture; boundaries of ``truth`` lie wide and pale under the thin ones, ``words`` stand over the legend."""
    figure, axes = one_axes(7.5, 7.2 + 0.22 * len(words))
    legend: list[Line2D] = []
    if truth is not None:
        legend += _add(axes, truth, "true, ", WIDE, PALE)
    legend += _add(axes, boundaries, "" if truth is None else "found, ", THIN, 1.0)
    if len(window.marks):
        axes.plot(*window.marks.T, linestyle="none", marker="+", color="black", markersize=9)
        legend.append(Line2D([], [], linestyle="none", marker="+", color="black", label="inputs of the plane"))
    reach = window.reach
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
    axes.set_xlabel("s, along a unit vector of input space")
    axes.set_ylabel("t, along another, orthogonal to it")
    figure.legend(
        handles=legend,
        loc="outside lower center",
        ncols=2,
        fontsize="small",
        frameon=False,
        title="\n".join(words) or None,
        title_fontsize="small",
        alignment="left",
    )
    return figure


def _add(axes: Axes, boundaries: Boundaries, kind: str, width: float, alpha: float) -> list[Line2D]:
    """Draws the layers, the deepest first, so that the straight lines of the first stay visible; its legend."""
    legend = []
    for layer in reversed(range(1, len(boundaries.widths) + 1)):
        segments = boundaries.of_layer(layer)
        style = {"color": colour(layer - 1), "alpha": alpha, "linewidth": width}
        axes.add_collection(LineCollection(list(segments), capstyle="round", **style))
        count = f"{boundaries.seen(layer)} of {boundaries.widths[layer - 1]} neurons, {len(segments):,} pieces"
        legend.append(Line2D([], [], label=f"{kind}layer {layer}: {count}", **style))
    return legend[::-1]
