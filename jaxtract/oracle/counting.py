"""Queries counted by purpose, checked on arrival, and stopped when a budget is spent."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import mpmath
import numpy as np
from flint import fmpq

from jaxtract.oracle.oracle import Oracle, OracleError
from jaxtract.oracle.points import PointBatch
from precision.context import Context

Purpose = Literal["search", "measure", "verify"]

CHUNK = 4096
"""Points sent in one call of the oracle, at most: bounds memory and paces the progress display."""


class BudgetSpent(Exception):  # noqa: N818  (it ends an extraction in good order; nothing went wrong)
    """The next batch would exceed the budget; nothing of it was asked."""


@dataclasses.dataclass
class QueryCount:
    """Points asked so far, by what they were for."""

    search: int = 0
    measure: int = 0
    verify: int = 0

    @property
    def total(self) -> int:
        return self.search + self.measure + self.verify

    def as_dict(self) -> dict[str, int]:
        return {"total": self.total, **dataclasses.asdict(self)}


class CountingOracle:
    """What extraction code holds: asks in a context, counts, checks every answer, keeps to the budget.

    Args:
        oracle: the black box.
        context: answers are returned as its numbers.
        max_queries: budget over all purposes, or None.
        on_queries: called with the count after every batch (progress display).

    Raises:
        ValueError: the oracle cannot serve this context.
    """

    def __init__(
        self,
        oracle: Oracle,
        context: Context,
        *,
        max_queries: int | None = None,
        on_queries: Callable[[QueryCount], None] | None = None,
    ):
        _check_declaration(oracle, context)
        self.oracle = oracle
        self.context = context
        self.max_queries = max_queries
        self.count = QueryCount()
        self.seconds = 0.0
        self._on_queries = on_queries
        self._answered: list[tuple[PointBatch, np.ndarray]] = []

    @property
    def inputs(self) -> int:
        return self.oracle.inputs

    @property
    def outputs(self) -> int:
        return self.oracle.outputs

    @property
    def input_bits(self) -> int | None:
        """Significand bits that the black box keeps of a coordinate, where it says so."""
        return self.oracle.input_bits

    def ask(self, points: PointBatch, purpose: Purpose) -> np.ndarray:
        """f at every point as context numbers, shape (points, outputs).

        Raises:
            BudgetSpent: the batch does not fit the budget any more.
            OracleError: wrong shape, wrong kind of number, NaN or infinity.
        """
        if self.max_queries is not None and self.count.total + len(points) > self.max_queries:
            raise BudgetSpent
        answers = np.empty((len(points), self.outputs), dtype=object)
        start = 0
        for chunk in points.chunks(CHUNK):
            answers[start : start + len(chunk)] = self._ask_chunk(chunk, purpose)
            start += len(chunk)
        if self.context.few_bits and not self.context.rough:
            self._answered.append((points, answers))
        return answers

    def answered(self) -> tuple[np.ndarray, np.ndarray]:
        """All that was asked where answers are doubles, no rougher: inputs (points, d), answers (points, outputs)."""
        if not self._answered:
            return np.empty((0, self.inputs)), np.empty((0, self.outputs), dtype=object)
        batches, answers = zip(*self._answered, strict=True)
        return np.concatenate([batch.to_float64() for batch in batches]), np.concatenate(answers)

    def check_determinism(self, points: PointBatch) -> None:
        """Ask the same points in two batches. Counts as ``verify``.

        Raises:
            OracleError: the answers differ.
        """
        first, second = (self.ask(points, "verify") for _ in range(2))
        for one, two in zip(first.ravel(), second.ravel(), strict=True):
            if one != two:
                raise OracleError(
                    f"the oracle answered {one} and then {two} at the same point; extraction needs a "
                    "deterministic function: fix seeds, switch off dropout and batch-dependent layers"
                )

    def check_affine(self, points: PointBatch) -> None:
        """Where answers are exact, f must be affine on three points in a row that are hardly apart.

        A fourth point, still near, unmasks rounding: an output that is constant over the three and not over the
        four would have a kink there.

        Raises:
            OracleError: it is not, or there is.
        """
        if not self.context.exact:
            return
        first, second, third, fourth = self.ask(points, "verify")
        if any(first + third != 2 * second):
            raise OracleError(
                "the oracle is not affine on three points 2^-320 apart; extraction reads piecewise linear functions "
                "(ReLU networks): check for tanh, softmax, products of inputs, or rounding of the answers"
            )
        if any((first == second) & (first != fourth)):
            raise OracleError(
                "the oracle is constant over a distance of 2^-320 and not over 2^-40: its answers look rounded; "
                "declare them as float64, or compute them in rationals"
            )

    def _ask_chunk(self, points: PointBatch, purpose: Purpose) -> np.ndarray:
        begun = time.perf_counter()
        raw = self.oracle.answer(points, self.context.answer_bits)
        self.seconds += time.perf_counter() - begun
        setattr(self.count, purpose, getattr(self.count, purpose) + len(points))
        if self._on_queries is not None:
            self._on_queries(self.count)
        return self._numbers(np.asarray(raw), len(points))

    def _numbers(self, raw: np.ndarray, count: int) -> np.ndarray:
        if raw.shape == (count,) and self.outputs == 1:
            raw = raw[:, None]
        if raw.shape != (count, self.outputs):
            raise OracleError(
                f"asked {count} points of an oracle with {self.outputs} output(s) and got an array of shape "
                f"{raw.shape}; return one row per point"
            )
        if raw.dtype == object:
            return self._from_objects(raw)
        if self.context.exact:
            raise OracleError(
                f"the oracle declares exact answers but returned dtype {raw.dtype}; "
                "return rationals (Fraction, int or fmpq), or extract in the float64 context"
            )
        if raw.dtype.kind not in "fiu":
            raise OracleError(f"the oracle returned dtype {raw.dtype}; return real numbers, as float64")
        values = raw.astype(np.float64)
        if not np.all(np.isfinite(values)):
            bad = int(np.argwhere(~np.isfinite(values))[0][0])
            raise OracleError(
                f"answer {bad} of a batch of {count} is {raw[bad]}; an oracle must answer every finite point"
            )
        out = np.empty(raw.shape, dtype=object)
        out.ravel()[:] = [self.context.number(float(x)) for x in values.ravel()]
        return out

    def _from_objects(self, raw: np.ndarray) -> np.ndarray:
        out = np.empty(raw.shape, dtype=object)
        number = self.context.number
        if self.context.exact and set(map(type, raw.flat)) == {fmpq}:
            out[...] = raw
            return out
        out.ravel()[:] = [number(_checked(x, self.context)) for x in raw.ravel()]
        return out


def _checked(value: object, context: Context) -> fmpq | Fraction | int | float:
    if isinstance(value, fmpq | Fraction | int):
        return value
    if not context.exact:
        if isinstance(value, float) and np.isfinite(value):
            return value
        if hasattr(value, "_mpf_") and mpmath.isfinite(value):
            return value  # type: ignore[return-value]
    raise OracleError(
        f"an answer is {value!r} of type {type(value).__name__}; the {context.name} context reads "
        + ("Fraction, int or flint.fmpq" if context.exact else "finite float, Fraction, int, fmpq or mpf")
    )


def _check_declaration(oracle: Oracle, context: Context) -> None:
    serves = {"exact": ("exact",), "mp": ("exact", "mp"), "float64": ("exact", "mp", "float64")}
    if oracle.number_system not in serves[context.name]:
        raise ValueError(
            f"the oracle answers in {oracle.number_system}, which the {context.name} context cannot use; "
            f"choose --context {oracle.number_system}"
        )
