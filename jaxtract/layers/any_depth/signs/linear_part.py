"""What the rows of a layer read past the layer before them: its signs, and neurons in it that are always on.

Walks with all activations of layer l - 1 carried along (``carrying_before``) give every neuron of layer l + 1 as
w . relu(z) + u . a, with z the known rows of layer l in whatever orientation, and a the activations of layer l - 1.
Where f has no skip connections, u has two sources only. A row i that should be turned adds -w_i v_i, v_i its weights
over a, since relu(z) - z = relu(-z). A neuron that layer l lacks and that is on all around adds a multiple of its own
weights. So many u that are combinations of few vectors, up to the turned rows, show what is missing: their span is all
of it that matters while it is on.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.walk.row_system import Shared, expressed_in, independent, solve_shared
from precision.exact import ExactContext

EXACT = ExactContext()

MOST_GUESSED = 8
"""Signs that are tried both ways."""

FEWEST_READERS = 2
"""Readers that agree, or signs that come out as +1 or -1, before they are believed."""


@dataclasses.dataclass(frozen=True)
class LinearPart:
    """Signs of the known rows, 0 where they are open, and what is missing, as far as it is on.

    Attributes:
        signs: of layer l, (width,).
        units: independent weights over the activations of layer l - 1, (units, width before).
        read, rest: what readers that are known whole read of layer l, (readers, width), and past it once the rows are
            turned, (readers, width before); none where signs are open.
    """

    signs: list[int]
    units: np.ndarray
    read: np.ndarray
    rest: np.ndarray


def linear_part(rows: np.ndarray, read: np.ndarray, past: np.ndarray, signs: Sequence[int]) -> LinearPart | None:
    """Explain what rows of layer l + 1 read past layer l by signs and few neurons that are always on.

    Args:
        rows: of layer l over layer l - 1, rationals, (width, width before).
        read: weights of rows of layer l + 1 on layer l as it is oriented, (readers, width). None where a neuron was
            never crossed: what it adds is a multiple of its row, and part of ``past``.
        past: their weights on layer l - 1, (readers, width before).
        signs: of layer l where they are known, else 0.

    Returns:
        None where too few rows have anything in common (skip connections do not), or where those of ``rows`` that may
        be part of ``past`` depend on each other, so that they cannot be told apart.
    """
    open_ = [i for i, sign in enumerate(signs) if not sign or any(w is None for w in read[:, i])]
    # Few rows too many to be told apart are tried both ways: a wrong choice leaves what no signs explain.
    open_.sort(key=lambda i: sum(w is None for w in read[:, i]))
    spare = max(0, len(open_) - max(0, rows.shape[1] - 2))
    guessed, told = open_[:spare], open_[spare:]
    if spare > MOST_GUESSED or any(signs[i] for i in guessed) or EXACT.rank(rows[told]) < len(told):
        return None
    usable = [k for k, weights in enumerate(read) if all(weights[i] is not None for i in guessed)]
    found: list[tuple[int, LinearPart]] = []
    for choice in itertools.product((False, True), repeat=spare):
        turned = dict(zip(guessed, choice, strict=True))
        explained = _explained(rows, read[usable], past[usable], signs, told, turned)
        found += [explained] if explained is not None else []
    # A row that is turned by mistake looks like one more neuron that is always on.
    fewest = min((missing for missing, _ in found), default=0)
    best = [part for missing, part in found if missing == fewest]
    return best[0] if len(best) == 1 else None


def open_weights_read(missing: Sequence[Sequence[int]], part: LinearPart) -> dict[tuple[int, int], fmpq] | None:
    """Open weights {(row, neuron before): weight} that explain all that is read past the rows; None if none do.

    A weight that no boundary showed acts wherever its row and what it reads are on, as a neuron does that is missing.
    ``missing``: for every row the neurons of layer l - 1 on which its weight is open.
    """
    if not len(part.units) or any(sign != 1 for sign in part.signs):
        return None
    found: dict[tuple[int, int], fmpq] = {}
    for i in np.nonzero(np.any(part.units != 0, axis=0))[0].tolist():
        may_read = [row for row, open_ in enumerate(missing) if i in open_]
        equations = [[*read[may_read], rest[i]] for read, rest in zip(part.read, part.rest, strict=True)]
        if not may_read or len(equations) <= len(may_read):
            return None
        weights = solve_shared(equations, len(may_read))
        if isinstance(weights, Shared):
            return None
        found.update({(row, i): weight for row, weight in zip(may_read, weights[:, 0], strict=True)})
    return found


def _explained(
    rows: np.ndarray,
    read: np.ndarray,
    past: np.ndarray,
    signs: Sequence[int],
    told: Sequence[int],
    guessed: Mapping[int, bool],
) -> tuple[int, LinearPart] | None:
    """How many neurons are missing, and the linear part, when some rows are turned as guessed."""
    past = past + sum((np.outer(read[:, i], rows[i]) for i, turn in guessed.items() if turn), 0 * past)
    modulo = past @ EXACT.nullspace(rows[list(told)])
    # Those whose weights are all known come first: the combinations below are made with as few as can be of the others.
    readers = sorted(_in_common(modulo), key=lambda k: sum(w is None for w in read[k]))
    turned = _turned(rows, read[readers], past[readers], modulo[readers], told) if readers else None
    if turned is None or any(turned.get(i) for i, sign in enumerate(signs) if sign):
        return None
    if len(readers) < FEWEST_READERS and len(turned) < FEWEST_READERS:
        return None
    sides = {**guessed, **turned}
    found = [sign or (0 if i not in sides else -1 if sides[i] else 1) for i, sign in enumerate(signs)]
    whole = [k for k in readers if all(found) and all(w is not None for w in read[k])]
    rest = _rest(rows, read[whole], past[whole], turned)
    units = rest[independent(rest.tolist())] if EXACT.rank(rest) else rest[:0]
    missing = EXACT.rank(modulo[readers])
    return missing, LinearPart(found, units if len(units) <= missing else rows[:0], read[whole], rest)


def _rest(rows: np.ndarray, read: np.ndarray, past: np.ndarray, turned: Mapping[int, bool]) -> np.ndarray:
    """What is read past the known rows once these are turned."""
    rest = [
        beside + sum((rows[i] * weights[i] for i, turn in turned.items() if turn), 0 * beside)
        for weights, beside in zip(read, past, strict=True)
    ]
    return np.array(rest, dtype=object).reshape(-1, rows.shape[1])


def _in_common(vectors: np.ndarray) -> list[int]:
    """Those of the vectors that are combinations of the others, and more in number than their rank."""
    kept = list(range(len(vectors)))
    while kept:
        rank = EXACT.rank(vectors[kept])
        alone = {k for k in kept if EXACT.rank(vectors[[other for other in kept if other != k]]) < rank}
        if not alone:
            return kept
        kept = [k for k in kept if k not in alone]
    return []


def _turned(
    rows: np.ndarray, read: np.ndarray, past: np.ndarray, modulo: np.ndarray, open_: Sequence[int]
) -> dict[int, bool] | None:
    """Which rows are to be turned, as far as that is told; None when something else than turned rows is left.

    A combination of the readers in which the missing neurons cancel leaves what the turned rows add.
    """
    found: dict[int, bool] = {}
    for factors in _cancelling(modulo) if open_ else ():
        taking = [k for k, factor in enumerate(factors) if factor != 0]
        shares = expressed_in(rows[open_], (factors @ past)[None, :])[0]
        for i, share in zip(open_, shares, strict=True):
            if any(read[k, i] is None for k in taking):
                continue
            total = sum((read[k, i] * factors[k] for k in taking), fmpq(0))
            if total == 0 and share != 0:
                return None
            if total != 0:
                ratio = -share / total
                if ratio not in (0, 1) or found.setdefault(i, ratio == 1) != (ratio == 1):
                    return None
    return found


def _cancelling(vectors: np.ndarray) -> np.ndarray:
    """A basis of the combinations of vectors that vanish, (combinations, vectors)."""
    return EXACT.nullspace(vectors.T.copy()).T
