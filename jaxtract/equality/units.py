"""Two networks of any depth over one table of ReLU units: units that are provably one have one number.

Every hidden neuron is s(z) with z affine in the inputs and in units of the table. What no input can see is
gone on the way: s(c z) = c s(z) (scale), equal units have one number (order, duplicates, split neurons, also
across layers), s(-z) = s(z) - z (opposite neurons share one unit, so that an affine remainder carried
by two neurons dissolves), and a neuron that is on or off at every non-negative state of the neurons it reads is
affine or nothing. Two networks whose outputs are then the same expressions are the same function.
For one hidden layer the converse holds too; in general it does not (``jaxtract.equality.cases``).
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

from flint import fmpq

from jaxtract.equality.expressions import (
    Direction,
    Expression,
    combine,
    direction,
    fixed_sign,
    less,
    over_inputs,
    put,
)
from jaxtract.equality.neurons import neuron_rows
from jaxtract.network.exact_network import ExactNetwork

Part = Literal["on", "off"] | tuple[int, fmpq]
"""What becomes of a neuron: always on, always off, or (k, c): z is c times the expression of unit k."""


@dataclasses.dataclass
class UnitTable:
    """Units s(z_1), s(z_2), ...: ``rows[k]`` is z_k, affine in inputs and earlier units."""

    rows: dict[int, Expression] = dataclasses.field(default_factory=dict)
    _known: dict[Direction, tuple[int, fmpq]] = dataclasses.field(default_factory=dict)

    def find(self, z: Expression) -> tuple[int, fmpq]:
        """(k, c) with z = c z_k; a new unit when there is none yet."""
        key, lead = direction(z)
        if key not in self._known:
            self._known[key] = (len(self.rows) + 1, lead)
            self.rows[len(self.rows) + 1] = z
        unit, first = self._known[key]
        return unit, lead / first


@dataclasses.dataclass(frozen=True)
class OverUnits:
    """A network over a table.

    Attributes:
        parts: what became of each hidden neuron, layer after layer.
        outputs: every output, affine in inputs and units.
    """

    parts: tuple[Part, ...]
    outputs: tuple[Expression, ...]


def over_units(network: ExactNetwork, table: UnitTable) -> OverUnits:
    """Write a network over a table, which grows by the units that it does not have yet."""
    *hidden, outputs = neuron_rows(network)
    forms = over_inputs(network.inputs)
    parts: list[Part] = []
    for neuron, row in enumerate(itertools.chain(*hidden), start=1):
        z = put(forms, row)
        sign = fixed_sign(row) or fixed_sign(z)
        parts.append(always(sign) if sign else table.find(z))
        forms[neuron] = relu(z, parts[-1])
    return OverUnits(tuple(parts), tuple(put(forms, row) for row in outputs))


def always(sign: int) -> Part:
    """A neuron whose z never has the other sign."""
    return "on" if sign > 0 else "off"


def relu(z: Expression, part: Part) -> Expression:
    """s(z) over the units."""
    if part == "on":
        return z
    if part == "off":
        return {}
    unit, factor = part
    term = (abs(factor), {unit: fmpq(1)})
    return combine([term] if factor > 0 else [term, (fmpq(1), z)])  # s(-v) = s(v) - v


def differences(one: OverUnits, two: OverUnits) -> list[Expression]:
    """Output minus output, over the common units: all empty if the networks are the same function."""
    return [less(x, y) for x, y in zip(one.outputs, two.outputs, strict=True)]
