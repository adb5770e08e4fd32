"""Extraction when nothing is known of the network: one line shows whether one hidden layer is enough."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxtract.layers.any_depth.extract import DEEP_CONTEXTS, AnyDepth, AnyDepthOptions
from jaxtract.layers.depth_two import DepthTwo, DepthTwoOptions
from jaxtract.oracle.oracle import Oracle
from jaxtract.report.outcome import Extraction, Outcome
from jaxtract.report.progress import NoProgressMeter, ProgressMeter
from precision.context import Context


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """Settings of ``extract_network``; see ``DepthTwoOptions`` and ``AnyDepthOptions``."""

    seed: int = 0
    max_queries: int | None = None
    resolution_bits: int = 256
    verify_inputs: int = 1000
    verify_lines: int = 20
    pack: int = 1


def extract_network(
    oracle: Oracle,
    context: Context,
    *,
    options: ExtractOptions | None = None,
    progress: ProgressMeter | None = None,
    keep: Callable[[Extraction], None] | None = None,
) -> Extraction:
    """Recover a ReLU network of unknown depth and widths from queries.

    One hidden layer is read in any context; more layers in exact and mp.

    Args:
        oracle: the black box.
        context: number system of the extraction; the oracle must serve it.
        options: see ``ExtractOptions``.
        progress: told what happens; silent by default.
        keep: given what was found so far when an exception ends the extraction, before it goes on.

    Returns:
        The network with its claim. A result that falls short is returned too, with what is missing.

    Raises:
        ValueError: the oracle does not serve the context.
        OracleError: an answer was not what the oracle declares, or differed when asked twice.
    """
    chosen, meter = options or ExtractOptions(), progress or NoProgressMeter()
    shallow = DepthTwo(oracle, context, DepthTwoOptions(**dataclasses.asdict(chosen)), meter, test_bends=True)
    found = shallow.run(keep)
    if found.outcome is not Outcome.NOT_ONE_HIDDEN_LAYER or context.name not in DEEP_CONTEXTS:
        return found
    shared = {field.name for field in dataclasses.fields(AnyDepthOptions)} & dataclasses.asdict(chosen).keys()
    deep = AnyDepthOptions(**{name: getattr(chosen, name) for name in shared})
    result = AnyDepth(shallow.oracle, context, deep, meter, first_line=shallow.first_line).run(keep)
    return dataclasses.replace(result, seconds=result.seconds + found.seconds)
