"""Inputs for parameters that those asked so far hardly show: looked for from the ones that show them at all.

A neuron that is on for one input in ten thousand reads some neurons of the layer before only in a corner of where it is
on: no random input lies deep in that corner. How much an answer would tell of a parameter is known without asking, and
grows on the way there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.linalg import qr, solve_triangular

MOST_LOOSE = 6
"""Parameters that are looked after in one turn, those first that are known worst."""

TURNS, DRAWS = 40, 48
"""Steps of a search, and inputs that are drawn for each."""

SHARES = 2.0 ** -np.arange(0, 12, 0.5)
"""How far they are drawn from the best one, as shares of the distance from the origin."""

EACH = 2
"""Searches for every parameter, from different inputs."""

LEAST_KNOWN = 1e-10
"""What no input shows at all counts as known so roughly, in units of what all of them together would show."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """What inputs tell of parameters: R^-1, with R^T R the normal equations (every row over what rounds there)."""

    inverse: np.ndarray

    @staticmethod
    def by(rows: np.ndarray) -> Shown:
        """``rows``: of the Jacobian, each over what rounds there."""
        sizes = np.linalg.norm(rows, axis=0)
        sizes[sizes == 0] = 1.0
        known = np.concatenate([rows / sizes, LEAST_KNOWN * np.eye(rows.shape[1])])
        triangle = np.asarray(qr(known, mode="r")[0])[: rows.shape[1]]
        return Shown(solve_triangular(triangle, np.eye(len(triangle))) / sizes[:, None])

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of every parameter, for roundings of size one."""
        return np.linalg.norm(self.inverse, axis=1)

    def told(self, rows: np.ndarray, parameter: int) -> np.ndarray:
        """By how much each further row would lower the variance of a parameter, as a share of it."""
        along = rows @ self.inverse
        covariances = along @ self.inverse[parameter]
        shares = covariances**2 / (1 + np.einsum("kj,kj->k", along, along))
        return shares / np.sum(self.inverse[parameter] ** 2)


def inputs_for_loose(
    rows_at: Callable[[np.ndarray], np.ndarray],
    asked: np.ndarray,
    sizes: np.ndarray,
    limit: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Inputs that tell the loosest parameters better than those asked, (inputs, dimension); none where all are known.

    Args:
        rows_at: of inputs (count, dimension) the Jacobian of one output, every row over what rounds there.
        asked: inputs that were asked.
        sizes: of each parameter the largest entry of its row.
        limit: a parameter is loose if its standard deviation is so many roundings of its size.
        rng: draws the inputs.
    """
    rows = rows_at(asked)
    shown = Shown.by(rows)
    shares = np.where(rows.any(axis=0), shown.spread / sizes, 0.0)
    loose = [p for p in np.argsort(-shares)[:MOST_LOOSE].tolist() if shares[p] > limit]
    found = []
    for parameter in loose:
        starts = np.argsort(-np.abs(rows[:, parameter]))[:EACH]
        found += [_climbed(rows_at, shown, parameter, asked[k], rng) for k in starts.tolist() if rows[k, parameter]]
    return np.array(found).reshape(-1, asked.shape[1])


def _climbed(
    rows_at: Callable[[np.ndarray], np.ndarray],
    shown: Shown,
    parameter: int,
    start: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """From an input to one that tells more of a parameter, by random steps of all sizes."""
    best, told = start, float(shown.told(rows_at(start[None, :]), parameter)[0])
    for _ in range(TURNS):
        lengths = rng.choice(SHARES, size=(DRAWS, 1)) * (1 + np.max(np.abs(best)))
        points = best + lengths * rng.standard_normal((DRAWS, len(best))) / np.sqrt(len(best))
        values = shown.told(rows_at(points), parameter)
        if np.max(values) > told:
            best, told = points[int(np.argmax(values))], float(np.max(values))
    return best
