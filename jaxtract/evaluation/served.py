"""Who evaluates the batches of an extraction: one method by name, or the cheapest at every moment.

Extraction asks batches of anchors, directions and steps. Small ones belong to FLINT. Large ones start with the
pieces, which need no compilation; where the integers of a JAX device would be faster, the pieces are rented until
what they cost would have paid for a compilation, and then the device takes over (the rule of the ski rental: at most
twice the best cost in hindsight).
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Literal, get_args

import jax
import numpy as np
from flint import fmpq, fmpz

from jaxtract.evaluation.bounds import InputFormat, integer_network
from jaxtract.evaluation.choose import Method, build
from jaxtract.evaluation.evaluator import ExactEvaluator
from jaxtract.evaluation.packing import matrix_of
from jaxtract.evaluation.pieces import PieceEvaluator, pays
from jaxtract.evaluation.self_test import POINTS, check_int8_products, sample_points, self_test_points
from jaxtract.evaluation.structured import format_of
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.evaluate import FlintEvaluator, PointEvaluator
from jaxtract.oracle.points import PointBatch

EvaluatorName = Literal["auto", "flint", "pieces", "int8", "float64", "residues"]

SMALL = 64
"""Batches below that go to FLINT: the fixed costs of a call are some 10 of its points."""

SMALL_WORK = 3000
"""Points times hidden units below which pieces are not tried: FLINT takes 1 us each, pieces some 3 ms a batch."""

FORMAT_STEP = 32
"""Grids and bits of the packed methods grow in such steps, so that few formats are compiled."""

PURCHASE_SECONDS = 5.0
"""Digits, two compiled shapes and the self-test of one packed evaluator (2 to 5 s on two cores)."""

SELF_TEST_FORMAT = InputFormat(64, 66)


def point_evaluator(network: ExactNetwork, name: EvaluatorName = "auto") -> PointEvaluator:
    """The evaluator of that name.

    Raises:
        ValueError: no such name; or a packed method (int8, float64, residues) cannot hold the network, because
            a parameter is not dyadic or a bound does not hold.
        RuntimeError: a self-test failed on this machine.
    """
    network = network.plain()
    match name:
        case "auto":
            return AutoEvaluator(network)
        case "flint":
            return FlintEvaluator(network)
        case "pieces":
            return checked_pieces(FlintEvaluator(network))
        case "int8" | "float64" | "residues":
            return PackedPointEvaluator(network, name)
    raise ValueError(f"evaluator is {name!r}; choose one of {', '.join(get_args(EvaluatorName))}")


class PackedPointEvaluator(PointEvaluator):
    """One packed method for large batches with few anchors and directions, FLINT for the others.

    A point that is an anchor of its own would be multiplied by the first layer in FLINT in any case. Evaluators
    are built and tested for the formats that are met; one may serve formats up to half as long.

    Raises:
        ValueError: the network cannot be packed.
        RuntimeError: a self-test failed.
    """

    def __init__(self, network: ExactNetwork, method: Method, *, flint: FlintEvaluator | None = None):
        check_int8_products(max(network.widths[:-1]))
        integer_network(network, SELF_TEST_FORMAT)
        self._network = network
        self._method: Method = method
        self._flint = flint or FlintEvaluator(network)
        self._built: dict[InputFormat, ExactEvaluator] = {}
        self._points: Counter[str] = Counter()

    def describe(self) -> str:
        formats = ", ".join(f"P = {format.exponent} in {format.bits} bits" for format in self._built)
        tests = f"; formats {formats}; self-tests passed, {POINTS} points each equal flint" if formats else ""
        return _shares(self._method, self._points) + tests

    def __call__(self, points: PointBatch) -> np.ndarray:
        if len(points) < SMALL or not pays(points):
            self._points["flint"] += len(points)
            return self._flint(points)
        self._points[self._method] += len(points)
        packed = self._evaluator(format_of(points)).at_points(points)
        entries, scale = matrix_of(packed.words).entries(), fmpz(1) << packed.exponent
        values = np.empty((len(points), self._network.outputs), dtype=object)
        values.ravel()[:] = [fmpq(entry, scale) for entry in entries]
        return values

    def _evaluator(self, format: InputFormat) -> ExactEvaluator:
        fitting = [built for built in self._built if _holds(built, format) and built.bits <= 2 * format.bits]
        if fitting:
            return self._built[min(fitting, key=lambda built: built.bits)]
        format = rounded_up(format)
        evaluator = build(self._network, format, self._method)
        self_test_points(evaluator)
        self._built[format] = evaluator
        return evaluator


class FlintOrPieces(PointEvaluator):
    """FLINT for small work and for points without structure, pieces otherwise; nothing is compiled.

    Attributes:
        points: how many points went to each.
    """

    def __init__(self, flint: FlintEvaluator):
        self.points: Counter[str] = Counter()
        self._flint = flint
        self._units = sum(weight.ncols() for weight, _, _ in flint.layers[:-1])
        self._pieces: PieceEvaluator | None = None

    def describe(self) -> str:
        return _shares("flint or pieces", self.points) + self.tested()

    def tested(self) -> str:
        """What the self-test said, if there was need of one."""
        return "" if self._pieces is None else f"; self-test of pieces passed, {POINTS} points equal flint"

    def is_large(self, points: PointBatch) -> bool:
        """Whether the batch is for pieces."""
        return len(points) >= SMALL and len(points) * self._units >= SMALL_WORK and pays(points)

    def __call__(self, points: PointBatch) -> np.ndarray:
        if not self.is_large(points):
            self.points["flint"] += len(points)
            return self._flint(points)
        self._pieces = self._pieces or checked_pieces(self._flint)
        before = self._pieces.left
        values = self._pieces(points)
        left = self._pieces.left - before
        self.points.update({"flint": left, "pieces": len(points) - left})
        return values


class AutoEvaluator(PointEvaluator):
    """FLINT, pieces, or residues on the device, batch by batch.

    Residues are what the batches of an extraction are fastest with among the packed methods: the first layer
    is there, and it takes one product per unit, prime and point. They are bought for networks of two and more
    hidden layers, where lines meet too many pieces, and on accelerators; with one hidden layer on a CPU they
    gain nothing on the pieces.
    """

    def __init__(self, network: ExactNetwork):
        self._network = network
        self._flint = FlintEvaluator(network)
        self._rented = FlintOrPieces(self._flint)
        self._bought: PackedPointEvaluator | None = None
        self._spent: defaultdict[InputFormat, float] = defaultdict(float)
        self._can_buy = _dyadic(network) and (len(network.weights) > 2 or jax.default_backend() != "cpu")

    def describe(self) -> str:
        bought = "" if self._bought is None else f"; {self._bought.describe()}"
        return _shares("auto", self._rented.points) + self._rented.tested() + bought

    def __call__(self, points: PointBatch) -> np.ndarray:
        if not (self._can_buy and self._rented.is_large(points)):
            return self._rented(points)
        format = rounded_up(format_of(points))
        if self._spent[format] > PURCHASE_SECONDS:
            self._bought = self._bought or PackedPointEvaluator(self._network, "residues", flint=self._flint)
            return self._bought(points)
        begun = time.perf_counter()
        values = self._rented(points)
        self._spent[format] += time.perf_counter() - begun
        return values


def checked_pieces(flint: FlintEvaluator) -> PieceEvaluator:
    """A ``PieceEvaluator`` that agreed with FLINT at 64 points.

    Raises:
        RuntimeError: it did not; this machine's float64 is not what the proof assumes.
    """
    points, evaluate = sample_points(POINTS, flint.inputs, SELF_TEST_FORMAT), PieceEvaluator(flint)
    if (evaluate(points) != flint(points)).any():
        raise RuntimeError("signs proven in float64 disagree with FLINT on this machine; use --evaluator flint")
    evaluate.points = evaluate.left = 0
    return evaluate


def rounded_up(format: InputFormat) -> InputFormat:
    """The next larger format that many batches share."""
    exponent = max(FORMAT_STEP, _up(format.exponent))
    return InputFormat(exponent, exponent + max(FORMAT_STEP, _up(format.bits - format.exponent)))


def _holds(larger: InputFormat, format: InputFormat) -> bool:
    return larger.exponent >= format.exponent and larger.bits - larger.exponent >= format.bits - format.exponent


def _up(bits: int) -> int:
    return -(-bits // FORMAT_STEP) * FORMAT_STEP


def _dyadic(network: ExactNetwork) -> bool:
    denominators = [int(matrix.numer_denom()[1]) for matrix in (*network.weights, *network.biases)]
    return all(denominator & (denominator - 1) == 0 for denominator in denominators)


def _shares(name: str, points: Counter[str]) -> str:
    parts = ", ".join(f"{method} {count:,} points" for method, count in points.most_common() if count)
    return f"{name}: {parts or 'nothing asked'}"
