"""Two networks over one numbering of ReLU units that are nearly the same: what a bound on f - f' starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from flint import fmpq

from jaxtract.certificate.matching import match_rows
from jaxtract.equality.expressions import (
    CONSTANT,
    Direction,
    Expression,
    combine,
    direction,
    fixed_sign,
    over_inputs,
    put,
)
from jaxtract.equality.neurons import neuron_rows
from jaxtract.equality.units import Part, always, relu
from jaxtract.network.exact_network import ExactNetwork


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two networks over the common numbering.

    Attributes:
        parts: what became of each hidden neuron, layer after layer.
        rows: z_1, z_2, ...; zero where this network has no such unit.
        outputs: affine in inputs and units.
    """

    parts: tuple[Part, ...]
    rows: tuple[Expression, ...]
    outputs: tuple[Expression, ...]


@dataclasses.dataclass(frozen=True)
class Paired:
    """Unit k of both sides is meant to be the same; ``paired`` counts the units that both have."""

    inputs: int
    recovered: Side
    reference: Side
    paired: int

    def runs(self) -> Iterator[tuple[Sequence[Expression], Sequence[Expression], int]]:
        """(recovered rows, reference rows, units before) of units that need earlier runs only; outputs last."""
        one, two = self.recovered, self.reference
        start = 0
        for k in range(len(two.rows)):
            if any(key > start for key in (*one.rows[k], *two.rows[k])):
                yield one.rows[start:k], two.rows[start:k], start
                start = k
        if two.rows:
            yield one.rows[start:], two.rows[start:], start
        yield one.outputs, two.outputs, len(two.rows)


def pair(recovered: ExactNetwork, reference: ExactNetwork) -> Paired:
    """Pair the units of two networks, layer by layer, by equal or else nearest rows.

    Neurons of one network that are provably one unit are merged exactly (as in ``equality.units``). A unit of
    the recovered network that is near the opposite of a unit of the reference is turned round.
    """
    one, two = _Growing(recovered), _Growing(reference)
    count = paired = 0
    for layer in range(max(len(one.layers), len(two.layers))):
        ones, twos = one.new_units(layer), two.new_units(layer)
        keys = sorted({key for z in (*ones, *twos) for key in z})
        pairs = match_rows(_vectors(ones, keys), _vectors(twos, keys), opposite=True)
        for p in pairs:
            count += 1
            one.place(count, combine([(1 / p.scale, ones[p.one])]))
            two.place(count, twos[p.two])
        paired += len(pairs)
        for growing, units, taken in ((one, ones, {p.one for p in pairs}), (two, twos, {p.two for p in pairs})):
            for i in range(len(units)):
                if i not in taken:
                    count += 1
                    growing.place(count, units[i])
        one.close()
        two.close()
    return Paired(reference.inputs, one.side(count), two.side(count), paired)


class _Growing:
    """One network on its way through the layers."""

    def __init__(self, network: ExactNetwork):
        *self.layers, self.outputs = neuron_rows(network)
        self.forms = over_inputs(network.inputs)
        self.parts: list[Part] = []
        self.rows: dict[int, Expression] = {}
        self.known: dict[Direction, tuple[int, fmpq]] = {}
        self.z: list[Expression] = []
        self.signs: list[int] = []
        self.directions: list[tuple[Direction, fmpq] | None] = []

    def new_units(self, layer: int) -> list[Expression]:
        """Units of a layer that are not placed yet, each once; none if there is no such hidden layer."""
        rows = self.layers[layer] if layer < len(self.layers) else []
        self.z = [put(self.forms, row) for row in rows]
        self.signs = [fixed_sign(row) or fixed_sign(z) for row, z in zip(rows, self.z, strict=True)]
        self.directions = [None if sign else direction(z) for z, sign in zip(self.z, self.signs, strict=True)]
        found: dict[Direction, Expression] = {}
        for z, seen in zip(self.z, self.directions, strict=True):
            if seen is not None and seen[0] not in self.known:
                found.setdefault(seen[0], z)
        return list(found.values())

    def place(self, unit: int, row: Expression) -> None:
        key, lead = direction(row)
        self.rows[unit] = row
        self.known[key] = (unit, lead)

    def close(self) -> None:
        """All units of the layer are placed: what its neurons are over them."""
        for z, sign, seen in zip(self.z, self.signs, self.directions, strict=True):
            self.parts.append(self._part(sign, seen))
            self.forms[len(self.parts)] = relu(z, self.parts[-1])

    def side(self, count: int) -> Side:
        rows = tuple(self.rows.get(k, {}) for k in range(1, count + 1))
        return Side(tuple(self.parts), rows, tuple(put(self.forms, row) for row in self.outputs))

    def _part(self, sign: int, seen: tuple[Direction, fmpq] | None) -> Part:
        if seen is None:
            return always(sign)
        key, lead = seen
        unit, first = self.known[key]
        return unit, lead / first


def _vectors(units: Sequence[Expression], keys: Sequence[int]) -> list[list[fmpq]]:
    order = [*(key for key in keys if key != CONSTANT), CONSTANT]
    zero = fmpq(0)
    return [[z.get(key, zero) for key in order] for z in units]
