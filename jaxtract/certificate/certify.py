"""Is the recovered network the reference network? A verdict, and what it rests on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from flint import fmpq

from jaxtract.certificate.bound import upper_bound
from jaxtract.certificate.bounds import Bounds, usual_tolerance
from jaxtract.certificate.domain import Domain
from jaxtract.certificate.equivalence import equivalence
from jaxtract.certificate.lower import STARTS, STEPS, lower_bound
from jaxtract.certificate.matching import match, shared_units
from jaxtract.certificate.pairing import pair
from jaxtract.certificate.witness import (
    POINTS_PER_SCALE,
    SCALES,
    Witness,
    first_witness,
    random_witness,
    separating_points,
)
from jaxtract.equality.cases import Decision, Node, decide_zero
from jaxtract.equality.units import UnitTable, differences, over_units
from jaxtract.network.canonical import canonical_form
from jaxtract.network.exact_network import ExactNetwork
from jaxtract.network.normal_form import normal_form

Verdict = Literal["identical", "close", "different", "undecided"]

Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class CertifyOptions:
    """How much effort may go into a verdict.

    Attributes:
        seed: of random inputs and starts.
        cases: linear programs for the proof by cases; 0 goes without.
        parts: boxes that a domain of few inputs is cut into for the upper bound.
        starts, steps: of the search for the lower bound.
        samples: random inputs behind (epsilon, delta); 1,000 without one failure give delta 0.0046 at 99 %.
        confidence: of that statement.
        tolerance: largest proven difference that is called close; 2^-20 of the outputs' size if left out.
    """

    seed: int = 0
    cases: int = 5000
    parts: int = 64
    starts: int = STARTS
    steps: int = STEPS
    samples: int = 1000
    confidence: Fraction = Fraction(99, 100)
    tolerance: fmpq | None = None


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is proved about two networks.

    Attributes:
        verdict: "identical": the same function, proved over the rationals. "close": on the domain asked for, the
            difference is proved to be within the tolerance. "different": ``witness`` is an input at which
            they differ. "undecided": neither equality nor a difference was proved within the effort allowed.
        max_relative_error: over the weights and biases of matched neurons and of the outputs, in canonical
            form, relative to the largest entry of the reference's (row, bias). Computed over the
            rationals and rounded once: 0.0 says that what was matched is exactly equal. None when there
            are no layers to pair (different depths, skips), or when the functions are identical though the
            neurons are not.
        matched: pairs of hidden neurons, in canonical form, that are the same up to a positive scale and
            the error above.
        unmatched: hidden neurons of either network without a partner.
        witness: an input at which they differ, if one is known.
        method: the proof, or the evidence, in words.
        proof: for "identical", the tree of cases; {"zero": True} when no case had to be told from another.
        bounds: on the domain, if one was given and the networks are not identical.
    """

    verdict: Verdict
    max_relative_error: float | None
    matched: int
    unmatched: int
    witness: Witness | None
    method: str
    proof: Node | None = None
    bounds: Bounds | None = None


