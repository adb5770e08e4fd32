"""Follow the boundary of an unknown neuron through known regions: one unknown weight per crossing.

Inside a region of the known layers the neuron is an affine form Z, known up to scale from one measured normal.
Beyond the boundary z_h = 0 of a known neuron it is Z + beta z_h, and one short transversal just behind the
crossing shows beta. Walking costs computation only; a crossing whose beta follows from weights already known costs
nothing. (Rolnick and Koerding 2020, section 4.3, find the weights of deeper layers from boundaries that bend;
one weight per bend, so that regions of deficient rank do no harm.)

The way is planned in float64. Where something is measured the point is put onto the boundary exactly enough that
no measurement depends on it.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Generator, Sequence

import numpy as np
from flint import arb, fmpq, fmpz_mat

from jaxtract.geometry.distances import distances
from jaxtract.geometry.grid import (
    GRID_BITS,
    ONE,
    GridVector,
    floats_to_grid,
    to_floats,
    to_grid,
)
from jaxtract.geometry.known_layers import AffineForm, KnownLayers, Pattern, whole
from jaxtract.geometry.rational_form import AnchoredForm, RationalForm, dot, value_at
from jaxtract.layers.any_depth.walk.joint_form import JointForm, largest
from jaxtract.layers.any_depth.walk.rounded_signs import tells_signs
from jaxtract.layers.any_depth.walk.row_system import InconsistentRow, RowSystem
from jaxtract.layers.any_depth.walk.star import common_ratio, room, roughest, roughness, star_around
from jaxtract.layers.any_depth.walk.transversal import (
    Asked,
    Probe,
    across_boundary,
    beta_of,
    kink_between,
    tangent_to,
    transversal,
)
from jaxtract.layers.any_depth.walk.way import bent_onto, first_hit
from precision.balls import bits_in_use, middle, quotient, to_float, vanishes
from precision.context import FEW_BITS, Number
from precision.estimates import NoFitError

BEYOND_BITS = 160
"""The transversal runs 2^-BEYOND_BITS behind the crossed boundary ..."""

BESIDE_BITS = 80
"""... and asks 2^-BESIDE_BITS and twice that away from the neuron's own boundary, on both sides."""

FEWEST_LOST = 2
"""A neuron is given up when this many crossings showed nothing, and more than a third as many as showed something."""

BEHIND_BITS = 6
"""There the height over the wall is known to so many bits."""

DEEP_TRIES = 3
"""Places behind a wall at which a boundary is looked for where bits are few."""

PREDICTED_BITS = 1
"""A place on the boundary must be predicted to this many bits less than the window in which it is looked for."""

NEAREST_SHARE = 2.0**-12
"""Else it is looked for nearer to the wall first, down to this share of the way."""

AGAIN, MOST_AGAIN = 8.0, 40
"""How much farther a wall counts for every time that it was crossed before, and how many times count."""

AIMED = 12
"""Steps without anything new after which a walk aims at another neuron."""

MOST_STALE = 12 * AIMED
"""Steps without anything new after which a walk ends."""

MOST_RENEWALS = 4
"""Times that a walk's form may be measured again, beyond half the width of the layer before."""

WIDER_BITS = (0, 4, 8)
"""A boundary that is known too roughly to be met where it is looked for is looked for so much farther around."""

SHORTER_BITS, MOST_SHORTER = 3, 7
"""Steps of a form measured anew that leave its region are tried again so much shorter, up to so much."""

FEWEST_CROSSINGS = 4
"""Weights that must be known before a neuron's equations are trusted with the signs of a layer."""


@dataclasses.dataclass
class Place:
    """A point on the neuron's boundary, the region it is in, and the neuron's form there.

    ``scale`` times the form is the neuron in the scale in which the walk began. ``walls``: the region's, in float64.
    """

    point: GridVector
    pattern: Pattern
    form: RationalForm
    scale: Number = dataclasses.field(default_factory=lambda: fmpq(1))
    walls: list[tuple[np.ndarray, np.ndarray]] | None = None


