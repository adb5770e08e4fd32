"""A network over the integers, and a proven bound for every number that its evaluation can meet."""

from __future__ import annotations

import dataclasses

from flint import fmpz, fmpz_mat

from jaxtract.network.exact_network import ExactNetwork


@dataclasses.dataclass(frozen=True)
class InputFormat:
    """Inputs are ``mantissa * 2**-exponent`` with mantissas of ``bits`` bits in two's complement.

    The mantissas lie in [-2^(bits-1), 2^(bits-1) - 1]: with ``bits = exponent + 2`` the inputs fill [-2, 2).

    Raises:
        ValueError: ``exponent`` is negative or ``bits`` is not positive.
    """

    exponent: int
    bits: int

    def __post_init__(self) -> None:
        if self.exponent < 0:
            raise ValueError(f"exponent is {self.exponent}; give the number of fractional bits, at least 0")
        if self.bits < 1:
            raise ValueError(f"bits is {self.bits}; a two's-complement mantissa needs at least 1, its sign")


@dataclasses.dataclass(frozen=True)
class IntegerNetwork:
    """Layer l maps integers on the grid 2^-e_{l-1} to integers on the grid 2^-e_l: z_l = x W^_l + b^_l.

    Attributes:
        format: the inputs this network is made for.
        weights: W^_l, (fan-in, width) each.
        biases: b^_l, (1, width) each, on the grid 2^-e_l.
        exponents: e_l per layer.
        bounds: beta_l per layer, the largest modulus that any unit can reach before ReLU.
    """

    format: InputFormat
    weights: tuple[fmpz_mat, ...]
    biases: tuple[fmpz_mat, ...]
    exponents: tuple[int, ...]
    bounds: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """(inputs, hidden widths ..., outputs)."""
        return (self.weights[0].nrows(), *(weight.ncols() for weight in self.weights))

    @property
    def bits(self) -> tuple[int, ...]:
        """T_l: bits that hold every value of layer l in two's complement."""
        return tuple(bound.bit_length() + 1 for bound in self.bounds)

    @property
    def output_limbs(self) -> int:
        """64-bit limbs of one output."""
        return limbs_for(self.bits[-1])


def limbs_for(bits: int) -> int:
    """64-bit limbs that hold ``bits`` bits."""
    return -(-bits // 64)


def integer_network(network: ExactNetwork, format: InputFormat) -> IntegerNetwork:
    """Clear the denominators of ``network`` for inputs of this format, and bound every layer.

    Raises:
        ValueError: a weight or bias is not dyadic, or a layer has no units or no inputs.
    """
    network = network.plain()
    weights, biases, exponents, bounds = [], [], [], []
    exponent = format.exponent
    reach = fmpz_mat(1, network.inputs, [fmpz(1) << (format.bits - 1)] * network.inputs)
    for layer, (rational_weight, rational_bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        if 0 in (rational_weight.nrows(), rational_weight.ncols()):
            raise ValueError(
                f"layer {layer} has shape ({rational_weight.nrows()}, {rational_weight.ncols()}); "
                "remove layers without units before building an evaluator"
            )
        weight, weight_exponent = _dyadic(rational_weight, f"weight {layer}")
        bias, bias_exponent = _dyadic(rational_bias, f"bias {layer}")
        # A bias finer than the products decides the grid: the weights are then shifted up.
        before, exponent = exponent, max(exponent + weight_exponent, bias_exponent)
        weight = weight * (fmpz(1) << (exponent - before - weight_exponent))
        bias = bias * (fmpz(1) << (exponent - bias_exponent))
        reach = reach * _modulus(weight) + _modulus(bias)
        weights.append(weight)
        biases.append(bias)
        exponents.append(exponent)
        bounds.append(max(int(bound) for bound in reach.entries()))
    return IntegerNetwork(format, tuple(weights), tuple(biases), tuple(exponents), tuple(bounds))


def _dyadic(matrix: object, name: str) -> tuple[fmpz_mat, int]:
    """(transposed mantissas, s) with matrix = mantissas * 2^-s and the least s >= 0."""
    mantissa, denominator = matrix.numer_denom()  # type: ignore[attr-defined]
    exponent = int(denominator).bit_length() - 1
    if int(denominator) != 1 << exponent:
        raise ValueError(
            f"{name} has the common denominator {_short(int(denominator))}, which is no power of two; packed "
            "evaluators need dyadic parameters (any float64 is one), so round it or use "
            "jaxtract.oracle.evaluate.FlintEvaluator, which takes any rational"
        )
    return mantissa.transpose(), exponent


def _short(number: int) -> str:
    return str(number) if number.bit_length() <= 128 else f"of {number.bit_length()} bits"


def _modulus(matrix: fmpz_mat) -> fmpz_mat:
    return fmpz_mat(matrix.nrows(), matrix.ncols(), [abs(entry) for entry in matrix.entries()])
