"""Fresh queries that try to refute a recovered function: inputs at all scales, and whole lines."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from flint import fmpq, fmpz_mat

from jaxtract.evaluation.served import FlintOrPieces
from jaxtract.measurement.ridge_form import RidgeForm
from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.evaluate import FlintEvaluator, PointEvaluator
from jaxtract.oracle.points import PointBatch, on_lines, scattered
from jaxtract.search.lines import Line
from jaxtract.search.random_lines import gaussian_points, position_bits, random_line
from precision.context import Context, Number, integer_rows, rational_array
from precision.dyadic import DyadicMatrix, dyadic_matrix, floor_log2, floor_to_grid, power_of_two, round_to_grid
from precision.rounded import RoundedContext

SCALES = (-6, -3, 0, 0, 0, 1, 2, 4, 8, 20, 40)
"""Fresh inputs are Gaussian times 2^scale, the scales in turn; the middle ones are met most."""

ROUNDED_SCALES = (-6, -3, 0, 0, 0, 1, 2, 4)
"""Where answers are rounded, far inputs say little about near ones."""

FIRST_INPUTS = 1000
"""Fresh inputs that are asked at once; then as many again and again, while all agree."""

APPROXIMATE_AGREE_BITS = 20
"""In float64, answers that agree to this many bits of their scale are called equal."""

ROUNDINGS = 4
"""Nor do they disagree where the difference is so many times the bound on the rounding of an answer."""

BELOW_ANSWER_BITS = 6
"""Answers of few bits agree to so many bits less than they have."""


@dataclasses.dataclass
class Verified:
    """What fresh queries said.

    Attributes:
        inputs, disagreements: random inputs asked, and those where the recovered function is wrong.
        lines, unexplained_kinks: random lines asked on every recovered piece, and pieces found wrong.
        residual_bits: -log2 of the largest residual over the size of f (None: no residual at all).
        size: of the largest answer met.
        counterexamples: positions of disagreement, the inputs nearest to the origin first.
    """

    inputs: int = 0
    disagreements: int = 0
    lines: int = 0
    unexplained_kinks: int = 0
    residual_bits: int | None = None
    size: Number = 0
    counterexamples: list[list[fmpq]] = dataclasses.field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.disagreements and not self.unexplained_kinks

    def followed_by(self, later: Verified) -> Verified:
        """What these and further queries said."""
        bits = [b for b in (self.residual_bits, later.residual_bits) if b is not None]
        return Verified(
            self.inputs + later.inputs,
            self.disagreements + later.disagreements,
            self.lines + later.lines,
            self.unexplained_kinks + later.unexplained_kinks,
            min(bits, default=None),
            max(self.size, later.size),
            [*self.counterexamples, *later.counterexamples],
        )

    def as_dict(self) -> dict[str, int | None]:
        return {
            "inputs": self.inputs,
            "disagreements": self.disagreements,
            "lines": self.lines,
            "unexplained_kinks": self.unexplained_kinks,
            "residual_bits": self.residual_bits,
        }


PredictedKinks = Callable[[DyadicMatrix, DyadicMatrix], list[list[fmpq]]]
"""Ascending kinks of the recovered function on lines (bases, directions)."""


def verify(
    oracle: CountingOracle,
    evaluator: FlintEvaluator,
    predicted: PredictedKinks,
    *,
    inputs: int,
    lines: int,
    rng: np.random.Generator,
) -> Verified:
    """Compare the recovered function with the black box; queries count as ``verify``.

    On a line every piece of the recovered function is asked next to both of its ends and at a random
    place between: agreement there means that each kink is where it was predicted and that nothing bends
    between, but for structure that cancels inside a piece.

    Args:
        oracle: the black box in its context.
        evaluator: the recovered function.
        predicted: where it bends on a line.
        inputs, lines: how many fresh ones; where some inputs disagree the rest of many are not asked.
        rng: chooses them.
    """
    context = oracle.context
    result = Verified(lines=lines)
    scales = SCALES if context.exact else ROUNDED_SCALES
    while result.inputs < inputs and not result.disagreements:
        # Many inputs are for what hardly any of them meets: no more are asked than it takes.
        more = min(inputs - result.inputs, max(FIRST_INPUTS, result.inputs))
        _check_inputs(oracle, evaluator, result, rng, [scales[i % len(scales)] for i in range(more)])
        result.inputs += more
    _check_lines(oracle, FlintOrPieces(evaluator), predicted, result, rng)
    result.counterexamples.sort(key=lambda point: max(abs(x) for x in point))
    return result


def agree_bits(context: Context) -> int:
    """Bits of its scale to which an answer must agree with the recovered function, where answers are rounded."""
    if context.name == "mp" and context.prec:
        return context.prec
    if context.answer_bits is None:
        return APPROXIMATE_AGREE_BITS
    return max(1, min(APPROXIMATE_AGREE_BITS, context.answer_bits - BELOW_ANSWER_BITS))


def _check_inputs(
    oracle: CountingOracle,
    evaluator: PointEvaluator,
    result: Verified,
    rng: np.random.Generator,
    scales: Sequence[int],
) -> None:
    for scale in sorted(set(scales)):
        count = scales.count(scale)
        points = gaussian_points(count, oracle.inputs, scale, rng)
        wrong = _disagreements(oracle, evaluator, result, scattered(points))
        result.disagreements += len(wrong)
        if wrong:
            rows = points.rows()
            result.counterexamples.extend(rows[i] for i in wrong)


def _check_lines(
    oracle: CountingOracle,
    evaluator: PointEvaluator,
    predicted: PredictedKinks,
    result: Verified,
    rng: np.random.Generator,
) -> None:
    context = oracle.context
    chosen = [random_line(oracle.inputs, rng, point_bits=context.point_bits) for _ in range(result.lines)]
    if not chosen:
        return
    bases = dyadic_matrix([line.base for line in chosen], oracle.inputs)
    directions = dyadic_matrix([line.direction for line in chosen], oracle.inputs)
    index: list[int] = []
    positions: list[fmpq] = []
    piece_of: list[int] = []
    for i, kinks in enumerate(predicted(bases, directions)):
        for piece, wanted in enumerate(_places(context, kinks, rng)):
            places = wanted if context.point_bits is None else _placed(context.point_bits, chosen[i], wanted)
            index.extend([i] * len(places))
            positions.extend(places)
            piece_of.extend([piece] * len(places))
    wrong = _disagreements(oracle, evaluator, result, on_lines(bases, directions, index, positions))
    result.unexplained_kinks += len({(index[i], piece_of[i]) for i in wrong})
    for i in wrong:
        line, t = chosen[index[i]], positions[i]
        result.counterexamples.append([p + t * v for p, v in zip(line.base, line.direction, strict=True)])


def _placed(point_bits: int, line: Line, positions: Sequence[fmpq]) -> list[fmpq]:
    """The positions nearest to these whose points have so few bits."""
    farthest, exponent = max(abs(x) for x in line.base), dyadic_matrix([line.direction], len(line.base)).exponent
    return [round_to_grid(t, position_bits(point_bits, exponent, farthest + abs(t))) for t in positions]


def kinks_of_form(form: RidgeForm, bases: DyadicMatrix, directions: DyadicMatrix) -> list[list[fmpq]]:
    """Where each line crosses the hyperplanes of the form, ascending, without rounding."""
    lines, inputs = bases.shape
    if not form.ridges:
        return [[] for _ in range(lines)]
    rows = np.concatenate([form.normals(), form.biases()[:, None]], axis=1)
    # A hyperplane does not change when its row is scaled: integers, and products in FLINT.
    whole = integer_rows(rational_array(form.context, rows)).tolist()
    normals = fmpz_mat([row[:inputs] for row in whole]).transpose()
    at_base = (bases.mantissa * normals).tolist()
    along = (directions.mantissa * normals).tolist()
    lift, unit = power_of_two(directions.exponent - bases.exponent), power_of_two(bases.exponent)
    biases = [row[inputs] * unit for row in whole]
    return [
        sorted({-(z + b) * lift / s for z, b, s in zip(heights, biases, speeds, strict=True) if s != 0})
        for heights, speeds in zip(at_base, along, strict=True)
    ]


def _places(context: Context, kinks: list[fmpq], rng: np.random.Generator) -> list[list[fmpq]]:
    """For every piece: just inside both ends, and at random between."""
    if not kinks:
        return [[fmpq(-1), fmpq(0), fmpq(1)]]
    far = power_of_two(1 + max(0, floor_log2(1 + max(abs(t) for t in kinks))))
    borders = [kinks[0] - far, *kinks, kinks[-1] + far]
    near_bits = 64 if context.exact else 8
    pieces = []
    for left, right in itertools.pairwise(borders):
        width = right - left
        margin = near_bits - floor_log2(width)
        low = floor_to_grid(left, margin) + power_of_two(-margin)
        high = floor_to_grid(right, margin)
        high = high - power_of_two(-margin) if high == right else high
        share = fmpq(int(rng.integers(1, 1 << 10)), 1 << 10)
        between = round_to_grid(low + (high - low) * share, 12 - floor_log2(width))
        pieces.append([low, min(max(between, low), high), high])
    return pieces


def _disagreements(
    oracle: CountingOracle, evaluator: PointEvaluator, result: Verified, points: PointBatch
) -> list[int]:
    context = oracle.context
    answers = oracle.ask(points, "verify")
    expected = evaluator(points)
    if context.exact:
        return [i for i, (a, e) in enumerate(zip(answers, expected, strict=True)) if any(a != e)]
    expected.ravel()[:] = [context.number(x) for x in expected.ravel()]
    size = max((abs(x) for x in answers.ravel()), default=context.number(0))
    if size == 0:
        size = context.number(1)
    residuals = [max(abs(x) for x in row) / size for row in answers - expected]
    result.size = max(result.size, size)
    for residual in residuals:
        if residual > 0:
            bits = -floor_log2(context.rational(residual)) - 1
            result.residual_bits = bits if result.residual_bits is None else min(bits, result.residual_bits)
    bound = context.number(power_of_two(-agree_bits(context)))
    wrong = [i for i, residual in enumerate(residuals) if residual > bound]
    if not wrong or not context.rough or not isinstance(context, RoundedContext) or context.error_unit is None:
        return wrong
    # Near the origin answers may be so small that their own rounding is more than the bound.
    unit = context.number(ROUNDINGS * context.error_unit) / size
    reach = 1 + np.max(np.abs(points.to_float64()), axis=1)
    return [i for i in wrong if residuals[i] > unit * context.number(float(reach[i]))]
