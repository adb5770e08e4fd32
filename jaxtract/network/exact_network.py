"""A ReLU network whose weights are exact rationals: the value that oracles serve and extraction returns."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from fractions import Fraction

from flint import fmpq, fmpq_mat


@dataclasses.dataclass(frozen=True)
class ExactNetwork:
    """f(x) = A_L s(... s(A_1 x + b_1) ...) + b_L with s = max(0, .), over the rationals.

    ``weights[l]`` is an ``fmpq_mat`` of shape (width_l, width_{l-1}): a row is a neuron. ``biases[l]`` is
    an ``fmpq_mat`` of shape (width_l, 1). There is at least one layer; the last one has no ReLU.

    Raises:
        ValueError: the shapes of the layers do not chain.
    """

    weights: tuple[fmpq_mat, ...]
    biases: tuple[fmpq_mat, ...]

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
        """Number of weights and biases, counted as the literature counts them."""
        return parameter_count(self.widths)

    @property
    def identifiable_parameters(self) -> int:
        """Weights and biases less one free positive scale per hidden neuron."""
        return self.parameters - sum(self.widths[1:-1])

    def __call__(self, point: Sequence[fmpq | Fraction | int | float]) -> list[fmpq]:
        """f at one point, exactly. For many points use ``jaxtract.oracle.evaluate``."""
        column = fmpq_mat(len(point), 1, [rational(x) for x in point])
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            column = weight * column + bias
            if layer + 1 < len(self.weights):
                column = fmpq_mat(column.nrows(), 1, [z if z > 0 else fmpq(0) for z in column.entries()])
        return column.entries()


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
