"""The plainest of all networks that are the same function: signs that leave as few skip weights as possible.

Where everything that reads a neuron may also read what the neuron reads, no query tells s(z) from s(-z) + z: in the
class of networks with all skips (Rolnick and Koerding 2020 allow them) the sign of every neuron is a symmetry. Turning
round the neurons i of layer l changes the skips around it linearly,

    S_kt -> S_kt + sum_i (1 - s_i) / 2  W_lt[:, i] (outer) W_kl[i, :],    k < l < t,

so that signs which make entries exactly zero are found as in ``solve_signs``: by the linear system, by lattice
reduction, or, where some skips are really there, as the least sum of moduli (linear programming in float64, put to
the test over the rationals). What changes no number of zeros is a symmetry that is left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from flint import fmpq
from scipy.optimize import linprog

from jaxtract.network.blocks import Blocks
from jaxtract.network.canonical import primitive_row
from jaxtract.network.exact_network import ExactNetwork
from precision.lattice import signs_by_lattice
from precision.modular import PRIME, modular

PASSES = 3
"""A layer is looked at again after those before it were turned."""

LATTICE_LIMIT = 64
"""Signs that lattice reduction is asked for at most."""


@dataclasses.dataclass(frozen=True)
class Oriented:
    """A network, and how many of its neurons could be turned round without a skip weight more or less."""

    network: ExactNetwork
    free: int

    @property
    def method(self) -> str:
        """How the signs came about, for reports."""
        count = sum(self.network.widths[1:-1])
        if not self.free:
            return f"all {count} signs are those that leave the fewest skip weights"
        return (
            f"signs that leave the fewest skip weights; for {self.free} of {count} neurons both do, since what reads "
            "them reads what they read: there the sign is a symmetry that no query can see"
        )


def plainest(network: ExactNetwork) -> Oriented:
    """The same function with the signs of all hidden neurons chosen for most zeros in the skips.

    Last layer first: the skips from the layer before it depend on its own signs only. Neurons whose sign makes no
    difference are turned so that the first weight that is not zero is positive. Neurons that nothing reads are left
    out.
    """
    blocks = Blocks(network)
    _drop_unread(blocks)
    for target in range(2, blocks.last + 1):
        for source in range(target - 1):
            zeros = [[fmpq(0)] * blocks.widths[source] for _ in range(blocks.widths[target])]
            blocks.matrices.setdefault((source, target), zeros)
    free: dict[int, list[int]] = {}
    for turn in range(PASSES):
        changed = False
        for layer in reversed(range(1, blocks.last)):
            # In the first pass skips from farther back still depend on signs that are not chosen.
            sources = [layer - 1] if turn == 0 else list(range(layer))
            signs, free[layer] = _signs(blocks, layer, sources)
            changed = changed or -1 in signs
            for neuron, sign in enumerate(signs):
                if sign < 0:
                    turn_round(blocks, layer, neuron)
        if turn and not changed:
            break
    for layer, neurons in free.items():
        for neuron in neurons:
            if next((x for x in blocks.row(layer, neuron) if x != 0), 0) < 0:
                turn_round(blocks, layer, neuron)
    return Oriented(blocks.network(), sum(map(len, free.values())))


def without_opposites(network: ExactNetwork) -> ExactNetwork:
    """Neurons of opposite direction become one, and their affine rest skips: c s(v) + d s(-v) = (c + d) s(v) - d v."""
    blocks = Blocks(network)
    for layer in range(1, blocks.last):
        known: dict[tuple[int, ...], int] = {}
        for h in range(blocks.widths[layer]):
            row = [*blocks.row(layer, h), blocks.biases[layer][h]]
            if all(x == 0 for x in row):
                continue
            vector, scale = primitive_row(row)
            blocks.rescale(layer, h, 1 / scale)
            other = known.setdefault(tuple(-x for x in vector), -1)
            if other >= 0:
                turn_round(blocks, layer, h)
                blocks.add_columns(layer, h, other)
                for block in blocks.out_of(layer):
                    for row in blocks.matrices[block]:
                        row[h] = fmpq(0)
            elif known.get(vector, -1) < 0:
                known[vector] = h
    _drop_unread(blocks)
    return blocks.network()


def _drop_unread(blocks: Blocks) -> None:
    for layer in reversed(range(1, blocks.last)):
        blocks.keep(layer, [h for h in range(blocks.widths[layer]) if any(x != 0 for x in blocks.column(layer, h))])


def turn_round(blocks: Blocks, layer: int, neuron: int) -> None:
    """Write s(z) of a neuron as s(-z) + z: what reads it reads, on top, what it reads."""
    into = blocks.into(layer)
    rows = {source: blocks.matrices[source, layer][neuron] for source, _ in into}
    offset = blocks.biases[layer][neuron]
    for _, target in blocks.out_of(layer):
        for h, weights in enumerate(blocks.matrices[layer, target]):
            weight = weights[neuron]
            if weight == 0:
                continue
            for source, row in rows.items():
                if all(x == 0 for x in row):
                    continue
                zeros = [[fmpq(0)] * blocks.widths[source] for _ in range(blocks.widths[target])]
                skip = blocks.matrices.setdefault((source, target), zeros)
                skip[h] = [x + weight * y for x, y in zip(skip[h], row, strict=True)]
            blocks.biases[target][h] += weight * offset
    for source, row in rows.items():
        blocks.matrices[source, layer][neuron] = [-x for x in row]
    blocks.biases[layer][neuron] = -offset


def _signs(blocks: Blocks, layer: int, sources: list[int]) -> tuple[list[int], list[int]]:
    """(+1 or -1 for every neuron of a layer, those whose sign makes no difference)."""
    width = blocks.widths[layer]
    system = _equations(blocks, layer, sources)
    if not len(system):
        return [1] * width, list(range(width))
    values, moves = system[:, -1], system[:, :-1]
    # value(s) = value now + sum_i (1 - s_i) / 2 move_i
    best = np.ones(width, dtype=int)
    zeros = _zeros(values, moves, best)
    for candidate in _candidates(values, moves):
        found = _zeros(values, moves, candidate)
        if found > zeros:
            best, zeros = candidate, found
    free = []
    for i in range(width):
        other = best.copy()
        other[i] = -other[i]
        found = _zeros(values, moves, other)
        if found > zeros:
            best, zeros = other, found
        elif found == zeros:
            free.append(i)
    return best.tolist(), free


def _equations(blocks: Blocks, layer: int, sources: list[int]) -> np.ndarray:
    """One row per skip entry around the layer: the moves of all its neurons, then the entry; (entries, width + 1)."""
    width = blocks.widths[layer]
    found: list[np.ndarray] = []
    for source in sources:
        inner = _table(blocks.matrices[source, layer], blocks.widths[source])
        for _, target in blocks.out_of(layer):
            outer = _table(blocks.matrices[layer, target], width)
            entries = _table(blocks.matrices[source, target], blocks.widths[source])
            moves = outer[:, None, :] * inner.T[None, :, :]
            whole = np.concatenate([moves, entries[:, :, None]], axis=2).reshape(-1, width + 1)
            found.append(whole[[any(x != 0 for x in row[:-1]) for row in whole]])
    return np.concatenate(found) if found else np.empty((0, width + 1), dtype=object)


def _table(rows: list[list[fmpq]], columns: int) -> np.ndarray:
    table = np.empty((len(rows), columns), dtype=object)
    for i, row in enumerate(rows):
        table[i, :] = row
    return table


def _zeros(values: np.ndarray, moves: np.ndarray, signs: np.ndarray) -> int:
    turned = signs < 0
    return int(np.sum((values + moves[:, turned].sum(axis=1) if turned.any() else values) == 0))


def _candidates(values: np.ndarray, moves: np.ndarray) -> Iterator[np.ndarray]:
    """Signs that may be the ones: for no skip at all, then for the fewest."""
    # 2 value + sum move - sum s move = 0
    target = 2 * values + moves.sum(axis=1)
    exact = _linear(moves, target)
    if exact is None and len(moves) < moves.shape[1] <= LATTICE_LIMIT:
        exact = signs_by_lattice(moves, target)
    if exact is not None:
        yield np.array(exact, dtype=int)
        if _zeros(values, moves, np.array(exact)) == len(values):
            return
    yield _least_moduli(moves, target)


def _linear(moves: np.ndarray, target: np.ndarray) -> list[int] | None:
    """The unique signs with moves . signs = target, modulo a prime; None where there are none."""
    count, width = moves.shape
    if count < width:
        return None
    reduced, rank = modular(np.concatenate([moves, target[:, None]], axis=1)).rref()
    if rank != width or any(int(reduced[i, i]) != 1 for i in range(width)):
        return None
    solution = [int(reduced[i, width]) for i in range(width)]
    return [1 if x == 1 else -1 for x in solution] if all(x in (1, PRIME - 1) for x in solution) else None


def _least_moduli(moves: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Signs of the s in [-1, 1]^width with the least sum of |moves . s - target|, every equation scaled to size 1."""
    count, width = moves.shape
    scaled = np.empty((count, width + 1))
    for i, row in enumerate(np.concatenate([moves, target[:, None]], axis=1)):
        size = max(abs(x) for x in row)
        scaled[i] = [int((x / size).p) / int((x / size).q) for x in row]
    left, right, unit = scaled[:, :width], scaled[:, width], np.eye(count)
    found = linprog(
        np.concatenate([np.zeros(width), np.ones(count)]),
        A_ub=np.block([[left, -unit], [-left, -unit]]),
        b_ub=np.concatenate([right, -right]),
        bounds=[(-1, 1)] * width + [(0, None)] * count,
        method="highs",
    )
    if found.x is None:
        return np.ones(width, dtype=int)
    return np.where(found.x[:width] < 0, -1, 1)
