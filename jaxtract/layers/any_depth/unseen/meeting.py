"""Inputs at which a neuron and one that reads it are both on, by a climb of many inputs at once.

Where random inputs never meet, both pre-activations are followed uphill, the lower one at each input, some steps
straight and some aside; a step that does not lead up is taken back and the next one is shorter, and now and then the
worse half of the inputs starts again beside the better one. Regions that one input in ten million is in are found in a
second; none found is no proof that there is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxtract.network.float64_layers import Affine, preactivations64

INPUTS, STEPS = 2048, 200
"""Inputs that climb together, and how often."""

SCALES = (1.0, 2.0**-4, 2.0**5, 2.0**10)
"""Of the inputs that they start from."""

FIRST_STEP, LONGER, SHORTER, LEAST_STEP = 0.3, 1.5, 0.7, 1e-6
"""Steps as a share of the input's length, and what becomes of them."""

ASIDE = (0.0, 0.3, 1.0, 3.0)
"""Random directions mixed into the gradient."""

RENEWED_EVERY, BESIDE = 40, 0.0125
"""When the worse half starts again, and how far from the better inputs, as a share of their length."""

SMALL_ACTIVATION = 1e-3


@dataclasses.dataclass(frozen=True)
class Meeting:
    """A neuron and its reader in a network whose layers are (weights, biases) in float64.

    Attributes:
        layers: up to that of the reader.
        reader: its weights on the layer before, the one on the source included, and its bias.
        source: the neuron of the layer before.
    """

    layers: Sequence[Affine]
    reader: tuple[np.ndarray, float]
    source: int

    def climb(self, rng: np.random.Generator) -> np.ndarray:
        """Inputs at which both are on, (points, inputs); none where none is met.

        Far out all activations may be small against the input, or all large: what is low is measured by the length of
        the input first, then by what feeds it.
        """
        for by_activations in (False, True):
            found = self._climb(rng, by_activations)
            if len(found):
                break
        return found

    def _climb(self, rng: np.random.Generator, by_activations: bool) -> np.ndarray:
        inputs = self.layers[0][0].shape[1]
        points = np.repeat(SCALES, INPUTS // len(SCALES))[:, None] * rng.standard_normal((INPUTS, inputs))
        step = np.full(INPUTS, FIRST_STEP)
        low, uphill = self._lower(points, by_activations)
        for turn in range(STEPS):
            if (low > 0).any():
                break
            aside = rng.choice(ASIDE, size=(INPUTS, 1)) * _unit(rng.standard_normal(points.shape))
            length = step * np.linalg.norm(points, axis=1)
            moved = points + length[:, None] * _unit(_unit(uphill) + aside)
            low_there, uphill_there = self._lower(moved, by_activations)
            higher = low_there > low
            points[higher], low[higher], uphill[higher] = moved[higher], low_there[higher], uphill_there[higher]
            step = np.where(higher, np.minimum(step * LONGER, 1.0), step * SHORTER)
            step = np.where(step < LEAST_STEP, FIRST_STEP, step)
            if turn % RENEWED_EVERY == RENEWED_EVERY - 1:
                order = np.argsort(-low)
                better, worse = order[: INPUTS // 4], order[INPUTS // 2 :]
                near = points[rng.choice(better, size=len(worse))]
                length = BESIDE * np.linalg.norm(near, axis=1, keepdims=True)
                points[worse] = near + length * rng.standard_normal(near.shape)
                low[worse], uphill[worse] = self._lower(points[worse], by_activations)
                step[worse] = FIRST_STEP
        return points[low > 0]

    def _lower(self, points: np.ndarray, by_activations: bool) -> tuple[np.ndarray, np.ndarray]:
        """The lower of the two pre-activations, over a size (points,), and how it rises (points, d)."""
        heights = preactivations64(self.layers[:-1], points)
        read = [points, *(np.maximum(z, 0) for z in heights)]
        matrix, offsets = self.layers[-2]
        sizes = [np.linalg.norm(a, axis=1) + SMALL_ACTIVATION for a in (read[-1], read[-2])]
        if not by_activations:
            sizes = [np.linalg.norm(points, axis=1) + SMALL_ACTIVATION] * 2
        sides = []
        for (row, offset), a, size in zip(
            (self.reader, (matrix[self.source], offsets[self.source])), (read[-1], read[-2]), sizes, strict=True
        ):
            weight = np.linalg.norm(row)
            share = (a @ row + offset) / (weight * size + abs(offset))
            # The size grows along the activations.
            rises = row - (share * weight / size)[:, None] * a if by_activations else np.broadcast_to(row, a.shape)
            sides.append((share, rises))
        (reader, up_reader), (source, up_source) = sides
        uphill = np.where((reader < source)[:, None], (up_reader * (heights[-1] > 0)) @ matrix, up_source)
        for (earlier, _), z in zip(self.layers[-3::-1], heights[-2::-1], strict=True):
            uphill = (uphill * (z > 0)) @ earlier
        return np.minimum(reader, source), uphill


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-300)
