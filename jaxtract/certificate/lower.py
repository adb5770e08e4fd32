"""A lower bound on max |f - f'|: gradient ascent from many starts in float64 on the device, confirmed exactly.

The search propagates the difference of the two networks itself, scaled to size one, so that it sees
differences of 1e-9 and of 1e-300 alike; no digit of it enters the bound, which is the exact difference at the best
point found.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flint import fmpq
from jaxtyping import Array, Float

from jaxtract._x64 import enable_x64
from jaxtract.certificate.domain import Box, Domain
from jaxtract.certificate.pairing import Paired
from jaxtract.certificate.witness import values
from jaxtract.equality.expressions import Expression, less
from jaxtract.network.exact_network import ExactNetwork
from precision.dyadic import from_float

enable_x64()

STARTS, STEPS = 256, 200
CONFIRMED = 16
"""Best points of the search that are evaluated exactly."""

INSIDE = fmpq((1 << 30) - 1, 1 << 30)
"""A float64 on a sphere may lie outside by its rounding: points of a ball are drawn in by this factor."""


@dataclasses.dataclass(frozen=True)
class Lower:
    """``bound`` = max_o |f'_o(point) - f_o(point)|, exactly; ``point`` lies in the domain."""

    bound: fmpq
    point: list[fmpq]


_Level = tuple[Float[Array, "rows keys"], Float[Array, "rows keys"], Float[Array, "rows keys"]]
"""(reference, scaled difference, recovered) over (inputs, constant, units so far)."""


def lower_bound(
    paired: Paired,
    recovered: ExactNetwork,
    reference: ExactNetwork,
    domain: Domain,
    *,
    seed: int,
    starts: int = STARTS,
    steps: int = STEPS,
) -> Lower:
    """The largest difference that search finds.

    Args:
        paired: the two networks over common units.
        recovered, reference: the networks themselves, for the exact value.
        domain: the inputs.
        seed: of the starts.
        starts, steps: how many points climb, and how long.
    """
    levels, scale = _levels(paired)
    rng = np.random.default_rng(seed)
    begin = _starts(domain, starts, paired.inputs, rng)
    chosen = rng.integers(reference.outputs, size=starts)
    found, sizes = _climb(levels, jnp.asarray(begin), jnp.asarray(chosen), scale, _as_floats(domain), steps)
    order = np.argsort(-np.asarray(sizes), kind="stable")[:CONFIRMED]
    points = [_inside(domain, [from_float(x) for x in np.asarray(found)[i]]) for i in order]
    differences = largest_differences(recovered, reference, points)
    best = max(range(len(points)), key=lambda i: differences[i])
    return Lower(differences[best], points[best])


def largest_differences(
    recovered: ExactNetwork, reference: ExactNetwork, points: Sequence[Sequence[fmpq]]
) -> list[fmpq]:
    """max_o |f'_o - f_o| at every point, exactly."""
    pairs = zip(values(recovered, points), values(reference, points), strict=True)
    return [max((abs(x - y) for x, y in zip(one, two, strict=True)), default=fmpq(0)) for one, two in pairs]


def _levels(paired: Paired) -> tuple[list[_Level], float]:
    """Runs of rows as float64 arrays, differences divided by their largest entry; 1 / that entry."""
    runs = list(paired.runs())
    differences = [[less(e, g) for e, g in zip(ones, twos, strict=True)] for ones, twos, _ in runs]
    size = max((abs(x) for rows in differences for row in rows for x in row.values()), default=fmpq(1))
    levels: list[_Level] = []
    for (ones, twos, known), rows in zip(runs, differences, strict=True):
        keys = range(-paired.inputs, 1 + known)
        arrays = (_array(twos, keys, fmpq(1)), _array(rows, keys, size), _array(ones, keys, fmpq(1)))
        levels.append(arrays)
    return levels, _float(1 / size)


def _array(rows: Sequence[Expression], keys: range, size: fmpq) -> Float[Array, "rows keys"]:
    table = np.zeros((len(rows), len(keys)))
    for i, row in enumerate(rows):
        for key, x in row.items():
            table[i, key - keys.start] = _float(x / size)
    return jnp.asarray(table)


