"""Known layers on a line: their pre-activations at any position, and where their neurons are zero."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from flint import arb_mat, fmpq, fmpq_mat, fmpz, fmpz_mat

from jaxtract.geometry.known_layers import KnownLayers, Matrix
from precision.context import Number


@dataclasses.dataclass(frozen=True)
class LineImage:
    """The first layer's pre-activations at the base of a line and along it, (2, width), times one positive scale."""

    rows: Matrix
    scale: fmpz

    def at(self, positions: Sequence[Number]) -> tuple[Matrix, list[fmpz]]:
        """The same at positions, (positions, width), times a positive scale each: (values, scales)."""
        if isinstance(self.rows, arb_mat):
            at_base, along = self.rows.tolist()
            values = [z + t * v for t in positions for z, v in zip(at_base, along, strict=True)]
            return arb_mat(len(positions), len(at_base), values), [fmpz(1)] * len(positions)
        places = fmpz_mat(len(positions), 2, [x for t in positions for x in (t.q, t.p)])
        return places * self.rows, [t.q * self.scale for t in positions]


def image_of(layers: KnownLayers, base: Sequence[Number], direction: Sequence[Number]) -> LineImage:
    """What the first layer sees of the line base + t direction."""
    weight, bias = layers.weights[0], layers.biases[0]
    if not layers.exact:
        ends = arb_mat(2, len(base), [*base, *direction])
        return LineImage(ends * weight.transpose() + arb_mat(2, len(bias), [*bias, *([0] * len(bias))]), fmpz(1))
    ends, denominator = fmpq_mat(2, len(base), [*base, *direction]).numer_denom()
    whole = ends * weight.transpose() + fmpz_mat(2, len(bias), [*(denominator * b for b in bias), *([0] * len(bias))])
    # The base of a line may be long where its image is short.
    rows, scale = (fmpq_mat(whole) / denominator).numer_denom()
    return LineImage(rows, fmpz(scale))


def zeros_on_line(layers: KnownLayers, image: LineImage) -> list[fmpq]:
    """Ascending positions on a line at which a neuron of exact layers becomes zero or ceases to be.

    Between the zeros of the layers before it a pre-activation is affine: its values at both ends tell where it crosses
    zero.
    """
    at_base, along = image.rows.tolist()
    found = sorted({fmpq(-z, v) for z, v in zip(at_base, along, strict=True) if v != 0})
    for level in range(1, layers.depth):
        places = ends_of_pieces(found)
        first, scales = image.at(places)
        heights = layers.preactivations_behind(first, scales)[level].tolist()
        first_piece, *inner = itertools.pairwise(zip(places, heights, scales, strict=True))
        last_piece = inner.pop() if inner else first_piece
        bending = np.nonzero(~layers.linear[level])[0].tolist()
        new = [_zero(*piece, i) for piece in inner for i in bending if _crosses(piece, i)]
        new += [t for t in _zeros(*first_piece, bending) if not found or t < found[0]]
        new += [t for t in _zeros(*last_piece, bending) if not found or t > found[-1]]
        found = sorted({*found, *new})
    return found


def ends_of_pieces(kinks: Sequence[fmpq]) -> list[fmpq]:
    """Positions such that what is affine between the kinks is known everywhere from its values there."""
    return [kinks[0] - 1, *kinks, kinks[-1] + 1] if kinks else [fmpq(0), fmpq(1)]


_End = tuple[fmpq, list[fmpz], fmpz]
"""A position, and integers there over a positive scale."""


def _crosses(piece: tuple[_End, _End], i: int) -> bool:
    """Whether the signs at both ends differ and neither is zero."""
    y, z = piece[0][1][i], piece[1][1][i]
    return bool(y > 0 > z or y < 0 < z)


def _zeros(left: _End, right: _End, neurons: Sequence[int]) -> list[fmpq]:
    """Where the lines through the values at two positions are zero, also beyond these; none of parallel ones."""
    return [_zero(left, right, i) for i in neurons if left[1][i] * right[2] != right[1][i] * left[2]]


def _zero(left: _End, right: _End, i: int) -> fmpq:
    """Where the line through both values is zero."""
    y, z = left[1][i] * right[2], right[1][i] * left[2]
    return left[0] + (right[0] - left[0]) * fmpq(y, y - z)
