"""On which side of its hyperplane is a neuron on? The affine part of f knows.

With f = sum_h c_h |z_h| / 2 + A x + a and neurons max(0, s_h z_h), A = sum_h s_h c_h (outer) w_h / 2: linear
in the signs, outputs * inputs equations for every layer. Where they are fewer than the neurons the
signs are a vector subset sum, and lattice reduction finds them.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
from flint import fmpq

from jaxtract.measurement.ridge_form import RidgeForm, build_network
from jaxtract.network.exact_network import ExactNetwork
from precision.balls import BallContext, accuracy_bits, vanishes
from precision.context import Context, rational_array
from precision.lattice import signs_by_lattice
from precision.modular import PRIME, modular

LATTICE_LIMIT = 192
"""More signs than this at once take lattice reduction minutes, and its vectors are then no longer short."""


SIGN_BITS = 8
"""Bits that the equations must hold to, beyond the size of a row, for signs between balls to count."""


ROUGH_SIGN_BITS, ROUGH_LATTICE_BITS = 5, 9
"""The same where answers are as rough as those of float32: where the equations determine the signs, and else."""


class SignMethod(enum.Enum):
    """How the signs were found; the value says it to the user."""

    NONE = "no neurons, no signs"
    LINEAR = "unique solution of the linear system"
    LATTICE = "lattice reduction, proven by putting the signs into their equations"
    PAIRS = "linear system; some hyperplanes carry two neurons of opposite direction"
    AFFINE = "signs not determined: all neurons on one side and an affine rest on extra neurons"


@dataclasses.dataclass(frozen=True)
class SignedLayer:
    """The recovered network and how it came by its signs.

    Attributes:
        network: one hidden layer, the same function as the form.
        method: see ``SignMethod``.
        extra_neurons: neurons beyond one per hyperplane.
    """

    network: ExactNetwork
    method: SignMethod
    extra_neurons: int


def solve_signs(form: RidgeForm, *, lattice_limit: int = LATTICE_LIMIT) -> SignedLayer:
    """Split every |z| of a form into neurons. Asks no queries.

    In order: the linear system; lattice reduction when the system leaves signs open; pairs of neurons
    where one hyperplane carries both directions; two extra neurons per rank of what is left.
    """
    context = form.context
    count = len(form.ridges)
    if count == 0:
        return with_rest(form, [], SignMethod.NONE)
    columns, target = _sign_system(form)
    regular, candidate = _linear_candidate(context, columns, target)
    if candidate is not None and _holds(context, columns, target, candidate):
        return with_rest(form, candidate, SignMethod.LINEAR, exact_rest=False)
    if not regular and count <= lattice_limit:
        found = signs_by_lattice(
            rational_array(context, columns),
            rational_array(context, target),
            error_bits=_equation_bits(context, columns),
        )
        if found is not None and _holds(context, columns, target, found):
            return with_rest(form, found, SignMethod.LATTICE, exact_rest=False)
    pairs = _pairs(form)
    return pairs if pairs is not None else with_rest(form, [1] * count, SignMethod.AFFINE)


def _sign_system(form: RidgeForm) -> tuple[np.ndarray, np.ndarray]:
    """Columns vec(c_h outer w_h), shape (outputs * inputs, ridges), and target vec(2 A)."""
    normals, factors = form.normals(), form.factors()
    columns = (factors[:, :, None] * normals[:, None, :]).reshape(len(normals), -1).T
    return columns, (form.matrix * form.context.number(2)).reshape(-1)


def _linear_candidate(context: Context, columns: np.ndarray, target: np.ndarray) -> tuple[bool, list[int] | None]:
    """(the system determines its solution, the signs if that solution is one)."""
    if context.exact:
        return _modular_candidate(columns, target)
    return _rounded_candidate(context, columns, target)


def _modular_candidate(columns: np.ndarray, target: np.ndarray) -> tuple[bool, list[int] | None]:
    """Solve modulo one prime: +1 and -1 are recognised there, and the caller proves them over Q."""
    equations, unknowns = columns.shape
    if equations < unknowns:
        return False, None
    reduced, rank = modular(np.concatenate([columns, target[:, None]], axis=1)).rref()
    # Regular: a pivot in every column but the last, so the top block is the identity.
    regular = rank >= unknowns and all(int(reduced[i, i]) == 1 for i in range(unknowns))
    if not regular or rank > unknowns:
        return regular, None
    solution = [int(reduced[i, unknowns]) for i in range(unknowns)]
    if any(x not in (1, PRIME - 1) for x in solution):
        return True, None
    return True, [1 if x == 1 else -1 for x in solution]


def _rounded_candidate(context: Context, columns: np.ndarray, target: np.ndarray) -> tuple[bool, list[int] | None]:
    """Least squares in doubles proposes signs; the caller holds them against all bits of the context."""
    if columns.shape[0] < columns.shape[1]:
        return False, None
    sizes = [max(abs(x) for x in column) for column in columns.T]
    scaled = np.array([[float(x / size) for x in column] for column, size in zip(columns.T, sizes, strict=True)]).T
    right = np.array([float(x / max(sizes)) for x in target])
    weights = np.array([float(size / max(sizes)) for size in sizes])
    solution, _, rank, _ = np.linalg.lstsq(scaled * weights, right, rcond=1e-13)
    if rank < columns.shape[1]:
        return False, None
    return True, [1 if x > 0 else -1 for x in solution]


def _holds(context: Context, columns: np.ndarray, target: np.ndarray, signs: list[int]) -> bool:
    """All equations, in the context: over the rationals, or to the bits that the rows are good for."""
    difference = columns @ context.array(signs) - target
    if context.exact:
        return all(x == 0 for x in difference)
    size = max(abs(x) for x in columns.ravel())
    if isinstance(context, BallContext):
        # A wrong sign misses by the size of a row: a ball that wide proves nothing.
        return all(vanishes(x) and accuracy_bits(x, size) >= SIGN_BITS for x in difference)
    equations, unknowns = columns.shape
    bits = ROUGH_SIGN_BITS if context.rough and equations >= unknowns else _equation_bits(context, columns)
    assert bits is not None
    return all(abs(x) * (1 << bits) <= size * len(signs) for x in difference)


def _equation_bits(context: Context, columns: np.ndarray) -> int | None:
    """Bits to which measured rows satisfy their equations; a wrong sign misses by the size of a row."""
    if context.exact:
        return None
    if isinstance(context, BallContext):
        size = max(abs(x) for x in columns.ravel())
        return max(SIGN_BITS, min(accuracy_bits(x, size) for x in columns.ravel()) - SIGN_BITS)
    assert context.prec is not None
    if context.rough:
        return ROUGH_LATTICE_BITS
    return context.prec - 16 if context.name == "mp" else 16


def _pairs(form: RidgeForm) -> SignedLayer | None:
    """Every hyperplane may carry two neurons, c |z| / 2 + y z / 2 with any y: solve for y, linear again.

    Possible when the normals are independent. y = +c or -c is one neuron; anything else is two of opposite
    direction on one hyperplane.
    """
    context = form.context
    normals, factors = form.normals(), form.factors()
    if not context.exact or normals.shape[0] > normals.shape[1]:
        return None
    solution = context.solve(normals.T, (form.matrix * context.number(2)).T)
    if solution is None or any(x != 0 for x in (normals.T @ solution - 2 * form.matrix.T).ravel()):
        return None
    biases = form.biases()
    rows, offsets, outgoing = [], [], []
    for normal, bias, factor, y in zip(normals, biases, factors, solution, strict=True):
        for direction, weight in ((1, (factor + y) / fmpq(2)), (-1, (factor - y) / fmpq(2))):
            if any(x != 0 for x in weight):
                rows.append(normal * fmpq(direction))
                offsets.append(bias * direction)
                outgoing.append(weight)
    constant = form.constant - (solution.T @ biases) / fmpq(2)
    network = build_network(
        context, np.stack(rows), context.array(offsets), np.stack(outgoing), context.zeros(*form.matrix.shape), constant
    )
    return SignedLayer(network, SignMethod.PAIRS, len(rows) - len(normals))


def with_rest(form: RidgeForm, signs: list[int], method: SignMethod, *, exact_rest: bool = True) -> SignedLayer:
    """One neuron per ridge with the given signs; what they leave of A x goes to extra neurons.

    With ``exact_rest`` False the signs have been proven to leave nothing.
    """
    context = form.context
    normals, biases, factors = form.normals(), form.biases(), form.factors()
    signed = context.array(signs)
    rest, constant = form.matrix, form.constant
    if signs:
        halves = factors * signed[:, None] / context.number(2)
        constant = constant - halves.T @ biases
        rest = rest - halves.T @ normals if exact_rest else context.zeros(*rest.shape)
    network = build_network(context, normals * signed[:, None], biases * signed, factors, rest, constant)
    return SignedLayer(network, method, network.widths[1] - len(signs))
