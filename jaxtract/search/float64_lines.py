"""Kinks of a piecewise-linear function on thousands of lines at once, in float64.

The function is reconstructed on each line, it is not bisected: two affine pieces that meet are checked on both
sides of the meeting point, and an interval whose check fails is split there. A kink costs about four queries,
whatever the precision.
"""

import collections
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxtract._x64 import enable_x64, require_x64
from jaxtract.search.float64_assembly import Assembly, Ends, LineKinks, SearchResult, assemble, assemble_some
from jaxtract.search.float64_intervals import DONE, KINK, Intervals, Tolerances, plan
from jaxtract.search.float64_loop import LineSearch, run
from jaxtract.search.float64_oracle import LineOracle, check_bounds, check_lines, make_oracle

enable_x64()

__all__ = ["LineKinks", "LineSearch", "SearchResult", "search_lines"]

# Rounding errors of a sample stay within this many standard deviations.
_SAFETY = 8.0
_NOISE_PROBES = 4
_NOISE_POINTS = 8
_REPAIR_ROUNDS = 4


def search_lines(
    oracle: Callable,
    points: Float[Array | np.ndarray, "lines d"],
    directions: Float[Array | np.ndarray, "lines d"],
    left: float | Float[np.ndarray, " lines"] = -1.0,
    right: float | Float[np.ndarray, " lines"] = 1.0,
    *,
    host: bool = False,
    options: LineSearch | None = None,
    throw: bool = True,
) -> LineKinks:
    """Reconstruct t -> f(points[i] + t directions[i]) on [left, right] for all lines at once.

    Critical-point search along lines as in Carlini, Jagielski and Mironov (2020, section on finding critical points)
    and Rolnick and Koerding (2020, section on finding boundary points), without their bisection: f is affine
    between two kinks, so a kink is where two affine pieces meet, to the accuracy of the pieces.

    **Arguments:**

    - `oracle`: f, continuous and piecewise linear, from (batch, d) to (batch, m) float64. A function that
        `jax.jit` can trace (or an `equinox.Module` with arrays), or with `host=True` any callable on NumPy arrays.
    - `points`, `directions`: the lines, float64. t is in units of `directions`.
    - `left`, `right`: bounds of t, one for all lines or one per line.
    - `host`: call the oracle from Python instead of inside the compiled loop.
    - `options`: see [`LineSearch`].
    - `throw`: raise `RuntimeError` if `max_queries` stops the search. Otherwise look at `result`.

    **Raises:** `ValueError` for lines, bounds or answers that are not finite, or of a wrong shape or dtype, and if
    JAX's 64-bit mode is off.
    """
    require_x64()
    options = LineSearch() if options is None else options
    points, directions = check_lines(points, directions)
    left, right = check_bounds(left, right, len(points))
    box = make_oracle(oracle, host, points, directions)
    ends, weights, first = _begin(box, left, right, options)
    noise = _estimate_noise(box, ends, weights) if options.noise is None else options.noise
    tolerances = _tolerances(noise, options)

    queries = np.full(len(points), 2 * (options.cells + 1), np.int64)
    progress = run(box, _open(_planned(first, tolerances)), weights, tolerances, options, asked=int(queries.sum()))
    queries += progress.queries
    records = [progress.records]
    assembly = assemble(progress.records, ends, float(tolerances.noise))
    tries: collections.Counter = collections.Counter()
    for _ in range(_REPAIR_ROUNDS):
        keys = _gap_keys(assembly)
        fresh = np.array([tries[key] < 2 for key in keys], bool)
        again = np.array([tries[key] == 1 for key in keys], bool)[fresh]
        if len(progress.unfinished) or not fresh.any():
            break
        tries.update(keys)
        gaps = jax.tree.map(lambda x, fresh=fresh: x[fresh], assembly.gaps)
        rows = _reopen(box, gaps, again, weights, queries, tolerances)
        progress = run(box, _open(rows), weights, tolerances, options, asked=int(queries.sum()))
        queries += progress.queries
        records.append(progress.records)
        assembly = assemble_some(assembly, records, ends, float(tolerances.noise))
    result = _result(assembly, progress.unfinished, queries, ends, weights, options, noise)
    if throw and result.result is SearchResult.query_limit_reached:
        raise RuntimeError(result.result.value)
    return result


