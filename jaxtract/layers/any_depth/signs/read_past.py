"""The signs of a layer's rows, from what rows of the next layer read past them.

Where readers are known as w . relu(z) + u . a (see ``linear_part``), a row that should be turned adds -w_i v_i to u,
and what the layer lacks adds combinations of few vectors: modulo the rows whose part in u is open, readers have
something in common.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.walk.relations import (
    UndecidedError,
    expressed_in,
    nullspace,
    rank,
    zero_or_one,
)
from precision.balls import vanishes

MOST_GUESSED = 8
"""Signs that are tried both ways."""

LEFT_OVER = 2
"""Dimensions beside the rows that are told apart, in which what is missing shows."""

FEWEST_READERS = 2
"""Readers that agree, or signs that come out as +1 or -1, before they are believed."""


@dataclasses.dataclass(frozen=True)
class Readers:
    """What some rows of layer l + 1 read: ``read``, ``past`` and ``side`` as for ``linear_part``.

    ``neuron``: equal for readers that are one neuron, seen in different places.
    """

    read: np.ndarray
    past: np.ndarray
    side: np.ndarray
    neuron: np.ndarray

    def chosen(self, chosen: Sequence[int]) -> Readers:
        return Readers(self.read[chosen], self.past[chosen], self.side[chosen], self.neuron[chosen])

    def oriented(self, signs: Sequence[int]) -> Readers:
        """Zero for what was off wherever a reader was seen: it adds nothing there, whatever its weight."""
        read = self.read.copy()
        read[unknown_in(read) & (self.side * np.array(signs) < 0)] = fmpq(0)
        return dataclasses.replace(self, read=read)


@dataclasses.dataclass(frozen=True)
class Sides:
    """Signs, and by how many dimensions what some readers read past the rows is more than those that are told apart."""

    signs: list[int]
    missing: int
    readers: list[int]
    told: list[int]


def sides_of(rows: np.ndarray, readers: Readers, signs: Sequence[int]) -> Iterator[Sides]:
    """The signs, from readers and activations that are known; nothing where ``linear_part`` says None."""
    unknown = unknown_in(readers.read).sum(axis=0)
    open_ = sorted((i for i, sign in enumerate(signs) if not sign), key=lambda i: unknown[i])
    # Few rows too many to be told apart are tried both ways: a wrong choice leaves what no signs explain.
    room = rows.shape[1] - LEFT_OVER
    spare = max(0, len(open_) - max(0, room))
    if spare > MOST_GUESSED:
        return
    guessed, told = open_[:spare], open_[spare:]
    # Of rows whose signs are known, too, multiples that no crossing shows may be part of what is read past: the more
    # of them are told apart, the more readers serve, and the less room is left for what is missing.
    uncrossed = sorted((i for i, sign in enumerate(signs) if sign and unknown[i]), key=lambda i: -unknown[i])
    for more in range(max(0, min(room - len(told), len(uncrossed))) + 1):
        found = _guessed(rows, readers, signs, [*told, *uncrossed[:more]], guessed)
        if found is not None:
            yield found


def _guessed(
    rows: np.ndarray, readers: Readers, signs: Sequence[int], told: Sequence[int], guessed: Sequence[int]
) -> Sides | None:
    """The signs, with some rows turned in the way that leaves least to be explained."""
    try:
        if rank(rows[list(told)]) < len(told):
            return None
    except UndecidedError:
        return None
    usable = [
        k for k, unknown in enumerate(unknown_in(readers.read)) if set(np.nonzero(unknown)[0].tolist()) <= set(told)
    ]
    found: list[Sides] = []
    for choice in itertools.product((False, True), repeat=len(guessed)):
        turned = dict(zip(guessed, choice, strict=True))
        try:
            explained = _explained(rows, readers, usable, signs, told, turned)
        except UndecidedError:
            # Another choice might only seem to be the best.
            return None
        found += [explained] if explained is not None else []
    # A row that is turned by mistake looks like one more neuron that is always on.
    fewest = min((sides.missing for sides in found), default=0)
    best = [sides for sides in found if sides.missing == fewest]
    return best[0] if len(best) == 1 else None


def _explained(
    rows: np.ndarray,
    readers: Readers,
    usable: Sequence[int],
    signs: Sequence[int],
    told: Sequence[int],
    guessed: Mapping[int, bool],
) -> Sides | None:
    """The signs, and how many neurons are missing, when some rows are turned as guessed."""
    here = readers.chosen(usable)
    past = here.past + sum((np.outer(here.read[:, i], rows[i]) for i, turn in guessed.items() if turn), 0 * here.past)
    modulo = past @ nullspace(rows[list(told)])
    # Those whose weights are all known come first: the combinations below are made with as few as can be of the others.
    chosen = sorted(_in_common(modulo, here.neuron), key=lambda k: sum(w is None for w in here.read[k]))
    here = dataclasses.replace(here, past=past).chosen(chosen)
    turned = _turned(rows, here, modulo[chosen], told) if chosen else None
    if turned is None or any(turned.get(i) for i, sign in enumerate(signs) if sign):
        return None
    if len(chosen) < FEWEST_READERS and len(turned) < FEWEST_READERS:
        return None
    for i in told:
        if not signs[i] and i not in turned and (sign := _sign_where_uncrossed(rows, here, told, i)):
            turned[i] = sign < 0
    sides = {**guessed, **turned}
    found = [sign or (0 if i not in sides else -1 if sides[i] else 1) for i, sign in enumerate(signs)]
    return Sides(found, rank(modulo[chosen]), [usable[k] for k in chosen], list(told))


def _sign_where_uncrossed(rows: np.ndarray, readers: Readers, told: Sequence[int], i: int) -> int:
    """The sign of a row from readers that never crossed it, and were seen on one side of it; 0 where they do not tell.

    If it is on there, they read different multiples of it past the layer: one dimension more, unless it is let go with
    the rows that are told apart.
    """
    others = [row for row in told if row != i]
    found: set[int] = set()
    for side in (1, -1):
        group = [k for k, weights in enumerate(readers.read) if weights[i] is None and readers.side[k, i] == side]
        if not group:
            continue
        without, with_it = (rank(readers.past[group] @ nullspace(rows[chosen])) for chosen in (told, others))
        if without + FEWEST_READERS <= len(group) and without + len(told) < rows.shape[1]:
            found.add(side if with_it > without else -side)
    return found.pop() if len(found) == 1 else 0


def _in_common(vectors: np.ndarray, neuron: np.ndarray) -> list[int]:
    """Those of the vectors that are combinations of those of other neurons."""
    kept = list(range(len(vectors)))
    while kept:
        most = rank(vectors[kept])
        alone = {k for k in kept if rank(vectors[[other for other in kept if neuron[other] != neuron[k]]]) < most}
        if not alone:
            return kept
        kept = [k for k in kept if k not in alone]
    return []


def same_neurons(read: np.ndarray) -> np.ndarray:
    """A number for every reader, equal where nothing known of two shows that they are two neurons, (readers,).

    Readers of one neuron have weights in one ratio, as far as they are known of both.
    """
    found = np.arange(len(read))
    for k, own in enumerate(read):
        for other in range(k):
            pairs = [(a, b) for a, b in zip(own, read[other], strict=True) if a is not None and b is not None]
            pairs = [(a, b) for a, b in pairs if a != 0 or b != 0]
            if not any(a * pairs[0][1] != b * pairs[0][0] for a, b in pairs):
                found[k] = found[other]
                break
    return found


def _turned(rows: np.ndarray, readers: Readers, modulo: np.ndarray, told: Sequence[int]) -> dict[int, bool] | None:
    """Which rows are to be turned, as far as that is told; None when something else than turned rows is left.

    A combination of the readers in which the missing neurons cancel leaves what the turned rows add.
    """
    found: dict[int, bool] = {}
    for place, i in enumerate(told):
        crossed = [k for k, weights in enumerate(readers.read) if weights[i] is not None]
        for factors in _cancelling(modulo[crossed]) if crossed else ():
            total = factors @ readers.read[crossed, i]
            share = expressed_in(rows[told], (factors @ readers.past[crossed])[None, :])[0][place]
            if vanishes(total):
                if share != 0:
                    return None
                continue
            ratio = zero_or_one(-share / total)
            if ratio is None or found.setdefault(i, ratio == 1) != (ratio == 1):
                return None
    return found


def _cancelling(vectors: np.ndarray) -> np.ndarray:
    """A basis of the combinations of vectors that vanish, (combinations, vectors)."""
    return nullspace(vectors.T.copy()).T


def unknown_in(table: np.ndarray) -> np.ndarray:
    """Where a table has no number."""
    return np.array([x is None for x in table.ravel()], dtype=bool).reshape(table.shape)
