"""The lock-step loop of the line search: a stack of open intervals, a list of finished ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxtract._x64 import enable_x64
from jaxtract.search.float64_intervals import CHECK_LEFT, KINK, VERIFY_RIGHT, Intervals, Tolerances, advance
from jaxtract.search.float64_oracle import NOT_FINITE, LineOracle, line_points

enable_x64()


class LineSearch(eqx.Module):
    """Options of `search_lines`.

    **Arguments:**

    - `cells`: equal cells that each line is cut into before the search. A bump that begins and ends between two
        samples is invisible; more cells make this less likely. A cell costs two queries and saves about as
        many wherever it holds a kink. Narrow deep networks, where all of a layer is often off, deserve more.
    - `noise`: standard error of one answer, relative to the largest values on its line. Estimated with 32
        queries if `None`.
    - `slope_step`: distance of the two samples of a new piece, as a fraction of the interval.
    - `resolution`: intervals shorter than this fraction of the line are reported as clusters.
    - `max_queries`: no step of the search begins after this many queries.
    - `batch`: intervals that advance together in one step.
    - `open_capacity`: open intervals kept on the device; more are set aside in host memory and taken up later.
    - `record_capacity`: finished intervals kept on the device before they are moved to host memory.
    """

    cells: int = 8
    noise: float | None = None
    slope_step: float = 1e-3
    resolution: float = 1e-12
    max_queries: int = 10**9
    batch: int = 4096
    open_capacity: int = 2**16
    record_capacity: int = 2**17

    def __check_init__(self):
        for name in ("cells", "max_queries", "batch", "open_capacity", "record_capacity"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number of at least 1.")
        if self.noise is not None and not 0 <= self.noise < 1:
            raise ValueError(f"noise is {self.noise}; give a relative error in [0, 1), or None to estimate it.")
        if not 0 < self.slope_step <= 0.25:
            raise ValueError(f"slope_step is {self.slope_step}; give a fraction in (0, 0.25].")
        if not 0 < self.resolution < 1:
            raise ValueError(f"resolution is {self.resolution}; give a fraction in (0, 1).")

    @property
    def widths(self) -> tuple[int, ...]:
        """Batch sizes of one step, largest first: few open intervals are not padded to the full batch."""
        return tuple(sorted({self.batch, max(self.batch // 16, min(self.batch, 64))}, reverse=True))


class LineWork(eqx.Module):
    """State of the loop: a stack of open intervals and a list of finished ones, both packed."""

    stack: Float[Array, "capacity columns"]
    open: Int[Array, ""]
    records: Float[Array, "record_capacity columns"]
    found: Int[Array, ""]
    queries: Int[Array, " lines"]
    asked: Int[Array, ""]
    finite: Bool[Array, ""]


def init(columns: int, lines: int, options: LineSearch) -> LineWork:
    """A loop with nothing to do, for packed intervals of so many columns."""
    return LineWork(
        stack=jnp.zeros((options.open_capacity + 2 * options.batch, columns)),
        open=jnp.int32(0),
        records=jnp.zeros((options.record_capacity + 2 * options.batch, columns)),
        found=jnp.int32(0),
        queries=jnp.zeros(lines, jnp.int32),
        asked=jnp.int64(0),
        finite=jnp.bool_(True),
    )


def peek(work: LineWork, width: int) -> Float[Array, "width columns"]:
    """The top of the stack, packed. Rows beyond what is open are stale and must be masked."""
    return jax.lax.dynamic_slice_in_dim(work.stack, jnp.maximum(work.open - width, 0), width)


def propose(
    work: LineWork, top: Float[Array, "width columns"], lines: Float[Array, "lines two_d"]
) -> tuple[Intervals, Bool[Array, " width"], Float[Array, "width d"]]:
    """Unpack the top of the stack, say which rows count, and form their query points."""
    width = top.shape[0]
    rows = Intervals.unpack(top)
    active = jnp.maximum(work.open - width, 0) + jnp.arange(width) < work.open
    points = line_points(lines, jnp.where(active, rows.line_index(), 0), jnp.where(active, rows.query, 0.0))
    return rows, active, points


def absorb(
    work: LineWork,
    rows: Intervals,
    active: Bool[Array, " width"],
    values: Float[Array | np.ndarray, "width m"],
    tolerances: Tolerances,
) -> LineWork:
    """Use the answers: replace the top of the stack by what goes on, write down what is finished."""
    values = jnp.asarray(values)
    below = jnp.maximum(work.open - len(active), 0)

    def step():
        onward, halves, split = advance(rows, values, tolerances)
        return jnp.concatenate([onward.pack(), halves.pack()]), split

    # Always true. A branch keeps XLA from computing the step once for each of the places that use its result.
    shapes = eqx.filter_eval_shape(step)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    packed, split = jax.lax.cond(work.open >= 0, step, lambda: nothing)
    kind = packed[:, 1]
    alive = jnp.concatenate([active, active & split])
    goes_on = alive & (kind >= CHECK_LEFT) & (kind <= VERIFY_RIGHT)
    is_found = alive & (kind >= KINK)
    stack, pushed = _append(work.stack, below, packed, goes_on)
    records, found = _append(work.records, work.found, packed, is_found)
    return LineWork(
        stack=stack,
        open=pushed,
        records=records,
        found=found,
        queries=work.queries.at[rows.line_index()].add(active.astype(jnp.int32), mode="promise_in_bounds"),
        asked=work.asked + jnp.sum(active),
        finite=work.finite & jnp.all(jnp.isfinite(values) | ~active[:, None]),
    )


def _append(buffer, used, rows, keep):
    position = used + jnp.cumsum(keep.astype(jnp.int32)) - 1
    # Distinct out-of-range positions, so that the indices are unique and the rows are dropped.
    position = jnp.where(keep, position, buffer.shape[0] + jnp.arange(len(keep), dtype=jnp.int32))
    return buffer.at[position].set(rows, mode="drop", unique_indices=True), used + jnp.sum(keep, dtype=jnp.int32)


def may_go_on(work: LineWork, options: LineSearch) -> Bool[Array, ""]:
    """Something is open, both buffers can take one more step, and no limit is reached."""
    room = (work.open <= options.open_capacity) & (work.found <= options.record_capacity)
    return (work.open > 0) & room & work.finite & (work.asked < options.max_queries)


@eqx.filter_jit(donate="all-except-first")
def _device_loop(constants, work: LineWork) -> LineWork:
    """Advance until nothing is open or a buffer is full. One inner loop per batch size."""
    oracle, lines, weights, tolerances, options = constants
    for_all = (None, *options.widths)

    # The top of the stack is carried beside it: read after the push of one step, used in the next. Read and
    # pushed in the same step, XLA would copy the whole stack every time.
    def step(carry):
        work, top = carry
        rows, active, points = propose(work, top, lines)
        work = absorb(work, rows, active, oracle(points) * weights, tolerances)
        return work, peek(work, len(top))

    def turn(work):
        for larger, width in zip(for_all, options.widths, strict=False):
            least = 1 if width == options.widths[-1] else width

            def runs(carry, larger=larger, least=least):
                work, _ = carry
                fits = work.open >= least
                return may_go_on(work, options) & (fits if larger is None else fits & (work.open < larger))

            work, _ = jax.lax.while_loop(runs, step, (work, peek(work, width)))
        return work

    return jax.lax.while_loop(lambda work: may_go_on(work, options), turn, work)


_host_propose = eqx.filter_jit(lambda work, lines, width: propose(work, peek(work, width), lines))
_host_absorb = eqx.filter_jit(absorb)
_jit_may_go_on = eqx.filter_jit(may_go_on)


def _host_loop(oracle: LineOracle, weights, tolerances: Tolerances, options: LineSearch, work: LineWork) -> LineWork:
    """The same loop, driven from Python, for an oracle that takes and returns NumPy arrays."""
    while bool(_jit_may_go_on(work, options)):
        count = int(work.open)
        width = next((w for w in options.widths if w <= count), options.widths[-1])
        rows, active, points = _host_propose(work, oracle.lines, width)
        used = min(count, width)
        values = np.zeros((width, oracle.m))
        values[:used] = oracle.answer(np.asarray(points)[:used]) * weights
        work = _host_absorb(work, rows, active, values, tolerances)
    return work


def _run_until_full(oracle, weights, tolerances, options, work: LineWork) -> LineWork:
    if oracle.host:
        return _host_loop(oracle, weights, tolerances, options, work)
    return _device_loop((oracle.call, oracle.lines, weights, tolerances, options), work)


class Progress(eqx.Module):
    """What a run of the loop left: finished intervals, those still open at `max_queries`, and the counts."""

    records: Float[np.ndarray, "columns found"]  # by column: the assembly works on whole columns
    unfinished: Float[np.ndarray, "open columns"]
    queries: Int[np.ndarray, " lines"]
    asked: int


def _columns(rows: Float[Array, "capacity columns"], used: int) -> Float[np.ndarray, "columns used"]:
    return np.asarray(rows)[:used].T.copy()


def run(
    oracle: LineOracle,
    rows: Float[np.ndarray, "n columns"],
    weights: Float[np.ndarray, " m"],
    tolerances: Tolerances,
    options: LineSearch,
    *,
    asked: int,
) -> Progress:
    """Advance planned intervals until none is open or the query limit is reached.

    A full buffer loses nothing: finished intervals move to host memory, and so does the lower half of the stack,
    to be taken up when the rest is done.
    """
    work = init(rows.shape[1], oracle.lines.shape[0], options)
    work = eqx.tree_at(lambda w: w.asked, work, jnp.int64(asked))
    aside, records = [rows], []
    while True:
        count = int(work.open)
        if count == 0 and aside:
            block = aside.pop()
            block, rest = block[-options.open_capacity :], block[: -options.open_capacity]
            if len(rest):
                aside.append(rest)
            stack = np.zeros(work.stack.shape)
            stack[: len(block)] = block
            work = eqx.tree_at(lambda w: (w.stack, w.open), work, (jnp.asarray(stack), jnp.int32(len(block))))
        work = _run_until_full(oracle, weights, tolerances, options, work)
        if not bool(work.finite):
            raise ValueError(NOT_FINITE)
        count, found = int(work.open), int(work.found)
        if found > options.record_capacity or count == 0:
            records.append(_columns(work.records, found))
            work = eqx.tree_at(lambda w: w.found, work, jnp.int32(0))
        if count > options.open_capacity:
            stack = np.array(work.stack)
            half = count // 2
            aside.append(stack[:half].copy())
            stack[: count - half] = stack[half:count].copy()
            work = eqx.tree_at(lambda w: (w.stack, w.open), work, (jnp.asarray(stack), jnp.int32(count - half)))
        stopped = int(work.asked) >= options.max_queries
        if (count == 0 and not aside) or stopped:
            break
    records.append(_columns(work.records, int(work.found)))
    unfinished = [*aside, np.asarray(work.stack)[: int(work.open)].copy()]
    return Progress(
        records=np.concatenate(records, axis=1),
        unfinished=np.concatenate(unfinished),
        queries=np.array(work.queries),
        asked=int(work.asked),
    )
