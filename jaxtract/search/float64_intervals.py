"""One step of the line search: what an open interval asks next, and what it makes of the answer.

An open interval [a, b] of a line carries two affine pieces of g(t) = f(p + t v): the one that leaves a to the
right and the one that reaches b from the left, each through two samples. Everything here is a pure function of a
batch of such intervals; the loop that feeds it is in `jaxtract.search.float64_lines`.
"""

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# On the host the intervals are NumPy arrays, in the loop JAX arrays.
Numbers = Array | np.ndarray

# What an interval is waiting for (or has become). Stored as floats in the packed rows.
DONE = 0  # one piece, nothing to ask
CHECK_LEFT = 1  # is the point just left of the intersection on the left piece?
CHECK_RIGHT = 2  # the same on the right
SLOPE = 3  # a second point of the new piece through `pending`
PROBE = 4  # a value somewhere in the middle
VERIFY_LEFT = 5  # the right piece reaches a: is it also the piece just right of a?
VERIFY_RIGHT = 6  # the left piece reaches b: is it also the piece just left of b?
KINK = 7  # finished: a and b straddle one kink
CLUSTER = 8  # finished: shorter than the resolution and not explained by one kink

# Away from the middle, so that functions with a kink at a round position are nothing special.
_PROBE_FRACTION = 0.4872316
# A check point differs from the other piece by this many tolerances, so it can be on one of the two only.
_SEPARATION = 4.0
_EPS = float(jnp.finfo(jnp.float64).eps)
_SCALARS = 10


class Tolerances(eqx.Module):
    """The noise model, in units where every output is of order one.

    A sample is trusted to `noise * scale`, with `scale` the largest value known near it; a piece through two
    samples at distance D is trusted at distance x from the nearer of them to `noise * scale * (1 + 2 x / D)`.
    """

    noise: Float[Numbers, ""]
    slope_step: Float[Numbers, ""]  # distance of the two samples of a new piece, as a fraction of the interval


class Intervals(eqx.Module):
    """A batch of W open intervals. `left_far` and `right_far` are the second samples of the two pieces."""

    line: Float[Numbers, " W"]
    kind: Float[Numbers, " W"]
    query: Float[Numbers, " W"]
    left: Float[Numbers, " W"]
    left_far: Float[Numbers, " W"]
    right: Float[Numbers, " W"]
    right_far: Float[Numbers, " W"]
    pending: Float[Numbers, " W"]
    scale: Float[Numbers, " W"]
    resolution: Float[Numbers, " W"]
    left_value: Float[Numbers, "W m"]
    left_far_value: Float[Numbers, "W m"]
    right_value: Float[Numbers, "W m"]
    right_far_value: Float[Numbers, "W m"]
    pending_value: Float[Numbers, "W m"]

    def pack(self) -> Float[Numbers, "W columns"]:
        scalars = (self.line, self.kind, self.query, self.left, self.left_far)
        scalars += (self.right, self.right_far, self.pending, self.scale, self.resolution)
        values = (self.left_value, self.left_far_value, self.right_value, self.right_far_value, self.pending_value)
        columns = jnp.concatenate([jnp.stack(scalars), *(value.T for value in values)])
        return jax.lax.optimization_barrier(columns).T

    @classmethod
    def unpack(cls, rows: Float[Numbers, "W columns"]) -> Self:
        m = (rows.shape[1] - _SCALARS) // 5
        columns = rows.T
        if isinstance(columns, jax.Array):
            # Contiguous columns, once: the arithmetic then vectorises.
            columns = jax.lax.optimization_barrier(columns)
        values = [columns[_SCALARS + i * m : _SCALARS + (i + 1) * m].T for i in range(5)]
        return cls(*columns[:_SCALARS], *values)

    def line_index(self) -> Int[Numbers, " W"]:
        return self.line.astype(jnp.int32)


def row_width(m: int) -> int:
    """Columns of a packed interval of a function with m outputs."""
    return _SCALARS + 5 * m


def _norm(values: Float[Numbers, "W m"]) -> Float[Numbers, " W"]:
    return jnp.max(jnp.abs(values), axis=1)


def _column(values: Float[Numbers, " W"]) -> Float[Numbers, "W 1"]:
    return values[:, None]


def _choose(where: Bool[Numbers, " W"], new: Intervals, old: Intervals) -> Intervals:
    """Row by row, `new` where the mask is true."""

    def pick(x, y):
        return jnp.where(where[:, None] if x.ndim == 2 else where, x, y)

    return Intervals(*(pick(getattr(new, n), getattr(old, n)) for n in Intervals.__dataclass_fields__))


def _replace(rows: Intervals, **changes: Numbers) -> Intervals:
    return Intervals(*(changes[n] if n in changes else getattr(rows, n) for n in Intervals.__dataclass_fields__))


