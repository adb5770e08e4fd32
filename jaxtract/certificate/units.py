"""Two networks of any depth over one table of ReLU units: units that are provably one have one number.

Every hidden neuron is s(z) with z affine in the inputs and in units of the table. What no input can see is
gone on the way: s(c z) = c s(z) (scale), equal units have one number (order, duplicates, split neurons, also
across layers), s(-z) = s(z) - z (opposite neurons share one unit, so that an affine remainder carried
by two neurons dissolves), and a neuron that is on or off at every non-negative state of the layer below is
affine or nothing. Two networks whose outputs are then the same expressions are the same function.
For one hidden layer the converse holds too; in general it does not (``jaxtract.certificate.cases``).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from flint import fmpq

from jaxtract.certificate.expressions import Direction, Expression, combine, direction, fixed_sign
from jaxtract.network.exact_network import ExactNetwork

Part = Literal["on", "off"] | tuple[int, fmpq]
"""What becomes of a neuron: always on, always off, or (k, c): z is c times the expression of unit k."""


@dataclasses.dataclass
class UnitTable:
    """Units s(z_0), s(z_1), ...: ``rows[k]`` is z_k, affine in inputs and earlier units."""

    inputs: int
    rows: list[Expression] = dataclasses.field(default_factory=list)
    _known: dict[Direction, tuple[int, fmpq]] = dataclasses.field(default_factory=dict)

    def find(self, z: Expression) -> tuple[int, fmpq]:
        """(k, c) with z = c z_k; a new unit when there is none yet."""
        key, lead = direction(z)
        if key not in self._known:
            self._known[key] = (len(self.rows), lead)
            self.rows.append(z)
        unit, first = self._known[key]
        return unit, lead / first


@dataclasses.dataclass(frozen=True)
class OverUnits:
    """A network over a table.

    Attributes:
        parts: for every hidden layer, what became of each neuron.
        outputs: every output, affine in inputs and units.
    """

    parts: tuple[tuple[Part, ...], ...]
    outputs: tuple[Expression, ...]


def over_units(network: ExactNetwork, table: UnitTable) -> OverUnits:
    """Write a network over a table, which grows by the units that it does not have yet."""
    state: list[Expression] = [{j: fmpq(1)} for j in range(network.inputs)]
    parts: list[tuple[Part, ...]] = []
    last = len(network.weights) - 1
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        rows = weight.tolist()
        z = [combine(zip(row, state, strict=True), b) for row, b in zip(rows, bias.entries(), strict=True)]
        if layer == last:
            return OverUnits(tuple(parts), tuple(z))
        signs = [row_sign(row, b, layer) for row, b in zip(rows, bias.entries(), strict=True)]
        parts.append(tuple(part_of(e, sign, table) for e, sign in zip(z, signs, strict=True)))
        state = [relu(e, part, table.inputs) for e, part in zip(z, parts[-1], strict=True)]
    raise AssertionError("a network has a last layer")


def part_of(z: Expression, sign: int, table: UnitTable) -> Part:
    """What a neuron with pre-activation z becomes; ``sign`` is what its own row shows of the sign of z."""
    sign = sign or fixed_sign(z, table.inputs)
    return table.find(z) if sign == 0 else always(sign)


def always(sign: int) -> Part:
    """A neuron whose z never has the other sign."""
    return "on" if sign > 0 else "off"


def relu(z: Expression, part: Part, inputs: int) -> Expression:
    """s(z) over the units."""
    if part == "on":
        return z
    if part == "off":
        return {}
    unit, factor = part
    term = (abs(factor), {inputs + unit: fmpq(1)})
    return combine([term] if factor > 0 else [term, (fmpq(1), z)])  # s(-v) = s(v) - v


def row_sign(row: list[fmpq], bias: fmpq, layer: int) -> int:
    """+1 or -1 if w.h + b has this sign (or is zero) for all h >= 0, in layer 0 for all h; else 0."""
    if layer == 0 and any(x != 0 for x in row):
        return 0
    if bias >= 0 and all(x >= 0 for x in row):
        return 1
    return -1 if bias <= 0 and all(x <= 0 for x in row) else 0


def differences(one: OverUnits, two: OverUnits) -> list[Expression]:
    """Output minus output, over the common units: all empty if the networks are the same function."""
    pairs = zip(one.outputs, two.outputs, strict=True)
    return [combine([(fmpq(1), x), (fmpq(-1), y)]) for x, y in pairs]
