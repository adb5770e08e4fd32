"""Extraction when nothing is known of the network: one line shows whether one hidden layer is enough."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from jaxtract.layers.any_depth.extract import AnyDepth, AnyDepthOptions
from jaxtract.layers.depth_two import DepthTwo, DepthTwoOptions
from jaxtract.oracle.oracle import Oracle
from jaxtract.report.outcome import Extraction, Outcome
from jaxtract.report.progress import NoProgressMeter, ProgressMeter
from precision.context import Context

ATTEMPTS = 3
"""Extractions that are begun where answers have few bits: one in six takes a wrong row for right, and is then stuck."""

STUCK = (Outcome.COUNTEREXAMPLES_LEFT, Outcome.WEIGHTS_OPEN)
"""How an extraction ends that other lines may bring to a better one."""

Options = TypeVar("Options", DepthTwoOptions, AnyDepthOptions)


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """Settings of ``extract_network``; see ``DepthTwoOptions`` and ``AnyDepthOptions``."""

    seed: int = 0
    max_queries: int | None = None
    resolution_bits: int = 256
    verify_inputs: int = 1000
    verify_lines: int = 20
    pack: int = 1
    widths: tuple[int, ...] | None = None


def extract_network(
    oracle: Oracle,
    context: Context,
    *,
    options: ExtractOptions | None = None,
    progress: ProgressMeter | None = None,
    keep: Callable[[Extraction], None] | None = None,
) -> Extraction:
    """Recover a ReLU network of unknown depth and widths from queries.

    Args:
        oracle: the black box.
        context: number system of the extraction; the oracle must serve it.
        options: see ``ExtractOptions``.
        progress: told what happens; silent by default.
        keep: given what was found so far when an exception ends the extraction, before it goes on.

    Returns:
        The network with its claim. A result that falls short is returned too, with what is missing.

    Raises:
        ValueError: the oracle does not serve the context, or the hint of widths does not fit its dimensions.
        OracleError: an answer was not what the oracle declares, or differed when asked twice.
    """
    chosen, meter = options or ExtractOptions(), progress or NoProgressMeter()
    if chosen.widths is not None:
        _check_widths(chosen.widths, oracle)
    shallow = DepthTwo(oracle, context, _settings(DepthTwoOptions, chosen), meter, test_bends=True)
    found = shallow.run(keep)
    if found.outcome is not Outcome.NOT_ONE_HIDDEN_LAYER:
        return found
    deep = _settings(AnyDepthOptions, chosen)
    result = AnyDepth(shallow.oracle, context, deep, meter, first_line=shallow.first_line).run(keep)
    seconds = found.seconds + result.seconds
    for attempt in range(1, ATTEMPTS if context.few_bits else 1):
        if result.outcome not in STUCK:
            break
        again = dataclasses.replace(deep, seed=deep.seed + (attempt << 32))
        later = AnyDepth(shallow.oracle, context, again, meter).run(keep)
        seconds += later.seconds
        result = result if later.network is None and result.network is not None else later
    return dataclasses.replace(result, seconds=seconds, queries=shallow.oracle.count, seed=chosen.seed)


def _settings(kind: type[Options], chosen: ExtractOptions) -> Options:
    """The settings that a method knows."""
    shared = {field.name for field in dataclasses.fields(kind)} & {field.name for field in dataclasses.fields(chosen)}
    return kind(**{name: getattr(chosen, name) for name in shared})


def _check_widths(widths: tuple[int, ...], oracle: Oracle) -> None:
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths are positive and name inputs and outputs, too, as in 10-20-20-1; got {widths}")
    if (widths[0], widths[-1]) != (oracle.inputs, oracle.outputs):
        raise ValueError(
            f"widths {'-'.join(map(str, widths))} do not fit the black box: it has {oracle.inputs} inputs and "
            f"{oracle.outputs} outputs"
        )
