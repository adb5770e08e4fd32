"""Rational matrices modulo the prime that ranks and solutions are guessed with, before they are proven."""

from __future__ import annotations

import numpy as np
from flint import fmpz_mat, nmod_mat

from precision.context import integer_rows

PRIME = (1 << 61) - 1
"""What is regular modulo this prime is regular over the rationals; the converse fails by accident only."""


def modular(matrix: np.ndarray | fmpz_mat | nmod_mat) -> nmod_mat:
    """Integers, or (rows, columns) rationals whose rows are scaled to integers: ranks and relations are unchanged."""
    if isinstance(matrix, nmod_mat):
        return matrix
    return nmod_mat(matrix if isinstance(matrix, fmpz_mat) else integer_rows(matrix), PRIME)


def annihilator(matrix: nmod_mat) -> nmod_mat:
    """A matrix whose columns span what all rows map to zero: a row is a combination of them if it maps it to zero."""
    return matrix.nullspace()[0]


def masked_rows(matrix: nmod_mat, mask: np.ndarray) -> nmod_mat:
    """The matrix with all other rows zero."""
    diagonal = nmod_mat(matrix.nrows(), matrix.nrows(), PRIME)
    for i in np.nonzero(mask)[0].tolist():
        diagonal[i, i] = 1
    return diagonal * matrix


def joined_rows(first: nmod_mat, second: nmod_mat) -> nmod_mat:
    """The rows of both."""
    # A product places rows without taking single entries out.
    rows = first.nrows() + second.nrows()
    upper, lower = nmod_mat(rows, first.nrows(), PRIME), nmod_mat(rows, second.nrows(), PRIME)
    for i in range(first.nrows()):
        upper[i, i] = 1
    for i in range(second.nrows()):
        lower[first.nrows() + i, i] = 1
    return upper * first + lower * second
