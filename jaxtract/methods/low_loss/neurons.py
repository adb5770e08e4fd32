"""From kinks on a line to neurons: what the gradient on one side has and on the other has not."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtract.methods.low_loss.lines import Kinks, Unexplained

PLACE = 0.45
"""Where in a piece its gradient is measured: not in the middle, where two opposite kinks would cancel."""

SHORTER = 0.7
"""The step back over the step forth, unequal for the same reason."""

FIRST_STEP, SHRINK, STEPS = 0.25, 4.0, 12
TEST = 12.0
"""Four standard deviations of f(x + h) - f(x) - (f(x) - f(x - 0.7 h)) / 0.7, which is 0 where f is affine."""

SLOPE_ERROR = 0.83
"""Standard error of (f(x + h) - f(x - 0.7 h)) / 1.7 h in units of noise / h."""

SAME = 3.0
"""Standard errors that two rows may differ by and be the same hyperplane."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Neurons as measured at one kink each; shapes as in ``Hinges``.

    Attributes:
        errors: (neurons,) standard error of the normal, which has length one.
        distances: (neurons,) of the kinks from the origin.
    """

    normals: np.ndarray
    offsets: np.ndarray
    factors: np.ndarray
    errors: np.ndarray
    distances: np.ndarray

    @property
    def strength(self) -> np.ndarray:
        """(neurons,) length of the jump of the gradient."""
        return np.linalg.norm(self.factors, axis=1)

    @property
    def spread(self) -> np.ndarray:
        """(neurons,) error of the hyperplane over the Gaussian bulk: a far kink says little about where it is near."""
        return self.errors * (1 + self.distances / np.sqrt(self.normals.shape[1]))

    def unlike(self, others: Candidates) -> Candidates:
        """Those that are on the hyperplane of none of the others, as far as errors tell."""
        rows, known = (np.concatenate([x.normals, x.offsets[:, None]], axis=1) for x in (self, others))
        side = np.where(rows @ known.T < 0, -1.0, 1.0)[..., None]
        distance = np.linalg.norm(rows[:, None] - side * known, axis=2)
        kept = (distance > SAME * (self.spread[:, None] + others.spread)).all(axis=1)
        return Candidates(*(getattr(self, field.name)[kept] for field in dataclasses.fields(self)))

    def scaled(self, units: np.ndarray) -> Candidates:
        """With factors in units of the outputs."""
        return dataclasses.replace(self, factors=self.factors * units)


def measure(unexplained: Unexplained, kinks: Kinks, chosen: np.ndarray, least: float = 0.0) -> Candidates:
    """One neuron for every chosen kink of a line, or for several that are one as far as gradients tell.

    Args:
        unexplained: as in ``kinks_on_lines``.
        kinks: of one line.
        chosen: indices of kinks, ascending, at least one.
        least: change of values that neighbours may make between them and be taken for one.
    """
    inputs = len(kinks.base)
    pieces = np.concatenate([kinks.left, kinks.right[-1:]])
    # The outer pieces are long: near their kink noise is less.
    reach = 2 * np.sqrt(inputs)
    pieces[0, 0] = max(pieces[0, 0], pieces[0, 1] - reach)
    pieces[-1, 1] = min(pieces[-1, 1], pieces[-1, 0] + reach)
    length = pieces[:, 1] - pieces[:, 0]
    places = pieces[:, 0] + PLACE * length
    points = kinks.base + places[:, None] * kinks.direction
    asked = np.unique(np.concatenate([chosen, chosen + 1]))
    gradients, errors = gradients_at(unexplained, points[asked], np.minimum(length[asked] * FIRST_STEP, 1.0))
    before, after = np.searchsorted(asked, chosen), np.searchsorted(asked, chosen + 1)

    def neurons(first: np.ndarray, last: np.ndarray) -> Candidates:
        """From the pieces before the first and after the last kink of a group, indices into ``chosen``."""
        jumps = gradients[after[last]] - gradients[before[first]]
        deviation = np.hypot(errors[after[last]], errors[before[first]])
        places = np.array([kinks.place(int(chosen[a]), int(chosen[b])) for a, b in zip(first, last, strict=True)])
        return _from_jumps(kinks, places, jumps, deviation)

    alone = np.arange(len(chosen))
    found = neurons(alone, alone)
    first, last = _groups(found, kinks, chosen, least)
    return found if len(first) == len(chosen) else neurons(first, last)


def _from_jumps(kinks: Kinks, places: np.ndarray, jumps: np.ndarray, deviation: np.ndarray) -> Candidates:
    """Neurons at places of a line from (neurons, inputs, outputs) jumps of the gradient and their errors."""
    left, sizes, right = np.linalg.svd(jumps, full_matrices=False)
    strength = np.maximum(sizes[:, 0], np.finfo(np.float64).tiny)
    normals, factors = left[:, :, 0], sizes[:, :1] * right[:, 0, :]
    # Along the line a neuron switches on: its gradient is that on the right less that on the left.
    side = np.where(normals @ kinks.direction < 0, -1.0, 1.0)[:, None]
    normals, factors = side * normals, side * factors
    where = kinks.base + places[:, None] * kinks.direction
    offsets = -(normals * where).sum(axis=1)
    errors = np.linalg.norm(deviation, axis=1) / strength
    return Candidates(normals, offsets, factors, errors, np.linalg.norm(where, axis=1))


def _groups(found: Candidates, kinks: Kinks, chosen: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last of every group of neighbours whose hyperplanes are the same within their errors.

    Their own gradients are the worse the nearer the kinks are, the sum of their bends is not: a difference of the
    gradients of the two long pieces around them. Hyperplanes that merely meet on the line have other normals.
    """
    nearest = np.diff(kinks.places[chosen]) * np.minimum(found.strength[1:], found.strength[:-1]) <= least
    rows = np.concatenate([found.normals, found.offsets[:, None]], axis=1)
    side = np.where((rows[1:] * rows[:-1]).sum(axis=1) < 0, -1.0, 1.0)[:, None]
    distance = np.linalg.norm(rows[1:] - side * rows[:-1], axis=1)
    slack = SAME * (found.spread[1:] + found.spread[:-1])
    same = (np.diff(chosen) == 1) & nearest & (distance <= slack) & (slack < 1)
    first = np.flatnonzero(np.concatenate([[True], ~same]))
    return first, np.append(first[1:], len(chosen)) - 1


