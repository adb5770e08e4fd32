"""The certificate file: JSON that ``certificate/check.py`` can check against the two networks, and none need trust."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtract.certificate.bounds import Bounds
from jaxtract.certificate.certify import Certificate
from jaxtract.certificate.witness import Witness, witness_at
from jaxtract.equality.neurons import neuron_rows
from jaxtract.equality.units import Part, UnitTable, over_units
from jaxtract.network.exact_network import ExactNetwork

FORMAT = "jaxtract-certificate/2"


def certificate_document(
    certificate: Certificate, recovered: ExactNetwork, reference: ExactNetwork, versions: Mapping[str, str]
) -> dict[str, Any]:
    """What the file holds, for the two networks that ``certify`` was given.

    ``identical``: the unit and exact scale of every neuron, and the cases. ``different``: the witness. ``close``: units
    and scales, the domain, the parts with their slopes and bounds, and the input that attains the lower bound.

    Raises:
        ValueError: the verdict is ``undecided``, which proves nothing.
    """
    if certificate.verdict == "undecided":
        raise ValueError(
            "the verdict is undecided, so there is nothing to certify; allow more cases, or give a domain "
            "on which the difference can be bounded"
        )
    document: dict[str, Any] = {
        "format": FORMAT,
        "verdict": certificate.verdict,
        "recovered": description(recovered),
        "reference": description(reference),
        "evidence": _evidence(certificate, recovered, reference),
        "versions": dict(versions),
    }
    return document | {"sha256": seal(document)}


def write_certificate(document: Mapping[str, Any], path: str | Path) -> None:
    """Write the file. Raises OSError if it cannot be."""
    Path(path).write_text(json.dumps(document, sort_keys=True) + "\n", encoding="ascii")


def seal(document: Mapping[str, Any]) -> str:
    """SHA-256 over everything but the field ``sha256``."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode("ascii")).hexdigest()


def description(network: ExactNetwork) -> dict[str, Any]:
    """Widths and a hash of the weights as exact rationals: the same for every file format."""
    rows = [sorted(row.items()) for layer in neuron_rows(network) for row in layer]
    text = json.dumps(rows, default=str)
    return {"widths": list(network.widths), "sha256": hashlib.sha256(text.encode("ascii")).hexdigest()}


def _evidence(certificate: Certificate, recovered: ExactNetwork, reference: ExactNetwork) -> dict[str, Any]:
    if certificate.verdict == "identical":
        table = UnitTable()
        two, one = over_units(reference, table), over_units(recovered, table)
        units = {"recovered": _parts(one.parts), "reference": _parts(two.parts)}
        return {"units": units, "proof": certificate.proof}
    if certificate.verdict == "different":
        assert certificate.witness is not None
        return _at(certificate.witness)
    assert certificate.bounds is not None
    return _close(certificate.bounds, recovered, reference)


def _close(bounds: Bounds, recovered: ExactNetwork, reference: ExactNetwork) -> dict[str, Any]:
    paired = bounds.paired
    return {
        "units": {"recovered": _parts(paired.recovered.parts), "reference": _parts(paired.reference.parts)},
        "domain": bounds.domain.as_dict(),
        "parts": bounds.upper.evidence,
        "upper": str(bounds.upper.bound),
        **_at(witness_at(recovered, reference, bounds.lower.point)),
    }


def _at(witness: Witness) -> dict[str, Any]:
    return {
        "point": list(witness.point),
        "recovered": list(witness.recovered),
        "reference": list(witness.reference),
        "difference": witness.difference,
    }


def _parts(parts: Sequence[Part]) -> list[Any]:
    return [part if isinstance(part, str) else [part[0], str(part[1])] for part in parts]
