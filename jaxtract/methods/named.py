"""``daniely_granot`` and ``rolnick_koerding``: extraction under the name of a theorem, its assumptions checked.

Both are thin: the same extraction runs, of unknown widths; the statement and the measured assumptions come with the
result. An input that violates an assumption is still extracted where that is possible, and the result says that the
theorem does not speak of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxtract.layers.any_depth.extract import AnyDepthOptions, extract_any_depth
from jaxtract.layers.any_network import ExtractOptions, extract_network
from jaxtract.layers.depth_two import DepthTwoOptions, extract_depth_two
from jaxtract.methods.assumptions import (
    Assumption,
    every_weight_acts,
    hidden_layers,
    independent_rows,
    narrower_than_input,
    narrower_than_second,
    no_parallel_hyperplanes,
)
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.oracle import Oracle
from jaxtract.report.outcome import Extraction
from jaxtract.report.progress import ProgressMeter
from precision.context import Context

DEPTH_TWO = (
    "Daniely and Granot 2023, first theorem: a network of one hidden layer, any number of neurons in general position, "
    "is recovered exactly from polynomially many queries in polynomial time."
)
DEPTH_THREE = (
    "Daniely and Granot 2023, second theorem: a network of two hidden layers in general position whose first layer "
    "maps onto, with at most as many neurons as inputs, is recovered exactly from polynomially many queries in "
    "polynomial time."
)
ANY_DEPTH = (
    "Rolnick and Koerding 2020, theorem and algorithm of sections 4.2 and 4.3: weights and biases of a network of any "
    "depth can be read from its boundaries, up to permutation and scale, where they are connected and intersect."
)


@dataclasses.dataclass(frozen=True)
class NamedMethod:
    """An extraction and what its theorem says of it.

    Attributes:
        statement: the theorem, with its source.
        extraction: what was recovered.
        assumptions: measured on the recovered network; empty when there is none.
    """

    statement: str
    extraction: Extraction
    assumptions: tuple[Assumption, ...]

    @property
    def covered(self) -> bool:
        """Whether the network meets every assumption."""
        return bool(self.assumptions) and all(assumption.holds for assumption in self.assumptions)

    def describe(self) -> str:
        """Statement, assumptions and verdict in words."""
        if not self.assumptions:
            verdict = "nothing was recovered that the assumptions could be checked on"
        elif self.covered:
            verdict = "the theorem covers this network"
        else:
            names = "; ".join(assumption.name for assumption in self.assumptions if not assumption.holds)
            verdict = f"the theorem does not cover this network, because it violates: {names}"
        return "\n".join([self.statement, *map(str, self.assumptions), verdict])


def daniely_granot(
    oracle: Oracle,
    context: Context,
    *,
    depth: int,
    seed: int = 0,
    max_queries: int | None = None,
    progress: ProgressMeter | None = None,
) -> NamedMethod:
    """Depth two or three as in Daniely and Granot 2023 (``depth`` counts weight layers, as they do).

    Args:
        oracle: the black box.
        context: number system.
        depth: 2 or 3.
        seed, max_queries, progress: as in ``extract_network``.

    Raises:
        ValueError: another depth, or a context that the depth cannot be read in.
        OracleError: an answer was not what the oracle declares.
    """
    if depth not in (2, 3):
        raise ValueError(f"the theorems of Daniely and Granot are about depth 2 and 3, not {depth}")
    if depth == 2:
        options = DepthTwoOptions(seed=seed, max_queries=max_queries)
        found = extract_depth_two(oracle, context, options=options, progress=progress)
        return checked(DEPTH_TWO, found, lambda n: (hidden_layers(n, 1), no_parallel_hyperplanes(n)))
    deep = AnyDepthOptions(seed=seed, max_queries=max_queries)
    found = extract_any_depth(oracle, context, options=deep, progress=progress)
    return checked(
        DEPTH_THREE,
        found,
        lambda n: (
            hidden_layers(n, 2),
            narrower_than_input(n),
            independent_rows(n),
            *((narrower_than_second(n),) if len(n.widths) > 3 else ()),
            every_weight_acts(n),
        ),
    )


def rolnick_koerding(
    oracle: Oracle,
    context: Context,
    *,
    seed: int = 0,
    max_queries: int | None = None,
    progress: ProgressMeter | None = None,
) -> NamedMethod:
    """Any depth, structure unknown, as in Rolnick and Koerding 2020.

    Args, Raises: as ``jaxtract.layers.any_network.extract_network``.
    """
    options = ExtractOptions(seed=seed, max_queries=max_queries)
    found = extract_network(oracle, context, options=options, progress=progress)
    return checked(
        ANY_DEPTH, found, lambda n: (hidden_layers(n, None), no_parallel_hyperplanes(n), every_weight_acts(n))
    )


def checked(statement: str, found: Extraction, checks: Callable[[ExactNetwork], tuple[Assumption, ...]]) -> NamedMethod:
    assumptions = () if found.network is None else tuple(checks(found.network))
    return NamedMethod(statement, found, assumptions)
