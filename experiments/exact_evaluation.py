"""Question: how fast can a known network be evaluated without any rounding, and which way is fastest?

Claim: none of a paper. An exact query needs P fractional bits where float64 has 53; every method below
returns the same integers, bit for bit, and each row is checked for that before it is timed.

Set-up: He Gaussian networks (seed 0), uniform inputs in [-2, 2) with P fractional bits (seed 0), batches of one shape.
"FLINT" is the time of the integer matrices alone, from FLINT integers to FLINT integers; the others take
and return packed words, which is what a caller passes on. "flint packed" is FLINT with the packing. "ratio"
is FLINT / method in the same run; "floor" is method / the plain float64 products of the same network and
batch in one jitted function. Best of several calls; compilation is not counted.

Run: python experiments/exact_evaluation.py [--small] [--seed 0]

RESULT
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxtract import ReLUNetwork
from jaxtract.evaluation import ExactEvaluator, FlintPackedEvaluator, InputFormat, Packed, exact_evaluator, sample_words
from jaxtract.evaluation.choose import choose_method
from jaxtract.evaluation.packing import matrix_of, words_of
from jaxtract.network.families import he

NETWORKS = ((80, 40, 20, 1), (784, 128, 1), (784, 128, 64, 32, 10))
PRECISIONS = (64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 64, 1024)
METHODS = ("int8", "float64", "residues")


@dataclasses.dataclass(frozen=True)
class Row:
    """Microseconds per query of one method."""

    network: str
    prec: int
    batch: int
    method: str
    micros: float
    flint: float
    floor: float
    chosen: bool


def best_of(call: Callable[[], object], *, seconds: float) -> float:
    """The least time of calls that together take about ``seconds``, at least two of them."""
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def rows(network: ReLUNetwork, prec: int, batch: int, seed: int, seconds: float) -> Iterator[Row]:
    """Every method on one network, precision and batch."""
    exact, format = network.exact(), InputFormat(prec, prec + 2)
    points = Packed(sample_words(batch, network.inputs, format, seed=seed), prec)
    reference = FlintPackedEvaluator(exact, format)
    mantissas = matrix_of(points.words)
    expected = Packed(
        words_of(reference.evaluate_matrix(mantissas)[0], reference.integers.bits[-1]), reference.integers.exponents[-1]
    )
    forward = eqx.filter_jit(network.__call__)
    rounded = jnp.asarray(np.random.default_rng(seed).uniform(-2, 2, (batch, network.inputs)))
    forward(rounded).block_until_ready()
    scale = 1e6 / batch
    floor = scale * best_of(lambda: forward(rounded).block_until_ready(), seconds=seconds / 4)
    flint = scale * best_of(lambda: reference.evaluate_matrix(mantissas), seconds=seconds)
    chosen = choose_method(reference.integers, batch=batch)
    title = "-".join(map(str, network.widths))
    yield Row(title, prec, batch, "FLINT", flint, flint, floor, chosen == "flint")
    evaluators: list[tuple[str, ExactEvaluator]] = [("flint packed", reference)]
    evaluators += [(method, exact_evaluator(exact, format, batch=batch, method=method)) for method in METHODS]
    for method, evaluator in evaluators:
        if evaluator(points) != expected:
            raise AssertionError(f"{method} differs from FLINT on {title} at P = {prec}")
        micros = scale * best_of(lambda evaluator=evaluator: evaluator(points), seconds=seconds)
        yield Row(title, prec, batch, method, micros, flint, floor, method == chosen)


def table(results: Sequence[Row]) -> Table:
    """One line per network, precision and batch; the automatic choice is starred."""
    columns = ("FLINT", "flint packed", *METHODS)
    out = Table(box=None)
    for name in ("network", "P", "batch", "plain float64", *columns, "ratio", "floor"):
        out.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    for start in range(0, len(results), len(columns)):
        group = results[start : start + len(columns)]
        first, best = group[0], next(row for row in group if row.chosen)
        cells = [f"{row.micros:.1f}{'*' if row.chosen else ''}" for row in group]
        ratios = f"{best.flint / best.micros:.1f}", f"{best.micros / best.floor:.0f}"
        out.add_row(first.network, str(first.prec), str(first.batch), f"{first.floor:.2f}", *cells, *ratios)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one network at one precision, seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the networks and the inputs")
    options = parser.parse_args(arguments)
    results: list[Row] = []
    for widths in NETWORKS[:1] if options.small else NETWORKS:
        for prec in PRECISIONS[:1] if options.small else PRECISIONS:
            # Small batches matter less: one precision shows them.
            for batch in (8,) if options.small else BATCHES if prec == 256 else BATCHES[-1:]:
                seconds = 0.01 if options.small else 2.0
                results.extend(rows(he(widths, options.seed), prec, batch, options.seed, seconds))
    Console(width=140).print(table(results))


if __name__ == "__main__":
    main()
