"""Networks that we hold, served as black boxes: exactly, or in float64 on a JAX device."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from flint import fmpq

from jaxtract.evaluation.jacobian import JacobianEvaluator
from jaxtract.evaluation.served import EvaluatorName, point_evaluator
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.relu_network import ReLUNetwork
from jaxtract.oracle.gradients import GradientOracle
from jaxtract.oracle.oracle import NumberSystem, Oracle
from jaxtract.oracle.points import PointBatch
from precision.dyadic import floor_log2, round_to_grid

FLOAT64_CHUNK = 4096
"""Points sent to the device together; the last chunk is padded so that only one shape is compiled."""


class ExactNetworkOracle(Oracle):
    """A network served without rounding; with ``answer_bits`` every answer is rounded to that many.

    Args:
        network: the truth.
        evaluator: how it is evaluated; every choice gives the same answers. ``auto`` takes FLINT for
            small batches and the cheapest method for large ones.

    Raises:
        ValueError: no such evaluator, or one that cannot hold the network (int8, float64 and residues need
            parameters that are multiples of powers of two).
        RuntimeError: a self-test of the evaluator failed on this machine.
    """

    number_system: NumberSystem = "exact"

    def __init__(self, network: ExactNetwork | ReLUNetwork, *, evaluator: EvaluatorName = "auto"):
        exact = network.exact() if isinstance(network, ReLUNetwork) else network
        self.inputs = exact.inputs
        self.outputs = exact.outputs
        self._evaluate = point_evaluator(exact, evaluator)

    @property
    def evaluator(self) -> str:
        """The method in words, with the points that went to each and the self-tests, for reports."""
        return self._evaluate.describe()

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        values = self._evaluate(points)
        if answer_bits is not None:
            flat = values.ravel()
            flat[:] = [_rounded(value, answer_bits) for value in flat]
        return values


class _ExactJacobians(Oracle):
    """The Jacobian of a network at every point, as one row, without rounding."""

    number_system: NumberSystem = "exact"

    def __init__(self, network: ExactNetwork):
        self.inputs = network.inputs
        self.outputs = network.outputs * network.inputs
        self._evaluate = JacobianEvaluator(network)

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        return self._evaluate(points).reshape(len(points), -1)


def exact_gradients(network: ExactNetwork | ReLUNetwork) -> GradientOracle:
    """The gradients of a network served without rounding; a neuron on its boundary counts as off."""
    exact = network.exact() if isinstance(network, ReLUNetwork) else network
    return GradientOracle(_ExactJacobians(exact), exact.outputs)


class Float64NetworkOracle(Oracle):
    """A network served in float64 by one jitted function on the default JAX device."""

    number_system: NumberSystem = "float64"

    def __init__(self, network: ReLUNetwork):
        self.inputs = network.inputs
        self.outputs = network.outputs
        self._forward = eqx.filter_jit(network.__call__)

    def answer(self, points: PointBatch, answer_bits: int | None) -> np.ndarray:
        values = np.empty((len(points), self.outputs))
        start = 0
        for chunk in points.chunks(FLOAT64_CHUNK):
            rows = chunk.to_float64()
            # Powers of two above 64 keep the number of compiled shapes logarithmic.
            padded = np.zeros((max(64, 1 << (len(rows) - 1).bit_length()), self.inputs))
            padded[: len(rows)] = rows
            values[start : start + len(rows)] = np.asarray(self._forward(jnp.asarray(padded)))[: len(rows)]
            start += len(rows)
        return values


def _rounded(value: fmpq, bits: int) -> fmpq:
    if value == 0:
        return value
    return round_to_grid(value, bits - 1 - floor_log2(value))