def _float(x: fmpq) -> float:
    try:
        return int(x.p) / int(x.q)
    except OverflowError:
        return float("inf") if x > 0 else float("-inf")


def _difference(levels: list[_Level], point: Float[Array, " inputs"], scale: float) -> Float[Array, " outputs"]:
    """(f' - f) * scale at one point."""
    h = jnp.concatenate([point, jnp.ones(1)])
    d = jnp.zeros_like(h)
    for reference, difference, recovered in levels[:-1]:
        z = reference @ h
        dz = difference @ h + recovered @ d
        # s(z + dz) - s(z), in units of 1/scale: exact also where z and z + dz have different signs.
        bent = jnp.where(z > 0, jnp.maximum(dz, -z * scale), jnp.maximum(0.0, jnp.where(z < 0, z * scale, 0.0) + dz))
        h = jnp.concatenate([h, jax.nn.relu(z)])
        d = jnp.concatenate([d, bent])
    _, difference, recovered = levels[-1]
    return difference @ h + recovered @ d


@functools.partial(jax.jit, static_argnames=("domain", "steps"))
def _climb(
    levels: list[_Level],
    points: Float[Array, "starts inputs"],
    outputs: Array,
    scale: float,
    domain: tuple[str, float, float],
    steps: int,
) -> tuple[Float[Array, "starts inputs"], Float[Array, " starts"]]:
    """Ascend |difference| of one output from every start; the best point of each path, and its size."""
    kind, low, high = domain
    width = (high - low) / 2

    def one(point: Array, output: Array) -> tuple[Array, Array]:
        value, gradient = jax.value_and_grad(lambda x: _difference(levels, x, scale)[output])(point)
        return jnp.abs(value), jnp.sign(value) * gradient

    def move(points: Array, gradients: Array, rate: Array) -> Array:
        if kind == "box":
            return jnp.clip(points + rate * width * jnp.sign(gradients), low, high)
        norm = jnp.linalg.norm(gradients, axis=1, keepdims=True)
        moved = points + rate * 2 * width * gradients / jnp.where(norm > 0, norm, 1.0)
        return moved * jnp.minimum(1.0, high / jnp.maximum(jnp.linalg.norm(moved, axis=1, keepdims=True), 1e-300))

    def step(i: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        points, best, sizes = state
        size, gradients = jax.vmap(one)(points, outputs)
        better = size > sizes
        best, sizes = jnp.where(better[:, None], points, best), jnp.where(better, size, sizes)
        # Rates differ between starts: some take corners at once, some creep.
        own = 0.1 + 0.9 * jnp.arange(len(points)) / len(points)
        return move(points, gradients, ((1 - i / steps) * own)[:, None]), best, sizes

    _, best, sizes = jax.lax.fori_loop(0, steps, step, (points, points, jnp.full(len(points), -1.0)))
    return best, sizes


def _starts(domain: Domain, count: int, inputs: int, rng: np.random.Generator) -> np.ndarray:
    kind, low, high = _as_floats(domain)
    if kind == "ball":
        drawn = rng.standard_normal((count, inputs))
        return drawn * (high / np.linalg.norm(drawn, axis=1, keepdims=True)) * rng.uniform(size=(count, 1))
    inner = rng.uniform(low, high, (count, inputs))
    corners = np.where(rng.uniform(size=inner.shape) < 0.5, low, high)
    return np.where(np.arange(count)[:, None] % 2 == 0, inner, corners)


def _as_floats(domain: Domain) -> tuple[str, float, float]:
    if isinstance(domain, Box):
        return "box", float(domain.low), float(domain.high)
    return "ball", -float(domain.radius), float(domain.radius)


def _inside(domain: Domain, point: list[fmpq]) -> list[fmpq]:
    """The point, or one next to it that is in the domain: its bounds are rationals, the search's are not."""
    if isinstance(domain, Box):
        return [min(max(x, domain.low), domain.high) for x in point]
    while not domain.contains(point):
        point = [x * INSIDE for x in point]
    return point
