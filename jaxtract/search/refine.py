"""Float64 finds, the context refines: kinks of many lines found in doubles, made exact by a few queries each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.search.context_lines import Asker, LineSettings, search_lines
from jaxtract.search.lines import LineProfile
from precision.dyadic import DyadicMatrix, from_float, simple_between


def refine_lines(
    asker: Asker,
    bases: DyadicMatrix,
    directions: DyadicMatrix,
    found: Sequence[np.ndarray],
    *,
    settings: LineSettings,
) -> list[LineProfile]:
    """The profiles of lines whose kinks are known roughly: about four queries a kink, in a handful of batches.

    Every piece is sampled between two rough kinks, and the pieces are intersected in the context. A rough kink that is
    not there, or one that was missed, costs a few queries more and changes nothing in the result.

    Args:
        asker, bases, directions, settings: as for ``search_lines``.
        found: per line the rough kinks, float64, ascending.
    """
    return search_lines(asker, bases, directions, settings=settings, cuts=[cuts_between(kinks) for kinks in found])


def cuts_between(kinks: np.ndarray) -> list[fmpq]:
    """A short dyadic in every gap between two different rough kinks."""
    places = [from_float(t) for t in kinks]
    return [simple_between(a, b) for a, b in itertools.pairwise(places) if a < b]
