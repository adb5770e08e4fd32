"""A bias from where the rounding of f steps.

Where one neuron is on and all others are off, f is the double next to c + gamma (w . x + b). With a weak gamma beside a
constant c this is a staircase whose steps are wide against what a bias is known to otherwise, and averaging over
answers gains little. But the edges of the steps are sharp: c is what f is where nothing is on, and an edge lies where
gamma z is half a unit in the last place of c. Each answer says on which side of an edge it is.
"""

from __future__ import annotations

import numpy as np

from jaxtract.oracle.counting import CountingOracle
from jaxtract.oracle.points import scattered
from precision.balls import to_float
from precision.dyadic import from_float64

ROUNDS, ASKED = 2, 48
"""Times that inputs are asked, and how many of them for every bias."""

WIDEST = 2.0
"""The bias may be off by so many widths of a step."""


def biases_from_steps(
    oracle: CountingOracle,
    anchors: np.ndarray,
    rows: np.ndarray,
    biases: np.ndarray,
    outgoing: np.ndarray,
    constant: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(biases, bounds on their errors), both (neurons,), of a network of one output and one hidden layer.

    Queries count as ``measure``.

    Args:
        oracle: the black box, which answers in doubles.
        anchors: for every neuron an input on its boundary, where all others are off, (neurons, inputs).
        rows, biases, outgoing: of the neurons, (neurons, inputs), (neurons,) and (neurons,).
        constant: f where all neurons are off.

    Returns:
        What answers contradict stays as it was, its bound infinite: another computation than that of the network may
        round elsewhere.

    Raises:
        BudgetSpent: before anything was asked.
    """
    unit = float(np.spacing(abs(constant)))
    widths = unit / np.abs(outgoing)
    low, high = -WIDEST * widths, WIDEST * widths
    wide = rows.astype(np.longdouble)
    directions = rows / np.sum(rows**2, axis=1, keepdims=True)
    for _ in range(ROUNDS):
        # The first edge, at half a width, as it would be met with errors of the bias all over what is possible.
        shares = (np.arange(ASKED) + 0.5) / ASKED
        errors = low[:, None] + shares * (high - low)[:, None]
        wanted = (widths / 2)[:, None] - errors
        points = anchors[:, None, :] + wanted[:, :, None] * directions[:, None, :]
        answers = oracle.ask(scattered(from_float64(points.reshape(-1, rows.shape[1]))), "measure")
        values = np.array([to_float(oracle.context.rational(x)) for x in answers.ravel()]).reshape(wanted.shape)
        behind = (values - constant) / unit * np.sign(outgoing)[:, None] >= 1
        heights = np.einsum("kpi,ki->kp", points.astype(np.longdouble), wide) + biases[:, None]
        # On behind an edge: height + error > width / 2, else below it.
        limits = ((widths / 2)[:, None] - heights).astype(np.float64)
        low = np.maximum(low, np.max(np.where(behind, limits, -np.inf), axis=1))
        high = np.minimum(high, np.min(np.where(behind, np.inf, limits), axis=1))
    told = low < high
    return biases + np.where(told, (low + high) / 2, 0.0), np.where(told, (high - low) / 2, np.inf)