def _estimate_noise(oracle: LineOracle, ends: Ends, weights: np.ndarray) -> float:
    """Standard error of one answer over the scale of its line, from third differences of nearby samples.

    Third differences of an affine function are noise only, with variance 20 times that of one sample
    (Moré and Wild 2011, Estimating computational noise, section 3). The median over the probes ignores a kink.
    """
    lines = len(ends.left)
    index = np.linspace(0, lines - 1, _NOISE_PROBES).astype(np.int64)
    width = (ends.right - ends.left)[index]
    start = ends.left[index] + width * np.array([0.2718, 0.4142, 0.5772, 0.7321])
    t = start[:, None] + width[:, None] * 2.0**-20 * np.arange(_NOISE_POINTS)
    values = oracle.ask(np.repeat(index, _NOISE_POINTS), t.ravel()) * weights
    differences = np.diff(values.reshape(_NOISE_PROBES, _NOISE_POINTS, -1), n=3, axis=1)
    deviation = np.sqrt((differences**2).mean(axis=1).max(axis=1) / 20)
    return float(np.median(deviation / ends.scale[index]))


def _begin(oracle: LineOracle, left, right, options: LineSearch) -> tuple[Ends, np.ndarray, Intervals]:
    """Sample both ends of every cell: the ends of the lines, the output weights, and the first open intervals."""
    lines, cells = len(left), options.cells
    cut = left[:, None] + (right - left)[:, None] * np.linspace(0, 1, cells + 1)
    cut[:, -1] = right
    # A tenth of the step within intervals: at first an interval may hold thousands of kinks.
    step = (0.1 * options.slope_step * (right - left) / cells)[:, None]
    second = np.concatenate([cut[:, :-1] + step, cut[:, -1:] - step], axis=1)
    t = np.stack([cut, second], axis=2)
    index = np.repeat(np.arange(lines), 2 * (cells + 1))
    values = oracle.ask(index, t.ravel()).reshape(lines, cells + 1, 2, oracle.m)
    run = (values[:, :, 1] - values[:, :, 0]) / (second - cut)[:, :, None]
    size = np.maximum(np.abs(values).max(axis=(1, 2)), np.abs(run).max(axis=1) * (right - left)[:, None] / cells)
    typical = np.median(size, axis=0)
    # Powers of two: the outputs are brought to order one without rounding.
    weights = np.exp2(-np.round(np.log2(np.where(typical > 0, typical, 1))))
    values = values * weights
    scale = (size * weights).max(axis=1)
    scale = np.where(scale > 0, scale, 1)
    resolution = options.resolution * (right - left)
    ends = Ends(
        left=left,
        left_far=second[:, 0],
        right=right,
        right_far=second[:, -1],
        left_value=values[:, 0, 0],
        left_far_value=values[:, 0, 1],
        right_value=values[:, -1, 0],
        right_far_value=values[:, -1, 1],
        scale=scale,
        resolution=resolution,
    )

    def flat(array):
        return array.reshape(lines * cells, *array.shape[2:])

    first = Intervals(
        line=np.repeat(np.arange(lines), cells).astype(np.float64),
        left=flat(cut[:, :-1]),
        left_far=flat(second[:, :-1]),
        right=flat(cut[:, 1:]),
        right_far=flat(second[:, 1:]),
        left_value=flat(values[:, :-1, 0]),
        left_far_value=flat(values[:, :-1, 1]),
        right_value=flat(values[:, 1:, 0]),
        right_far_value=flat(values[:, 1:, 1]),
        pending_value=np.zeros((lines * cells, oracle.m)),
        scale=np.repeat(scale, cells),
        resolution=np.repeat(resolution, cells),
        kind=np.zeros(lines * cells),
        query=np.zeros(lines * cells),
        pending=np.zeros(lines * cells),
    )
    return ends, weights, first


