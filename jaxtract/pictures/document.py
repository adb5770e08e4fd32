"""What the documents in ``experiments/`` share, so that ``jaxtract experiment`` can run any of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def document_parser(header: str | None, *, small: str) -> argparse.ArgumentParser:
    """The options of every document: ``--small``, and ``--out`` for its pictures.

    A document prints its tables (Rich) and sentences to standard output, and with ``--out`` writes its pictures into
    that folder. That is all that ``jaxtract experiment`` asks of it.

    Args:
        header: the document's docstring.
        small: what ``--small`` runs, in words.
    """
    parser = argparse.ArgumentParser(description=header, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help=f"{small}: seconds")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the pictures there, as .svg")
    return parser


def varied(shapes: Sequence[Sequence[int]], widths: Sequence[int]) -> int:
    """The number of a network's widths that a sweep over shapes varies; the first of them where it varies several."""
    return next(width for width, values in zip(widths, zip(*shapes, strict=True), strict=True) if len(set(values)) > 1)
