"""Two networks over one numbering of ReLU units that are nearly the same: what a bound on f - f' starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from flint import fmpq

from jaxtract.certificate.expressions import CONSTANT, Direction, Expression, combine, direction, fixed_sign
from jaxtract.certificate.matching import match_rows
from jaxtract.certificate.units import Part, always, relu, row_sign
from jaxtract.network.exact_network import ExactNetwork


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two networks over the common numbering.

    Attributes:
        parts: for every hidden layer, what became of each neuron.
        rows: ``rows[k]`` is z_k; zero where this network has no such unit.
        outputs: affine in inputs and units.
    """

    parts: tuple[tuple[Part, ...], ...]
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
            if any(key >= self.inputs + start for key in (*one.rows[k], *two.rows[k])):
                yield one.rows[start:k], two.rows[start:k], start
                start = k
        if two.rows:
            yield one.rows[start:], two.rows[start:], start
        yield one.outputs, two.outputs, len(two.rows)


def pair(recovered: ExactNetwork, reference: ExactNetwork) -> Paired:
    """Pair the units of two networks, layer by layer, by equal or else nearest rows.

    Neurons of one network that are provably one unit are merged exactly (as in ``certificate.units``). A unit of
    the recovered network that is near the opposite of a unit of the reference is turned round.
    """
    one, two = _Growing(recovered), _Growing(reference)
    count = paired = 0
    for layer in range(max(one.hidden, two.hidden)):
        ones, twos = one.new_units(layer), two.new_units(layer)
        keys = sorted({key for z in (*ones, *twos) for key in z})
        pairs = match_rows(_vectors(ones, keys), _vectors(twos, keys), opposite=True)
        for p in pairs:
            one.place(count, combine([(1 / p.scale, ones[p.one])]))
            two.place(count, twos[p.two])
            count += 1
        paired += len(pairs)
        for growing, units, taken in ((one, ones, {p.one for p in pairs}), (two, twos, {p.two for p in pairs})):
            for i in range(len(units)):
                if i not in taken:
                    growing.place(count, units[i])
                    count += 1
        one.close(layer)
        two.close(layer)
    return Paired(reference.inputs, one.side(count), two.side(count), paired)


class _Growing:
    """One network on its way through the layers."""

    def __init__(self, network: ExactNetwork):
        self.network = network
        self.hidden = len(network.weights) - 1
        self.state: list[Expression] = [{j: fmpq(1)} for j in range(network.inputs)]
        self.parts: list[tuple[Part, ...]] = []
        self.rows: dict[int, Expression] = {}
        self.known: dict[Direction, tuple[int, fmpq]] = {}
        self.z: list[Expression] = []
        self.signs: list[int] = []
        self.directions: list[tuple[Direction, fmpq] | None] = []

    def new_units(self, layer: int) -> list[Expression]:
        """Units of a layer that are not placed yet, each once; none if there is no such hidden layer."""
        self.z = self.affine(layer) if layer < self.hidden else []
        self.signs = self.row_signs(layer) if layer < self.hidden else []
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

    def close(self, layer: int) -> None:
        """All units of the layer are placed: what its neurons are, and the state after it."""
        if layer >= self.hidden:
            return
        met = zip(self.signs, self.directions, strict=True)
        parts: tuple[Part, ...] = tuple(self._part(sign, seen) for sign, seen in met)
        self.state = [relu(z, part, self.network.inputs) for z, part in zip(self.z, parts, strict=True)]
        self.parts.append(parts)

    def affine(self, layer: int) -> list[Expression]:
        rows = zip(self.network.weights[layer].tolist(), self.network.biases[layer].entries(), strict=True)
        return [combine(zip(row, self.state, strict=True), bias) for row, bias in rows]

    def row_signs(self, layer: int) -> list[int]:
        rows = zip(self.network.weights[layer].tolist(), self.network.biases[layer].entries(), strict=True)
        own = [row_sign(row, bias, layer) for row, bias in rows]
        return [sign or fixed_sign(z, self.network.inputs) for sign, z in zip(own, self.z, strict=True)]

    def side(self, count: int) -> Side:
        rows = tuple(self.rows.get(k, {}) for k in range(count))
        return Side(tuple(self.parts), rows, tuple(self.affine(self.hidden)))

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
