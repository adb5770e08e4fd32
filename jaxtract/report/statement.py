"""What a run showed about a black box, in words that claim no more than that."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from jaxtract.certificate.confidence import upper_limit
from jaxtract.verification.agreement import APPROXIMATE_AGREE_BITS, ROUNDED_SCALES, SCALES

CONFIDENCE = Fraction(99, 100)

MIDDLE_SCALE = 0
"""Inputs about as large as the data that networks are trained on; asked most."""


def statement(report: Mapping[str, Any]) -> list[str]:
    """Sentences from the figures of a report (``report_of``), in order; a pure function of them.

    The limit is Clopper and Pearson's, one-sided, for inputs drawn as the fresh ones were. They are drawn from a
    pseudo-random sequence after the network was final; where a run needed several rounds, each has its own.
    """
    if report["widths"] is None:
        return ["No network was found, so nothing was verified."]
    verified = report["verified"]
    return [
        *_inputs(verified, report["context"], report["prec"]),
        *_lines(verified),
        f"Kinks nearer to each other on a line than {report['resolution']['kinks_apart']} were not told apart, and "
        f"none was looked for beyond {report['resolution']['line_reach']} from a line's base.",
        *_not_shown(verified),
    ]


def _inputs(verified: Mapping[str, Any], context: str, prec: int | None) -> list[str]:
    asked, wrong = verified["inputs"], verified["disagreements"]
    if not asked:
        return ["No fresh input was asked: nothing is known of inputs that the extraction did not use."]
    scales = SCALES if context == "exact" else ROUNDED_SCALES
    middle = sum(scales[i % len(scales)] == MIDDLE_SCALE for i in range(asked))
    limit = _percent(upper_limit(wrong, asked, CONFIDENCE))
    spread = f"2^{min(scales)} to 2^{max(scales)}"
    found = [
        f"{_count(asked, 'fresh random input')} (Gaussian, scales {spread}): the recovered network "
        f"and the black box {_agree(context, prec)} at {'all' if not wrong else f'{asked - wrong:,}'} of them"
        + ("." if not wrong else f", not at {wrong:,}."),
        f"With {_percent(CONFIDENCE)} confidence, an input drawn in this way disagrees less than {limit} of the time.",
    ]
    if not wrong and middle:
        limit = _percent(upper_limit(0, middle, CONFIDENCE))
        found.append(f"At scale 1 alone, from {_count(middle, 'input')}: less than {limit}.")
    return found


def _lines(verified: Mapping[str, Any]) -> list[str]:
    lines, unexplained = verified["lines"], verified["unexplained_kinks"]
    if not lines:
        return ["No fresh line was asked."]
    ends = "beside both ends and once between"
    if not unexplained:
        return [f"{_count(lines, 'fresh random line')}: every predicted piece was asked {ends}, and agreed."]
    return [f"{_count(lines, 'fresh random line')}: pieces were asked {ends}, and {unexplained:,} did not agree."]


def _not_shown(verified: Mapping[str, Any]) -> list[str]:
    if verified["disagreements"] or verified["unexplained_kinks"]:
        return ["The recovered network is not the black box: fresh queries refute it."]
    return [
        "Not shown: that no input differs. A bump narrower than anything asked, and not on a line asked, would "
        "not be seen; with the true network at hand, `jaxtract certify` proves equality."
    ]


def _agree(context: str, prec: int | None) -> str:
    if context == "exact":
        return "agree exactly, over the rationals,"
    bits = prec if context == "mp" and prec else APPROXIMATE_AGREE_BITS
    return f"agree to 2^-{bits} of the largest answer met"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _percent(share: Fraction) -> str:
    """Two digits, rounded up: a limit must not look smaller than it is."""
    if share >= 1:
        return "100 %"
    percent, digits = share * 100, 0
    while percent * 10**digits < 10:
        digits += 1
    scaled = -(-percent.numerator * 10**digits // percent.denominator)
    whole, rest = divmod(scaled, 10**digits)
    return f"{whole}{f'.{rest:0{digits}d}' if digits else ''} %"
