"""What is known of a network while it is read: its kinks, its layers, and which of them were tried where."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from flint import fmpq

from jaxtract.geometry.known_layers import KnownLayers
from jaxtract.layers.any_depth.found_layers import FoundLayer, Row, rescaled_columns, stacked
from jaxtract.layers.any_depth.kinks.input_slice import InputSlice
from jaxtract.layers.any_depth.kinks.pool import Pool
from jaxtract.layers.any_depth.skips.read_with_skips import Found
from jaxtract.layers.any_depth.whole.output_layer import Tail
from jaxtract.measurement.balls import measuring
from jaxtract.oracle.counting import CountingOracle
from jaxtract.polish.gauss_newton import Polished
from jaxtract.report.progress import ProgressMeter
from jaxtract.search.context_lines import LineSettings
from precision.balls import quotient, to_float, vanishes
from precision.context import Context

MOST_DEPTH = 64

PATIENCE = 3
"""How many times lines are added to find what a layer lacks before skip connections are looked for."""

DEEP, PATIENCE_BEFORE, PATIENCE_FROM = 3, 2, 1
"""The same before the next layer is begun without it, in the layers before this one and from it on.

Few of the kinks of a line are of a deep layer, and lines are dear there.
"""

TOGETHER = 2.0**-8
"""Two kinks are taken for one where they are nearer to it than this share of what is between its neighbours."""

Kink = tuple[int, int]
"""(line, kink on it)"""


@dataclasses.dataclass
class Met:
    """Which kinks were held against the last of some layers, and at which of them one of its neurons is zero."""

    layers: KnownLayers
    seen: set[Kink] = dataclasses.field(default_factory=set)
    zeros: set[Kink] = dataclasses.field(default_factory=set)


class Recovery:
    """The state that the steps of an extraction share.

    Args:
        oracle: the black box, counted.
        context: number system of the claim; measurements may be made between balls.
        settings: of line searches.
        rng: of every random choice.
        progress: told of phases and neurons.
        widths: a hint, inputs and outputs included.

    Attributes:
        slice, pool: coordinates that matter, and all kinks found on them; set once the first line is measured.
        layers: found so far, the first one first.
        output: the output layer, once it is known.
        polished, with_skips: the network as it was polished, or as it was read with skips.
        signed_again: whether signs of its last hidden layer came out only once it was polished.
        versions: for every layer how often it was renewed; what was tried against an older one may be tried again.
        done: kinks that no layer takes, until something new is known.
        blocked: the layer whose equations showed that the one before it lacks a neuron; 0 when none did.
        insistent: whether a layer was tried again before lines are added that show what the one before it lacks.
        patience: how many times lines are still added to find what a layer lacks before skips are tried.
    """

    def __init__(
        self,
        oracle: CountingOracle,
        context: Context,
        settings: LineSettings,
        rng: np.random.Generator,
        progress: ProgressMeter,
        widths: tuple[int, ...] | None,
    ):
        self.oracle = oracle
        self.context = context
        self.measurer = measuring(oracle)
        self.numbers = self.measurer.context
        self.settings = settings
        self.rng = rng
        self.progress = progress
        self.widths = widths
        self.slice: InputSlice
        self.pool: Pool
        self.layers: list[FoundLayer] = []
        self.output: Tail | None = None
        self.polished: Polished | None = None
        self.signed_again = False
        self.with_skips: Found | None = None
        self.versions = [0] * (MOST_DEPTH + 2)
        self.done: set[Kink] = set()
        self.blocked = 0
        self.insistent = False
        self.patience = PATIENCE
        self._met: dict[int, Met] = {}
        self._stacks: dict[int, tuple[list[tuple[Row, int]], KnownLayers]] = {}

    def renewed(self, level: int, *, patience: int = PATIENCE) -> None:
        """Something new is known of a layer: what was tried in vain behind it may now lead somewhere."""
        for later in range(level, len(self.versions)):
            self.versions[later] += 1
        self.done.clear()
        self.blocked = 0
        self.insistent = False
        self.patience = patience
        self.progress.neurons(sum(len(layer.rows) for layer in self.layers), None)

    @property
    def hasty(self) -> bool:
        """Whether lines were added often enough, and did not show what the last layer lacks, to go on without it."""
        return PATIENCE - self.patience >= (PATIENCE_FROM if len(self.layers) >= DEEP else PATIENCE_BEFORE)

    def unexplained(self, *, for_certain: bool = False) -> list[Kink]:
        """Kinks at which no known neuron is zero.

        ``for_certain``: leave out those at which some row has an open weight from a neuron that is on there: they may
        be its own.
        """
        kinks = self.pool.all_kinks()
        if not self.numbers.exact:
            # What rounding leaves of kinks that are hardly apart has no normal; nothing can be made of it.
            kinks = [k for k in kinks if not self.pool.is_measured(k) or self.pool.sighting(*k).form is not None]
        if not self.layers:
            return kinks
        left = self._not_on_boundaries(kinks)
        if self.numbers.few_bits and left:
            left = self._not_between_boundaries(left)
        sources = [sorted({i for row in layer.rows for i in row.missing}) for layer in self.layers[1:]]
        if not for_certain or not left or not any(sources):
            return left
        heights = self.pool.heights(self.known(len(self.layers)), self.pool.places(left))[0]
        doubtful = [False] * len(left)
        for z, chosen in zip(heights, sources, strict=False):
            for place, row in enumerate(z.tolist() if chosen else []):
                doubtful[place] = doubtful[place] or any(row[i] > 0 for i in chosen)
        return [kink for kink, may_be_explained in zip(left, doubtful, strict=True) if not may_be_explained]

    def _not_on_boundaries(self, kinks: Sequence[Kink]) -> list[Kink]:
        """Those at which no known neuron is zero. What is on a boundary stays there while no layer up to it changes."""
        levels = range(1, len(self.layers) + 1)
        for level in levels:
            if level not in self._met or self._met[level].layers is not self.known(level):
                self._met[level] = Met(self.known(level))
        met = [self._met[level] for level in levels]
        left = [kink for kink in kinks if not any(kink in one.zeros for one in met)]
        fresh = [kink for kink in left if not all(kink in one.seen for one in met)]
        if fresh:
            heights = self.pool.heights(self.known(len(self.layers)), self.pool.places(fresh))[0]
            for one, z in zip(met, heights, strict=True):
                bending = np.nonzero(~one.layers.linear[-1])[0].tolist()
                one.seen.update(fresh)
                one.zeros.update(
                    k for k, row in zip(fresh, z.tolist(), strict=True) if any(vanishes(row[i]) for i in bending)
                )
        return [kink for kink in left if not any(kink in one.zeros for one in met)]

    def _not_between_boundaries(self, kinks: Sequence[Kink]) -> list[Kink]:
        """Those that are not two boundaries of known neurons, on both sides of the kink and too near to be told apart.

        The pieces beside two such kinks meet between them, at none of the two.
        """
        places = []
        for i, k in kinks:
            line = self.pool.lines[i]
            places += [(i, line.middle(k)), (i, line.kinks[k]), (i, line.middle(k + 1))]
        known = self.known(len(self.layers))
        heights, scales = self.pool.heights(known, places)
        tables = [
            [[to_float(quotient(x, c)) for x in z] for z, c in zip(h.tolist(), scales, strict=True)] for h in heights
        ]
        left = []
        for place, kink in zip(range(0, len(places), 3), kinks, strict=True):
            before = behind = False
            for table, linear in zip(tables, known.linear, strict=True):
                low, at, high = np.array(table[place : place + 3])
                near = ~linear & (low * high < 0) & (np.abs(at) < TOGETHER * np.abs(high - low))
                before |= bool(np.any(near & (at * high > 0)))
                behind |= bool(np.any(near & (at * high < 0)))
            if not (before and behind):
                left.append(kink)
        return left

    def known(self, depth: int) -> KnownLayers:
        """The first ``depth`` layers; the same object as long as nothing changed."""
        rows = [row for layer in self.layers[:depth] for row in layer.rows]
        state = [(row, len(row.missing)) for row in rows]
        known = self._stacks.get(depth)
        if (
            known is None
            or len(known[0]) != len(state)
            or any(a[0] is not b[0] or a[1] != b[1] for a, b in zip(known[0], state, strict=True))
        ):
            known = (state, stacked(self.slice.rank, self.layers[:depth]))
            self._stacks[depth] = known
        return known[1]

    def known_for_certain(self) -> KnownLayers | None:
        """The layers whose zeros are known exactly: those with all signs, and the one behind; None where there is none.

        Of the last of these the signs do not matter.
        """
        if not self.numbers.exact or not self.layers:
            return None
        return self.known(min(len(self.signed_layers()) + 1, len(self.layers)))

    def spanning(self) -> KnownLayers | None:
        """The layers with all signs, where every bit counts: what is behind them reads nothing else."""
        signed = len(self.signed_layers())
        return self.known(signed) if signed and self.numbers.few_bits and not self.numbers.rough else None

    def signed_layers(self) -> list[FoundLayer]:
        """The first layers, up to one of which a sign is open."""
        return list(itertools.takewhile(lambda layer: all(layer.signs), self.layers))

    def carry_scales(self, level: int, factors: Sequence[fmpq]) -> None:
        """Rows are known up to scale; later columns follow when the integer multiples of a layer's rows change.

        ``factors``: to the integer multiples as they were, of the rows that were there before.
        """
        for depth in range(level, len(self.layers)):
            rows = self.layers[depth - 1].rows
            changes = [row.integer_factor() / old for row, old in zip(rows, factors, strict=False)]
            changes += [fmpq(1)] * (len(rows) - len(changes))
            readers = self.layers[depth]
            factors = [row.integer_factor() for row in readers.rows]
            readers.rows = rescaled_columns(readers.rows, changes)
