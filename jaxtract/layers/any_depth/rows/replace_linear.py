"""The boundary of a neuron that was taken for linear: from now on it is a row like all others."""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq

from jaxtract.layers.any_depth.found_layers import FoundLayer, Row
from jaxtract.layers.any_depth.recovery import Recovery
from jaxtract.layers.any_depth.signs.linear_part import coefficients
from jaxtract.layers.any_depth.signs.sign_sources import ONE_SIDED
from jaxtract.layers.any_depth.unseen.complete_rows import heights64
from jaxtract.layers.any_depth.walk.row_system import rank_of


def replace_linear(state: Recovery, level: int, row: Row) -> bool:
    """Put a row of a layer in the place of a linear one, where it is a combination of these; True when it is.

    With h = sum_q alpha_q t_q + c, t_q the linear rows, t_p = (h - c - sum_{q != p} alpha_q t_q) / alpha_p while h is
    on, where the layers behind it were read. Where they were not, or h was not on there, they are read again.
    """
    layer = state.layers[level - 1]
    linear = [i for i, known in enumerate(layer.rows) if known.linear]
    if not linear or row.missing:
        return False
    units = [layer.rows[i].integers()[0] for i in linear]
    if rank_of([*units, row.integers()[0]]) > len(units):
        return False
    sign = _side_of_readers(state, level, row)
    whole = row.negative() if sign < 0 else row
    weights, bias = whole.integers()
    shares = coefficients(_rationals(units), _rationals([weights]))[0]
    if np.any(shares @ _rationals(units) != _rationals([weights])[0]):
        return False
    place = next(k for k, share in enumerate(shares) if share != 0)
    layer.rows[linear[place]], layer.signs[linear[place]] = whole, abs(sign)
    if not sign:
        state.layers = state.layers[:level]
    elif level < len(state.layers):
        readers = state.layers[level]
        factors = [reader.integer_factor() for reader in readers.rows]
        moved = [_moved(reader, linear, place, shares, fmpq(bias)) for reader in readers.rows]
        state.layers[level] = FoundLayer(moved, readers.signs)
        state.carry_scales(level + 1, factors)
    state.renewed(level)
    return True


def _side_of_readers(state: Recovery, level: int, row: Row) -> int:
    """The side of the row's boundary on which the next layer was read, 0 where it was read on both or not at all."""
    readers = state.layers[level].rows if level < len(state.layers) else []
    places = [place for reader in readers for place in reader.seen_at]
    if not places:
        return 0
    share = float(np.mean(heights64(state.known(level - 1), row)(np.stack(places)) > 0))
    return 1 if share > 1 - ONE_SIDED else -1 if share < ONE_SIDED else 0


def _moved(reader: Row, linear: list[int], place: int, shares: np.ndarray, bias: fmpq) -> Row:
    """A row over the layer with the new row in place of a linear one."""
    weights = list(reader.weights)
    weight = weights[linear[place]]
    assert weight is not None, "rows with an open weight on a linear one are not taken in"
    per_share = weight / shares[place]
    weights[linear[place]] = per_share
    for k, i in enumerate(linear):
        other = weights[i]
        if k != place and other is not None:
            weights[i] = other - per_share * shares[k]
    return dataclasses.replace(reader, weights=weights, bias=reader.bias - per_share * bias)


def _rationals(rows: list[list[int]]) -> np.ndarray:
    return np.array([[fmpq(x) for x in row] for row in rows], dtype=object)
