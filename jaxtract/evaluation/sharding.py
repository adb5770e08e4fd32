"""Batches spread over JAX devices: every device evaluates its own points, nothing is exchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

if TYPE_CHECKING:
    # The class behind jax.Device, which type checkers take for a variable.
    from jaxlib._jax import Device
else:
    Device = jax.Device

POINTS = "points"


def points_mesh(devices: Sequence[Device] | None) -> Mesh:
    """One axis over these devices; all devices of the default platform if None.

    Raises:
        ValueError: no device.
    """
    chosen = jax.devices() if devices is None else list(devices)
    if not chosen:
        raise ValueError("devices is empty; give at least one JAX device, or None for all")
    return Mesh(np.array(chosen), (POINTS,))


def on_every_device(tree: Any, mesh: Mesh) -> Any:
    """A copy of all arrays of a PyTree on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def run_sharded(
    function: Callable[[Any, Any], Any], mesh: Mesh, chunk: int, shared: Any, split: tuple[np.ndarray, ...]
) -> Any:
    """``function(shared, split)`` compiled, with the leading axis of ``split`` and of all results spread over the mesh.

    Args:
        function: defined once in a module, as the compiled code is kept per function and shapes.
        chunk: a multiple of the number of devices; shorter arrays are filled up with zeros, so that one
            shape is compiled, and the results are cut again.
        shared: arrays that every device holds.
    """
    placed = jax.device_put(tuple(padded(part, chunk) for part in split), NamedSharding(mesh, PartitionSpec(POINTS)))
    results = _compiled(function, mesh, shared, placed)
    return jax.tree.map(lambda result: np.asarray(result)[: len(split[0])], results)


@eqx.filter_jit
def _compiled(function: Callable[[Any, Any], Any], mesh: Mesh, shared: Any, split: Any) -> Any:
    specs = PartitionSpec(), PartitionSpec(POINTS)
    # Scans start from constants, which the check of varying axes would take for a mistake.
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(POINTS), check_vma=False)(
        shared, split
    )


def padded(array: np.ndarray, count: int) -> np.ndarray:
    """Zeros appended along the first axis up to ``count`` rows."""
    if len(array) == count:
        return array
    whole = np.zeros((count, *array.shape[1:]), array.dtype)
    whole[: len(array)] = array
    return whole
