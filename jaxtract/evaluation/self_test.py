"""Checks at start-up that this processor really computes what the proofs assume."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flint import fmpz
from jaxtyping import UInt64

from jaxtract._x64 import require_x64
from jaxtract.evaluation.bounds import InputFormat, limbs_for
from jaxtract.evaluation.evaluator import ExactEvaluator, Masks
from jaxtract.evaluation.flint_evaluator import FlintPackedEvaluator
from jaxtract.evaluation.packing import Packed, matrix_of
from jaxtract.oracle.points import PointBatch
from precision.dyadic import DyadicMatrix

POINTS = 64


def self_test(evaluator: ExactEvaluator) -> None:
    """Compare ``evaluator`` with FLINT at 64 packed points, extreme ones among them, and test the int8 products.

    Raises:
        ValueError: x64 is off.
        RuntimeError: a result differs; this processor or its compiler must not be used for exact evaluation.
    """
    require_x64()
    check_int8_products(max(evaluator.integers.widths[:-1]))
    format = evaluator.integers.format
    points = Packed(sample_words(POINTS, evaluator.integers.widths[0], format), format.exponent)
    _compare(
        evaluator, evaluator.with_masks(points), FlintPackedEvaluator(evaluator.integers, format).with_masks(points)
    )


def self_test_points(evaluator: ExactEvaluator) -> None:
    """The same at 64 points that come as anchors, directions and steps.

    Raises:
        ValueError: x64 is off.
        RuntimeError: a result differs.
    """
    require_x64()
    check_int8_products(max(evaluator.integers.widths[:-1]))
    format = evaluator.integers.format
    points = sample_points(POINTS, evaluator.integers.widths[0], format)
    reference = FlintPackedEvaluator(evaluator.integers, format)
    _compare(evaluator, evaluator.at_points_with_masks(points), reference.at_points_with_masks(points))


def _compare(evaluator: ExactEvaluator, found: tuple[Packed, Masks], expected: tuple[Packed, Masks]) -> None:
    same_masks = all(np.array_equal(a, b) for a, b in zip(found[1], expected[1], strict=True))
    if found[0] != expected[0] or not same_masks:
        raise RuntimeError(
            f"{type(evaluator).__name__} disagrees with FLINT on {jax.devices()[0]}; "
            "use method='flint' here and report the processor"
        )


def check_int8_products(fan_in: int) -> None:
    """Multiply int8 matrices of extreme entries: some old processors add pairs of products with saturation.

    Raises:
        RuntimeError: a sum of ``fan_in`` products is wrong.
    """
    rows = np.array([[-128], [127]], np.int8).repeat(fan_in, axis=1)
    left, right = jnp.asarray(rows.repeat(16, axis=0)), jnp.asarray(rows.T.repeat(16, axis=1))
    products = jax.lax.dot_general(left, right, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32)
    wide = rows.repeat(16, axis=0).astype(np.int64)
    if not np.array_equal(np.asarray(products), wide @ wide.T):
        raise RuntimeError(
            f"int8 matrix products of fan-in {fan_in} are not exact on {jax.devices()[0]}; "
            "use method='float64' or 'flint' here"
        )


def sample_words(
    points: int, inputs: int, format: InputFormat, *, seed: int = 0
) -> UInt64[np.ndarray, "points inputs limbs"]:
    """Uniform mantissas of the format; of the first rows one is all largest, one all smallest, one zero."""
    limbs = limbs_for(format.bits)
    words = np.random.default_rng(seed).integers(0, 1 << 64, (points, inputs, limbs), np.uint64)
    # Three rows show the ends of the range and zero; the shift below extends the sign.
    sign = np.uint64(1 << (format.bits - 1) % 64)
    words[:1] = ~np.uint64(0)
    words[:1, :, -1] = sign - np.uint64(1)
    words[1:3] = 0
    words[1:2, :, -1] = sign
    spare = 64 * limbs - format.bits
    words[:, :, -1] = ((words[:, :, -1] << spare).view(np.int64) >> spare).view(np.uint64)
    return words


def sample_points(points: int, inputs: int, format: InputFormat, *, seed: int = 0) -> PointBatch:
    """Four random anchors in the inner half of the format, and steps of all lengths along the axes from each."""
    rng = np.random.default_rng(seed)
    half = InputFormat(format.exponent, max(1, format.bits - 1))
    anchors = matrix_of(sample_words(4, inputs, half, seed=seed))
    reach = max(0, format.bits - 3)
    lengths = rng.integers(0, reach + 1, points).tolist()
    steps = tuple(fmpz(int(sign)) << length for sign, length in zip(rng.choice((-1, 1), points), lengths, strict=True))
    axes = tuple(rng.integers(0, inputs, points).tolist())
    order = tuple(rng.integers(0, 4, points).tolist())
    return PointBatch(DyadicMatrix(anchors, format.exponent), None, order, axes, steps, format.exponent)
