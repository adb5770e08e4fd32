"""The boundary of a neuron that was taken for linear: from now on it is a row like all others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.found_layers import FoundLayer, Row
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.rows.unmix_linear import without_linear_rows
from jaxtract.layers.any_depth.signs.sign_sources import ONE_SIDED
from jaxtract.layers.any_depth.unseen.complete_rows import heights64
from jaxtract.layers.any_depth.walk.relations import UndecidedError, expressed_in, rank
from precision.balls import quotient
from precision.context import Number

SPARE = 2
"""Weights beyond the linear rows that must agree, before a row is taken for a combination of them."""


def replace_linear(state: Recovery, level: int, row: Row) -> int | None:
    """Put a row of a layer in the place of a linear one, where it is a combination of these; which one, if it is.

    With h = sum_q alpha_q t_q + c, t_q the linear rows, t_p = (h - c - sum_{q != p} alpha_q t_q) / alpha_p while h is
    on, where the layers behind it were read. Where they were not, or h was not on there, they are read again.
    """
    layer = state.layers[level - 1]
    linear = [i for i, known in enumerate(layer.rows) if known.linear]
    if not linear:
        return None
    # An open weight of a linear row is whatever its combinations say that it is.
    both = [row, *(layer.rows[i] for i in linear)]
    told = [k for k in range(len(row.weights)) if all(one.weights[k] is not None for one in both)]
    units, own = (_numbers([one.scaled()[0] for one in rows])[:, told] for rows in (both[1:], both[:1]))
    if len(told) < min(len(row.weights), len(units) + SPARE):
        return None
    try:
        if rank(units) < len(units) or rank(np.concatenate([units, own])) > len(units):
            return None
    except UndecidedError:
        return None
    readers = state.layers[level].rows if level < len(state.layers) else []
    shares_on = _shares_on(state, level, row, readers)
    sign = _side_of_readers([x for x, reader in zip(shares_on, readers, strict=True) if _reads(reader, linear)])
    whole = row.negative() if sign < 0 else row
    weights, bias = whole.scaled()
    shares = expressed_in(units, _numbers([weights])[:, told])[0]
    place = next((k for k, share in enumerate(shares) if share != 0), None)
    if place is None:
        return None
    layer.rows[linear[place]], layer.signs[linear[place]] = whole, abs(sign)
    if not sign:
        # The other linear rows hold a multiple of it, as far as it is on.
        without_linear_rows(state, level)
    elif readers:
        factors = [reader.integer_factor() for reader in readers]
        sides = [sign * _side(x) for x in shares_on]
        moved = [
            _moved(reader, linear, place, shares, quotient(bias, 1))
            if _reads(reader, linear) or side > 0
            else _opened(reader, linear[place])
            for reader, side in zip(readers, sides, strict=True)
        ]
        kept = [
            k
            for k, (side, reader) in enumerate(zip(sides, readers, strict=True))
            if _stays(side, reader, linear, linear[place])
        ]
        state.layers[level] = FoundLayer(moved, state.layers[level].signs).chosen(kept)
        if len(kept) < len(readers):
            state.layers = state.layers[: level + 1]
        else:
            state.carry_scales(level + 1, factors)
    state.renewed(level)
    return linear[place]


def reads_only_linear(state: Recovery, level: int, row: Row) -> bool:
    """Whether a row found behind a layer reads linear rows of it only, as far as is known.

    Then it is the boundary of one of these.
    """
    before = state.layers[level - 2].rows if level > 1 else []
    read = [other.linear for weight, other in zip(row.weights, before, strict=False) if _acts(weight)]
    return bool(read) and all(read)


def one_layer_up(state: Recovery, level: int, row: Row) -> Row:
    """Such a row as one of the layer before, over what the linear rows read."""
    before = state.layers[level - 2].rows
    pairs = zip(row.weights, before, strict=True)
    read = [(weight, other.scaled()[0]) for weight, other in pairs if weight is not None and weight != 0]
    width = len(before[0].weights)
    weights = [sum((weight * whole[k] for weight, whole in read), fmpq(0)) for k in range(width)]
    return dataclasses.replace(row, weights=weights)


def _stays(side: int, reader: Row, linear: Sequence[int], replaced: int) -> bool:
    """Whether a reader is known that was read when the neuron was linear row ``replaced``.

    With an open weight on it its bias is not known any more. Some of the places where it was seen may be false ones, of
    walks that crossed the boundary without knowing; but what reads the only linear row was read where it is on.
    """
    if reader.weights[replaced] is None:
        return False
    return len(linear) == 1 or (side < 0 and not _reads(reader, linear)) or side > 0


def _reads(reader: Row, linear: Sequence[int]) -> bool:
    return any(_acts(reader.weights[i]) for i in linear)


def _acts(weight: Number | None) -> bool:
    return weight is not None and bool(weight != 0)


def _shares_on(state: Recovery, level: int, row: Row, readers: Sequence[Row]) -> list[float]:
    """For every reader the share of the places where it was seen at which the row is positive."""
    height = heights64(state.known(level - 1), row)
    return [float(np.mean(height(np.stack(one.seen_at)) > 0)) if one.seen_at else 0.5 for one in readers]


def _side_of_readers(shares: Sequence[float]) -> int:
    """The side that most of these were seen on, +1 or -1, where none was seen on the other; else 0."""
    sides = [_side(share) for share in shares]
    for side in (1, -1):
        if 2 * sides.count(side) > len(sides) and -side not in sides:
            return side
    return 0


def _side(share: float) -> int:
    """The side that nearly all places are on: +1 or -1, 0 for both or none."""
    return 1 if share > 1 - ONE_SIDED else -1 if share < ONE_SIDED else 0


def _opened(reader: Row, place: int) -> Row:
    """A row that was read where the neuron is off: its weight is not known."""
    weights = list(reader.weights)
    weights[place] = None
    return dataclasses.replace(reader, weights=weights)


def _moved(reader: Row, linear: list[int], place: int, shares: np.ndarray, bias: Number) -> Row:
    """A row over the layer with the new row in place of a linear one."""
    weights = list(reader.weights)
    weight = weights[linear[place]]
    if weight is None:
        return reader
    per_share = weight / shares[place]
    weights[linear[place]] = per_share
    for k, i in enumerate(linear):
        other = weights[i]
        if k != place and other is not None:
            weights[i] = other - per_share * shares[k]
    return dataclasses.replace(reader, weights=weights, bias=reader.bias - per_share * bias)


def _numbers(rows: Sequence[Sequence[Number]]) -> np.ndarray:
    return np.array([[quotient(x, 1) for x in row] for row in rows], dtype=object)
