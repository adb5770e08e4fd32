"""Is the recovered network the reference network? A verdict, and what it rests on."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from flint import fmpq

from jaxtract.certificate.matching import Matching, match
from jaxtract.certificate.witness import (
    POINTS_PER_SCALE,
    SCALES,
    Witness,
    first_witness,
    random_witness,
    separating_points,
)
from jaxtract.network.canonical import canonical_form
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.normal_form import NormalForm, normal_form

CLOSE = fmpq(1, 2**20)
"""Largest relative error of a weight or bias at which two networks still count as close."""

Verdict = Literal["identical", "close", "different", "undecided"]


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is proved about two networks.

    Attributes:
        verdict: "identical": the same function, proved over the rationals. "close": not proved equal, but
            every neuron has its partner and no weight or bias is off by more than 2^-20 of its row.
            "different": ``witness`` is an input at which they differ. "undecided": canonical forms
            differ and are not close, but no witness was found; deeper networks only.
        max_relative_error: over the weights and biases of matched neurons and of the outputs, in canonical
            form, relative to the largest entry of the reference's (row, bias). Computed over the
            rationals and rounded once: 0.0 says that what was matched is exactly equal. None when there
            are no layers to pair (different depths), or when the functions are identical though the
            neurons are not.
        matched: pairs of hidden neurons, in canonical form, that are the same up to a positive scale and
            the error above.
        unmatched: hidden neurons of either network without a partner.
        witness: for "different" only.
        method: the proof, or the evidence, in words.
    """

    verdict: Verdict
    max_relative_error: float | None
    matched: int
    unmatched: int
    witness: Witness | None
    method: str


def certify(recovered: ExactNetwork, reference: ExactNetwork, *, seed: int = 0) -> Certificate:
    """Compares two networks as functions and neuron by neuron.

    Identity is proved by equal canonical forms (any depth; the symmetries of Rolnick and Koerding 2020) or,
    for at most one hidden layer, by equal normal forms, whatever the two architectures. With at most one
    hidden layer the verdict is never "undecided".

    Args:
        recovered: the network that extraction returned.
        reference: the network that it should be.
        seed: of the random inputs among which a witness is sought.

    Raises:
        ValueError: the networks differ in the number of inputs or outputs.
    """
    if (recovered.inputs, recovered.outputs) != (reference.inputs, reference.outputs):
        raise ValueError(
            f"recovered maps {recovered.inputs} inputs to {recovered.outputs} outputs, reference "
            f"{reference.inputs} to {reference.outputs}; only networks of the same shape can be compared"
        )
    one, two = canonical_form(recovered), canonical_form(reference)
    if one == two:
        return Certificate("identical", 0.0, sum(two.widths[1:-1]), 0, None, "equal canonical forms")
    same_depth = len(one.weights) == len(two.weights)
    matching = match(one, two) if same_depth else None
    forms = (normal_form(one), normal_form(two)) if max(len(one.weights), len(two.weights)) <= 2 else None
    if forms is not None and forms[0] == forms[1]:
        method = "equal one-hidden-layer normal forms; the neurons differ"
        return _certificate("identical", None, matching, one, two, method)
    if matching is not None and matching.unmatched == 0 and matching.error <= CLOSE:
        method = "every neuron matched in canonical form; equality is not claimed"
        return _certificate("close", None, matching, one, two, method)
    witness = _witness(one, two, forms, seed)
    if witness is not None:
        return _certificate("different", witness, matching, one, two, "exact evaluation at the witness")
    method = (
        f"canonical forms differ, but the networks agree exactly at {len(SCALES) * POINTS_PER_SCALE} random "
        f"inputs of scales 2^{min(SCALES)} to 2^{max(SCALES)}; neither equality nor a difference is shown"
    )
    return _certificate("undecided", None, matching, one, two, method)


def _witness(
    one: ExactNetwork, two: ExactNetwork, forms: tuple[NormalForm, NormalForm] | None, seed: int
) -> Witness | None:
    witness = random_witness(one, two, seed=seed)
    if witness is None and forms is not None:
        witness = first_witness(one, two, separating_points(*forms, seed=seed))
    return witness


def _certificate(
    verdict: Verdict,
    witness: Witness | None,
    matching: Matching | None,
    one: ExactNetwork,
    two: ExactNetwork,
    method: str,
) -> Certificate:
    neurons = sum(one.widths[1:-1]) + sum(two.widths[1:-1])
    if matching is None:
        return Certificate(verdict, None, 0, neurons, witness, method)
    error = None if verdict == "identical" else _rounded(matching.error)
    return Certificate(verdict, error, matching.matched, matching.unmatched, witness, method)


def _rounded(error: fmpq) -> float:
    """Nearest float64, but never 0.0 for an error that is not zero."""
    numerator, denominator = int(error.p), int(error.q)
    if numerator.bit_length() - denominator.bit_length() > 1022:
        return math.inf
    return max(numerator / denominator, math.ulp(0.0)) if numerator else 0.0