_jit_plan = eqx.filter_jit(lambda rows, tolerances: plan(rows, tolerances).pack())


def _planned(intervals: Intervals, tolerances: Tolerances) -> Float[np.ndarray, "n columns"]:
    """Plan a batch of any size, padded to a power of two so that few shapes are compiled."""
    n = len(intervals.line)
    padding = max(2 ** (max(n, 1) - 1).bit_length(), 64) - n
    padded = jax.tree.map(lambda x: np.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)), intervals)
    return np.array(_jit_plan(padded, tolerances))[:n]


def _open(rows: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "open columns"]:
    return rows[(rows[:, 1] != DONE) & (rows[:, 1] < KINK)]


def _reopen(
    box: LineOracle, gaps: Intervals, again: Bool[np.ndarray, " n"], weights, queries, tolerances: Tolerances
) -> Float[np.ndarray, "n columns"]:
    """Plan the search of gaps where a sample is off the fitted piece.

    What looks like one piece within the error of its short ends hides a kink of a small jump. There, and where a
    first search was in vain (`again`), the two end pieces are measured over a quarter of the gap.
    """
    rows = _planned(gaps, tolerances)
    faint = again | (rows[:, 1] == DONE)
    if not faint.any():
        return rows
    short = jax.tree.map(lambda x: x[faint], gaps)
    line = short.line.astype(np.int64)
    quarter = 0.25 * (short.right - short.left)
    near, far = short.left + quarter, short.right - quarter
    values = box.ask(np.concatenate([line, line]), np.concatenate([near, far])) * weights
    np.add.at(queries, line, 2)
    longer = Intervals(
        **{name: getattr(short, name) for name in Intervals.__dataclass_fields__}
        | {"left_far": near, "left_far_value": values[: len(line)]}
        | {"right_far": far, "right_far_value": values[len(line) :]}
    )
    rows[faint] = _planned(longer, tolerances)
    return rows


def _tolerances(noise: float, options: LineSearch) -> Tolerances:
    # No answer is better than its own rounding.
    least = 2 * float(np.finfo(np.float64).eps)
    return Tolerances(noise=jnp.float64(_SAFETY * max(noise, least)), slope_step=jnp.float64(options.slope_step))


def _gap_keys(assembly: Assembly) -> list[tuple[float, float, float]]:
    gaps = assembly.gaps
    return list(zip(gaps.line.tolist(), gaps.left.tolist(), gaps.right.tolist(), strict=True))


def _result(assembly: Assembly, unfinished, queries, ends: Ends, weights, options: LineSearch, noise) -> LineKinks:
    """Undo the normalisation; list what is not resolved."""
    found = zip(assembly.cluster_line.tolist(), *assembly.clusters.T.tolist(), strict=True)
    clusters = {(int(line), a, b) for line, a, b in found}
    for line, a, b in _gap_keys(assembly):
        if a < b and not any(k == line and a <= c and d <= b for k, c, d in clusters):
            clusters.add((int(line), a, b))
    clusters |= {(int(row[0]), row[3], row[5]) for row in unfinished.tolist()}
    ordered = sorted(clusters)
    if len(unfinished):
        result = SearchResult.query_limit_reached
    else:
        result = SearchResult.unresolved_clusters if ordered else SearchResult.successful
    return LineKinks(
        offsets=assembly.offsets,
        kinks=assembly.kinks,
        errors=assembly.errors,
        slopes=assembly.slopes / weights,
        queries=queries,
        cluster_line=np.array([line for line, _, _ in ordered], np.int64),
        clusters=np.array([(a, b) for _, a, b in ordered], np.float64).reshape(-1, 2),
        cell_width=(ends.right - ends.left) / options.cells,
        resolution=ends.resolution,
        noise=noise,
        noise_queries=_NOISE_PROBES * _NOISE_POINTS if options.noise is None else 0,
        result=result,
    )