class _Pieces(eqx.Module):
    """The two outer pieces of each interval, with what their errors allow."""

    left_slope: Float[Numbers, "W m"]
    right_slope: Float[Numbers, "W m"]
    left_base: Float[Numbers, " W"]
    right_base: Float[Numbers, " W"]
    unit: Float[Numbers, " W"]  # error of one sample

    def left_tolerance(self, rows: Intervals, t: Float[Numbers, " W"]) -> Float[Numbers, " W"]:
        return self.unit * (2 + 2 * jnp.abs(t - rows.left) / self.left_base)

    def right_tolerance(self, rows: Intervals, t: Float[Numbers, " W"]) -> Float[Numbers, " W"]:
        return self.unit * (2 + 2 * jnp.abs(t - rows.right) / self.right_base)

    def left_miss(self, rows, t, value) -> Float[Numbers, " W"]:
        return _norm(value - rows.left_value - self.left_slope * _column(t - rows.left))

    def right_miss(self, rows, t, value) -> Float[Numbers, " W"]:
        return _norm(value - rows.right_value - self.right_slope * _column(t - rows.right))


def _pieces(rows: Intervals, tolerances: Tolerances) -> _Pieces:
    left_base = rows.left - rows.left_far
    right_base = rows.right - rows.right_far
    left_slope = (rows.left_value - rows.left_far_value) / _column(jnp.where(left_base == 0, 1, left_base))
    right_slope = (rows.right_value - rows.right_far_value) / _column(jnp.where(right_base == 0, 1, right_base))
    size = jnp.maximum(rows.scale, jnp.maximum(_norm(rows.left_value), _norm(rows.right_value)))
    floor = jnp.finfo(jnp.float64).tiny
    return _Pieces(
        left_slope=left_slope,
        right_slope=right_slope,
        left_base=jnp.maximum(jnp.abs(left_base), floor),
        right_base=jnp.maximum(jnp.abs(right_base), floor),
        unit=tolerances.noise * size,
    )


def _slope_step(rows: Intervals, pieces: _Pieces, tolerances: Tolerances) -> Float[Numbers, " W"]:
    """Distance of the two samples of a new piece, as a fraction of its interval.

    Long steps risk a kink between the samples, short ones magnify the noise by 1/step. With r the noise over what
    the interval has to explain, sqrt(r) balances the two; it only rules in intervals near the noise.
    """
    explain = jnp.maximum(
        pieces.left_miss(rows, rows.right, rows.right_value), pieces.right_miss(rows, rows.left, rows.left_value)
    )
    ratio = pieces.unit / jnp.maximum(explain, pieces.unit)
    return jnp.clip(jnp.sqrt(ratio), tolerances.slope_step, 0.25)


def plan(rows: Intervals, tolerances: Tolerances) -> Intervals:
    """Decide what each interval asks first, given its two outer pieces; `kind` and `query` are set.

    The rules: both ends on one line, done. The pieces meet inside, check just left and just right of the meeting
    point, no farther from it than the errors of the two pieces require. They meet at an end, verify that end.
    Otherwise probe the middle.
    """
    pieces = _pieces(rows, tolerances)
    a, b = rows.left, rows.right
    left_reaches = pieces.left_miss(rows, b, rows.right_value) <= pieces.left_tolerance(rows, b)
    right_reaches = pieces.right_miss(rows, a, rows.left_value) <= pieces.right_tolerance(rows, a)

    # Meeting point of the pieces, in the least-squares sense over the outputs.
    jump = pieces.right_slope - pieces.left_slope
    gap = rows.right_value + pieces.right_slope * _column(a - b) - rows.left_value
    square = jnp.sum(jump**2, axis=1)
    parallel = square == 0
    meet = a - jnp.sum(jump * gap, axis=1) / jnp.where(parallel, 1, square)
    meet = jnp.where(parallel, b + (b - a), meet)
    inside = (meet > a) & (meet < b)
    tolerance = pieces.left_tolerance(rows, meet) + pieces.right_tolerance(rows, meet)
    agree = _norm(gap + jump * _column(meet - a)) <= tolerance
    ulp = _EPS * jnp.maximum(jnp.abs(a), jnp.abs(b))
    spread = jnp.maximum(tolerance / jnp.where(parallel, 1, _norm(jump)), 4 * ulp)
    room = jnp.minimum(meet - a, b - meet)
    step = jnp.minimum(_SEPARATION * spread, 0.5 * room)
    checkable = inside & agree & (step >= 2 * spread)

    near_left = right_reaches | (inside & agree & ~checkable & (meet - a <= b - meet))
    near_right = left_reaches | (inside & agree & ~checkable & (meet - a > b - meet))
    fraction = _slope_step(rows, pieces, tolerances)
    verify = jnp.where(near_left, a + fraction * (b - a), b - fraction * (b - a))
    middle = a + _PROBE_FRACTION * (b - a)

    kind = jnp.where(checkable, CHECK_LEFT, PROBE)
    query = jnp.where(checkable, meet - step, middle)
    near = near_left | near_right
    kind = jnp.where(near, jnp.where(near_left, VERIFY_LEFT, VERIFY_RIGHT), kind)
    query = jnp.where(near, verify, query)
    short = b - a <= jnp.maximum(rows.resolution, 64 * ulp)
    kind = jnp.where(short, CLUSTER, kind)
    kind = jnp.where(left_reaches & right_reaches, DONE, kind)
    return _replace(rows, kind=kind.astype(a.dtype), query=query, pending=meet + step)


