"""The black box of a line search: asked at line parameters, its answers and the lines checked."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxtract._x64 import enable_x64

enable_x64()

NOT_FINITE = "oracle returned NaN or infinite values; choose lines and bounds where the function is finite."


def line_points(lines: Float[Array, "lines two_d"], index, t) -> Float[Array, "n d"]:
    """p + t v for lines stored side by side as (p, v): one gather instead of two."""
    both = lines.at[index].get(mode="promise_in_bounds")
    d = lines.shape[1] // 2
    return both[:, :d] + t[:, None] * both[:, d:]


_jit_points = eqx.filter_jit(line_points)


@eqx.filter_jit
def _device_ask(oracle, lines, index, t):
    return oracle(line_points(lines, index, t))


class LineOracle(eqx.Module):
    """The black box behind one interface, with its answers checked."""

    call: Callable
    host: bool
    lines: Float[Array, "lines two_d"]
    m: int

    def ask(self, index: Int[np.ndarray, " n"], t: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n m"]:
        """Answers at points of the lines, in batches of at most 2^14."""
        size = 2**14
        answers = [self._ask(index[i : i + size], t[i : i + size]) for i in range(0, len(t), size)]
        return np.concatenate(answers)

    def _ask(self, index, t):
        # Padded to a power of two, so that few shapes are ever compiled.
        padding = (0, max(2 ** (len(t) - 1).bit_length(), 64) - len(t))
        padded = np.pad(index, padding), np.pad(t, padding)
        if self.host:
            return self.answer(np.asarray(_jit_points(self.lines, *padded))[: len(t)])
        values = np.asarray(_device_ask(self.call, self.lines, *padded))[: len(t)]
        _check_finite(values)
        return values

    def answer(self, points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n m"]:
        """One call of a host oracle."""
        values = self.call(points)
        if getattr(values, "shape", None) != (len(points), self.m):
            raise ValueError(
                f"oracle answered a batch of {len(points)} points with shape {getattr(values, 'shape', None)}; "
                f"it must return ({len(points)}, {self.m})."
            )
        if values.dtype != np.float64:
            raise ValueError(_dtype_message(values.dtype))
        _check_finite(values)
        return np.asarray(values)


def _dtype_message(dtype) -> str:
    return (
        f"oracle answers in {dtype}; it must return float64. Convert with .astype(float64) if that is all the "
        "precision there is: the noise is then estimated accordingly."
    )


def _check_finite(values: Float[np.ndarray, "n m"]) -> None:
    if not np.isfinite(values).all():
        raise ValueError(NOT_FINITE)


def make_oracle(call, host: bool, points: np.ndarray, directions: np.ndarray) -> LineOracle:
    lines = jnp.asarray(np.concatenate([points, directions], axis=1))
    d = points.shape[1]
    if host:
        values = call(points[:1].copy())
        shape, dtype, batch = getattr(values, "shape", None), getattr(values, "dtype", None), 1
    else:
        # Two batch sizes, because a transposed answer can look right for one of them.
        for batch in (d + 1, d + 2):
            out = eqx.filter_eval_shape(call, jax.ShapeDtypeStruct((batch, d), jnp.float64))
            shape, dtype = getattr(out, "shape", None), getattr(out, "dtype", None)
            if shape is None or len(shape) != 2 or shape[0] != batch:
                break
    if shape is None or len(shape) != 2 or shape[0] != batch:
        raise ValueError(
            f"oracle answered a batch of shape ({batch}, {d}) with shape {shape}; it must return (batch, outputs)."
        )
    if dtype != np.float64:
        raise ValueError(_dtype_message(dtype))
    return LineOracle(call=call, host=host, lines=lines, m=shape[1])


def check_bounds(left, right, lines: int) -> tuple[np.ndarray, np.ndarray]:
    left = np.broadcast_to(np.asarray(left, np.float64), (lines,)).copy()
    right = np.broadcast_to(np.asarray(right, np.float64), (lines,)).copy()
    for name, value in (("left", left), ("right", right)):
        if not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite on {int((~np.isfinite(value)).sum())} lines; give finite bounds.")
    if not (left < right).all():
        i = int(np.argmin(right - left))
        raise ValueError(f"left must lie below right, but line {i} has left={left[i]}, right={right[i]}.")
    return left, right


def check_lines(points, directions) -> tuple[np.ndarray, np.ndarray]:
    for name, value in (("points", points), ("directions", directions)):
        if np.ndim(value) != 2 or 0 in np.shape(value):
            raise ValueError(f"{name} has shape {np.shape(value)}; give a non-empty (lines, d) array.")
        if np.asarray(value).dtype != np.float64:
            raise ValueError(f"{name} has dtype {np.asarray(value).dtype}; give float64.")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} holds NaN or infinite entries; give finite lines.")
    if np.shape(points) != np.shape(directions):
        raise ValueError(
            f"directions has shape {np.shape(directions)}, points {np.shape(points)}; give one direction per point."
        )
    if not np.any(np.asarray(directions) != 0, axis=1).all():
        raise ValueError("directions holds a zero vector; every line needs a direction.")
    return np.asarray(points), np.asarray(directions)
