"""How an oracle rounds: the noise of its answers along short flat pieces, at several scales.

f is affine between its kinks, so third differences over a short segment are rounding and nothing else. What is seen at
a few places is taken for all of them, in proportion to 1 + |x|, since the terms that f is summed from grow like that.
It is an estimate: the bound that follows is several standard deviations wide, and is no proof.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import PointBatch
from jaxtract.search.random_lines import BASE_BITS, gaussian_points
from precision.balls import to_float
from precision.context import ROUGH_BITS, Context, Number
from precision.dyadic import DyadicMatrix, from_float
from precision.rounded import FLOAT32_BITS, FLOAT64_BITS, RoundedContext

SCALES = (0, 3, 6)
"""Places are Gaussian times 2^scale."""

PLACES, POINTS = 4, 6
"""Places at each scale, and points on the segment at each place."""

SHORT_BITS = 20
"""A segment is this much shorter than its place is far from the origin: hardly any kink is on it."""

ROUGH_SHORT_BITS, ROUGH_SIZE_BITS = 19, 5
"""Where points have few bits a segment goes multiples, up to 2^5, of 2^-19 of that distance along a coordinate."""

LONGER_BITS, LONGER_TIMES = 4, 3
"""Segments on which most answers are repeated are made so much longer, so often."""

DEVIATIONS = 6
"""Standard deviations in a bound on the error of one answer."""

THIRD_DIFFERENCE = 20.0
"""Variance of a third difference of independent errors, 1 + 9 + 9 + 1."""

LEAST_BITS = 53
"""Noise is at least that of numbers of so many bits: an answer that is constant shows none."""


@dataclasses.dataclass(frozen=True)
class Noise:
    """What rounding does to an answer at x.

    Attributes:
        unit: bound on the error over 1 + max |x|.
        size: largest |f(x)| over 1 + max |x| that was met.
    """

    unit: fmpq
    size: fmpq

    @property
    def bits(self) -> int:
        """Bits that an answer of full size carries: a relative error of 2^(1 - bits)."""
        return max(1, 1 + int(np.floor(np.log2(to_float(self.size / self.unit)))))


def measure_noise(oracle: CountingOracle, rng: np.random.Generator) -> Noise:
    """The noise of a black box that answers in doubles; its queries count as ``measure``.

    len(SCALES) * PLACES * POINTS of them, up to 1 + LONGER_TIMES as many where answers are repeated.
    """
    segments = [_segments(oracle.inputs, scale, rng, oracle.input_bits) for scale in SCALES]
    size, deviation = 0.0, 0.0
    for short in segments:
        batch, values = _asked(oracle, short)
        sizes = 1 + np.max(np.abs(batch.to_float64()), axis=1)
        shares = values / sizes[:, None]
        size = max(size, float(np.max(np.abs(shares))))
        thirds = np.diff(values.reshape(PLACES, POINTS, -1), 3, axis=1) / sizes.reshape(PLACES, POINTS)[:, :1, None]
        # One segment may cross a kink after all, which would be far more than any rounding.
        spreads = np.sort(np.sqrt(np.mean(thirds**2, axis=(1, 2)) / THIRD_DIFFERENCE))[:-1]
        deviation = max(deviation, float(np.sqrt(np.mean(spreads**2))))
    size = size or 1.0
    unit = max(DEVIATIONS * deviation, size * 2.0**-LEAST_BITS)
    return Noise(from_float(unit), from_float(size))


def _asked(oracle: CountingOracle, batch: PointBatch) -> tuple[PointBatch, np.ndarray]:
    """(segments, answers in doubles), the segments longer where most answers are repeated.

    Answers that are rounded to some decimals are constant over short segments, which is no sign of precision.
    """
    values = _values(oracle, batch)
    for _ in range(LONGER_TIMES):
        if np.mean(np.diff(values.reshape(PLACES, POINTS, -1), axis=1) == 0) <= 0.5:
            break
        batch = dataclasses.replace(batch, steps=tuple(step << LONGER_BITS for step in batch.steps))
        values = _values(oracle, batch)
    return batch, values


def _values(oracle: CountingOracle, batch: PointBatch) -> np.ndarray:
    answers = oracle.ask(batch, "measure")
    return np.array([to_float(oracle.context.rational(x)) for x in answers.ravel()]).reshape(answers.shape)


def measured_context(oracle: CountingOracle, rng: np.random.Generator) -> Context:
    """The context of a black box that answers in doubles, with its noise; as it is where it was measured before.

    A black box whose answers carry hardly more bits than float32 is asked at points that float32 holds, whatever it
    says of its inputs: finer ones would tell nothing more, and it may round them.
    """
    context = oracle.context
    if not isinstance(context, RoundedContext) or context.error_unit is not None:
        return context
    noise = measure_noise(oracle, rng)
    bits = FLOAT32_BITS if noise.bits < ROUGH_BITS else oracle.input_bits
    return context.measured(noise.bits, noise.unit, None if bits is None or bits >= FLOAT64_BITS else bits)


def term_size(context: Context, farthest: fmpq) -> Number:
    """Size of the terms behind an answer for which the context has just the noise that was measured.

    At points whose largest coordinate is ``farthest``; 0 where no noise was measured.
    """
    if not isinstance(context, RoundedContext) or context.error_unit is None:
        return 0
    return context.number(context.error_unit * (1 + farthest)) / context.noise(context.number(1))


def _segments(inputs: int, scale: int, rng: np.random.Generator, input_bits: int | None) -> PointBatch:
    """``PLACES`` segments of ``POINTS`` points each; points of few bits are that much farther apart."""
    anchors = gaussian_points(PLACES, inputs, scale, rng)
    few = input_bits is not None and input_bits < FLOAT64_BITS
    short, digits = (ROUGH_SHORT_BITS, 0) if few else (SHORT_BITS, BASE_BITS)
    size = 1 << (ROUGH_SIZE_BITS if few else BASE_BITS)
    directions = rng.integers(-size, size, size=(PLACES, inputs), endpoint=True)
    matrix = DyadicMatrix(fmpz_mat(PLACES, inputs, directions.ravel().tolist()), digits - scale + short)
    index = tuple(k for k in range(PLACES) for _ in range(POINTS))
    return PointBatch(anchors, matrix, index, index, tuple(map(fmpz, range(POINTS))) * PLACES, 0)
