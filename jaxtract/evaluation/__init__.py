"""Exact evaluation of a known network at large batches: FLINT, or integers in machine numbers on a JAX device.

``exact_evaluator`` chooses and tests the method; all of them take and return the same packed integers.
"""

from jaxtract.evaluation.bounds import InputFormat, IntegerNetwork, integer_network
from jaxtract.evaluation.choose import choose_method, exact_evaluator
from jaxtract.evaluation.digit_slices import DigitSliceEvaluator
from jaxtract.evaluation.evaluator import ExactEvaluator
from jaxtract.evaluation.flint_evaluator import FlintPackedEvaluator
from jaxtract.evaluation.packing import Packed, pack, pack_float64, unpack
from jaxtract.evaluation.residues import ResidueEvaluator
from jaxtract.evaluation.rounded import Rounded, RoundedEvaluator, rounding_pays
from jaxtract.evaluation.self_test import (
    check_int8_products,
    sample_points,
    sample_words,
    self_test,
    self_test_points,
)

__all__ = [
    "DigitSliceEvaluator",
    "ExactEvaluator",
    "FlintPackedEvaluator",
    "InputFormat",
    "IntegerNetwork",
    "Packed",
    "ResidueEvaluator",
    "Rounded",
    "RoundedEvaluator",
    "check_int8_products",
    "choose_method",
    "exact_evaluator",
    "integer_network",
    "pack",
    "pack_float64",
    "rounding_pays",
    "sample_points",
    "sample_words",
    "self_test",
    "self_test_points",
    "unpack",
]
