"""Short transversals across a boundary: where it is behind a crossing, and what the crossing adds to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import numpy as np

from jaxtract.geometry.grid import ONE, GridVector, floats_to_grid
from jaxtract.geometry.known_layers import AffineForm
from jaxtract.geometry.rational_form import RationalForm, dot, form_free, shares64, value_at
from precision.balls import quotient, steepest, vanishes
from precision.context import Number


@dataclasses.dataclass(frozen=True)
class Asked:
    """Points base + step * directions[place], in grid units, for every (place, step)."""

    base: GridVector
    directions: list[GridVector]
    steps: list[tuple[int, int]]


def transversal(base: GridVector, direction: GridVector) -> Asked:
    """Four points base + s * direction, s = -2, -1, 1, 2."""
    return Asked(base, [direction], [(0, s) for s in (-2, -1, 1, 2)])


Probe = Generator[Asked, np.ndarray, None]
"""Yields what it asks, receives the answers (points, outputs)."""


def beta_of(
    form: RationalForm, wall: AffineForm, base: GridVector, across: GridVector, answers: np.ndarray
) -> Number | None:
    """beta with form + beta wall = 0 at the kink of a transversal; None when nothing bends on it."""
    position = kink_between(answers)
    if position is None:
        return None
    at_kink = value_at(wall, base) + position * quotient(dot(wall.normal, across), ONE)
    return -(form.at(base) + position * form.along(across)) / at_kink


def kink_between(answers: np.ndarray) -> Number | None:
    """Where the pieces through s = -2, -1 and s = 1, 2 meet, if that is between them; shape (4, outputs)."""
    left, right = answers[1] - answers[0], answers[3] - answers[2]
    bend = right - left
    gaps = answers[2] - right - answers[1] - left
    o = steepest(bend)
    if vanishes(bend[o]):
        return None
    position = -gaps[o] / bend[o]
    if not abs(position) < 1 or any(g + position * b != 0 for g, b in zip(gaps, bend, strict=True)):
        return None
    return position


def tangent_to(form: RationalForm, direction: np.ndarray) -> GridVector:
    """A grid direction near ``direction`` along which the form stays constant, to the grid."""
    vector = floats_to_grid(direction)
    return form_free(form.normal, vector)


def across_boundary(form: RationalForm, wall: AffineForm) -> GridVector:
    """A direction parallel to the wall that crosses the form's zero set as squarely as possible."""
    normal = form.normal64()
    unit = shares64(wall.normal)
    unit /= np.linalg.norm(unit)
    across = normal - (normal @ unit) * unit
    if np.linalg.norm(across) < 1e-12:
        across = normal
    vector = floats_to_grid(across / np.linalg.norm(across))
    return form_free(wall.normal, vector)
