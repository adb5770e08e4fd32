"""``exact.json``: a network with exact rational weights, as text that anybody can check."""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

from flint import fmpq, fmpq_mat, fmpz

from jaxtract.network.exact_network import ExactNetwork, Skip

FORMAT = "jaxtract-exact-network"
VERSION = 1

LARGEST_EXPONENT = 100_000
"""Decimal exponents beyond this are refused: a few bytes of text must not ask for gigabytes."""

_RATIONAL = re.compile(r"-?[0-9]+(/[0-9]+)?")
_DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:e([+-]?[0-9]{1,7}))?")


def write_exact(network: ExactNetwork, path: str | os.PathLike[str], *, prec: int | None = None) -> None:
    """Writes every weight as "p/q" in lowest terms, or "p" for an integer; reading gives an equal network.

    Args:
        network: the network; a row of a weight matrix is a neuron.
        path: where to; an existing file is replaced.
        prec: bits. When given, numbers are written as decimals with enough digits for that many bits
            (relative error at most 2^-prec), for networks that are known to that precision only.

    Raises:
        ValueError: ``prec`` is not positive.
    """
    if prec is not None and prec < 1:
        raise ValueError(f"prec is {prec}; give the number of bits, at least 1, or None for exact rationals")
    text = str if prec is None else functools.partial(decimal_string, digits=digits_for(prec))
    layers = [
        {
            "weights": _written(weight, text),
            "bias": [text(x) for x in bias.entries()],
        }
        for weight, bias in zip(network.weights, network.biases, strict=True)
    ]
    document: dict[str, object] = {"format": FORMAT, "version": VERSION, "widths": list(network.widths)}
    if prec is not None:
        document["prec"] = prec
    document["layers"] = layers
    if network.skips:
        document["skips"] = [
            {"source": skip.source, "target": skip.target, "weights": _written(skip.matrix, text)}
            for skip in network.skips
        ]
    Path(path).write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n", encoding="ascii")


def read_exact(path: str | os.PathLike[str]) -> ExactNetwork:
    """The network in an ``exact.json``: rationals as written, decimals as the rationals that they denote.

    Raises:
        ValueError: the file is not of this format; says what was found where.
        OSError: the file cannot be opened.
    """
    document = _document(Path(path))
    number = _rational if document.get("prec") is None else _decimal
    widths = document.get("widths")
    layers = document.get("layers")
    if not isinstance(widths, list) or len(widths) < 2 or not all(_is_count(w) for w in widths):
        raise ValueError(f'{path}: "widths" is {_shown(widths)}; expected the layer widths, inputs first')
    if not isinstance(layers, list) or len(layers) != len(widths) - 1:
        found = f"{len(layers)} layers" if isinstance(layers, list) else _shown(layers)
        raise ValueError(f'{path}: "layers" holds {found}; "widths" asks for {len(widths) - 1} layers')
    weights, biases = [], []
    for index, layer in enumerate(layers):
        fan_in, fan_out = widths[index], widths[index + 1]
        where = f"{path}: layer {index}"
        if not isinstance(layer, dict):
            raise ValueError(f'{where} is {_shown(layer)}; expected {{"weights": ..., "bias": ...}}')
        rows = _list(layer.get("weights"), fan_out, f"{where}: weights")
        entries = [
            number(x, f"{where}: weights of neuron {h}")
            for h, row in enumerate(rows)
            for x in _list(row, fan_in, f"{where}: weights of neuron {h}")
        ]
        bias = [number(x, f"{where}: bias") for x in _list(layer.get("bias"), fan_out, f"{where}: bias")]
        weights.append(fmpq_mat(fan_out, fan_in, entries))
        biases.append(fmpq_mat(fan_out, 1, bias))
    return ExactNetwork(tuple(weights), tuple(biases), tuple(_skips(document, widths, number, path)))


def _written(matrix: fmpq_mat, text: Callable[[fmpq], str]) -> list[list[str]]:
    return [[text(x) for x in row] for row in matrix.tolist()]