def _move_left(rows: Intervals, t: Float[Numbers, " W"], value: Float[Numbers, "W m"]) -> Intervals:
    """Begin the interval at a later sample of its left piece; of the two old samples the farther one is kept."""
    keep_end = jnp.abs(t - rows.left) >= jnp.abs(t - rows.left_far)
    far = jnp.where(keep_end, rows.left, rows.left_far)
    far_value = jnp.where(_column(keep_end), rows.left_value, rows.left_far_value)
    return _replace(rows, left=t, left_value=value, left_far=far, left_far_value=far_value)


def _move_right(rows: Intervals, t: Float[Numbers, " W"], value: Float[Numbers, "W m"]) -> Intervals:
    keep_end = jnp.abs(t - rows.right) >= jnp.abs(t - rows.right_far)
    far = jnp.where(keep_end, rows.right, rows.right_far)
    far_value = jnp.where(_column(keep_end), rows.right_value, rows.right_far_value)
    return _replace(rows, right=t, right_value=value, right_far=far, right_far_value=far_value)


def advance(
    rows: Intervals, value: Float[Numbers, "W m"], tolerances: Tolerances
) -> tuple[Intervals, Intervals, Bool[Numbers, " W"]]:
    """Use one answer per interval.

    Returns the intervals as they go on (kinds `DONE`, `KINK` and `CLUSTER` are finished), and the right halves of
    those that were split, with a mask.

    A point that is on neither piece becomes the place of a split, and the second sample of the new piece is taken
    on the side away from the meeting point. So a new piece never straddles the meeting point, which is exactly a
    kink whenever a deep neuron is off around the kink of a shallow one and the interval holds three kinks.
    """
    t = rows.query
    rows = _replace(rows, scale=jnp.maximum(rows.scale, _norm(value)))
    pieces = _pieces(rows, tolerances)
    on_left = pieces.left_miss(rows, t, value) <= pieces.left_tolerance(rows, t)
    on_right = pieces.right_miss(rows, t, value) <= pieces.right_tolerance(rows, t)
    check_left, check_right = rows.kind == CHECK_LEFT, rows.kind == CHECK_RIGHT
    verify_left, verify_right = rows.kind == VERIFY_LEFT, rows.kind == VERIFY_RIGHT
    slope, probe = rows.kind == SLOPE, rows.kind == PROBE

    passed = check_left & on_left
    kink = check_right & on_right
    accepted = (verify_left & on_right) | (verify_right & on_left)
    longer_left = (check_right | probe | verify_left) & on_left & ~kink & ~accepted
    longer_right = (check_left | probe | verify_right) & on_right & ~passed & ~accepted & ~longer_left
    new_piece = ~(passed | kink | accepted | longer_left | longer_right | slope)

    # The second check is only asked when the first, kept in `pending`, is on the left piece.
    current = _choose(check_right, _move_left(rows, rows.pending, rows.pending_value), rows)
    moved = _choose(longer_left, _move_left(current, t, value), current)
    moved = _choose(kink | longer_right, _move_right(current, t, value), moved)

    fraction = _slope_step(rows, pieces, tolerances)
    leftwards = check_left | verify_right
    away = jnp.where(leftwards, -fraction * (t - current.left), fraction * (current.right - t))
    follow = _replace(
        current,
        query=jnp.where(passed, rows.pending, t + away),
        pending=t,
        pending_value=value,
        kind=jnp.where(passed, CHECK_RIGHT, SLOPE).astype(t.dtype),
    )

    middle, middle_value = rows.pending, rows.pending_value
    left_half = _replace(rows, right=middle, right_value=middle_value, right_far=t, right_far_value=value)
    right_half = _replace(rows, left=middle, left_value=middle_value, left_far=t, left_far_value=value)
    # Barriers: XLA would otherwise compute the shared part anew for every column of the packed rows.
    current, moved, follow = jax.lax.optimization_barrier((current, moved, follow))
    planned = plan(_choose(slope, left_half, moved), tolerances)
    finished = _replace(moved, kind=jnp.where(kink, KINK, DONE).astype(t.dtype))
    onward = _choose(passed | new_piece, follow, _choose(kink | accepted, finished, planned))
    return *jax.lax.optimization_barrier((onward, plan(right_half, tolerances))), slope
