"""Question: how fast can a known network be evaluated without any rounding, and which way is fastest?

Claim: none of a paper. An exact query needs P fractional bits where float64 has 53; every method below
returns the same integers, bit for bit, and each row is checked for that before it is timed.

Set-up: He Gaussian networks (seed 0), everything in one process, best of several calls; compilation is a table of its
own. "plain float64" are the products of the same network and batch in one jitted function: the floor. "ratio" is
FLINT / the automatic choice (starred), "floor" the choice / plain float64, both of the same run.

1. Packed points: uniform inputs in [-2, 2) with P fractional bits. FLINT is the time of the integer matrices alone,
   from FLINT integers to FLINT integers; "flint packed" adds the packing; the others take and return packed words.
2. Set-up: seconds to build an evaluator (digits or residues of the weights, bounds), and of its first call.
3. Structured points, as an extraction asks them: 4000 points around 5 anchors or along 20 lines, from exact rationals
   to exact rationals. FLINT here is the structured one, which maps anchors and directions once, so that most of
   the first layer is gone for everybody.
4. P-bit mode: activations keep P fractional bits; "radius" is the proven error, "undecided" the points sent to the
   exact path.
5. Whole extractions with one hidden layer, FLINT against the automatic choice.

Run: python -m experiments.exact_evaluation [--small] [--seed 0] [--only TABLE ...]

Result: no full run of this version is recorded yet; the command above prints the tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from flint import fmpq
from rich.console import Console
from rich.table import Table

from jaxtract import ExactContext, ExactNetworkOracle, ReLUNetwork, extract_depth_two
from jaxtract.evaluation import (
    ExactEvaluator,
    FlintPackedEvaluator,
    InputFormat,
    Packed,
    RoundedEvaluator,
    exact_evaluator,
    integer_network,
    rounding_pays,
    sample_words,
)
from jaxtract.evaluation.choose import build, choose_method
from jaxtract.evaluation.packing import matrix_of, words_of
from jaxtract.evaluation.served import EvaluatorName, point_evaluator
from jaxtract.network.families import he
from jaxtract.oracle.points import PointBatch, on_lines, stars
from precision.dyadic import from_float64

NETWORKS = ((80, 40, 20, 1), (784, 128, 1), (784, 128, 64, 32, 10))
DEEP = ((80, *(40,) * 8, 1), (784, 128, 64, 32, 10))
PRECISIONS = (64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 64, 1024)
METHODS = ("int8", "float64", "residues")
SERVED: tuple[EvaluatorName, ...] = ("flint", "pieces", *METHODS)
TABLES = ("setup", "packed", "structured", "rounded", "extraction")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything: full or ``--small``."""

    seed: int
    networks: Sequence[tuple[int, ...]] = NETWORKS
    deep: Sequence[tuple[int, ...]] = DEEP
    extracted: Sequence[tuple[int, ...]] = ((64, 32, 10), (784, 32, 1), (784, 128, 1))
    evaluators: Sequence[EvaluatorName] = ("flint", "auto", "float64", "residues")
    precisions: Sequence[int] = PRECISIONS
    batches: Sequence[int] = BATCHES
    points: int = 4000
    seconds: float = 2.0


def small(seed: int) -> Scale:
    return Scale(seed, ((20, 10, 5, 1),), ((6, 5, 5, 5, 1),), ((8, 6, 1),), ("flint", "auto"), (64,), (8,), 100, 0.01)


def best_of(call: Callable[[], object], *, seconds: float) -> float:
    """The least time of calls that together take about ``seconds``, at least two of them."""
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        times.append(once(call))
    return min(times)


def once(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def title(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))


def floor_of(network: ReLUNetwork, batch: int, scale: Scale) -> float:
    """Seconds of the plain float64 products of a batch."""
    forward = eqx.filter_jit(network.__call__)
    inputs = jnp.asarray(np.random.default_rng(scale.seed).uniform(-2, 2, (batch, network.inputs)))
    forward(inputs).block_until_ready()
    return best_of(lambda: forward(inputs).block_until_ready(), seconds=scale.seconds / 4)


def packed(scale: Scale) -> Table:
    """Microseconds per query of packed points; the automatic choice is starred."""
    names = ("FLINT", "flint packed", *METHODS)
    out = _table("network", "P", "batch", "plain float64", *names, "ratio", "floor")
    for widths in scale.networks:
        for prec in scale.precisions:
            # Small batches matter less: one precision shows them.
            for batch in scale.batches if prec == 256 else scale.batches[-1:]:
                out.add_row(
                    title(widths), str(prec), str(batch), *_packed_row(he(widths, scale.seed), prec, batch, scale)
                )
    return out


def _packed_row(network: ReLUNetwork, prec: int, batch: int, scale: Scale) -> Iterator[str]:
    exact, format = network.exact(), InputFormat(prec, prec + 2)
    points = Packed(sample_words(batch, network.inputs, format, seed=scale.seed), prec)
    reference = FlintPackedEvaluator(exact, format)
    mantissas, integers = matrix_of(points.words), reference.integers
    expected = words_of(reference.evaluate_matrix(mantissas)[0], integers.bits[-1])
    floor = floor_of(network, batch, scale)
    times = {"FLINT": best_of(partial(reference.evaluate_matrix, mantissas), seconds=scale.seconds)}
    evaluators: dict[str, ExactEvaluator] = {"flint packed": reference}
    evaluators |= {method: exact_evaluator(exact, format, batch=batch, method=method) for method in METHODS}
    for name, evaluator in evaluators.items():
        if evaluator(points) != Packed(expected, integers.exponents[-1]):
            raise AssertionError(f"{name} differs from FLINT on {title(network.widths)} at P = {prec}")
        times[name] = best_of(partial(evaluator, points), seconds=scale.seconds)
    method = choose_method(integers, batch=batch)
    chosen = "FLINT" if method == "flint" else method
    yield f"{floor / batch * 1e6:.2f}"
    yield from (f"{seconds / batch * 1e6:.1f}{'*' if name == chosen else ''}" for name, seconds in times.items())
    yield f"{times['FLINT'] / times[chosen]:.1f}"
    yield f"{times[chosen] / floor:.0f}"