def _skips(
    document: dict[str, object], widths: Sequence[int], number: Callable[[object, str], fmpq], path: object
) -> Iterator[Skip]:
    """The skips of a document; where they do not fit the network, the network says so."""
    skips = document.get("skips", [])
    if not isinstance(skips, list):
        raise ValueError(f'{path}: "skips" is {_shown(skips)}; expected a list')
    for index, skip in enumerate(skips):
        where = f"{path}: skip {index}"
        given: dict[str, object] = skip if isinstance(skip, dict) else {}
        source, target = given.get("source"), given.get("target")
        if not (_is_layer(source, widths) and _is_layer(target, widths)):
            raise ValueError(
                f'{where} is {_shown(skip)}; expected {{"source": k, "target": l, "weights": ...}} with layers '
                f"from 0, the input, to {len(widths) - 1}, the output"
            )
        rows = _list(given.get("weights"), widths[target], f"{where}: weights")
        entries = [
            number(x, f"{where}: weights of neuron {h}")
            for h, row in enumerate(rows)
            for x in _list(row, widths[source], f"{where}: weights of neuron {h}")
        ]
        yield Skip(source, target, fmpq_mat(widths[target], widths[source], entries))


def digits_for(prec: int) -> int:
    """Decimal digits with which rounding costs less than one part in 2^prec."""
    return math.ceil(prec * math.log10(2)) + 1


def decimal_string(value: fmpq, digits: int) -> str:
    """``value`` rounded to ``digits`` significant decimal digits, as "-1.234e-5" (ties away from zero)."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    # log10 from the lengths in bits may be off by one either way: compared exactly, before rounding.
    exponent = math.floor((magnitude.p.bit_length() - magnitude.q.bit_length()) * math.log10(2))
    while magnitude < _power_of_ten(exponent):
        exponent -= 1
    while magnitude >= _power_of_ten(exponent + 1):
        exponent += 1
    rounded = (magnitude * _power_of_ten(digits - 1 - exponent) + fmpq(1, 2)).floor()
    mantissa = str(rounded)  # of an fmpz: str(int) refuses long numbers
    exponent += len(mantissa) - digits  # 9.996 rounds to 10.00
    fraction = mantissa[1:].rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{mantissa[0]}{'.' if fraction else ''}{fraction}{f'e{exponent}' if exponent else ''}"


def _document(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are both ValueError
        raise ValueError(f"{path} is not JSON ({error}); expected a file written by write_exact") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else document
        raise ValueError(f'{path}: format is {_shown(found)}; expected "{FORMAT}"')
    if document.get("version") != VERSION:
        raise ValueError(f"{path}: version is {_shown(document.get('version'))}; this release reads version {VERSION}")
    prec = document.get("prec")
    if prec is not None and not _is_count(prec):
        raise ValueError(f'{path}: "prec" is {_shown(prec)}; expected a number of bits')
    return document


def _rational(text: object, where: str) -> fmpq:
    if not isinstance(text, str) or not _RATIONAL.fullmatch(text):
        raise ValueError(f'{where}: {_shown(text)} is not a rational; expected a string like "-3/7" or "5"')
    numerator, _, denominator = text.partition("/")
    if not denominator:
        return fmpq(fmpz(numerator))
    if fmpz(denominator) == 0:
        raise ValueError(f"{where}: {_shown(text)} has the denominator 0; every weight is a finite number")
    return fmpq(fmpz(numerator), fmpz(denominator))


def _decimal(text: object, where: str) -> fmpq:
    match = _DECIMAL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{where}: {_shown(text)} is not a decimal; expected a string like "-1.25e-3"')
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", int(match[4] or 0)
    if abs(exponent) > LARGEST_EXPONENT:
        raise ValueError(f"{where}: exponent {exponent} is out of range; |exponent| may be at most {LARGEST_EXPONENT}")
    return fmpq(fmpz(sign + whole + fraction)) * _power_of_ten(exponent - len(fraction))


@functools.lru_cache(maxsize=1024)
def _power_of_ten(exponent: int) -> fmpq:
    return fmpq(fmpz(10) ** exponent) if exponent >= 0 else fmpq(fmpz(1), fmpz(10) ** -exponent)


def _list(value: object, length: int, where: str) -> Sequence[object]:
    if not isinstance(value, list) or len(value) != length:
        found = f"{len(value)} entries" if isinstance(value, list) else _shown(value)
        raise ValueError(f'{where}: found {found}; "widths" asks for a list of {length}')
    return value


def _is_layer(value: object, widths: Sequence[int]) -> TypeGuard[int]:
    return _is_count(value) and value < len(widths)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