def certify(
    recovered: ExactNetwork,
    reference: ExactNetwork,
    *,
    domain: Domain | None = None,
    options: CertifyOptions | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Compares two networks as functions and neuron by neuron.

    Identity is proved by equal canonical forms (the symmetries of Rolnick and Koerding 2020), else by equal
    expressions over common ReLU units, whatever the two architectures (``equality.units``), else by
    cases with exact linear programming (``equality.cases``). Skips need nothing of their own: a neuron is an
    expression over whatever it reads. A difference is shown by an input.
    With at most one hidden layer one of the two is always found; with more the cases may exceed the effort allowed.

    Args:
        recovered: the network that extraction returned.
        reference: the network that it should be.
        domain: inputs on which a difference is bounded too.
        options: see ``CertifyOptions``.
        progress: told what is being done.

    Raises:
        ValueError: the networks differ in the number of inputs or outputs.
    """
    if (recovered.inputs, recovered.outputs) != (reference.inputs, reference.outputs):
        raise ValueError(
            f"recovered maps {recovered.inputs} inputs to {recovered.outputs} outputs, reference "
            f"{reference.inputs} to {reference.outputs}; only networks of the same shape can be compared"
        )
    return _Comparison(recovered, reference, options or CertifyOptions(), progress or _silent).run(domain)


class _Comparison:
    def __init__(self, recovered: ExactNetwork, reference: ExactNetwork, options: CertifyOptions, progress: Progress):
        self.recovered, self.reference = recovered, reference
        self.options, self.progress = options, progress
        self.forms = canonical_form(recovered), canonical_form(reference)
        self.skips = bool(recovered.skips or reference.skips)

    def run(self, domain: Domain | None) -> Certificate:
        if self.forms[0] == self.forms[1]:
            neurons = sum(self.forms[0].widths[1:-1])
            return Certificate("identical", 0.0, neurons, 0, None, "equal canonical forms", {"zero": True})
        proof, witness, method = self._decide()
        if proof is not None:
            return self._certificate("identical", None, method, proof=proof)
        if domain is None:
            return self._certificate("undecided" if witness is None else "different", witness, method)
        bounds = self._bounds(domain)
        if bounds.close:
            method = "proven bound on the difference over the domain; equality is not claimed"
            return self._certificate("close", witness, method, bounds=bounds)
        return self._certificate("undecided" if witness is None else "different", witness, method, bounds=bounds)

    def _decide(self) -> tuple[Node | None, Witness | None, str]:
        """(proof of equality or None, witness of a difference or None, method)."""
        self.progress("common units")
        table = UnitTable()
        two = over_units(self.reference, table)
        targets = differences(over_units(self.recovered, table), two)
        if not any(targets):
            return {"zero": True}, None, f"equal expressions over common ReLU units{self._why()}"
        shown = "exact evaluation at the witness"
        witness = random_witness(*self.forms, seed=self.options.seed) or self._one_layer_witness()
        if witness is not None:
            return None, witness, shown
        found = decide_zero(
            table.rows,
            targets,
            self.reference.inputs,
            budget=self.options.cases,
            progress=lambda done: self.progress(f"cases: {done} of at most {self.options.cases} linear programs"),
        )
        if found.point is not None:
            return None, first_witness(self.recovered, self.reference, [found.point]), shown
        if found.proof is not None:
            return found.proof, None, f"equal in every case, by {found.cases} exact linear programs; the neurons differ"
        return None, None, _undecided(found)

    def _why(self) -> str:
        """What is left to explain when the canonical forms differ."""
        if self.skips and not shared_units(self.recovered, self.reference).unmatched:
            return ": every neuron oriented by s(-v) = s(v) - v, the affine rest in the skips"
        return "; the neurons differ"

    def _one_layer_witness(self) -> Witness | None:
        one, two = self.forms
        if max(len(one.weights), len(two.weights)) > 2:
            return None
        points = separating_points(normal_form(one), normal_form(two), seed=self.options.seed)
        return first_witness(one, two, points)

    def _bounds(self, domain: Domain) -> Bounds:
        chosen = self.options
        self.progress("pairing")
        paired = pair(self.recovered, self.reference)
        upper = upper_bound(
            paired,
            domain,
            parts=chosen.parts,
            progress=lambda done, most: self.progress(f"upper bound: {done} of at most {most} parts"),
        )
        self.progress("lower bound")
        both = self.recovered, self.reference
        lower = lower_bound(paired, *both, domain, seed=chosen.seed, starts=chosen.starts, steps=chosen.steps)
        self.progress(f"{chosen.samples} random inputs")
        random = equivalence(
            *both,
            domain,
            samples=chosen.samples,
            confidence=chosen.confidence,
            seed=chosen.seed,
            epsilon=chosen.tolerance,
        )
        tolerance = chosen.tolerance
        if tolerance is None:
            tolerance = usual_tolerance(self.reference, domain, chosen.seed)
        return Bounds(domain, paired, upper, lower, random, tolerance)

    def _certificate(
        self,
        verdict: Verdict,
        witness: Witness | None,
        method: str,
        *,
        proof: Node | None = None,
        bounds: Bounds | None = None,
    ) -> Certificate:
        one, two = self.forms
        if self.skips:
            one, two = self.recovered, self.reference
            matching = shared_units(one, two)
        else:
            matching = match(one, two) if len(one.weights) == len(two.weights) else None
        error, matched, unmatched = None, 0, sum(one.widths[1:-1]) + sum(two.widths[1:-1])
        if matching is not None:
            matched, unmatched = matching.matched, matching.unmatched
            error = None if verdict == "identical" or matching.error is None else _rounded(matching.error)
        return Certificate(verdict, error, matched, unmatched, witness, method, proof, bounds)


def _undecided(found: Decision) -> str:
    return (
        f"the networks agree exactly at {len(SCALES) * POINTS_PER_SCALE} random inputs of scales 2^{min(SCALES)} to "
        f"2^{max(SCALES)}, and {found.cases} cases settle nothing; neither equality nor a difference is shown"
    )


def _rounded(error: fmpq) -> float:
    """Nearest float64, but never 0.0 for an error that is not zero."""
    numerator, denominator = int(error.p), int(error.q)
    if numerator.bit_length() - denominator.bit_length() > 1022:
        return math.inf
    return max(numerator / denominator, math.ulp(0.0)) if numerator else 0.0


def _silent(doing: str) -> None:
    del doing