def gradients_at(unexplained: Unexplained, points: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients at points, every direction with the longest step that is seen to be affine.

    Args:
        points: (count, inputs).
        steps: (count,) first steps.

    Returns:
        (count, inputs, outputs) gradients and (count, inputs) standard errors.
    """
    count, inputs = points.shape
    middle, noise = unexplained(points)
    gradients = np.zeros((count, inputs, middle.shape[1]))
    errors = np.zeros((count, inputs))
    point, axis = (x.ravel() for x in np.meshgrid(np.arange(count), np.arange(inputs), indexing="ij"))
    step = steps[point]
    for attempt in range(STEPS):
        move = np.zeros((len(point), inputs))
        move[np.arange(len(point)), axis] = step
        both, _ = unexplained(np.concatenate([points[point] + move, points[point] - SHORTER * move]))
        ahead, behind = both[: len(point)], both[len(point) :]
        bend = ahead - middle[point] - (middle[point] - behind) / SHORTER
        affine = np.abs(bend).max(axis=1) <= TEST * noise[point]
        gradients[point, axis] = (ahead - behind) / ((1 + SHORTER) * step[:, None])
        errors[point, axis] = SLOPE_ERROR * noise[point] / step
        if affine.all() or attempt + 1 == STEPS:
            break
        point, axis, step = point[~affine], axis[~affine], step[~affine] / SHRINK
    return gradients, errors