def setup(scale: Scale) -> Table:
    """Seconds before the second call of a packed evaluator, at the middle precision."""
    out = _table("network", "P", *(f"{method} {what}" for method in METHODS for what in ("build", "first call")))
    for widths in scale.networks:
        prec = 256 if 256 in scale.precisions else scale.precisions[0]
        network, format = he(widths, scale.seed).exact(), InputFormat(prec, prec + 2)
        points, cells = Packed(sample_words(64, network.inputs, format), prec), []
        for method in METHODS:
            begun = time.perf_counter()
            evaluator = build(network, format, method)
            cells.append(time.perf_counter() - begun)
            cells.append(once(partial(evaluator, points)))
        out.add_row(title(widths), str(prec), *(f"{seconds:.2f}" for seconds in cells))
    return out


def structured(scale: Scale) -> Table:
    """Microseconds per query of the batches of an extraction, from rationals to rationals."""
    out = _table("network", "batch", *SERVED, "FLINT / pieces", "FLINT / best packed")
    for widths in scale.networks:
        network = he(widths, scale.seed).exact()
        for name, points in batches(network.inputs, scale):
            times, expected = [], point_evaluator(network, "flint")(points)
            for method in SERVED:
                evaluate = point_evaluator(network, method)
                if (evaluate(points) != expected).any():
                    raise AssertionError(f"{method} differs from FLINT on {title(widths)}, {name}")
                seconds = best_of(partial(evaluate, points), seconds=scale.seconds)
                times.append(seconds / len(points) * 1e6)
            ratios = times[0] / times[1], times[0] / min(times[2:])
            out.add_row(title(widths), name, *(f"{x:.1f}" for x in times), *(f"{x:.1f}" for x in ratios))
    return out


def batches(inputs: int, scale: Scale) -> Iterator[tuple[str, PointBatch]]:
    """Small steps along all axes from 5 anchors; random positions with 60 fractional bits on 20 lines."""
    rng = np.random.default_rng(scale.seed)
    rows = from_float64(rng.standard_normal((25, inputs)).astype(np.float32).astype(np.float64))
    axes = list(range(inputs)) * (1 + scale.points // (5 * inputs))
    yield "stars", stars(rows, [fmpq(1, 1 << 70)] * 5, axes[: scale.points // 5])
    positions = [fmpq(int(k), 1 << 60) for k in rng.integers(-(1 << 62), 1 << 62, scale.points)]
    yield "lines", on_lines(rows, rows, [k % 20 for k in range(scale.points)], positions)


def rounded(scale: Scale) -> Table:
    """Microseconds per query of P-bit mode against the exact digit slices, in float64."""
    out = _table("network", "P", "exact slices", "P-bit", "ratio", "radius", "undecided", "pays by count")
    for widths in scale.deep:
        network = he(widths, scale.seed).exact()
        for prec in scale.precisions[:3]:
            format, batch = InputFormat(prec, prec + 2), scale.batches[-1]
            points = Packed(sample_words(batch, network.inputs, format, seed=scale.seed), prec)
            exact, dropping = build(network, format, "float64"), RoundedEvaluator(network, format, prec)
            exact(points)
            result = dropping(points)
            times = [best_of(partial(call, points), seconds=scale.seconds) for call in (exact, dropping)]
            out.add_row(
                title(widths),
                str(prec),
                *(f"{seconds / batch * 1e6:.1f}" for seconds in times),
                f"{times[0] / times[1]:.1f}",
                f"2^{result.radius.bit_length() - result.values.exponent}",
                str(int(result.exact.sum())),
                "yes" if rounding_pays(integer_network(network, format), prec) else "no",
            )
    return out


def extraction(scale: Scale) -> Table:
    """Seconds of whole extractions; processor time leaves out what other work on the machine took."""
    out = _table("network", "evaluator", "total", "in the oracle", "processor", "claim", "points")
    for widths in scale.extracted:
        network = he(widths, scale.seed).exact()
        for name in scale.evaluators:
            oracle, begun = ExactNetworkOracle(network, evaluator=name), time.process_time()
            result = extract_depth_two(oracle, ExactContext())
            seconds = result.seconds, result.oracle_seconds, time.process_time() - begun
            said = oracle.evaluator.split(";")[0]
            out.add_row(title(widths), name, *(f"{x:.2f}" for x in seconds), result.claim, said)
    return out


def _table(*columns: str) -> Table:
    out = Table(box=None)
    for name in columns:
        out.add_column(name, justify="left" if name in ("network", "batch", "points") else "right", no_wrap=True)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny networks, seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the networks and the inputs")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="tables by name")
    options = parser.parse_args(arguments)
    scale = small(options.seed) if options.small else Scale(options.seed)
    makers = dict(zip(TABLES, (setup, packed, structured, rounded, extraction), strict=True))
    for name in options.only:
        Console(width=170).print(f"\n{name}", makers[name](scale))


if __name__ == "__main__":
    main()
