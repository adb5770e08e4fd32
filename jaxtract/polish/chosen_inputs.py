"""Inputs that show all parameters of a network that is nearly known, chosen among many before any is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from flint import fmpz_mat
from scipy.linalg import qr

from jaxtract.polish.parameters import MANY, Parameters, plain_sizes
from jaxtract.search.random_lines import gaussian_points
from precision.dyadic import DyadicMatrix, from_float64

CANDIDATES = 4
"""Inputs that are looked at in the known network for every one that is asked."""

SPARE = 0.5
"""Further inputs, as a share of those that determine the parameters: rounding averages out, and shows."""

LEAST_RANDOM = 0.1
"""The same of inputs at random where other answers, which may show less, take their place."""

LEAST_SPARE = 8
"""Inputs beyond these in any case."""

SHOWN = 1e-8
"""Directions of the parameters that inputs asked before show this much more weakly than others need more inputs."""

SHOWN_BY_ALL = 1e-5
"""The same of inputs that were asked for any reason. Better known ones are few, so that these take none to spare."""

NEAR_SHARES = np.array([0.0, 0.01, 0.05, 0.2])

NEAR = len(NEAR_SHARES)
"""Inputs are looked at this far from the places where neurons were seen, as shares of the distance from the origin."""

NEAR_BITS = 20
"""Fractional bits of such an input."""

MOST_PARAMETERS = 2000
"""Beyond these inputs are not chosen among candidates any more."""

TURN, MOST_TURNS, SHOWING = 2048, 24, 6
"""Random inputs looked at in one turn for parameters that no input shows yet, turns, and inputs kept for each."""

POOL, POOL_SCALES, STRONGEST = 4096, (-1, 0, 1, 2, 4, 6), 2
"""Random inputs looked at in the known network at each scale, and how many are candidates for every parameter."""

SCALES = (-1, 0, 1, 2)
"""Of other random inputs: exponents of two."""


def chosen_inputs(
    parameters: Parameters,
    rng: np.random.Generator,
    near: np.ndarray | None,
    asked: np.ndarray,
    *,
    strongest: bool,
    spared: int = 0,
    by_all: bool = False,
    random: int = 0,
) -> DyadicMatrix:
    """Inputs at which the parameters are determined as well as many candidates allow, and more at random.

    Only for what the inputs ``asked`` (inputs, dimension) do not show. All at random where the parameters are many.
    ``strongest``: answers are rounded from the terms of the network, and candidates are also those of very many inputs
    at which a parameter stands out most from this rounding. ``spared``: answers that are known for another reason.
    ``by_all``: ``asked`` is of all that was asked, with inputs to spare. ``random``: so many inputs in any case.
    """
    outputs = parameters.network.outputs
    needed = -(-parameters.count // outputs)
    many = parameters.count > MOST_PARAMETERS
    inputs, count = parameters.network.inputs, (1 if many else CANDIDATES) * needed
    drawn = [gaussian_points(count, inputs, scale, rng) for scale in SCALES]
    if near is not None and len(near):
        spread = rng.standard_normal((NEAR, *near.shape)) * (1 + np.max(np.abs(near), axis=1, keepdims=True))
        beside = (near + spread * NEAR_SHARES[:, None, None]).reshape(-1, inputs)
        most = count // NEAR if many else count
        drawn.append(
            from_float64(np.round(beside[rng.permutation(len(beside))[:most]] * 2.0**NEAR_BITS) / 2.0**NEAR_BITS)
        )
    drawn.extend(_showing(parameters, drawn, rng))
    if strongest and not many:
        drawn.extend(_standing_out(parameters, rng))
    exponent = max(points.exponent for points in drawn)
    rows = [row for points in drawn for row in points.at_exponent(exponent).tolist()]
    mixed = rng.permutation(len(SCALES) * count)[: MANY * needed if many else count].tolist()
    if many and len(asked):
        mixed = []  # what is missing shows at inputs that were drawn for it
    order = [*mixed, *range(len(SCALES) * count, len(rows))]
    candidates = DyadicMatrix(fmpz_mat(len(order), inputs, [x for k in order for x in rows[k]]), exponent)
    if len(asked):
        lacking = _lacking(parameters, asked, candidates.to_float64(), strongest=strongest, by_all=by_all)
        more = rng.permutation(len(order))[:random].tolist() if random else []
        return _rows(candidates, np.array([*dict.fromkeys([*lacking.tolist(), *more])], dtype=int))
    if many:
        return candidates
    jacobian = weighted_jacobian(parameters, candidates.to_float64(), strongest=strongest)
    best = best_inputs(jacobian, outputs)[:needed]
    return _rows(candidates, _with_spare(best, needed, len(order), spared))


def least_random(parameters: Parameters) -> int:
    """Inputs at random that are asked of a network that may lack something: other answers may not show it."""
    return math.ceil(LEAST_RANDOM * parameters.count / parameters.network.outputs) + LEAST_SPARE


def weighted_jacobian(parameters: Parameters, points: np.ndarray, *, strongest: bool) -> np.ndarray:
    """The Jacobian with every row over what rounds there, up to a factor."""
    sizes = parameters.term_sizes(points) if strongest else plain_sizes(points, parameters.network.outputs)
    return parameters.jacobian(points) / sizes.reshape(-1, 1)


def best_inputs(jacobian: np.ndarray, outputs: int) -> list[int]:
    """Inputs in the order in which they show the parameters (columns, brought to one size) best."""
    sizes = np.linalg.norm(jacobian, axis=0)
    *_, pivots = qr((jacobian / np.where(sizes > 0, sizes, 1)).T, mode="r", pivoting=True)
    return list(dict.fromkeys(int(k) // outputs for k in pivots))


def _with_spare(best: Sequence[int], needed: int, count: int, spared: int = 0) -> np.ndarray:
    """Chosen inputs of ``count``, and further ones in the order that they have, but for most of those spared."""
    chosen = set(best)
    spare = max(math.ceil(SPARE * needed) - spared, math.ceil(LEAST_RANDOM * needed)) + LEAST_SPARE
    others = [k for k in range(count) if k not in chosen][:spare]
    return np.array([*best, *others], dtype=int)


def _lacking(
    parameters: Parameters, asked: np.ndarray, points: np.ndarray, *, strongest: bool, by_all: bool
) -> np.ndarray:
    """Indices of points that show what the inputs asked do not: directions, or rows where parameters are many."""
    if parameters.count > MOST_PARAMETERS:
        return parameters.seldom_on(asked, points)
    before, jacobian = (weighted_jacobian(parameters, x, strongest=strongest) for x in (asked, points))
    sizes = np.hypot(np.linalg.norm(before, axis=0), np.linalg.norm(jacobian, axis=0))
    sizes[sizes == 0] = 1.0
    _, singular, axes = np.linalg.svd(before / sizes)
    shown = int(np.sum(singular > (SHOWN_BY_ALL if by_all else SHOWN) * singular[0]))
    if shown == len(axes):
        return np.empty(0, dtype=int)
    left = (jacobian / sizes) @ axes[shown:].T
    needed = -(-left.shape[1] // parameters.network.outputs)
    best = best_inputs(left, parameters.network.outputs)[:needed]
    return np.array(best, dtype=int) if by_all else _with_spare(best, needed, len(points))


def _standing_out(parameters: Parameters, rng: np.random.Generator) -> Iterator[DyadicMatrix]:
    """Of many random inputs those at which a parameter moves f most against the terms that f is rounded from."""
    for scale in POOL_SCALES:
        points = gaussian_points(POOL, parameters.network.inputs, scale, rng)
        inputs = points.to_float64()
        shares = np.abs(parameters.jacobian(inputs)) / parameters.term_sizes(inputs).reshape(-1, 1)
        best = np.unique(np.argpartition(-shares, STRONGEST, axis=0)[:STRONGEST]) // parameters.network.outputs
        yield _rows(points, np.unique(best))


def _rows(points: DyadicMatrix, which: np.ndarray) -> DyadicMatrix:
    """Some of the rows."""
    entries, columns = points.mantissa.tolist(), points.mantissa.ncols()
    chosen = [x for k in which.tolist() for x in entries[k]]
    return DyadicMatrix(fmpz_mat(len(which), columns, chosen), points.exponent)


def _showing(parameters: Parameters, drawn: Sequence[DyadicMatrix], rng: np.random.Generator) -> Iterator[DyadicMatrix]:
    """Further inputs for parameters that none of those drawn shows, if many random ones do."""
    shown = np.zeros(parameters.count, dtype=bool)
    for points in drawn:
        shown |= np.any(parameters.jacobian(points.to_float64()) != 0, axis=0)
    for turn in range(MOST_TURNS):
        if shown.all():
            return
        more = gaussian_points(TURN, parameters.network.inputs, SCALES[turn % len(SCALES)], rng)
        seen = parameters.jacobian(more.to_float64())[:, ~shown] != 0
        useful = np.unique(np.concatenate([np.flatnonzero(column)[:SHOWING] for column in seen.T])) // (
            parameters.network.outputs
        )
        if len(useful):
            yield _rows(more, useful)
            shown[np.flatnonzero(~shown)[seen.any(axis=0)]] = True
