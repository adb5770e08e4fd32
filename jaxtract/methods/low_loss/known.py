"""Neurons found so far with the error of each, and how another measurement of one is recognised."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxtract.methods.low_loss.hinges import Hinges
from jaxtract.methods.low_loss.lines import Kinks
from jaxtract.methods.low_loss.neurons import Candidates

USABLE = 0.3
"""Largest error of a hyperplane, over the Gaussian bulk, with which it is worth having."""

SURE = 0.03
"""Error of a hyperplane below which it need not be measured again where a line crosses it."""

DEVIATIONS = 3.0
SHARE_OF_LOSS = 0.3
"""Share of the root mean square left by a fit that is put down to its hyperplanes; the rest is neurons not found."""

SMALLEST_ERROR = 1e-16


@dataclasses.dataclass(frozen=True)
class Known:
    """A model and ``errors``, (neurons,): standard errors of the rows (normal, offset) of its hyperplanes."""

    model: Hinges
    errors: np.ndarray

    @classmethod
    def nothing(cls, model: Hinges) -> Known:
        return cls(model, np.zeros(len(model)))

    @property
    def misfit(self) -> float:
        """Root mean square of what the errors of the hyperplanes make of the function."""
        return float(np.sqrt(((np.linalg.norm(self.model.factors, axis=1) * self.errors) ** 2).sum()))

    def with_model(self, model: Hinges) -> Known:
        """The same hyperplanes, fitted again."""
        return dataclasses.replace(self, model=model)

    def at_loss(self, loss: float) -> Known:
        """Errors after a fit that left this mean square, spread evenly over the neurons."""
        strength = np.linalg.norm(self.model.factors, axis=1) * np.sqrt(max(len(self.errors), 1))
        fitted = SHARE_OF_LOSS * np.sqrt(loss) / np.maximum(strength, np.finfo(np.float64).tiny)
        return dataclasses.replace(self, errors=np.minimum(self.errors, fitted))

    def unmatched(self, kinks: Kinks) -> np.ndarray:
        """Indices of kinks that no well-known hyperplane predicts."""
        if not len(self.model):
            return np.arange(len(kinks.places))
        speed = self.model.normals @ kinks.direction
        speed = np.where(speed == 0, np.finfo(np.float64).tiny, speed)
        with np.errstate(over="ignore"):
            places = -(self.model.normals @ kinks.base + self.model.offsets) / speed
            size = 1 + np.linalg.norm(kinks.base) + np.abs(places)
            slack = DEVIATIONS * self.errors * size / np.abs(speed)
        near = (np.abs(kinks.places[:, None] - places) <= slack) & (self.errors <= SURE)
        return np.flatnonzero(~near.any(axis=1))

    def combined(self, found: Candidates) -> Known:
        """With neurons of f itself, measured on one line: of two measurements of the same neuron the better is kept."""
        model, errors, before = self.model, self.errors, len(self.model)
        spread = found.spread
        for i in map(int, np.flatnonzero(spread <= USABLE)):
            row, factor = _row(found, i), found.factors[i]
            rows, side = _facing(model, row, before)
            slack = DEVIATIONS * (spread[i] + errors[:before])
            distance = np.linalg.norm(rows - row, axis=1)
            same = distance <= slack
            same &= np.linalg.norm(model.factors[:before] - factor, axis=1) <= slack * np.linalg.norm(factor)
            if not same.any():
                model, errors = model.with_hinges(row[None, :-1], row[-1:], factor[None]), np.append(errors, spread[i])
                continue
            best = int(np.argmin(np.where(same, distance, np.inf)))
            if spread[i] < errors[best]:
                model, errors = model.replaced(best, side[best] * row, factor), _put(errors, best, spread[i])
        return Known(model, errors)

    def absorbed(self, found: Candidates, negligible: float) -> Known:
        """With neurons of what the model leaves unexplained: on a known hyperplane the bends are added.

        Two bends on hyperplanes r and r' nearer than can be told apart are one: the jumps of the gradient, factor
        (outer) row, are added, and their largest singular vectors are the new neuron. This corrects a row that was
        a little off, and merges neurons that are nearer than the resolution.

        Args:
            found: measured on one line.
            negligible: root mean square of a change that does not matter.
        """
        model, errors, before = self.model, self.errors, len(self.model)
        spread = found.spread
        for i in map(int, np.flatnonzero(spread <= USABLE)):
            row, factor = _row(found, i), found.factors[i]
            rows, side = _facing(model, row, before)
            distance = np.linalg.norm(rows - row, axis=1)
            best = int(np.argmin(distance)) if before else -1
            strength = float(np.linalg.norm(factor))
            if best < 0 or distance[best] > max(DEVIATIONS * (spread[i] + errors[best]), negligible / strength):
                model, errors = model.with_hinges(row[None, :-1], row[-1:], factor[None]), np.append(errors, spread[i])
                continue
            old = float(np.linalg.norm(model.factors[best]))
            jump = np.outer(rows[best], model.factors[best]) + np.outer(row, factor)
            left, sizes, right = np.linalg.svd(jump, full_matrices=False)
            norm = float(np.linalg.norm(left[:-1, 0]))
            if sizes[0] == 0 or norm < SMALLEST_ERROR:
                continue
            facing = np.sign(left[:, 0] @ rows[best]) or 1.0
            sum_row, sum_factor = facing * left[:, 0] / norm, facing * sizes[0] * norm * right[0]
            model = model.replaced(best, side[best] * sum_row, sum_factor)
            error = old * min(errors[best], spread[i]) if strength > old / 2 else strength * spread[i]
            size = max(float(np.linalg.norm(sum_factor)), np.finfo(np.float64).tiny)
            errors = _put(errors, best, max(error / size, SMALLEST_ERROR))
        return Known(model, errors)


def _row(found: Candidates, index: int) -> np.ndarray:
    return np.append(found.normals[index], found.offsets[index])


def _facing(model: Hinges, row: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows of the first ``count`` neurons, turned to the side of ``row``; the signs that turned them)."""
    rows = model.rows()[:count]
    side = np.where(rows @ row < 0, -1.0, 1.0)
    return side[:, None] * rows, side


def _put(values: np.ndarray, index: int, value: float) -> np.ndarray:
    out = values.copy()
    out[index] = value
    return out
