"""Rows that a neuron further back explains, or that nothing reads.

The boundary of a deeper neuron may lie almost wholly where the layer before it is as it was on its walk. As a row of
that layer it is seen nearly everywhere that it is predicted, so that no test by places refutes it. Once the neuron is
found in its own layer, too, both are zero at the same kinks; until then the row hides it, and nothing reads the row.
"""

from __future__ import annotations

import numpy as np

from jaxtract.layers.any_depth.found_layers import reads
from jaxtract.layers.any_depth.kinks.foretold import zeros_of
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.rows.confirm_rows import keep_rows

RowKey = tuple[int, ...]
"""(layer, weights, bias) in primitive integers."""

FEWEST = 2
"""Kinks that a row must have, all of them a neuron's further back; or rows behind it that do not read it."""


def drop_explained_behind(state: Recovery) -> bool:
    """Whether there were such rows; they are dropped, and what is behind them stays. No queries, exact context only."""
    if not state.numbers.exact or len(state.layers) < 2:
        return False
    known = state.known(len(state.layers))
    heights, _ = state.pool.heights(known, state.pool.places(state.pool.all_kinks()))
    zeros = zeros_of(known, heights)
    for level in range(2, len(state.layers)):
        superfluous = [
            k
            for k, row in enumerate(state.layers[level - 1].rows)
            if not row.linear
            and not any(reads(reader, k) for reader in state.layers[level].rows)
            and _explained(zeros[level - 1][:, k], zeros[level:])
        ]
        if superfluous:
            keep_rows(state, level, [k for k in range(len(state.layers[level - 1].rows)) if k not in superfluous])
            state.renewed(level)
            return True
    return False


def drop_unread(state: Recovery, dropped: set[RowKey]) -> bool:
    """Whether there were rows that all that is known of the next layer does not read; exact context, no queries.

    Neurons of a network that is not sparse are read by all: such a row is a deeper neuron's, perhaps one that nothing
    else shows. Those that are found again are their layer's; ``dropped`` holds what was dropped before.
    """
    if not state.numbers.exact:
        return False
    for level in range(2, len(state.layers)):
        rows, readers = state.layers[level - 1].rows, state.layers[level].rows
        keys = [(level, *row.integers()[0], row.integers()[1]) for row in rows]
        unread = [
            k
            for k, row in enumerate(rows)
            if not row.linear and keys[k] not in dropped and all(reader.weights[k] == 0 for reader in readers)
        ]
        if unread and len(readers) >= FEWEST:
            dropped.update(keys[k] for k in unread)
            keep_rows(state, level, [k for k in range(len(rows)) if k not in unread])
            state.renewed(level)
            return True
    return False


def _explained(own: np.ndarray, behind: list[np.ndarray]) -> bool:
    """Whether one neuron further back is zero wherever a row is, and at more kinks than it."""
    count = int(own.sum())
    return count >= FEWEST and any(bool(np.any(z[own].all(axis=0) & (z.sum(axis=0) > count))) for z in behind)
