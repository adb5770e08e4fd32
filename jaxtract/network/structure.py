"""Which architecture a network has: skip connections, and convolutions by their equal weights.

Rows are known up to a positive scale and in any order. A layer is a convolution when its rows, laid over an image, are
a few kernels at the places of a grid: every row, bias included, is a positive multiple of one of them, cut off where it
hangs over the edge. Scales are then chosen so that the kernels are equal, which scales the columns of the next layer
alike within every channel, so that it can be read in turn (Rolnick and Koerding 2020 name convolutions and skip
connections as what their method extends to). All comparisons are exact.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat

from jaxtract.network.blocks import Blocks
from jaxtract.network.canonical import primitive_row
from jaxtract.network.exact_network import ExactNetwork
from precision.dyadic import floor_log2, power_of_two

Shape = tuple[int, int, int]
"""(channels, height, width)"""


@dataclasses.dataclass(frozen=True)
class SkipForm:
    """A skip connection in words: ``identity`` (one positive weight per neuron, 1 after scaling), ``as the layer``
    (its columns are positive multiples of those of the target's own matrix, as behind a residual block) or ``matrix``.
    """

    source: int
    target: int
    form: str
    shape: tuple[int, int]
    nonzero: int

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolutional layer.

    Attributes:
        layer: counted from 1.
        input, output: images before and behind it.
        kernel, stride, padding: (vertical, horizontal); ``padding`` above and to the left.
        kernels: (output channels, input channels, height, width), largest modulus in [1, 2).
        biases: one per output channel.
        neurons: ``neurons[k]`` is the place (channel, i, j) of neuron k of the layer.
        scales: positive; row k of the network is ``scales[k]`` times a kernel at its place.
    """

    layer: int
    input: Shape
    output: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    kernels: np.ndarray
    biases: tuple[fmpq, ...]
    neurons: tuple[Shape, ...]
    scales: tuple[fmpq, ...]

    @property
    def weights(self) -> int:
        """Different weights and biases."""
        return self.kernels.size + len(self.biases)

    def as_dict(self) -> dict[str, Any]:
        """For reports: numbers as exact rationals "p/q"."""
        kept = ("layer", "input", "output", "kernel", "stride", "padding")
        kernels = [[[[str(x) for x in row] for row in plane] for plane in kernel] for kernel in self.kernels]
        return {name: getattr(self, name) for name in kept} | {
            "weights": self.weights,
            "kernels": kernels,
            "biases": [str(b) for b in self.biases],
        }

    def in_words(self) -> str:
        down, right = self.kernel
        images = " to ".join("x".join(map(str, shape)) for shape in (self.input, self.output))
        return (
            f"layer {self.layer}: convolution {down}x{right}, stride {_pair(self.stride)}, padding "
            f"{_pair(self.padding)}, {images}, {self.weights} weights"
        )


@dataclasses.dataclass(frozen=True)
class Structure:
    """What the equalities and zeros of a network show."""

    skips: tuple[SkipForm, ...]
    convolutions: tuple[Convolution, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "skips": [skip.as_dict() for skip in self.skips],
            "convolutions": [convolution.as_dict() for convolution in self.convolutions],
        }

    def in_words(self) -> list[str]:
        """One line per skip and convolution."""
        skips = [
            f"skip from {'the input' if s.source == 0 else f'layer {s.source}'} to layer {s.target}: {s.form}, "
            f"{s.nonzero} of {s.shape[0] * s.shape[1]} weights not zero"
            for s in self.skips
        ]
        return [*skips, *(convolution.in_words() for convolution in self.convolutions)]


def structure_of(network: ExactNetwork) -> Structure:
    """Skips and convolutions of a network; both may be none."""
    return Structure(tuple(_skips(network)), tuple(_convolutions(network)))


def _skips(network: ExactNetwork) -> Iterator[SkipForm]:
    for skip in network.skips:
        rows = skip.matrix.tolist()
        nonzero = sum(x != 0 for row in rows for x in row)
        # More rows than one, or any two columns would be multiples of each other.
        chain = network.weights[skip.target - 1]
        if _is_identity(rows):
            form = "identity"
        elif len(rows) > 1 and _columns(skip.matrix) == _columns(chain):
            form = "as the layer"
        else:
            form = "matrix"
        yield SkipForm(skip.source, skip.target, form, (len(rows), skip.matrix.ncols()), nonzero)


def _is_identity(rows: Sequence[Sequence[fmpq]]) -> bool:
    """At most one weight in every row and column, all of them positive, and as many as there can be."""
    places = [(i, j) for i, row in enumerate(rows) for j, x in enumerate(row) if x != 0]
    full = len(places) == min(len(rows), len(rows[0]))
    alone = len({i for i, _ in places}) == len({j for _, j in places}) == len(places)
    return full and alone and all(rows[i][j] > 0 for i, j in places)


def _columns(matrix: fmpq_mat) -> list[tuple[int, ...]]:
    """Primitive columns, sorted."""
    columns = matrix.transpose().tolist()
    return sorted(primitive_row(column)[0] if any(x != 0 for x in column) else () for column in columns)


# -- convolutions --


def _convolutions(network: ExactNetwork) -> Iterator[Convolution]:
    """From the first layer on, as long as one follows another."""
    blocks = Blocks(network)
    shapes: list[Shape] = list(_images(network.inputs))
    order: list[int] | None = None
    for layer in range(1, blocks.last):
        rows = blocks.matrices[layer - 1, layer]
        if len(blocks.into(layer)) > 1:
            return
        table = [row if order is None else [row[k] for k in order] for row in rows]
        found = next(
            (f for s in shapes if (f := _convolution(layer, table, blocks.biases[layer], s)) is not None), None
        )
        if found is None:
            return
        yield found
        for neuron, scale in enumerate(found.scales):
            blocks.rescale(layer, neuron, 1 / scale)
        places = {place: k for k, place in enumerate(found.neurons)}
        shapes = [found.output]
        channels, height, width = found.output
        order = [places[k, i, j] for k in range(channels) for i in range(height) for j in range(width)]


def _images(inputs: int) -> Iterator[Shape]:
    """Shapes that so many inputs may have, square images with few channels first."""
    shapes = [
        (c, h, inputs // (c * h))
        for c in range(1, inputs + 1)
        if inputs % c == 0
        for h in range(1, inputs // c + 1)
        if (inputs // c) % h == 0
    ]
    # One row of pixels is an image, too: a convolution of a signal.
    return iter(sorted(shapes, key=lambda s: (s[1] != s[2], s[0], abs(s[1] - s[2]))))


@dataclasses.dataclass(frozen=True)
class _Laid:
    """A row over an image: its box (top, left, bottom, right; exclusive) and the weights in it, (c, height, width)."""

    box: tuple[int, int, int, int]
    values: np.ndarray


def _convolution(
    layer: int, rows: Sequence[Sequence[fmpq]], biases: Sequence[fmpq], shape: Shape
) -> Convolution | None:
    """The rows as kernels at the places of a grid over an image, or None."""
    if not rows or any(all(x == 0 for x in row) for row in rows) or all(x != 0 for row in rows for x in row):
        return None
    laid = [_laid(row, shape) for row in rows]
    size = max(x.values.shape[1] for x in laid), max(x.values.shape[2] for x in laid)
    if size == shape[1:]:
        return None  # dense, or as good as
    kernels: dict[tuple[int, ...], int] = {}
    whole = [x.values.shape[1:] == size for x in laid]
    for x, bias, full in zip(laid, biases, whole, strict=True):
        if full:
            kernels.setdefault(primitive_row([*x.values.ravel().tolist(), bias])[0], len(kernels))
    blocks = [np.array([fmpq(x) for x in vector], dtype=object) for vector in kernels]
    placed = [
        _placed(x, bias, shape, size, kernels, blocks, full) for x, bias, full in zip(laid, biases, whole, strict=True)
    ]
    if any(place is None for place in placed):
        return None
    return _on_grid(layer, [place for place in placed if place is not None], blocks, shape, size)


def _laid(row: Sequence[fmpq], shape: Shape) -> _Laid:
    values = np.empty(len(row), dtype=object)
    values[:] = row
    image = values.reshape(shape)
    _, down, right = np.nonzero(image != 0)
    box = int(down.min()), int(right.min()), int(down.max()) + 1, int(right.max()) + 1
    return _Laid(box, image[:, box[0] : box[2], box[1] : box[3]])


_Placed = tuple[int, int, int, fmpq]
"""(kernel, top, left, scale)"""


def _placed(
    laid: _Laid,
    bias: fmpq,
    shape: Shape,
    size: tuple[int, int],
    kernels: dict[tuple[int, ...], int],
    blocks: Sequence[np.ndarray],
    full: bool,
) -> _Placed | None:
    """The kernel that a row is a multiple of, and where its upper left corner lies (perhaps outside)."""
    top, left, bottom, right = laid.box
    height, width = bottom - top, right - left
    if full:
        vector, scale = primitive_row([*laid.values.ravel().tolist(), bias])
        return kernels[vector], top, left, scale
    # Cut off: the part inside the image must touch the edge over which the rest hangs.
    _, rows, columns = shape
    tops = {top, *([bottom - size[0]] if top == 0 else [])} if bottom <= rows else set()
    lefts = {left, *([right - size[1]] if left == 0 else [])} if right <= columns else set()
    for k, block in enumerate(blocks):
        kernel = block[:-1].reshape(shape[0], *size)
        for y, x in itertools.product(sorted(tops), sorted(lefts)):
            if (y + size[0] > bottom and bottom != rows) or (x + size[1] > right and right != columns):
                continue
            part = kernel[:, top - y : top - y + height, left - x : left - x + width]
            scale = _ratio([*laid.values.ravel(), bias], [*part.ravel(), block[-1]])
            if scale is not None:
                return k, y, x, scale
    return None


def _ratio(values: Sequence[fmpq], unit: Sequence[fmpq]) -> fmpq | None:
    """The positive factor between two vectors, or None."""
    lead = next(k for k, x in enumerate(values) if x != 0)
    if unit[lead] == 0 or values[lead] / unit[lead] < 0:
        return None
    scale = values[lead] / unit[lead]
    return scale if all(x == scale * y for x, y in zip(values, unit, strict=True)) else None


def _on_grid(
    layer: int, placed: Sequence[_Placed], blocks: Sequence[np.ndarray], shape: Shape, size: tuple[int, int]
) -> Convolution | None:
    tops, lefts = sorted({y for _, y, _, _ in placed}), sorted({x for _, _, x, _ in placed})
    channels, places = len(blocks), len(tops) * len(lefts)
    spots = {(k, tops.index(y), lefts.index(x)) for k, y, x, _ in placed}
    if places < 2 or len(spots) != len(placed) or len(placed) != channels * places:
        return None  # a place twice, or holes
    stride = _step(tops), _step(lefts)
    if stride[0] is None or stride[1] is None:
        return None
    units = [power_of_two(-floor_log2(max(abs(x) for x in block[:-1]))) for block in blocks]
    kernels = np.stack(
        [(block[:-1] * unit).reshape(shape[0], *size) for block, unit in zip(blocks, units, strict=True)]
    )
    return Convolution(
        layer,
        shape,
        (channels, len(tops), len(lefts)),
        size,
        (stride[0], stride[1]),
        (max(0, -tops[0]), max(0, -lefts[0])),
        kernels,
        tuple(block[-1] * unit for block, unit in zip(blocks, units, strict=True)),
        tuple((k, tops.index(y), lefts.index(x)) for k, y, x, _ in placed),
        tuple(scale / units[k] for k, _, _, scale in placed),
    )


def _step(places: Sequence[int]) -> int | None:
    """The constant distance between places; 1 where there is one place only, None where it varies."""
    steps = {b - a for a, b in itertools.pairwise(places)}
    return 1 if not steps else steps.pop() if len(steps) == 1 else None


def _pair(numbers: tuple[int, int]) -> str:
    return str(numbers[0]) if numbers[0] == numbers[1] else f"{numbers[0]}x{numbers[1]}"
