"""A proven upper bound on max |f - f'| over a box or a ball, with evidence that integers can check."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from flint import arb, fmpq

from jaxtract.certificate.domain import Ball, Domain
from jaxtract.certificate.pairing import Paired
from jaxtract.certificate.zonotope import Bounded, Propagator, Region
from precision.dyadic import floor_log2, power_of_two

BOUND_BITS = 40
"""Bounds are rounded up to this many significant bits: short, and of one value only."""

FIRST_PREC, LAST_PREC = 64, 4096

AXIS_LIMIT = 4
"""Only so few inputs are bisected: 64 parts of 40 dimensions gain 6 % (measured); of two, the bound becomes sharp."""

WORTH = 0.995
"""A split that leaves more than this share of the bound is not worth its place in the evidence."""


@dataclasses.dataclass(frozen=True)
class Upper:
    """``bound`` >= |f'_o(x) - f_o(x)| for every output o and x in the domain; ``evidence`` is the tree of parts."""

    bound: fmpq
    evidence: dict[str, Any]
    parts: int


@dataclasses.dataclass
class _Part:
    """A leaf: its region, what propagation found there, and its node of the evidence."""

    region: Region
    found: Bounded
    node: dict[str, Any] = dataclasses.field(default_factory=dict)


def upper_bound(
    paired: Paired, domain: Domain, *, parts: int, progress: Callable[[int, int], None] | None = None
) -> Upper:
    """Bound the difference of two paired networks, in balls of growing precision.

    Args:
        paired: the networks.
        domain: the inputs.
        parts: most boxes that the domain is cut into, where that pays; 1 cuts nothing.
        progress: told (parts so far, parts).

    Raises:
        ValueError: ``parts`` is not positive.
    """
    if parts < 1:
        raise ValueError(f"parts is {parts}; at least 1 is needed")
    propagate = Propagator(paired, FIRST_PREC)
    region = whole(domain, paired.inputs)
    root = _Part(region, propagate(region))
    tie = itertools.count()
    leaves = [(-float(root.found.bound), next(tie), root)]
    while len(leaves) < parts:
        best = _best_split(propagate, leaves[0][2])  # the largest bound is what the next cut must lower
        if best is None:
            break
        heapq.heappop(leaves)
        for part in best:
            heapq.heappush(leaves, (-float(part.found.bound), next(tie), part))
        if progress is not None:
            progress(len(leaves), parts)
    bounds = [_settle(paired, part) for _, _, part in leaves]
    return Upper(max(bounds), root.node, len(leaves))


def whole(domain: Domain, inputs: int) -> Region:
    """A domain as one region."""
    return Region(None, domain) if isinstance(domain, Ball) else Region(((domain.low, domain.high),) * inputs)


def rounded_up(value: fmpq, bits: int = BOUND_BITS) -> fmpq:
    """The least number of ``bits`` significant bits that is at least ``value`` >= 0."""
    if value == 0:
        return value
    unit = power_of_two(floor_log2(value) + 1 - bits)
    return unit * -((-value / unit).floor())


def _best_split(propagate: Propagator, part: _Part) -> tuple[_Part, _Part] | None:
    """The split of a part whose worse half is best; None if none is worth it."""
    options = list(_axis_splits(propagate, part))
    worst = [max(float(half.found.bound) for half in halves) for _, halves in options]
    if not options or min(worst) > WORTH * float(part.found.bound):
        return None
    node, halves = options[worst.index(min(worst))]
    part.node.update(node)
    return halves


Split = tuple[dict[str, Any], tuple[_Part, _Part]]


def _axis_splits(propagate: Propagator, part: _Part) -> Iterator[Split]:
    intervals = part.region.intervals
    if intervals is None or len(intervals) > AXIS_LIMIT:
        return
    for axis, (low, high) in enumerate(intervals):
        halves = []
        for side in ((low, (low + high) / 2), ((low + high) / 2, high)):
            region = Region((*intervals[:axis], side, *intervals[axis + 1 :]))
            halves.append(_Part(region, propagate(region)))
        yield {"axis": axis, "low": halves[0].node, "high": halves[1].node}, (halves[0], halves[1])


def _settle(paired: Paired, part: _Part) -> fmpq:
    """The bound of a leaf, rounded up without doubt, written into its node with the slopes behind it."""
    prec = FIRST_PREC
    bound = None
    while bound is None and prec < LAST_PREC:
        bound = _unique(Propagator(paired, prec)(part.region, part.found.slopes).bound)
        prec *= 2
    if bound is None:  # the bound is a short number itself, or needs too many bits: no balls
        bound = rounded_up(Propagator(paired, None)(part.region, part.found.slopes).bound)
    part.node.update({"slopes": list(part.found.slopes), "bound": str(bound)})
    return bound


def _unique(ball: arb) -> fmpq | None:
    """The rounding up of every number in a ball, if it is one number."""
    ends = [fmpq(int(m)) * power_of_two(int(e)) for m, e in (ball.lower().man_exp(), ball.upper().man_exp())]
    if ends[0] < 0:
        return None
    low, high = (rounded_up(x) for x in ends)
    return low if low == high else None
