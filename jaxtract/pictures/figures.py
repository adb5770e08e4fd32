"""Figures without a display: made as objects, written to files by their ending."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#5a5a5a")
"""Told apart also by those who do not see all colours (Okabe and Ito's, the yellow and the black replaced)."""


def colour(index: int) -> str:
    """The colour of the index-th of several things, from 0 on; they repeat."""
    return COLOURS[index % len(COLOURS)]


def one_axes(width: float = 6.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """A figure of one diagram; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def check_format(path: str | os.PathLike[str]) -> Path:
    """The path of a picture.

    Raises:
        ValueError: its ending names no format of pictures.
    """
    place = Path(path)
    if place.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} does not end with a format of pictures; choose one of {', '.join(FORMATS)}")
    return place


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure; the folder is made when there is none. The same figure gives the same file.

    Raises:
        ValueError: an ending that is not in ``FORMATS``. OSError: it cannot be written.
    """
    place = check_format(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(place.suffix.lower())
    with rc_context({"svg.hashsalt": "jaxtract", "svg.fonttype": "none"}):
        figure.savefig(place, dpi=150, metadata=undated)
    return place
