"""A ReLU network whose weights are exact rationals: the value that oracles serve and extraction returns."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from fractions import Fraction

from flint import fmpq, fmpq_mat


@dataclasses.dataclass(frozen=True)
class Skip:
    """A skip connection: ``matrix`` times the activations of layer ``source`` is added before the ReLU of ``target``.

    Layers are counted from 1, so that source 0 is the input and the last target is the output; ``target`` is at least
    ``source + 2``. ``matrix`` has shape (width of the target, width of the source).
    """

    source: int
    target: int
    matrix: fmpq_mat


@dataclasses.dataclass(frozen=True)
class ExactNetwork:
    """f(x) = A_L s(... s(A_1 x + b_1) ...) + b_L with s = max(0, .), over the rationals, perhaps with skips.

    ``weights[l]`` is an ``fmpq_mat`` of shape (width_l, width_{l-1}): a row is a neuron. ``biases[l]`` is
    an ``fmpq_mat`` of shape (width_l, 1). There is at least one layer; the last one has no ReLU. ``skips``: the
    pre-activations of layer t are A_t a_{t-1} + b_t + the sum of S a_k over all ``Skip(k, t, S)``, where a_0 = x
    (Rolnick and Koerding 2020 treat them as an extension of their method); they are kept sorted.

    Raises:
        ValueError: the shapes of the layers or skips do not fit, or a skip is given twice.
    """

    weights: tuple[fmpq_mat, ...]
    biases: tuple[fmpq_mat, ...]
    skips: tuple[Skip, ...] = ()

    def __post_init__(self) -> None:
        if not self.weights or len(self.weights) != len(self.biases):
            raise ValueError(
                f"a network needs as many biases as weights and at least one layer; "
                f"got {len(self.weights)} weights and {len(self.biases)} biases"
            )
        width = self.weights[0].ncols()
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if weight.ncols() != width:
                raise ValueError(f"layer {layer} takes {weight.ncols()} numbers but the layer before it gives {width}")
            width = weight.nrows()
            if (bias.nrows(), bias.ncols()) != (width, 1):
                raise ValueError(
                    f"bias of layer {layer} has shape ({bias.nrows()}, {bias.ncols()}), expected ({width}, 1)"
                )
        check_skips(self.widths, [(s.source, s.target, (s.matrix.nrows(), s.matrix.ncols())) for s in self.skips])
        object.__setattr__(self, "skips", tuple(sorted(self.skips, key=lambda skip: (skip.target, skip.source))))

    @property
    def inputs(self) -> int:
        return self.weights[0].ncols()

    @property
    def outputs(self) -> int:
        return self.weights[-1].nrows()

    @property
    def widths(self) -> tuple[int, ...]:
        """(inputs, hidden widths ..., outputs)."""
        return (self.inputs, *(weight.nrows() for weight in self.weights))

    @property
    def parameters(self) -> int:
        """Number of weights and biases, counted as the literature counts them; skips with all their entries."""
        return parameter_count(self.widths) + sum(s.matrix.nrows() * s.matrix.ncols() for s in self.skips)

    @property
    def identifiable_parameters(self) -> int:
        """Weights and biases less one free positive scale per hidden neuron."""
        return self.parameters - sum(self.widths[1:-1])

    def __call__(self, point: Sequence[fmpq | Fraction | int | float]) -> list[fmpq]:
        """f at one point, exactly. For many points use ``jaxtract.oracle.evaluate``."""
        columns = [fmpq_mat(len(point), 1, [rational(x) for x in point])]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            column = weight * columns[-1] + bias
            for skip in self.skips:
                if skip.target == layer:
                    column = column + skip.matrix * columns[skip.source]
            if layer < len(self.weights):
                column = fmpq_mat(column.nrows(), 1, [z if z > 0 else fmpq(0) for z in column.entries()])
            columns.append(column)
        return columns[-1].entries()

    def plain(self) -> ExactNetwork:
        """The same function without skips: neurons of the layers between carry what a skip reads.

        An activation a >= 0 is carried by one neuron, s(a) = a; an input by two, x = s(x) - s(-x). Layer l holds its
        own neurons, then those that carry, source by source (of the input first all x, then all -x).
        """
        if not self.skips:
            return self
        return ExactNetwork(*_carried(self))


def check_skips(widths: Sequence[int], skips: Sequence[tuple[int, int, tuple[int, int]]]) -> None:
    """Raises ValueError unless the skips (source, target, shape) fit a network of these widths, inputs first."""
    last = len(widths) - 1
    for source, target, shape in skips:
        if source < 0 or not source + 2 <= target <= last:
            raise ValueError(
                f"skip from layer {source} to layer {target}: with 0 the input and {last} the output, the target must "
                f"be at least the source + 2 and at most {last}"
            )
        if shape != (widths[target], widths[source]):
            raise ValueError(
                f"skip from layer {source} to layer {target} has a matrix of shape {shape}; "
                f"expected ({widths[target]}, {widths[source]})"
            )
    pairs = [(source, target) for source, target, _ in skips]
    if len(set(pairs)) < len(pairs):
        twice = next(pair for pair in pairs if pairs.count(pair) > 1)
        raise ValueError(f"skip from layer {twice[0]} to layer {twice[1]} is given twice; add the two matrices")


def _carried(network: ExactNetwork) -> tuple[tuple[fmpq_mat, ...], tuple[fmpq_mat, ...]]:
    """Weights and biases of the network without skips."""
    widths, skips = network.widths, {(skip.source, skip.target): skip.matrix.tolist() for skip in network.skips}
    until = {source: max(t for s, t in skips if s == source) for source, _ in sorted(skips)}
    weights, biases = [], []
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True), start=1):
        starts, fan_in = {layer - 1: 0}, widths[layer - 1]
        for source in _held(until, layer - 1):
            starts[source] = fan_in
            fan_in += widths[source] * (2 if source == 0 else 1)
        rows = weight.tolist()
        for source in list(starts)[1:]:
            block = skips.get((source, layer), [[fmpq(0)] * widths[source]] * widths[layer])
            for row, part in zip(rows, block, strict=True):
                row.extend(part if source else [*part, *(-x for x in part)])
        for source in _held(until, layer):
            rows.extend(_copies(widths[source], starts[source], fan_in, signed=source == 0, first=layer == 1))
        weights.append(fmpq_mat(len(rows), fan_in, [x for row in rows for x in row]))
        biases.append(fmpq_mat(len(rows), 1, [*bias.entries(), *([fmpq(0)] * (len(rows) - widths[layer]))]))
    return tuple(weights), tuple(biases)


def _held(until: dict[int, int], layer: int) -> list[int]:
    """Sources that neurons of a layer carry, when ``until[source]`` is the last layer to read one by a skip."""
    return [source for source, last in until.items() if source < layer < last]


def _copies(width: int, start: int, fan_in: int, *, signed: bool, first: bool) -> list[list[fmpq]]:
    """Rows of the neurons that carry ``width`` numbers found from column ``start`` on; inputs are ``signed``."""
    columns = [(start + j, 1) for j in range(width)]
    if signed:
        # The first layer splits x into s(x) and s(-x); later ones pass both on.
        columns += [(start + j, -1) if first else (start + width + j, 1) for j in range(width)]
    return [[fmpq(sign if i == j else 0) for i in range(fan_in)] for j, sign in columns]


def parameter_count(widths: Sequence[int]) -> int:
    """Weights and biases of a dense network of these widths (inputs first)."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(widths))


def rational(value: fmpq | Fraction | int | float) -> fmpq:
    """The exact rational value of a Python number; floats are dyadic rationals.

    Raises:
        ValueError: ``value`` is NaN or infinite.
    """
    if isinstance(value, fmpq):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"{value} is not a rational number; remove NaN and infinity from the input")
        return fmpq(*value.as_integer_ratio())
    if isinstance(value, Fraction):
        return fmpq(value.numerator, value.denominator)
    return fmpq(value)


def fraction(value: fmpq) -> Fraction:
    """A FLINT rational as a ``fractions.Fraction``."""
    return Fraction(int(value.p), int(value.q))
