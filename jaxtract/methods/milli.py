"""``milli``: one hidden layer from gradients, from gradients and values, or from values alone.

Milli, Schmidt, Dragan and Hardt 2019 (*Model Reconstruction from Model Explanations*) ask for gradients, as a saliency
map shows them: on a line a gradient changes by one neuron at a time, so that binary search finds the rows of all.
Here the neurons may have biases, too, and need not be independent:

* gradients alone (``milli_gradients``): rows from one line, biases of many neurons at once by halving their brackets,
  signs by a linear system or a lattice. What no gradient shows is one constant an output.
* gradients and values: values place the kinks, and one gradient for every region replaces d differences of values.
* values alone: ``extract_depth_two``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Literal

from jaxtract.evaluation.jacobian import JacobianEvaluator
from jaxtract.layers.depth_two import DepthTwo, DepthTwoOptions, extract_depth_two
from jaxtract.measurement.affine_pieces import AffinePiece, inside_piece
from jaxtract.measurement.ridge_form import RidgeForm
from jaxtract.methods.assumptions import hidden_layers, independent_rows, without_biases
from jaxtract.methods.milli_gradients import FromGradients, Gradients
from jaxtract.methods.named import NamedMethod, checked
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.oracle.counting import CountingOracle, QueryCount
from jaxtract.oracle.gradients import GradientOracle
from jaxtract.oracle.oracle import Oracle
from jaxtract.oracle.points import points_on_line, scattered
from jaxtract.report.outcome import Extraction
from jaxtract.report.progress import NoProgressMeter, ProgressMeter
from jaxtract.search.context_lines import Asker
from jaxtract.search.lines import Line, LineProfile
from precision.context import Context

GRADIENTS = (
    "Milli, Schmidt, Dragan and Hardt 2019, theorem on gradient queries: a network of one hidden layer of h neurons "
    "without biases, with linearly independent rows, is recovered with high probability from O(h log h) gradients."
)
VALUES = f"{GRADIENTS} From values alone, every gradient takes as many of them as there are inputs."

Kinks = Literal["values", "gradients"]
"""What shows where the kinks are, when both can be asked."""


@dataclasses.dataclass(frozen=True)
class Milli:
    """An extraction, what the theorem says of it, and what it cost in either kind of query.

    Attributes:
        named: the theorem, the extraction, and the assumptions measured on it. Its own count is of gradients where
            kinks came from gradients, else of values.
        gradients, values: queries of either kind.
    """

    named: NamedMethod
    gradients: QueryCount
    values: QueryCount

    @property
    def network(self) -> ExactNetwork | None:
        return self.named.extraction.network


def milli(
    oracle: GradientOracle | Oracle,
    context: Context,
    *,
    values: Oracle | None = None,
    kinks: Kinks = "values",
    options: DepthTwoOptions | None = None,
    progress: ProgressMeter | None = None,
) -> Milli:
    """Recover a network of one hidden layer and unknown width from gradients, or from values.

    Args:
        oracle: the black box: a ``GradientOracle``, or an oracle of values, which is then all that is asked.
        context: number system; gradients alone are read in the exact one.
        values: an oracle of the values of the same f, beside its gradients.
        kinks: with both, "gradients" asks values for the constants of the outputs and for verification only.
        options: as of ``extract_depth_two``; ``max_queries`` holds for each kind by itself.
        progress: told what happens.

    Raises:
        ValueError: the two oracles do not fit together, or the context cannot be used.
        OracleError: an answer was not what the oracle declares.
    """
    chosen, meter = options or DepthTwoOptions(), progress or NoProgressMeter()
    if not isinstance(oracle, GradientOracle):
        if values is not None:
            raise ValueError("values go with a GradientOracle; an oracle of values alone is the first argument")
        found = extract_depth_two(oracle, context, options=chosen, progress=meter)
        return _named(VALUES, found, QueryCount(), found.queries)
    if values is not None and (values.inputs, values.outputs) != (oracle.inputs, oracle.outputs):
        raise ValueError(
            f"values are of {values.inputs} inputs and {values.outputs} outputs, gradients of {oracle.inputs} and "
            f"{oracle.outputs}; both must be of one function"
        )
    gradients = Gradients(oracle, context, chosen.max_queries, meter)
    if values is None or kinks == "gradients":
        counted = None if values is None else CountingOracle(values, context, max_queries=chosen.max_queries)
        found = FromGradients(gradients, counted, chosen, meter).run()
        return _named(GRADIENTS, found, gradients.count, QueryCount() if counted is None else counted.count)
    measure = functools.partial(_pieces, gradients)
    found = DepthTwo(values, context, chosen, meter, measure=measure).run(None)
    return _named(GRADIENTS, found, gradients.count, found.queries)


def _pieces(
    gradients: Gradients, asker: Asker, line: Line, profile: LineProfile, known: RidgeForm
) -> Iterator[AffinePiece]:
    """The affine pieces of what is left of f: one gradient for every region of the line."""
    context = asker.context
    places = [inside_piece(context, profile, i)[0] for i in range(len(profile.pieces))]
    bases = points_on_line(line.base, line.direction, places)
    jacobians = gradients.ask(scattered(bases), "measure")
    if known.ridges or any(x != 0 for x in known.matrix.ravel()):
        subtracted = JacobianEvaluator(known.network())(scattered(bases))
        jacobians = jacobians - context.array(subtracted.ravel()).reshape(jacobians.shape)
    for piece, position, base, jacobian in zip(profile.pieces, places, bases.rows(), jacobians, strict=True):
        yield AffinePiece(jacobian, piece.on(context, position) - jacobian @ context.array(base))


def _named(statement: str, found: Extraction, gradients: QueryCount, values: QueryCount) -> Milli:
    named = checked(statement, found, lambda n: (hidden_layers(n, 1), without_biases(n), independent_rows(n)))
    return Milli(named, gradients, values)