Seen = tuple[GridVector, Number]
"""A point where the boundary was seen, and by how much the form may differ from zero there."""


class BoundaryWalk:
    """The walk along the boundary of one neuron of layer ``layers.depth + 1``.

    Args:
        layers: all layers before the neuron's own.
        signs: of the last of these layers; 0 where unknown.
        form: the neuron's pre-activation around ``point``, up to a factor.
        point: where the neuron was seen.
        rng: breaks ties and chooses ways where the nearest one failed.
    """

    def __init__(
        self,
        layers: KnownLayers,
        signs: Sequence[int],
        form: RationalForm,
        point: Sequence[Number],
        rng: np.random.Generator,
    ):
        self.layers = layers
        self.own = layers.depth - 1
        self.rng = rng
        self.crossings = 0
        self.lost = 0
        self.steps = 0
        self.stale = 0
        self.renewals = 0
        self._roughest = np.inf if layers.exact else roughest(form)
        self._failed: set[int] = set()
        self._aim: tuple[int, int] | None = None
        self._last: tuple[int, int] | None = None
        self._met: collections.Counter[tuple[int, int]] = collections.Counter()
        start = to_grid([middle(x) for x in point])
        if isinstance(form.offset, arb) and bits_in_use() < FEW_BITS:
            off = sum((abs(n) * arb(x).rad() for n, x in zip(form.normal, point, strict=True)), arb(0))
            # The point may be an image that is known less well than the form is.
            form = AnchoredForm(form.normal, start, arb(0, min(off.upper(), abs(arb(form.at(start))).upper())))
        start = form.put_onto(start)
        self.start = Place(start, layers.pattern(_row(start), [ONE])[0], *form.in_integers())
        self.place = self.start
        # Where some weight before it acts that is not known, its form says nothing of its weights.
        self.inconsistent = layers.in_doubt(self.start.pattern, layers.depth)
        self.visited = [self.start]
        self.sightings: list[list[Number]] = []
        self.system = RowSystem(self.start.pattern[self.own], signs)
        self._joint: JointForm | None = None
        if not layers.exact and bits_in_use() < FEW_BITS:
            self._joint = JointForm(layers, self.start.pattern[self.own], largest(self.start.form.normal))
            self._joint.add_normal(self.start.pattern, self.start.form.normal)
            self._joint.add_place(self.start.point, self.start.pattern, self.start.form.at(self.start.point))
        self._earlier = self._off_at_start()

    def weigh_start(self) -> None:
        """Equations of the measured normal: one per coordinate."""
        matrix, _ = self.layers.forms(self.own, self.start.pattern)
        for column, value in zip(matrix.transpose().tolist(), self.start.form.normal, strict=True):
            self.system.add(self.start.pattern[self.own], [whole(x) for x in column], self.start.scale * value)
        self._resolve()

    def learn_row(self, weights: Sequence[Number | None]) -> None:
        """Weights of the neuron that other kinks of it told, in a scale of their own; the signs are known."""
        own = self.system.weights
        both = [i for i in own if weights[i] is not None]
        ratio = common_ratio([own[i] for i in both], [weights[i] for i in both]) if both else None
        if ratio is None:
            return
        told = {i: w * ratio for i, w in enumerate(weights) if w is not None and i not in own}
        try:
            self.system.know(told)
        except InconsistentRow:
            self.inconsistent = True
        if self._joint is not None:
            for i, weight in told.items():
                self._joint.add_weight(i, weight, self.system.signs)

    def learn_signs(self, signs: Sequence[int]) -> None:
        """Signs of the last known layer, found after the walk."""
        try:
            self.system.learn_signs(signs)
        except InconsistentRow:
            self.inconsistent = True
        else:
            self._resolve()

    def leave_to_carriers(self) -> None:
        """Count neurons that were never crossed with the linear units, which carry all that they may add."""
        linear = self.layers.linear[self.own]
        try:
            self.system.count_as_off([i for i in self.system.unknown if not linear[i]])
        except InconsistentRow:
            self.inconsistent = True

    def run(self, most_steps: int, *, for_signs: bool = False) -> Probe:
        """Walk until every weight is known, or nothing new comes. Yields transversals to be asked.

        ``for_signs``: end as soon as the equations are enough for the open signs; with known signs the walk goes on
        more cheaply (``learn_signs``, then ``run`` again).
        """
        self.steps = self.stale = 0
        most_crossings = self.crossings + 16 + 2 * self.system.width
        while (
            not self.inconsistent
            and not self.given_up
            and (self._open_targets() or self._open_carriers())
            and self.steps < most_steps
            and self.stale < MOST_STALE
            and self.crossings < most_crossings
            and self.renewals < MOST_RENEWALS + self.system.width // 2
            and not (for_signs and self._enough_for_signs())
        ):
            self.steps += 1
            self.stale += 1
            plan = self._plan()
            if plan is None:
                self._go_back()
                continue
            yield from self._cross(*plan)

    def sharpen(self) -> None:
        """Weights that were crossed from all places together, where that tells them better than the crossing did."""
        if self._joint is None or self.inconsistent:
            return
        try:
            found = self._joint.weights(self.system.signs.tolist())
        except NoFitError:
            self.inconsistent = True
            return
        self.system.sharpen({i: found[i] for i, w in self.system.weights.items() if found[i].rad() < arb(w).rad()})

    def bias(self) -> Number | None:
        """In the scale of the walk; None while an active weight is open."""
        _, offsets = self.layers.forms(self.own, self.place.pattern)
        inner = self.system.value(self.place.pattern[self.own], [whole(x) for x in offsets])
        return None if inner is None else self.place.scale * self.place.form.offset - inner

    @property
    def given_up(self) -> bool:
        return self.lost >= FEWEST_LOST and 3 * self.lost > self.crossings

    @property
    def trusted(self) -> bool:
        """Whether the neuron behaved as one of this layer on enough crossings to believe its equations."""
        return self.crossed_enough and not self.given_up

    @property
    def crossed_enough(self) -> bool:
        """Whether so many crossings fit together, whatever others did not show."""
        return self.crossings >= FEWEST_CROSSINGS and not self.inconsistent

    def _enough_for_signs(self) -> bool:
        """Signs are open, and this neuron alone can tell them, once a few weights are known."""
        if self.system.signs.all() or self.own == 0:
            return False
        return self.crossings >= FEWEST_CROSSINGS and tells_signs(self.system)

    def _open_targets(self) -> list[int]:
        linear = self.layers.linear[self.own]
        return [i for i in self.system.unknown if i not in self._failed and not linear[i]]

    def _open_carriers(self) -> dict[int, list[int]]:
        """Neurons of earlier layers, (layer: neurons), that a skip may read with a weight that is not known."""
        found: dict[int, list[int]] = {}
        for (layer, neuron), carrier in self.layers.carriers.items():
            if carrier not in self.system.weights:
                found.setdefault(layer, []).append(neuron)
        return found

    def _resolve(self) -> None:
        try:
            self.system.resolve()
        except InconsistentRow:
            self.inconsistent = True

    # -- planning, float64 --

    def _plan(self) -> tuple[int, int, np.ndarray] | None:
        """(layer, neuron, direction) of the next crossing on the way to the nearest open neuron."""
        place = self.place
        forms = place.walls or self.layers.walls64(place.pattern)
        x = to_floats(place.point)
        normal = place.form.normal64()
        values = [matrix @ x + offset for matrix, offset in forms]
        tangent = [matrix - np.outer(matrix @ normal, normal) for matrix, _ in forms]
        for direction in self._directions(tangent, values, normal):
            hit = first_hit(tangent, values, place.pattern, direction)
            if hit is not None and not self._in_doubt_behind(*hit[:2]):
                return hit[0], hit[1], direction
        return None

    def _in_doubt_behind(self, layer: int, neuron: int) -> bool:
        """Whether some weight that is not known may act behind a wall."""
        if self.place.pattern[layer][neuron] or not self.layers.any_open:
            return False
        behind = [side.copy() for side in self.place.pattern]
        behind[layer][neuron] = True
        return self.layers.in_doubt(behind, self.layers.depth)

    def _directions(self, tangents: list[np.ndarray], values: list[np.ndarray], normal: np.ndarray) -> list[np.ndarray]:
        """Towards the neuron that was aimed at last, the nearest open neurons, then anywhere."""
        targets: list[tuple[float, tuple[int, int], np.ndarray]] = []
        for layer, open_ in self._targets().items():
            lengths = np.linalg.norm(tangents[layer], axis=1)
            for i in open_:
                if lengths[i] > 1e-9:
                    # What failed before, or led nowhere, is not tried in the same order again.
                    astray = 0.3 * (self.lost + self.stale // AIMED)
                    distance = abs(values[layer][i]) / lengths[i] * np.exp(astray * self.rng.standard_normal())
                    # A wall of an earlier layer that was crossed teaches something again only in other regions.
                    distance *= AGAIN ** min(self._met[layer, i], MOST_AGAIN)
                    way = self._not_back(-np.sign(values[layer][i]) * tangents[layer][i] / lengths[i], tangents, values)
                    # Who turns to the nearest one behind every wall goes to and fro.
                    targets.append((-1.0 if (layer, i) == self._aim else distance, (layer, i), way))
        targets.sort(key=lambda target: target[0])
        self._aim = targets[0][1] if targets and self.stale % AIMED else None
        found = [direction for _, _, direction in targets[:3]]
        for _ in range(3):
            free = self.rng.standard_normal(len(normal))
            free -= (free @ normal) * normal
            if np.linalg.norm(free) > 0:
                found.append(free / np.linalg.norm(free))
        return found

    def _not_back(self, way: np.ndarray, tangents: list[np.ndarray], values: list[np.ndarray]) -> np.ndarray:
        """A way that leads back to the wall that was just crossed runs along it instead."""
        if self._last is None:
            return way
        layer, neuron = self._last
        wall = tangents[layer][neuron] * np.sign(values[layer][neuron])
        towards = wall @ way
        return way - towards / (wall @ wall) * wall if towards < 0 and wall @ wall > 0 else way

    def _targets(self) -> dict[int, list[int]]:
        """Neurons whose crossing teaches something: (layer: neurons).

        Open weights; and while signs are open, neurons of earlier layers that were off when the walk began, because
        only they add an equation. Exactly known, an open weight serves the signs as well as an equation does.
        """
        targets = {self.own: self._open_targets(), **self._open_carriers()}
        if not self.system.signs.all() and not (self.layers.exact and targets[self.own]):
            for layer, neurons in self._earlier.items():
                targets[layer] = sorted(neurons)
        return targets

    def _off_at_start(self) -> dict[int, set[int]]:
        return {layer: set(np.nonzero(~self.start.pattern[layer])[0].tolist()) for layer in range(self.own)}

    def _go_back(self) -> None:
        """Continue from another place that was on the boundary for certain."""
        self.place = self.visited[int(self.rng.integers(len(self.visited)))]
        self._last = None

    # -- crossing, exact --

    def _cross(self, layer: int, neuron: int, direction: np.ndarray) -> Probe:
        place = self.place
        wall = self.layers.form(layer, neuron, place.pattern)
        along = tangent_to(place.form, direction)
        rate = dot(wall.normal, along)
        height = dot(wall.normal, place.point) + wall.offset * ONE
        upwards = not place.pattern[layer][neuron]
        if vanishes(rate) or (rate > 0) != upwards or (height < 0) != upwards:
            self._go_back()  # float64 saw this wall where it is not
            return
        step = middle(quotient(-height, rate))
        p, q = int(step.p), int(step.q)
        crossing = [x + p * v // q for x, v in zip(place.point, along, strict=True)]
        crossing = place.form.put_onto(crossing)
        self._met[layer, neuron] += 1
        if self._aim == (layer, neuron):
            self._aim = None
        effect = self._effect(layer, neuron, place.pattern, upwards)
        side = place.pattern[self.own]
        seen: Seen | None = None
        known = self.system.value(side, effect) if layer < self.own else self._own_effect(neuron, upwards)
        if known is not None:
            beta = known / place.scale
        else:
            beta = yield from self._measure(place, wall, along, crossing)
            if isinstance(beta, arb):
                beta, seen = yield from self._measure_again(place, layer, neuron, wall, beta, crossing, direction)
            if beta is None:
                self.lost += 1
                self._go_back()
                return
            self.crossings += 1
            self.stale = 0
            self._learn(layer, neuron, upwards, side, effect, beta * place.scale)
        self._enter(self._behind(place, layer, neuron, wall, beta, crossing, direction, seen), (layer, neuron))
        if self.place is place or self.layers.exact:
            return
        if self._joint is not None:
            if seen is not None:
                self._joint.add_place(seen[0], self.place.pattern, seen[1] * place.scale)
            self._take_joint_form()
        if not self.inconsistent and roughness(self.place.form) > self._roughest:
            self.renewals += 1
            if not (yield from self._measure_form()):
                self.visited.pop()
                self._go_back()

    def _effect(self, layer: int, neuron: int, pattern: Pattern, upwards: bool) -> list[Number]:
        """Change of every z_i of the last known layer, in units of the crossed form."""
        if layer == self.own:
            return []
        change = self.layers.derivative(layer, neuron, self.own, pattern)
        return change if upwards else [-c for c in change]

    def _own_effect(self, neuron: int, upwards: bool) -> Number | None:
        weight = self.system.weights.get(neuron)
        return None if weight is None else weight if upwards else -weight

    def _measure(
        self, place: Place, wall: AffineForm, along: GridVector, crossing: GridVector
    ) -> Generator[Asked, np.ndarray, Number | None]:
        """beta of Z + beta z_h from one transversal behind the wall; None when nothing bends there."""
        beyond, beside = self._distances()
        if not self.layers.exact:
            beyond = max(beside, min(beyond, _told_behind(wall, along, crossing)))
        base = [x + (v >> beyond) for x, v in zip(crossing, along, strict=True)]
        across = [v >> beside for v in across_boundary(place.form, wall)]
        answers = yield transversal(base, across)
        return beta_of(place.form, wall, base, across, answers)

    def _distances(self) -> tuple[int, int]:
        return (BEYOND_BITS, BESIDE_BITS) if self.layers.exact else (distances().beyond, distances().beside)

    def _measure_again(
        self,
        place: Place,
        layer: int,
        neuron: int,
        wall: AffineForm,
        beta: arb,
        crossing: GridVector,
        direction: np.ndarray,
    ) -> Generator[Asked, np.ndarray, tuple[arb | None, Seen | None]]:
        """beta from a transversal far behind the wall, where the first one predicts the boundary; or the first.

        None where bits are few, so that the first one is too rough to be of use.
        """
        few_bits = bits_in_use() < FEW_BITS
        best, seen, share, tries = beta, None, 1.0, DEEP_TRIES if few_bits else 1
        while tries:
            behind = self._behind(place, layer, neuron, wall, best, crossing, direction, share=share)
            if behind is None:
                tries -= 1
                continue
            place_there, length = behind
            window = min(1.0, length / share)
            nearer = _too_far(place_there, window) if few_bits else 0
            if nearer and share > NEAREST_SHARE:
                share *= 2.0**-nearer
                continue
            unit = floats_to_grid(np.array([window]))[0]
            across = [(v * unit) >> (GRID_BITS + distances().beside) for v in across_boundary(place_there.form, wall)]
            answers = yield transversal(place_there.point, across)
            again = beta_of(place.form, wall, place_there.point, across, answers)
            # Another neuron's kink on the long way would contradict what was seen from near.
            if again is None or again != best or again.rad() > best.rad():
                tries -= 1
                continue
            position = kink_between(answers)
            assert position is not None, "beta was computed from it"
            self.sightings.append(
                [(x + position * v) / ONE for x, v in zip(place_there.point, across, strict=True)],
            )
            point, off = moved(place_there.point, across, position)
            best, seen = again, (point, off * abs(place_there.form.along(across)))
            if share == 1.0:
                break
            share = 1.0
        return (None if few_bits and seen is None else best), seen

    def _take_joint_form(self) -> None:
        """The form at the place from all that was seen so far, where that is sharper."""
        assert self._joint is not None, "only where every bit counts"
        place = self.place
        off = abs(arb(place.form.at(place.point)) * place.scale).upper()
        try:
            form = self._joint.at(place.point, place.pattern, off, self.system.signs.tolist())
        except NoFitError:
            self.inconsistent = True
            return
        if roughness(form) < roughness(place.form):
            self.place = self.visited[-1] = dataclasses.replace(place, form=form, scale=fmpq(1))

    def _measure_form(self) -> Generator[Asked, np.ndarray, bool]:
        """The form at the place again from f itself, where too much of it was lost on the way; whether that worked."""
        place = self.place
        walls = self.layers.walls64(place.pattern)
        length = min(1.0, room(walls, to_floats(place.point), place.form.normal64()))
        unit = floats_to_grid(length * place.form.normal64())
        for wider in WIDER_BITS:
            across = [v >> max(1, distances().beside - wider) for v in unit]
            answers = yield transversal(place.point, across)
            position = kink_between(answers)
            if position is not None:
                break
        else:
            return False
        self.sightings.append([(x + position * v) / ONE for x, v in zip(place.point, across, strict=True)])
        point, off = moved(place.point, across, position)
        if self._joint is not None:
            height = off * abs(place.form.along(across))
            self._joint.add_place(point, place.pattern, height * place.scale)
            self.place = dataclasses.replace(place, point=point, form=AnchoredForm(place.form.normal, point, height))
            self._take_joint_form()
            if self.inconsistent or roughness(self.place.form) <= self._roughest:
                return not self.inconsistent
        bend = answers[3] - answers[2] - answers[1] + answers[0]
        rows = self._rows_at(place.pattern)
        for shorter in range(0, MOST_SHORTER, SHORTER_BITS):
            star = star_around(point, place.form.normal64(), walls, rows, shorter)
            answers = yield star.asked
            form = star.form(answers, bend * off)
            ratio = None if form is None else common_ratio(place.form.normal, form.normal)
            if form is not None and ratio is not None:
                self.place = Place(point, place.pattern, form, place.scale * ratio)
                self.visited[-1] = self.place
                if self._joint is not None:
                    self._joint.add_normal(place.pattern, [self.place.scale * x for x in form.normal], star.axes)
                return True
        return False

    def _rows_at(self, pattern: Pattern) -> np.ndarray:
        """Gradients in a region of the neurons before that may be on, (rows, inputs)."""
        off = (self.system.signs != 0) & ((self.system.signs > 0) != pattern[self.own])
        rows = np.array(self.layers.forms(self.own, pattern)[0].tolist(), dtype=object)
        return rows[~off]

    def _learn(
        self, layer: int, neuron: int, upwards: bool, side: np.ndarray, effect: list[Number], beta: Number
    ) -> None:
        try:
            if layer == self.own:
                self.system.set_weight(neuron, beta if upwards else -beta)
                # Between balls a crossing tells a weight better than the equations do.
                if self.layers.exact:
                    self.system.resolve()
                return
            self._earlier[layer].discard(neuron)
            self.system.add(side, effect, beta)
            self.system.resolve()
        except InconsistentRow:
            self.inconsistent = True

    def _enter(self, behind: tuple[Place, float] | None, wall: tuple[int, int]) -> None:
        """Stand inside the region behind the wall, on the bent boundary."""
        if behind is None:
            self._go_back()
            return
        self.place, self._last = behind[0], wall
        self.visited.append(self.place)

    def _behind(
        self,
        place: Place,
        layer: int,
        neuron: int,
        wall: AffineForm,
        beta: Number,
        crossing: GridVector,
        direction: np.ndarray,
        seen: Seen | None = None,
        share: float = 1.0,
    ) -> tuple[Place, float] | None:
        """A place inside the region behind the wall, on the bent boundary, and how far behind it is.

        ``share``: of the way that would be gone otherwise.
        """
        pattern = [side.copy() for side in place.pattern]
        pattern[layer][neuron] = not pattern[layer][neuron]
        form, factor = place.form.plus(beta, wall, *(seen or (crossing,)))
        if all(vanishes(n) for n in form.normal):
            return None
        forms = self.layers.walls64(pattern)
        onwards = bent_onto(form.normal64(), forms[layer][0][neuron], direction)
        if onwards is None:
            return None
        x = to_floats(crossing)
        values = [matrix @ x + offset for matrix, offset in forms]
        hit = first_hit([matrix for matrix, _ in forms], values, pattern, onwards, skip=(layer, neuron))
        reach = 1 + float(np.max(np.abs(x)))
        length = share * (min(hit[2] * self.rng.uniform(0.2, 0.6), reach) if hit is not None else reach)
        inside = [
            p + ((v * int(length * (1 << 60))) >> 60) for p, v in zip(crossing, floats_to_grid(onwards), strict=True)
        ]
        inside = form.put_onto(inside)
        if not self._agrees(inside, pattern):
            return None
        return Place(inside, pattern, form, place.scale * factor, forms), length

    def _agrees(self, point: GridVector, pattern: Pattern) -> bool:
        """Whether the point lies in the region that it was meant to reach."""
        sure = self.layers.surely_in(to_floats(point), pattern) if self.layers.exact else None
        if sure is not None:
            return sure
        found = self.layers.pattern(_row(point), [ONE])[0]
        return all(np.array_equal(a, b) for a, b in zip(found, pattern, strict=True))


def moved(base: GridVector, direction: GridVector, position: arb) -> tuple[GridVector, arb]:
    """base + position * direction to the grid, and how far the position may be off, in units of the direction."""
    shift = middle(position)
    return [x + int(shift.p * v // shift.q) for x, v in zip(base, direction, strict=True)], abs(position - shift)


def _told_behind(wall: AffineForm, along: GridVector, crossing: GridVector) -> int:
    """The bits of the way on from a wall after which it is certainly behind, as roughly as it is known."""
    rough = float(arb(value_at(wall, crossing)).rad())
    rate = abs(to_float(dot(wall.normal, along) / ONE))
    return int(np.floor(np.log2(rate / rough))) - BEHIND_BITS if rough > 0 else BEYOND_BITS


def _too_far(place: Place, window: float) -> int:
    """By how many bits a place that was predicted is too uncertain for a transversal with this window (of 1)."""
    off = float(arb(place.form.at(place.point)).rad()) / largest(place.form.normal)
    allowed = window * 2.0 ** -(distances().beside + PREDICTED_BITS)
    return max(0, int(np.ceil(np.log2(off / allowed)))) if off > 0 else 0


def _row(point: GridVector) -> fmpz_mat:
    return fmpz_mat(1, len(point), point)
