"""One call that builds the fastest exact evaluator for a network, a precision, a batch and a device."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import jax

from jaxtract.evaluation.bounds import InputFormat, IntegerNetwork, integer_network
from jaxtract.evaluation.digit_slices import DigitSliceEvaluator
from jaxtract.evaluation.digits import balanced_length
from jaxtract.evaluation.evaluator import ExactEvaluator
from jaxtract.evaluation.flint_evaluator import FlintPackedEvaluator
from jaxtract.evaluation.residues import ResidueEvaluator
from jaxtract.evaluation.self_test import self_test
from jaxtract.evaluation.sharding import Device
from jaxtract.network.exact_network import ExactNetwork

Method = Literal["flint", "int8", "float64", "residues"]

CALL_PRODUCTS = 6000
"""Products of long integers that FLINT does while one compiled call starts (about 0.3 ms against 50 ns each)."""

# Picoseconds per machine product. CPU: measured on two cores with AVX-512 on 784-128-1, P = 256 and 1024. Other
# devices: in proportion to the peak rates of a large GPU, 2000 TOP/s in int8 and 60 TFLOP/s in float64; not measured.
COST_CPU: dict[Method, float] = {"int8": 4.4, "float64": 15.0, "residues": 45.0}
COST_ACCELERATOR: dict[Method, float] = {"int8": 1.0, "float64": 33.0, "residues": 50.0}


def exact_evaluator(
    network: ExactNetwork,
    format: InputFormat,
    *,
    batch: int = 1024,
    method: Method | Literal["auto"] = "auto",
    devices: Sequence[Device] | None = None,
) -> ExactEvaluator:
    """An evaluator that has passed its self-test against FLINT.

    Args:
        network: all parameters dyadic, as ``ReLUNetwork.exact()`` gives them.
        format: grid and bits of the inputs.
        batch: points per call that are to be expected; larger and smaller batches work too.
        method: ``"auto"`` for ``choose_method``, or one method by name.
        devices: over which the JAX methods spread a batch; all of the default platform unless told.

    Raises:
        ValueError: a parameter is not dyadic, a bound does not hold, or an argument is unknown.
        RuntimeError: the self-test failed on this device.
    """
    if method not in ("auto", *get_args(Method)):
        raise ValueError(f"method is {method!r}; give 'auto', 'flint', 'int8', 'float64' or 'residues'")
    if batch < 1:
        raise ValueError(f"batch is {batch}; give the number of points per call, at least 1")
    if method == "auto":
        platform = (devices or jax.devices())[0].platform
        method = choose_method(integer_network(network, format), batch=batch, platform=platform)
    if method == "flint":
        return FlintPackedEvaluator(network, format)
    evaluator = build(network, format, method, devices=devices)
    # A small batch need not be padded to the chunk that suits large ones.
    fitting = 1 << (batch - 1).bit_length()
    if fitting < evaluator.chunk:
        count = len(devices or jax.devices())
        evaluator = build(network, format, method, devices=devices, chunk=-(-fitting // count))
    self_test(evaluator)
    return evaluator


def choose_method(integers: IntegerNetwork, *, batch: int, platform: str = "cpu") -> Method:
    """The method with the least estimated time: machine products per point times their cost on the platform."""
    products = sum(fan_in * width for fan_in, width in itertools.pairwise(integers.widths))
    if batch * products < CALL_PRODUCTS:
        return "flint"
    costs = COST_CPU if platform == "cpu" else COST_ACCELERATOR
    candidates: list[Method] = ["float64", "residues"]
    # Beyond that fan-in sums of int8 digits would leave int32.
    if max(integers.widths[:-1]) < 1 << 17:
        candidates.append("int8")
    return min(candidates, key=lambda method: costs[method] * machine_products(integers, method))


def machine_products(integers: IntegerNetwork, method: Method) -> int:
    """Estimated machine multiplications per point. Digits of a weight that are all zero are not counted."""
    if method == "residues":
        primes = max(integers.bits) // 21 + 1
        layers = sum(fan_in * width for fan_in, width in itertools.pairwise(integers.widths))
        return primes * (layers + integers.widths[0] * -(-integers.format.bits // 22))
    radix_bits = 8 if method == "int8" else 22
    total, digits = 0, -(-integers.format.bits // radix_bits)
    for weight, bound in zip(integers.weights, integers.bounds, strict=True):
        slices = _slices([int(entry) for entry in weight.entries()], radix_bits)
        total += digits * slices * weight.nrows() * weight.ncols()
        digits = balanced_length(bound, radix_bits)
    return total


def _slices(entries: list[int], radix_bits: int) -> int:
    """Places at which some entry has a bit between its lowest and its highest."""
    places: set[int] = set()
    spans = {((entry & -entry).bit_length(), abs(entry).bit_length()) for entry in entries if entry}
    for low, high in spans:
        places.update(range((low - 1) // radix_bits, (high - 1) // radix_bits + 1))
    return max(1, len(places))


def build(
    network: ExactNetwork,
    format: InputFormat,
    method: Method,
    *,
    devices: Sequence[Device] | None = None,
    chunk: int | None = None,
) -> ExactEvaluator:
    """The evaluator of that name, not tested. ``chunk``: points per device and call; chosen by size unless told."""
    if method == "flint":
        return FlintPackedEvaluator(network, format)
    if method == "residues":
        return ResidueEvaluator(network, format, chunk=chunk, devices=devices)
    if method == "int8":
        return DigitSliceEvaluator(network, format, digit_type="int8", chunk=chunk, devices=devices)
    return DigitSliceEvaluator(network, format, digit_type="float64", chunk=chunk, devices=devices)
