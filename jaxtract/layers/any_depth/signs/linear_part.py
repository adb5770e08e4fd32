"""What the rows of a layer read past the layer before them: its signs, and neurons in it that are always on.

Walks with all activations of layer l - 1 carried along (``carrying_before``) give every neuron of layer l + 1 as
w . relu(z) + u . a, with z the known rows of layer l in whatever orientation, and a the activations of layer l - 1.
Where f has no skip connections, u has two sources only. A row i that should be turned adds -w_i v_i, v_i its weights
over a, since relu(z) - z = relu(-z). A neuron that layer l lacks and that is on all around adds a multiple of its own
weights. So many u that are combinations of few vectors, up to the turned rows (``read_past``), show what is missing:
their span is all of it that matters while it is on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.signs.read_past import Readers, Sides, same_neurons, sides_of, unknown_in
from jaxtract.layers.any_depth.walk.relations import UndecidedError, expressed_in, independent, nullspace
from jaxtract.layers.any_depth.walk.row_system import Shared, solve_shared
from precision.balls import vanishes
from precision.context import Number

Weight = tuple[int, int]
"""(neuron, neuron of the layer before)"""


@dataclasses.dataclass(frozen=True)
class LinearPart:
    """Signs of the known rows, 0 where they are open, and what is missing, as far as it is on.

    Attributes:
        signs: of layer l, (width,).
        units: independent weights over the activations of layer l - 1, (units, width before), None where one is not
            told; no units where a sign is open.
        weights: open weights {(row, neuron before): weight} of the rows as the signs orient them.
    """

    signs: list[int]
    units: np.ndarray
    weights: dict[Weight, Number]


def linear_part(
    rows: np.ndarray,
    read: np.ndarray,
    past: np.ndarray,
    signs: Sequence[int],
    missing: Sequence[Sequence[int]] | None = None,
    side: np.ndarray | None = None,
) -> LinearPart | None:
    """Explain what rows of layer l + 1 read past layer l by signs, few neurons that are always on, and open weights.

    A weight that no boundary showed acts wherever its row and what it reads are on, as a neuron does that is missing,
    on the activation of one neuron before. The signs are told by all other activations.

    Args:
        rows: of layer l over layer l - 1, rationals or balls, (width, width before).
        read: weights of rows of layer l + 1 on layer l as it is oriented, (readers, width). None where a neuron was
            never crossed: what it adds is a multiple of its row, and part of ``past``.
        past: their weights on layer l - 1, (readers, width before). None where they are not known.
        signs: of layer l where they are known, else 0.
        missing: for every row the neurons of layer l - 1 on which its weight is open.
        side: of every row at the places where a reader was seen, (readers, width): 1 or -1 at all of them, else 0.

    Returns:
        None where too few rows have anything in common (skip connections do not), or where those of ``rows`` that may
        be part of ``past`` depend on each other, so that they cannot be told apart.
    """
    missing = [[]] * len(rows) if missing is None else missing
    side = np.zeros(read.shape, dtype=int) if side is None else side
    neuron = same_neurons(read)
    first: LinearPart | None = None
    for columns in _column_choices(past, sorted({i for open_ in missing for i in open_})):
        known = [k for k, beside in enumerate(past) if all(x is not None for x in beside[columns])]
        readers = Readers(read[known], past[known][:, columns], side[known], neuron[known]).oriented(signs)
        for sides in sides_of(rows[:, columns], readers, signs):
            try:
                part = _completed(rows, readers, past[known], sides, columns, missing)
            except UndecidedError:
                continue
            if len(part.units) or part.weights or part.signs != list(signs):
                return part
            first = first or part
        if first is not None:
            return first
    return None


def _column_choices(past: np.ndarray, open_columns: Sequence[int]) -> Iterator[list[int]]:
    """Activations to tell signs by: those that no open weight reads, less and less of what readers do not know; all."""
    everything = list(range(past.shape[1]))
    columns = [i for i in everything if i not in set(open_columns)]
    unknown = unknown_in(past)
    while columns:
        yield columns
        counts = unknown[:, columns].sum(axis=0)
        if not counts.any():
            break
        columns = [i for i in columns if i != columns[int(np.argmax(counts))]]
    if open_columns:
        yield everything


def _completed(
    rows: np.ndarray,
    readers: Readers,
    past: np.ndarray,
    sides: Sides,
    columns: Sequence[int],
    missing: Sequence[Sequence[int]],
) -> LinearPart:
    """The missing neurons and the open weights, from readers that are known whole, once all signs are known.

    ``readers`` are known on ``columns``, and ``past`` is what they read past the layer on all of them.
    """
    before = rows.shape[1]
    none = LinearPart(sides.signs, rows[:0], {})
    if not all(sides.signs):
        return none
    told = _whole(rows[:, columns], readers, sides)
    whole, read = [*told], np.array([*told.values()], dtype=object).reshape(-1, len(rows))
    if not whole:
        return none
    past = past[whole]
    # Beside what turned rows add, that of those that are on and were not crossed.
    uncrossed = unknown_in(readers.oriented(sides.signs).read[whole])
    added = read * np.where(np.array(sides.signs) < 0, -1, uncrossed.astype(int))
    on_columns = past[:, columns] - added @ rows[:, columns]
    chosen = independent(on_columns.tolist())
    if len(chosen) > sides.missing:
        return none
    shares = _shares(on_columns, chosen)
    units, weights = np.empty((len(chosen), before), dtype=object), {}
    units[:, columns] = on_columns[chosen]
    for i in sorted(set(range(before)) - set(columns)):
        may_read = [row for row, open_ in enumerate(missing) if i in open_]
        known = [k for k in range(len(whole)) if past[k, i] is not None]
        rest = past[known, i] - added[known] @ rows[:, i]
        found = _column([[*a, *b, c] for a, b, c in zip(shares[known], read[known][:, may_read], rest, strict=True)])
        if found is not None:
            units[:, i] = found[: len(chosen)]
            # Zero is also what a neuron shows that is off wherever this activation is not.
            of_rows = zip(may_read, found[len(chosen) :], strict=True)
            weights.update({(row, i): weight for row, weight in of_rows if weight != 0})
    return LinearPart(sides.signs, units, weights)


def _whole(rows: np.ndarray, readers: Readers, sides: Sides) -> dict[int, np.ndarray]:
    """Those of the readers that are known with all their weights on the rows, (width,), by index.

    A row that a reader never crossed and that was on adds a multiple to what it reads past the layer. These are told
    apart from what is missing, if anything is, by readers that did cross it: what is missing adds none of it there.
    """
    signs, here = np.array(sides.signs), readers.oriented(sides.signs).chosen(sides.readers)
    read, unknown = here.read, unknown_in(here.read)
    uncrossed = np.nonzero(unknown.any(axis=0))[0].tolist()
    turned = np.nonzero(signs < 0)[0]
    seen = read.copy()
    seen[unknown] = fmpq(0)
    rest = here.past + seen[:, turned] @ rows[turned]
    modulo = rest @ nullspace(rows[uncrossed])
    chosen = independent(modulo.tolist())
    shares = _shares(modulo, chosen)
    multiples = expressed_in(rows[uncrossed], rest - shares @ rest[chosen]) if uncrossed else rest[:, :0]
    for place, i in enumerate(uncrossed):
        crossed = np.nonzero(~unknown[:, i])[0]
        own = _column([[*shares[k], multiples[k, place]] for k in crossed]) if chosen else []
        if own is not None:
            of_all = multiples[:, place] - shares @ np.array(own, dtype=object).reshape(len(chosen))
            read[unknown[:, i], i] = of_all[unknown[:, i]] * int(signs[i])
    return {k: weights for k, weights in zip(sides.readers, read, strict=True) if all(w is not None for w in weights)}


def _shares(vectors: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """All of some vectors as combinations of the chosen independent ones, (vectors, chosen)."""
    if not len(chosen):
        return np.empty((len(vectors), 0), dtype=object)
    return expressed_in(vectors[list(chosen)], vectors)


def _column(equations: Sequence[Sequence[Number]]) -> list[Number] | None:
    """What equations (coefficients, value) agree on, more of them than unknowns; None where they do not."""
    unknowns = len(equations[0]) - 1 if equations else 0
    if len(equations) <= unknowns:
        return None
    if not unknowns:
        return [] if all(vanishes(value) for (value,) in equations) else None
    solved = solve_shared(equations, unknowns)
    return None if isinstance(solved, Shared) else solved[:, 0].tolist()
