"""Line search over a context: every kink of f along a line, from about 4.5 queries a kink.

The two outer pieces of an interval are intersected at t*; one answer on each side of t* decides whether a
single kink at t* explains the interval. If not, the answer that failed becomes the place where the
interval is split, and only a slope has to be paid for it. No answer is ever asked at t* itself, so a true
kink that lies exactly there (it does, structurally, when a deep neuron is clipped to zero between two of
its kinks) is met like any other. (Critical point search: Carlini, Jagielski, Mironov 2020, section 4.1;
piecewise linear reconstruction in one dimension: Daniely and Granot 2023, section 3.)

Every interval of every line is a coroutine that yields the positions it wants; one driver gathers the
wishes of all of them and asks once a round.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

import numpy as np
from flint import fmpq

from jaxtract.oracle.counting import Purpose
from jaxtract.oracle.oracle import OracleError
from jaxtract.oracle.points import PointBatch, on_lines
from jaxtract.search.lines import Cluster, Line, LineProfile
from jaxtract.search.random_lines import position_bits
from precision.context import Context, Number
from precision.dyadic import (
    DyadicMatrix,
    dyadic_matrix,
    floor_log2,
    floor_to_grid,
    power_of_two,
    round_to_grid,
    simple_between,
)
from precision.kink import Meeting, Piece, meeting_of

LANES = 4096
"""Intervals that advance together."""

DEEP_LANES = 256
"""The same while more are waiting: the search then goes into depth."""

SHORTER_STEPS = 4
"""Times that the step of a local piece is shortened when it went over a kink."""

MOST_CLUSTERS = 256
"""A line with more places that no kink explains is not the line of a piecewise linear function."""


class Asker(Protocol):
    """Anything that answers batches in a context: the black box, or what is left of it."""

    context: Context

    def ask(self, points: PointBatch, purpose: Purpose) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class LineSettings:
    """How finely lines are searched.

    Attributes:
        resolution_bits: kinks nearer than 2^-resolution_bits may be taken for one (exact context;
            otherwise the answers' own bits decide).
        reach_bits: the line is searched to 2^reach_bits, and further while the ends still bend.
        growth_bits: factor, in bits, between the answers that show that an end is final.
        longest_bits: where the search for a final end is given up.
        cells: positions where the line is cut before the search; without cuts, structure that cancels
            completely between the two ends stays unseen.
        size: least size of the terms that answers are rounded from, for answers that are small differences.
        point_bits: significand bits that a coordinate of a point may have, on lines whose directions leave room for it.
    """

    resolution_bits: int = 256
    reach_bits: int = 40
    growth_bits: int = 40
    longest_bits: int = 4096
    cells: tuple[fmpq, ...] = ()
    size: Number = 0
    point_bits: int | None = None


def settings_for(
    context: Context, *, resolution_bits: int = 256, cells: Sequence[fmpq] = (), size: Number = 0
) -> LineSettings:
    """Settings that the precision of the context supports."""
    if context.answer_bits is None:
        return LineSettings(resolution_bits=resolution_bits, cells=tuple(cells), size=size)
    return LineSettings(
        resolution_bits=min(resolution_bits, context.answer_bits // (2 if context.rough else 3)),
        reach_bits=min(40, context.answer_bits // 8),
        growth_bits=2,
        longest_bits=max(8, context.answer_bits // 4),
        cells=tuple(cells),
        size=size,
    )


def search_line(asker: Asker, line: Line, settings: LineSettings) -> LineProfile:
    """``search_lines`` for a single line, whose base and direction are dyadic."""
    bases, directions = (dyadic_matrix([ends], len(line.base)) for ends in (line.base, line.direction))
    (profile,) = search_lines(asker, bases, directions, settings=settings)
    return profile


def search_lines(
    asker: Asker,
    bases: DyadicMatrix,
    directions: DyadicMatrix,
    *,
    settings: LineSettings,
    cuts: Sequence[Sequence[fmpq]] | None = None,
    expected: Sequence[Sequence[fmpq]] | None = None,
) -> list[LineProfile]:
    """All kinks of f on the lines bases[i] + t directions[i], t in R.

    Args:
        asker: answers in its context; queries count as ``search``.
        bases, directions: (lines, inputs).
        settings: see ``LineSettings``.
        cuts: per line, places between which a single kink is expected; they are sampled first.
        expected: per line, ascending positions where f is expected to bend, told without rounding. It is sampled
            between them first; pieces that meet at such a place need no other evidence that the kink is there, so that
            it costs two queries.

    Returns:
        One profile per line. Kinks that could not be told apart are listed in ``clusters``.
    """
    none = [()] * bases.shape[0]
    farthest = [max((abs(x) for x in row), default=fmpq(0)) for row in bases.rows()]
    lines = [
        _Line(asker.context, settings, (*settings.cells, *own), kinks, far, directions.exponent)
        for own, kinks, far in zip(cuts or none, expected or none, farthest, strict=True)
    ]

    def ask(line: Sequence[int], positions: Sequence[fmpq]) -> np.ndarray:
        return asker.ask(on_lines(bases, directions, line, positions), "search")

    tasks = [_Task(i, line.ends()) for i, line in enumerate(lines)]
    _advance(tasks, lines, ask)
    return [line.profile() for line in lines]


def search_again(
    asker: Asker, line: Line, profile: LineProfile, places: Sequence[fmpq], settings: LineSettings
) -> LineProfile:
    """A profile of exact answers once more where f may bend though it seemed straight.

    Kinks that meet at a place where one is expected, or the short way that a neuron is on between two answers, leave
    the pieces beside as they are.

    Args:
        places: dyadic positions inside pieces; each is sampled, and what is between the pieces around it searched.

    Returns:
        The profile with the kinks that were found there; the other pieces and kinks are the same objects.
    """
    bases, directions = (dyadic_matrix([ends], len(line.base)) for ends in (line.base, line.direction))
    searched = _Line(asker.context, settings, (), (), max(abs(x) for x in line.base), directions.exponent)

    def ask(index: Sequence[int], positions: Sequence[fmpq]) -> np.ndarray:
        return asker.ask(on_lines(bases, directions, index, positions), "search")

    _advance([_Task(0, searched.again(profile, places))], [searched], ask)
    return searched.profile()


_Wishes = Generator[list[fmpq], np.ndarray, "list[_Wishes]"]
"""Yields positions, receives answers (positions, outputs), returns the intervals to go on with."""


class _Task:
    def __init__(self, line: int, wishes: _Wishes):
        self.line = line
        self.wishes = wishes
        self.positions: list[fmpq] = []


def _advance(
    tasks: list[_Task], lines: list[_Line], ask: Callable[[Sequence[int], Sequence[fmpq]], np.ndarray]
) -> None:
    """Run the coroutines in lock-step; one batch a round holds the wishes of up to ``LANES`` of them.

    The latest come first: should f not be piecewise linear, that shows before the memory is full.
    """
    stack = [ready for task in tasks for ready in _resume(task, None)]
    while stack:
        lanes = LANES if len(stack) <= LANES else DEEP_LANES
        waiting, stack = stack[-lanes:], stack[:-lanes]
        line = [task.line for task in waiting for _ in task.positions]
        positions = [t for task in waiting for t in task.positions]
        answers = ask(line, positions)
        for i, t, answer in zip(line, positions, answers, strict=True):
            lines[i].record(t, answer)
        start, following = 0, []
        for task in waiting:
            stop = start + len(task.positions)
            following.extend(_resume(task, answers[start:stop]))
            start = stop
        stack.extend(following)


def _resume(task: _Task, answers: np.ndarray | None) -> list[_Task]:
    """The task itself when it wants more answers, else the tasks that it left behind."""
    try:
        task.positions = next(task.wishes) if answers is None else task.wishes.send(answers)
    except StopIteration as finished:
        return [ready for wishes in finished.value for ready in _resume(_Task(task.line, wishes), None)]
    return [task]


class _Line:
    """The search along one line: its samples so far, the kinks found, the coroutines that find them."""

    def __init__(
        self,
        context: Context,
        settings: LineSettings,
        cuts: Sequence[fmpq],
        expected: Sequence[fmpq],
        farthest: fmpq,
        direction_exponent: int,
    ):
        self._farthest = farthest
        self._direction_exponent = direction_exponent
        self.context = context
        self._cuts = [*cuts, *(simple_between(s, t) for s, t in itertools.pairwise(expected))]
        self._expected = set(expected)
        self.settings = settings
        self._samples: list[tuple[fmpq, np.ndarray]] = []
        self._found: list[tuple[fmpq, Number, Piece, Piece]] = []
        self._clusters: list[Cluster] = []
        self._outer: tuple[Piece, Piece] | None = None
        self._reach = settings.reach_bits
        self._scale = context.number(settings.size)

    def _grid_bits(self, position: fmpq) -> int | None:
        """Positions as far out as this one are multiples of 2^-bits, or any dyadic."""
        if self.settings.point_bits is None:
            return None
        return position_bits(self.settings.point_bits, self._direction_exponent, self._farthest + abs(position))

    def _placed(self, position: fmpq) -> fmpq:
        """The nearest position whose point can be asked as it is."""
        bits = self._grid_bits(position)
        return position if bits is None else round_to_grid(position, bits)

    def record(self, position: fmpq, answer: np.ndarray) -> None:
        if self.context.exact:
            return
        self._samples.append((position, answer))
        # The terms inside f grow like 1 + |t|; so does the rounding of an answer.
        size = max(abs(x) for x in answer) / self.context.number(1 + abs(position))
        self._scale = max(self._scale, size)

    def ends(self) -> _Wishes:
        """Follow the line outwards until three answers in a row lie on one piece, on both sides."""
        reach, growth = self.settings.reach_bits, self.settings.growth_bits
        places = [power_of_two(reach + i * growth) for i in range(3)]
        answers = yield [sign * t for sign in (-1, 1) for t in places]
        sides = [list(zip(places, answers[3 * i : 3 * i + 3], strict=True)) for i in range(2)]
        while not all(self._collinear(side, sign) for side, sign in zip(sides, (-1, 1), strict=True)):
            reach += growth
            if reach > self.settings.longest_bits:
                self._clusters.append(Cluster(-places[-1], places[-1]))
                break
            places = [*places[1:], power_of_two(reach + 2 * growth)]
            answers = yield [-places[-1], places[-1]]
            for side, answer in zip(sides, answers, strict=True):
                side.append((places[-1], answer))
        self._reach = reach
        left = self._chord(*((-t, g) for t, g in sides[0][-3:-1]))
        right = self._chord(*sides[1][-3:-1])
        self._outer = (left, right)
        cuts = sorted(t for t in set(self._cuts) if left.position < t < right.position)
        inner = yield from self._pieces(cuts, right.position)
        chain = [left, *inner, right]
        return [self.interval(a, b) for a, b in itertools.pairwise(chain)]

    def again(self, profile: LineProfile, places: Sequence[fmpq]) -> _Wishes:
        """Take a profile over, but for the intervals between its samples in which there are places to look at."""
        samples, doubted = [piece.position for piece in profile.pieces], dict[int, list[fmpq]]()
        for t in sorted(set(places) - set(samples)):
            doubted.setdefault(bisect.bisect(samples, t) - 1, []).append(t)
        self._outer = (profile.pieces[0], profile.pieces[-1])
        self._clusters, self._reach = list(profile.clusters), profile.reach_bits
        sides = list(itertools.pairwise(profile.pieces))
        self._found = [(fmpq(kink), kink, *sides[i]) for i, kink in enumerate(profile.kinks) if i not in doubted]
        inside = {i: cuts for i, cuts in doubted.items() if 0 <= i < len(sides)}
        chains: list[list[Piece]] = []
        for i, cuts in inside.items():
            left, right = sides[i]
            chains.append([left, *(yield from self._pieces(cuts, right.position)), right])
        return [self.interval(a, b) for chain in chains for a, b in itertools.pairwise(chain)]

    def interval(self, left: Piece, right: Piece) -> _Wishes:
        """Explain g between two pieces, or split the interval where it cannot be explained."""
        if self._same_line(left, right):
            return []
        length = right.position - left.position
        meeting = self._meeting(left, right)
        if length <= self._shortest(left.position):
            self._give_up(left, right, meeting)
            return []
        if meeting is None or not left.position <= meeting.position <= right.position:
            cut = _outside_split(left, right, meeting, self._shortest(left.position))
            return (yield from self._split(left, right, cut))
        if meeting.others is not None:
            return (yield from self._split(left, right, _between_meetings(left, right, meeting)))
        if meeting.position in self._expected:
            self._found.append((meeting.position, meeting.number, left, right))
            return []
        checks = self._check_places(left, right, meeting)
        unclear = checks is None or (meeting.error > 0 and None in checks)
        if self.context.rough and unclear and length > 2 * _margin(meeting):
            # Pieces drawn through near answers meet anywhere; in a shorter interval, after farther ones, they do not.
            return (yield from self._split(left, right, scale_free_middle(left.position, right.position)))
        if checks is None:
            self._give_up(left, right, meeting)
            return []
        before, after = checks
        if before is not None:
            (answer,) = yield [before]
            if not self._lies_on(left, before, answer):
                return (yield from self._split(left, right, before, answer, towards=left.position))
        if after is not None:
            (answer,) = yield [after]
            if not self._lies_on(right, after, answer):
                return (yield from self._split(left, right, after, answer))
        if self.context.rough and before is not None and after is not None and self._wide(left, right, before, after):
            # Nearer to t* the outer pieces may show two kinks where there seemed to be one.
            answers = yield [before, after]
            nearer = self._moved(left, before, answers[0]), self._moved(right, after, answers[1])
            return [self.interval(*nearer)]
        if meeting.error > 0 and (before is None or after is None):
            # On one side no answer tells t* from the place where the outer piece begins.
            self._give_up(left, right, meeting, Cluster(before or left.position, after or right.position))
            return []
        self._found.append((meeting.position, meeting.number, left, right))
        return []

    def _split(
        self,
        left: Piece,
        right: Piece,
        position: fmpq,
        answer: np.ndarray | None = None,
        *,
        towards: fmpq | None = None,
    ) -> Generator[list[fmpq], np.ndarray, list[_Wishes]]:
        """Cut an interval. A place that lies on one of the outer pieces moves that piece: no slope to pay."""
        if answer is None and self.settings.point_bits is not None:
            position = self._placed(position)
            if not left.position < position < right.position:
                self._give_up(left, right, self._meeting(left, right))
                return []
        value: np.ndarray = answer if answer is not None else (yield [position])[0]
        if self._lies_on(left, position, value):
            return [self.interval(self._moved(left, position, value), right)]
        if self._lies_on(right, position, value):
            return [self.interval(left, self._moved(right, position, value))]
        middle = yield from self._piece(position, value, right.position if towards is None else towards)
        return [self.interval(left, middle), self.interval(middle, right)]

    def _moved(self, piece: Piece, position: fmpq, answer: np.ndarray) -> Piece:
        """The same piece known at another place; a longer way between two answers makes its slope better."""
        if self.context.exact or abs(position - piece.position) <= piece.baseline:
            return dataclasses.replace(piece, position=position, value=answer)
        return self._chord((position, answer), (piece.position, piece.value))

    def profile(self) -> LineProfile:
        assert self._outer is not None
        found = sorted(self._found, key=lambda kink: kink[0])
        pieces = [self._outer[0], *(right for _, _, _, right in found)]
        kinks = [number for _, number, _, _ in found]
        if not self.context.exact:
            pieces, kinks = self._refitted(found, pieces)
        # Intervals share their ends; of two kinks at one end only the change across both is known.
        empty = [i for i in range(1, len(kinks)) if kinks[i] <= kinks[i - 1]]
        pieces = [piece for i, piece in enumerate(pieces) if i not in empty]
        kinks = [kink for i, kink in enumerate(kinks) if i not in empty]
        return LineProfile(tuple(pieces), tuple(kinks), tuple(self._clusters), self._reach)

    def _refitted(
        self, found: list[tuple[fmpq, Number, Piece, Piece]], rough: list[Piece]
    ) -> tuple[list[Piece], list[Number]]:
        """Every piece through its two farthest answers, every kink where the better pieces meet."""
        borders = [None, *(t for t, _, _, _ in found), None]
        samples = sorted(self._samples, key=lambda sample: sample[0])
        pieces = [
            self._longest_chord(samples, piece, low, high)
            for piece, low, high in zip(rough, borders[:-1], borders[1:], strict=True)
        ]
        kinks = []
        for (_, number, before, after), left, right in zip(found, pieces, pieces[1:], strict=False):
            meeting = meeting_of(self.context, left, right)
            # A short piece can be refitted worse than it was found; its kink stays inside its interval.
            inside = meeting is not None and before.position < meeting.position < after.position
            kinks.append(meeting.number if meeting is not None and inside else number)
        return pieces, kinks

    def _longest_chord(
        self,
        samples: list[tuple[fmpq, np.ndarray]],
        rough: Piece,
        low: fmpq | None,
        high: fmpq | None,
    ) -> Piece:
        inside = [
            (t, g)
            for t, g in samples
            if (low is None or t > low) and (high is None or t < high) and self._lies_on(rough, t, g)
        ]
        if len(inside) < 2 or inside[-1][0] - inside[0][0] <= rough.baseline:
            return rough
        return self._chord(inside[0], inside[-1])

    def _piece(self, position: fmpq, answer: np.ndarray, towards: fmpq) -> Generator[list[fmpq], np.ndarray, Piece]:
        """The local piece at a position; its second answer lies on the side away from a suspected kink.

        Where answers have few bits the step is long: a third answer shows whether it went over another kink.
        """
        step = self._step(position, towards)
        if not self.context.few_bits:
            answers = yield [position + step]
            return self._chord((position, answer), (position + step, answers[0]))
        finest = self._grid_bits(position)
        shortest = 0 if finest is None else power_of_two(5 - finest)
        for tries_left in reversed(range(SHORTER_STEPS)):
            half, whole = position + step / 2, position + step
            answers = yield [half, whole]
            piece = self._chord((position, answer), (whole, answers[1]))
            if not tries_left or abs(step) < shortest or self._lies_on(piece, half, answers[0]):
                return piece
            step = step / 16
        raise AssertionError("the last try returns")

    def _step(self, position: fmpq, towards: fmpq) -> fmpq:
        """From a position to the second answer of its piece: short, towards a place it must not reach."""
        bits = self.settings.resolution_bits + 64
        if self.context.answer_bits is not None:
            bits = self.context.answer_bits // 4 - floor_log2(1 + abs(position))
        room = towards - position
        finest = self._grid_bits(position)
        if finest is not None:
            bits = min(bits, finest - 1)
        step = power_of_two(min(-bits, floor_log2(room) - 2))
        return step if room > 0 else -step

    def _pieces(self, positions: list[fmpq], end: fmpq) -> Generator[list[fmpq], np.ndarray, list[Piece]]:
        """The local pieces at many positions, all asked together."""
        if not positions:
            return []
        nexts = [t + self._step(t, after) for t, after in zip(positions, [*positions[1:], end], strict=True)]
        answers = yield [*positions, *nexts]
        here, there = answers[: len(positions)], answers[len(positions) :]
        return [self._chord((t, g), (u, h)) for t, g, u, h in zip(positions, here, nexts, there, strict=True)]

    def _chord(self, first: tuple[fmpq, np.ndarray], second: tuple[fmpq, np.ndarray]) -> Piece:
        (s, g), (t, h) = first, second
        slope = (h - g) / self.context.number(t - s)
        far = max(abs(s), abs(t))
        noise = self.context.noise(self._scale * self.context.number(1 + far))
        return Piece(s, g, slope, abs(t - s), noise)

    def _noise(self, position: fmpq) -> Number:
        return self.context.noise(self._scale * self.context.number(1 + abs(position)))

    def _lies_on(self, piece: Piece, position: fmpq, answer: np.ndarray) -> bool:
        error = 4 * (piece.error(self.context, position) + self._noise(position))
        return all(self.context.is_zero(difference, error) for difference in answer - piece.on(self.context, position))

    def _collinear(self, side: list[tuple[fmpq, np.ndarray]], sign: int) -> bool:
        (s, g), (t, h), (u, k) = side[-3:]
        return self._lies_on(self._chord((sign * s, g), (sign * t, h)), sign * u, k)

    def _same_line(self, left: Piece, right: Piece) -> bool:
        return self._lies_on(left, right.position, right.value) and self._lies_on(right, left.position, left.value)

    def _meeting(self, left: Piece, right: Piece) -> Meeting | None:
        """Where two pieces meet; a place beyond an end of the interval by no more than its error is that end."""
        meeting = meeting_of(self.context, left, right)
        if meeting is None or meeting.error == 0:
            return meeting
        nearest = min(max(meeting.position, left.position), right.position)
        if not 0 < abs(nearest - meeting.position) <= _margin(meeting):
            return meeting
        return dataclasses.replace(meeting, position=nearest, number=self.context.number(nearest))

    def _check_places(self, left: Piece, right: Piece, meeting: Meeting) -> tuple[fmpq | None, fmpq | None] | None:
        """One dyadic place on each side of t*, as near as the resolution asks and the errors allow.

        Where t* is the very place that an outer piece was sampled at (a kink on a short dyadic), that side
        is known already and needs no place; with rounded answers, where it cannot be told from that place.
        """
        left_known = meeting.position - left.position <= _margin(meeting)
        right_known = right.position - meeting.position <= _margin(meeting)
        if left_known and right_known:
            return None
        bits, finest = self.settings.resolution_bits, self._grid_bits(meeting.position)
        if self.context.answer_bits is not None:
            bits = bits - floor_log2(1 + abs(meeting.position))
        if meeting.error > 0:
            bits = min(bits, -floor_log2(_margin(meeting)))
        while bits <= self.settings.resolution_bits + 64:
            cell = power_of_two(-bits)
            if finest is not None and bits > finest:
                return None
            near = floor_to_grid(meeting.position, bits)
            before, after = near - cell, near + 2 * cell
            if (left_known or left.position < before) and (right_known or after < right.position):
                return None if left_known else before, None if right_known else after
            if meeting.error > 0 and cell < 4 * meeting.error:
                return None
            bits += 1 if meeting.error > 0 else 8
        return None

    def _wide(self, left: Piece, right: Piece, before: fmpq, after: fmpq) -> bool:
        """Whether two checks leave room for more kinks than one, and less of it than there was."""
        width = after - before
        return 4 * width < 3 * (right.position - left.position) and width > 8 * self._shortest(left.position)

    def _shortest(self, position: fmpq) -> fmpq:
        """Intervals up to this length are given up."""
        if self.context.exact:
            return power_of_two(-self.settings.resolution_bits - 32)
        return (1 + abs(position)) * power_of_two(-self.settings.resolution_bits)

    def _give_up(self, left: Piece, right: Piece, meeting: Meeting | None, cluster: Cluster | None = None) -> None:
        """Keep the change across the interval as one kink, and say that it may be several within ``cluster``."""
        if len(self._clusters) >= MOST_CLUSTERS:
            raise OracleError(
                f"{MOST_CLUSTERS} intervals as short as {float(right.position - left.position):.3g} are not explained "
                "by a kink: the oracle is not piecewise linear at its declared precision; "
                "check its activation function, or extract in the float64 context if its answers are rounded"
            )
        self._clusters.append(cluster or Cluster(left.position, right.position))
        inside = meeting is not None and left.position <= meeting.position <= right.position
        if meeting is not None and inside:
            self._found.append((meeting.position, meeting.number, left, right))
        else:
            middle = (left.position + right.position) / 2
            self._found.append((middle, self.context.number(middle), left, right))


def _margin(meeting: Meeting) -> fmpq:
    """Places nearer to t* than this are not told from it; zero where answers are exact."""
    return 16 * meeting.error


def _between_meetings(left: Piece, right: Piece, meeting: Meeting) -> fmpq:
    """Where to cut when the outputs meet at different places: between the two that are farthest apart.

    Cutting at one of the places themselves would creep towards a true kink for ever when a single output
    sees that kink alone; so would a cut between two places that are not told apart.
    """
    others = [t for t in meeting.others or () if left.position < t < right.position]
    farthest = max(others, key=lambda t: abs(t - meeting.position), default=meeting.position)
    low, high = sorted((meeting.position, farthest))
    return (
        simple_between(low, high) if high - low > _margin(meeting) else scale_free_middle(left.position, right.position)
    )


def _outside_split(left: Piece, right: Piece, meeting: Meeting | None, shortest: fmpq) -> fmpq:
    """Where to cut when the outer pieces do not meet inside: more than one kink is there.

    They meet just beyond one end when two kinks of opposite sign stand close together near that end. Then
    halving the exponent of the distance reaches a gap of 2^-200 in eight cuts; halving the distance itself
    would need two hundred. No cut is nearer to the end than answers can tell: it would creep there.
    """
    length = right.position - left.position
    if meeting is not None:
        beyond = meeting.position - right.position
        before = left.position - meeting.position
        distance = max(beyond, before)
        if 0 < distance < length / 8:
            reach = power_of_two((floor_log2(distance) + floor_log2(length)) // 2)
            reach = max(reach, shortest, _margin(meeting))
            if beyond > 0:
                return max(right.position - reach, simple_between(left.position, right.position))
            return min(left.position + reach, simple_between(left.position, right.position))
    return scale_free_middle(left.position, right.position)


def scale_free_middle(left: fmpq, right: fmpq) -> fmpq:
    """The geometric middle while the two ends are of different scale, the arithmetic one after that."""
    if left < 0 < right:
        return fmpq(0) if right - left > 4 else simple_between(left, right)
    small, large = sorted((abs(left), abs(right)))
    if large > 4 and 1 + small < large / 16:
        size = power_of_two((floor_log2(1 + small) + floor_log2(large) + 1) // 2)
        return size if right > 0 else -size
    return simple_between(left, right)
