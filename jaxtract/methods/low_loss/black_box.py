"""The black box of the low-loss method: doubles in, doubles out, counted, with the noise of an answer estimated."""

from __future__ import annotations

import math

import numpy as np
from flint import fmpz_mat

from jaxtract.oracle.counting import CountingOracle, Purpose
from jaxtract.oracle.points import scattered
from precision.dyadic import DyadicMatrix

MANTISSA_BITS = 62
"""Bits of a coordinate that are sent: more than a double has, and an int64 holds them."""

CHUNK = 4096
"""Points sent together: they travel as integers, which take room."""

PROBES = 6
PROBE_PLACES = np.array([0.0, 0.171, 0.423, 0.618, 0.829, 1.0])
"""Places on a short segment: at unequal distances, so that a staircase of rounded answers looks like noise."""

SEGMENT_BITS = range(2, 45, 3)
"""Lengths 2^-b of the segments on which noise is looked for."""

DOUBLE_BITS, SHORT_BITS = 53, 44
"""Answers that all have fewer bits than this are rounded; hundreds of doubles have not all so many zeros at the end."""

ROUGHER = 64.0

PLATEAU = 4.0
"""Noise does not change with the length of a segment; a bend grows by 8 from one length to the next."""

FEWEST_ALIKE = 3
"""Lengths that must show the same: a bump makes the same of the few that are longer than it is wide."""


class BlackBox:
    """A counted oracle asked at float64 points, answering in float64.

    Attributes:
        noise: (outputs,) standard error of one answer at a Gaussian point, see ``estimate_noise``.
        relative: (outputs,) the same over the size of the answer.
    """

    def __init__(self, oracle: CountingOracle):
        self.oracle = oracle
        self.inputs = oracle.inputs
        self.outputs = oracle.outputs
        self.noise = np.zeros(self.outputs)
        self.relative = np.zeros(self.outputs)

    def ask(self, points: np.ndarray, purpose: Purpose) -> np.ndarray:
        """f at (count, inputs) points; shape (count, outputs).

        Raises:
            BudgetSpent, OracleError: see ``CountingOracle.ask``.
        """
        values = np.empty((len(points), self.outputs))
        for start in range(0, len(points), CHUNK):
            answers = self.oracle.ask(scattered(dyadic_points(points[start : start + CHUNK])), purpose)
            values[start : start + CHUNK] = np.array([float(x) for x in answers.ravel()]).reshape(answers.shape)
        return values

    def noise_at(self, points: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(points, outputs): standard error of answers. It grows with their terms, so with points and with values."""
        return np.maximum(growth(points)[:, None] * self.noise, self.relative * np.abs(values))

    def estimate_noise(self, rng: np.random.Generator) -> None:
        """Set ``noise`` and ``relative`` from how far answers are from affine on short segments at Gaussian points.

        Rounding, whatever its unit, and noise leave the same residual on segments of many lengths; kinks leave one
        that grows with the length, and segments shorter than the unit of rounding leave none. The longest run of
        lengths with the same residual is the noise (after Moré and Wild 2011, Estimating computational noise).
        """
        base = rng.standard_normal((PROBES, self.inputs))
        direction = rng.standard_normal((PROBES, self.inputs))
        lengths = np.array([2.0**-bits for bits in SEGMENT_BITS])
        steps = lengths[:, None, None] * PROBE_PLACES[None, None, :]
        points = base[None, :, None, :] + steps[..., None] * direction[None, :, None, :]
        values = self.ask(points.reshape(-1, self.inputs), "measure")
        values = values.reshape(len(lengths), PROBES, len(PROBE_PLACES), self.outputs)
        design = np.stack([np.ones(len(PROBE_PLACES)), PROBE_PLACES], axis=1)
        rest = np.eye(len(PROBE_PLACES)) - design @ np.linalg.pinv(design)
        deviation = np.einsum("ij,spjo->spio", rest, values - values[:, :, :1])
        sizes = np.sqrt((deviation**2).sum(axis=2) / (len(PROBE_PLACES) - 2))
        answers = np.maximum(np.abs(values).max(axis=2), np.finfo(np.float64).tiny)
        least = np.finfo(np.float64).eps
        for o in range(self.outputs):
            plateau = _plateau(np.median(sizes[..., o], axis=1))
            self.noise[o] = max(plateau, least * float(answers[..., o].max()))
            relative = _plateau(np.median(sizes[..., o] / answers[..., o], axis=1))
            self.relative[o] = max(relative, _last_bit(values[..., o].ravel()), least)
            self.noise[o] = max(self.noise[o], self.relative[o] * float(np.median(answers[..., o])))

    def rougher(self) -> None:
        """Answers turned out to be rougher than estimated: a staircase where a slope was expected."""
        self.noise, self.relative = self.noise * ROUGHER, self.relative * ROUGHER


def growth(points: np.ndarray) -> np.ndarray:
    """(points,): how much larger the terms of an answer are than at a Gaussian point, about."""
    return np.hypot(1.0, np.linalg.norm(points, axis=1) / np.sqrt(points.shape[1])) / np.sqrt(2.0)


def dyadic_points(points: np.ndarray) -> DyadicMatrix:
    """Float64 points as dyadic numbers on one grid of 2^-62 of the largest coordinate."""
    largest = float(np.max(np.abs(points))) if points.size else 0.0
    exponent = MANTISSA_BITS - (math.frexp(largest)[1] if largest else 0)
    mantissas = np.rint(np.ldexp(points, exponent)).astype(np.int64)
    return DyadicMatrix(fmpz_mat(points.shape[0], points.shape[1], mantissas.ravel().tolist()), exponent)


def _last_bit(values: np.ndarray) -> float:
    """Standard error of rounding to as many bits as the longest answer has, over an answer's size; else 0.

    Where a function is constant on most inputs its answers do not move, however short they are.
    """
    mantissas = np.frexp(values[values != 0])[0]
    whole = np.abs(np.ldexp(mantissas, DOUBLE_BITS)).astype(np.int64)
    if not len(whole):
        return 0.0
    bits = DOUBLE_BITS - int(np.log2((whole & -whole).min()))
    return 0.0 if bits > SHORT_BITS else 2.0**-bits / math.sqrt(3)


def _plateau(sizes: np.ndarray) -> float:
    """The largest of the longest run of positive neighbours within a factor ``PLATEAU``; 0 if that run is short."""
    best: tuple[int, float] = (FEWEST_ALIKE - 1, 0.0)
    for start in range(len(sizes)):
        stop = start
        while stop < len(sizes) and sizes[stop] > 0:
            run = sizes[start : stop + 1]
            if run.max() > PLATEAU * run.min():
                break
            stop += 1
        if stop - start > best[0]:
            best = (stop - start, float(sizes[start:stop].max()))
    return best[1]
