"""All kinks found so far, the lines they were found on, and the gradients measured between them."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from flint import arb, fmpq, fmpz, fmpz_mat, nmod_mat

from jaxtract.geometry.known_layers import KnownLayers, Matrix, Pattern
from jaxtract.geometry.on_line import LineImage, image_of, zeros_on_line
from jaxtract.geometry.rational_form import RationalForm
from jaxtract.measurement.balls import measured_profile, measuring, searching
from jaxtract.measurement.gradients import gradient_columns, gradients_on_line
from jaxtract.measurement.noise import term_size
from jaxtract.search.context_lines import Asker, LineSettings, search_again, search_lines
from jaxtract.search.lines import Line, LineProfile
from precision.balls import accuracy_bits, independent_sum, middle, steepest, vanishes
from precision.context import Number, rational_matrix
from precision.dyadic import dyadic_matrix, simple_between
from precision.modular import modular

FEWEST_BITS = 16
"""Bits that a measured normal must have: two kinks that are hardly told apart give none."""

ROUGHEST = 2.0**-24
"""A place that is known more roughly than this says nothing about the neuron that is there."""

BESIDE = fmpq(1, 2**16)
"""How far beside a zero that no kink shows f is asked, as a share of the way to the end of the piece."""

PER_PIECE = (fmpq(1, 3), fmpq(3, 4))
"""Shares of a piece at which its values are taken."""

Place = tuple[int, Number]
"""(line, position on it)"""


@dataclasses.dataclass
class SearchedLine:
    """A line on the slice, its pieces and kinks, and the gradients of f in some of its regions.

    ``gradients[i]`` has shape (outputs, rank). ``dyadic`` is False for the image of a line of the full space, on
    which nothing more can be asked. A ``border`` is one kink seen from near, its line so stretched that nothing else
    is on it; in its first region f is what was recovered at the time. ``columns[i]`` holds single columns of gradients
    that are not known as a whole, by coordinate, each of shape (outputs,). ``whole``: of an image, the line itself, and
    the gradients (outputs, inputs) there; between balls the image is not known as well.
    """

    line: Line
    profile: LineProfile
    gradients: dict[int, np.ndarray]
    dyadic: bool = True
    border: bool = False
    columns: dict[int, dict[int, np.ndarray]] = dataclasses.field(default_factory=dict)
    whole: tuple[Line, dict[int, np.ndarray]] | None = None
    _images: list[tuple[Matrix, list[Number], LineImage]] = dataclasses.field(default_factory=list)
    _modular: dict[int, nmod_mat] = dataclasses.field(default_factory=dict)

    @property
    def kinks(self) -> tuple[Number, ...]:
        return self.profile.kinks

    def point(self, position: Number) -> list[Number]:
        return [p + position * v for p, v in zip(self.line.base, self.line.direction, strict=True)]

    def modular_gradient(self, piece: int) -> nmod_mat:
        """A gradient that is known, its rows times some number each, modulo the prime; (outputs, rank)."""
        if piece not in self._modular:
            self._modular[piece] = modular(self.gradients[piece])
        return self._modular[piece]

    def image(self, layers: KnownLayers) -> LineImage:
        """What the first layer sees of the line; the last few are kept."""
        weight, bias = layers.weights[0], layers.biases[0]
        for known, offsets, image in self._images:
            if known is weight or (layers.exact and known == weight and offsets == bias):
                return image
        image = image_of(layers, self.line.base, self.line.direction)
        self._images = [*self._images[-3:], (weight, list(bias), image)]
        return image

    def carried(self, start: int, stop: int, normals: Mapping[int, np.ndarray]) -> np.ndarray:
        """The gradient in region ``stop`` from that in ``start``, across kinks whose normals are known."""
        gradient, pieces = self.gradients[start], self.profile.pieces
        side = 1 if stop > start else -1
        for k in range(min(start, stop), max(start, stop)):
            rate = normals[k] @ np.array(self.line.direction, dtype=object)
            gradient = gradient + side * np.outer((pieces[k + 1].slope - pieces[k].slope) / rate, normals[k])
        return gradient

    def ends(self) -> list[Number]:
        """Where its pieces begin and end; the outer ones some way out."""
        return [self.middle(0) * 2, *self.kinks, self.middle(len(self.kinks)) * 2]

    def middle(self, piece: int) -> Number:
        """A position inside a region."""
        kinks = self.kinks
        if not kinks:
            return fmpq(0)
        if piece == 0:
            return kinks[0] - 1 - abs(kinks[0])
        if piece == len(kinks):
            return kinks[-1] + 1 + abs(kinks[-1])
        return (kinks[piece - 1] + kinks[piece]) / 2


@dataclasses.dataclass(frozen=True)
class Sighting:
    """One kink: which, where, and the affine form whose zero it is (None: two neurons at once, or not measured)."""

    line: int
    kink: int
    point: list[fmpq]
    form: RationalForm | None


class Pool:
    """Lines and kinks on one slice."""

    def __init__(self, asker: Asker, inputs: int):
        self.asker = measuring(asker)
        self.inputs = inputs
        self.lines: list[SearchedLine] = []
        self._sightings: dict[tuple[int, int], Sighting] = {}

    def search(self, lines: Sequence[Line], settings: LineSettings, known: KnownLayers | None = None) -> None:
        """Search lines whose base and direction are dyadic; they join the pool.

        ``known``: exact layers, whose neurons' zeros on the lines are where f is expected to bend.
        """
        expected = None
        if known is not None:
            expected = [zeros_on_line(known, image_of(known, line.base, line.direction)) for line in lines]
        asker = searching(self.asker)
        farthest = max(max(abs(x) for x in line.base) for line in lines)
        found = search_lines(
            asker,
            dyadic_matrix([line.base for line in lines], self.inputs),
            dyadic_matrix([line.direction for line in lines], self.inputs),
            settings=dataclasses.replace(settings, size=max(settings.size, term_size(asker.context, farthest))),
            expected=expected,
        )
        profiles = [measured_profile(self.asker, profile) for profile in found]
        self.lines.extend(SearchedLine(line, profile, {}) for line, profile in zip(lines, profiles, strict=True))

    def measure(
        self,
        kinks: Sequence[tuple[int, int]],
        known: KnownLayers | None = None,
        spanning: KnownLayers | None = None,
    ) -> None:
        """The gradients on both sides of kinks (line, kink), shared between neighbours; ``measure_pieces``."""
        self.measure_pieces([(i, k + side) for i, k in kinks for side in (0, 1)], known, spanning)

    def measure_pieces(
        self,
        wanted: Sequence[tuple[int, int]],
        known: KnownLayers | None = None,
        spanning: KnownLayers | None = None,
    ) -> None:
        """The gradients in regions (line, piece) that are not known yet; rank - 1 queries each, less known columns.

        ``known``: exact layers. Across the boundary of one of their neurons the gradient changes by a multiple of a
        normal that is known, and the slopes along the line tell which: it is carried from region to region.
        ``spanning``: layers with all signs, between balls. Where nothing is missing in one of them, the gradient is a
        combination of those of its neurons that are on.
        """
        for index, searched in enumerate(self.lines):
            pieces = sorted({k for i, k in wanted if i == index} - searched.gradients.keys())
            normals = self._known_normals(index, known) if pieces and known is not None else {}
            asked = []
            for piece in pieces:
                if not any(_joined(piece, other, normals) for other in [*searched.gradients, *asked]):
                    asked.append(piece)
            for columns in sorted({tuple(sorted(searched.columns.get(k, {}))) for k in asked}):
                alike = [k for k in asked if tuple(sorted(searched.columns.get(k, {}))) == columns]
                self._measure_alike(index, alike, columns, spanning)
            for piece in pieces:
                if piece not in asked:
                    start = next(other for other in searched.gradients if _joined(piece, other, normals))
                    searched.gradients[piece] = searched.carried(start, piece, normals)

    def _known_normals(self, index: int, known: KnownLayers) -> dict[int, np.ndarray]:
        """Normals of the boundaries at those kinks of a line at which a single known neuron is zero."""
        kinks = self.lines[index].kinks
        if not kinks:
            return {}
        heights, _ = self.heights(known, [(index, t) for t in kinks])
        tables, found = [z.tolist() for z in heights], {}
        for k, pattern in enumerate(known.patterns(heights)):
            zeros = [
                (layer, i)
                for layer, table in enumerate(tables)
                for i, x in enumerate(table[k])
                if x == 0 and not known.linear[layer][i]
            ]
            if len(zeros) == 1:
                normal = np.array([fmpq(x) for x in known.form(*zeros[0], pattern).normal], dtype=object)
                # A neuron may be zero all along a piece; what bends f there is another one.
                if normal @ np.array(self.lines[index].line.direction, dtype=object) != 0:
                    found[k] = normal
        return found

    def _measure_alike(
        self, index: int, pieces: Sequence[int], known: Sequence[int], spanning: KnownLayers | None
    ) -> None:
        """The gradients in regions of one line of which the same columns are known."""
        searched = self.lines[index]
        before = [{k: searched.columns[piece][k] for k in known} for piece in pieces]
        spans = None
        if spanning is not None:
            patterns = self.patterns(spanning, [(index, searched.middle(piece)) for piece in pieces])
            spans = [_spans(spanning, pattern) for pattern in patterns]
        gradients = gradients_on_line(self.asker, searched.line, searched.profile, pieces, before, spans)
        searched.gradients.update(zip(pieces, gradients, strict=True))

    def measure_one_axis(self, kinks: Sequence[tuple[int, int]], rng: np.random.Generator) -> None:
        """One column of the gradients on both sides of kinks, the same all along a line; one query a region."""
        for index, searched in enumerate(self.lines):
            pieces = sorted({k + side for i, k in kinks if i == index for side in (0, 1)} - searched.columns.keys())
            if not pieces:
                continue
            used = [axis for known in searched.columns.values() for axis in known]
            others = [k for k in range(self.inputs) if k != searched.line.pivot]
            axis = used[0] if used else others[int(rng.integers(len(others)))]
            columns = gradient_columns(self.asker, searched.line, searched.profile, pieces, [axis])
            for piece, column in zip(pieces, columns, strict=True):
                searched.columns[piece] = {axis: column[:, 0]}

    def gradient_places(self) -> list[tuple[int, int]]:
        """Regions (line, piece) in which the gradient is known."""
        return [(i, k) for i, line in enumerate(self.lines) for k in sorted(line.gradients)]

    def borders(self) -> list[int]:
        """The lines that are one kink seen from near."""
        return [index for index, line in enumerate(self.lines) if line.border]

    def border_heights(self, layers: KnownLayers, border: int) -> tuple[list[Matrix], list[fmpz]]:
        """As ``heights``, at the kink of a border and then just behind it."""
        return self.heights(layers, [(border, self.lines[border].kinks[0]), (border, fmpq(1))])

    def is_measured(self, kink: tuple[int, int]) -> bool:
        """Whether the gradients on both sides are known."""
        line, k = kink
        return {k, k + 1} <= self.lines[line].gradients.keys()

    def sighting(self, line: int, kink: int) -> Sighting:
        """The measured kink as a point and a form."""
        if (line, kink) not in self._sightings:
            found = self._sighting(line, kink)
            if found.form is None and not self.is_measured((line, kink)):
                return found
            self._sightings[line, kink] = found
        return self._sightings[line, kink]

    def _sighting(self, line: int, kink: int) -> Sighting:
        searched = self.lines[line]
        point = searched.point(searched.kinks[kink])
        if not self.is_measured((line, kink)):
            return Sighting(line, kink, point, None)
        jump = searched.gradients[kink + 1] - searched.gradients[kink]
        whole, place = jump, point
        if searched.whole is not None:
            full, gradients = searched.whole
            place = [p + searched.kinks[kink] * v for p, v in zip(full.base, full.direction, strict=True)]
            whole = gradients[kink + 1] - gradients[kink]
        form = _form(jump, whole, place)
        if form is not None and any(isinstance(x, arb) and x.rad() > ROUGHEST * (1 + abs(x)) for x in place):
            form = None
        return Sighting(line, kink, point, form)

    def heights(self, layers: KnownLayers, places: Sequence[Place]) -> tuple[list[Matrix], list[fmpz]]:
        """Pre-activations of all layers at positions on lines, times a positive scale each: (per layer, scales)."""
        entries: list[Number] = []
        scales: list[fmpz] = []
        for index, group in itertools.groupby(places, key=lambda place: place[0]):
            values, own = self.lines[index].image(layers).at([t for _, t in group])
            entries += values.entries()
            scales += own
        first = type(layers.weights[0])(len(scales), layers.widths[0], entries)
        return layers.preactivations_behind(first, scales), scales

    def patterns(self, layers: KnownLayers, places: Sequence[Place]) -> list[Pattern]:
        """The regions of positions on lines."""
        return layers.patterns(self.heights(layers, places)[0]) if places else []

    def places(self, kinks: Sequence[tuple[int, int]]) -> list[Place]:
        """Positions of kinks (line, kink)."""
        return [(i, self.lines[i].kinks[k]) for i, k in kinks]

    def search_again(self, doubted: Sequence[tuple[int, fmpq]], settings: LineSettings) -> bool:
        """Look just beside zeros on lines that no kink shows; True where f bends more often than was seen.

        A line that bends more often is put at the end of the pool, with its gradients; what was known by its old place
        is known of kinks that are no longer told apart rightly, and nothing is left there.
        """
        renewed = False
        for index, zeros in itertools.groupby(sorted(doubted), key=lambda place: place[0]):
            line = self.lines[index]
            ends = line.ends()
            places = [t for zero in zeros for t in _beside(zero[1], ends)]
            profile = search_again(self.asker, line.line, line.profile, places, settings)
            if len(profile.kinks) > len(line.kinks):
                self.lines[index] = SearchedLine(
                    line.line, dataclasses.replace(profile, pieces=(), kinks=()), {}, False
                )
                self.lines.append(_with_profile(line, profile))
                renewed = True
        return renewed

    def known_values(self) -> list[tuple[Place, np.ndarray]]:
        """Places where f is known from the lines, ``PER_PIECE`` in every piece: (place, value (outputs,))."""
        found = []
        for index, line in enumerate(self.lines):
            if not line.profile.pieces:
                continue
            ends = [middle(t) for t in line.ends()]
            for piece, left, right in zip(line.profile.pieces, ends[:-1], ends[1:], strict=True):
                for share in PER_PIECE:
                    t = left + (right - left) * share
                    found.append(((index, t), piece.at(t - piece.position)))
        return found

    def all_kinks(self) -> list[tuple[int, int]]:
        return [(i, k) for i, line in enumerate(self.lines) for k in range(len(line.kinks))]


def _with_profile(line: SearchedLine, profile: LineProfile) -> SearchedLine:
    """A line whose pieces are known better, with the gradients of those that are between the same kinks as before."""
    before = {ends: piece for piece, ends in enumerate(itertools.pairwise([None, *line.kinks, None]))}
    same = {
        piece: before[ends]
        for piece, ends in enumerate(itertools.pairwise([None, *profile.kinks, None]))
        if ends in before
    }
    return SearchedLine(
        line.line,
        profile,
        {piece: line.gradients[old] for piece, old in same.items() if old in line.gradients},
        columns={piece: line.columns[old] for piece, old in same.items() if old in line.columns},
    )


def _beside(zero: fmpq, ends: Sequence[Number]) -> tuple[fmpq, fmpq]:
    """A dyadic place just before a position on a line and one just behind it, in the same piece."""
    k = bisect.bisect(ends[1:-1], zero)
    low, high = fmpq(ends[k]), fmpq(ends[k + 1])
    return (
        simple_between(zero - (zero - low) * BESIDE, zero),
        simple_between(zero, zero + (high - zero) * BESIDE),
    )


def _spans(layers: KnownLayers, pattern: Pattern) -> list[np.ndarray]:
    """What a gradient of f in a region may be a combination of: by the last of the layers, then by the first."""
    found = []
    for depth in sorted({layers.depth, 1}, reverse=True):
        on = np.flatnonzero(pattern[depth - 1])
        if len(on) and not layers.in_doubt(pattern, depth):
            rows = layers.forms(depth - 1, pattern)[0].tolist()
            found.append(np.array([rows[i] for i in on], dtype=object))
    return found


def _joined(piece: int, other: int, normals: Mapping[int, np.ndarray]) -> bool:
    """Whether only kinks of known normals are between two regions."""
    return all(k in normals for k in range(min(piece, other), max(piece, other)))


def _form(jump: np.ndarray, whole: np.ndarray, point: Sequence[Number]) -> RationalForm | None:
    """Row of a rank-one jump (outputs, rank); None when it has another rank. Its offset from the jump at a point.

    ``whole``, ``point``: the jump on other inputs (outputs, inputs), where the point is known better, or the same.
    """
    sizes = [max(abs(x) for x in row) for row in jump]
    o = max(range(len(sizes)), key=lambda k: sizes[k])
    pivot = steepest(jump[o])
    if vanishes(sizes[o]) or _too_rough(jump[o], sizes[o]) or not _of_rank_one(jump, o, pivot):
        return None
    terms = [n * x for n, x in zip(whole[o], point, strict=True)]
    return RationalForm(list(jump[o]), -(sum(terms, fmpq(0)) if whole is jump else independent_sum(terms)))


def _of_rank_one(jump: np.ndarray, o: int, pivot: int) -> bool:
    """Whether all rows are multiples of row ``o``, which is not zero at ``pivot``."""
    if isinstance(jump[o][pivot], arb):
        return not any(any(row * jump[o][pivot] != jump[o] * row[pivot]) for row in jump)
    whole, _ = rational_matrix(jump).numer_denom()
    rows, columns = jump.shape
    column = fmpz_mat(rows, 1, [whole[k, pivot] for k in range(rows)])
    return column * fmpz_mat(1, columns, [whole[o, k] for k in range(columns)]) == whole * whole[o, pivot]


def _too_rough(normal: Sequence[Number], size: Number) -> bool:
    """Whether a normal is known to so few bits that its hyperplane would be met everywhere."""
    return any(accuracy_bits(n, size) < FEWEST_BITS for n in normal if isinstance(n, arb))
