"""Contexts behind one interface, the dyadic helpers, and signs by lattice reduction."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from flint import fmpq, fmpz, fmpz_mat
from helpers import CONTEXTS
from hypothesis import given
from hypothesis import strategies as st

from precision.contexts import context_named
from precision.dyadic import (
    DyadicMatrix,
    dyadic_exponent,
    dyadic_matrix,
    floor_log2,
    floor_to_grid,
    from_float64,
    power_of_two,
    round_to_grid,
    simple_between,
)
from precision.exact import ExactContext
from precision.kink import Piece, meeting_of
from precision.lattice import signs_by_lattice
from precision.modular import annihilator, joined_rows, masked_rows, modular
from precision.rounded import GUARD_BITS, RoundedContext, float64, mp


@pytest.fixture(params=sorted(CONTEXTS))
def context(request):
    return CONTEXTS[request.param]()


@pytest.fixture(autouse=True)
def global_mpmath_precision_is_left_alone():
    """mpmath's global precision is set to something useless here; no context may look at it or change it."""
    before = mpmath.mp.prec
    mpmath.mp.prec = 11
    yield
    after, mpmath.mp.prec = mpmath.mp.prec, before
    assert after == 11


def array(context, rows):
    """Nested numbers as an object array of the context."""
    return np.array([list(context.array(row)) for row in rows], dtype=object)


def unit(context):
    """The relative error that one operation of the context may make; zero where it is exact."""
    return fmpq(0) if context.exact else power_of_two(1 - context.arithmetic.prec)


def random_rows(rows, columns, seed, largest=99):
    return [[int(x) for x in row] for row in np.random.default_rng(seed).integers(-largest, largest, (rows, columns))]


# --- numbers


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (5, fmpq(5)),
        (-0.375, fmpq(-3, 8)),
        (0.1, fmpq(3602879701896397, 36028797018963968)),
        (Fraction(-7, 4), fmpq(-7, 4)),
        (fmpz(-12), fmpq(-12)),
        (fmpq(9, 32), fmpq(9, 32)),
        (0, fmpq(0)),
        (2**60 + 1, fmpq(2**60 + 1)),
    ],
)
def test_dyadic_numbers_of_every_kind_are_exact(context, given, value):
    assert context.rational(context.number(given)) == value


@pytest.mark.parametrize("third", [fmpq(1, 3), Fraction(1, 3)])
def test_other_rationals_are_rounded_once(context, third):
    error = abs(context.rational(context.number(third)) - fmpq(1, 3))
    assert error <= unit(context)
    assert (error == 0) == context.exact


def test_arrays_hold_numbers_of_the_context(context):
    numbers = context.array([1, 0.5, fmpq(1, 4)])
    assert numbers.dtype == object and numbers.shape == (3,)
    assert [context.rational(x) for x in numbers] == [1, fmpq(1, 2), fmpq(1, 4)]
    zeros = context.zeros(2, 3)
    assert zeros.shape == (2, 3) and all(type(x) is type(numbers[0]) and x == 0 for x in zeros.ravel())


def test_zero_is_told_by_the_context(context):
    noise = context.noise(context.number(8))
    if context.exact:
        assert noise == 0
        # Whatever error is named: nothing but zero is zero.
        assert not context.is_zero(power_of_two(-4000), fmpq(1)) and context.is_zero(fmpq(0), fmpq(0))
        return
    assert context.rational(noise) == 8 * power_of_two(1 - context.answer_bits)
    assert context.is_zero(noise, noise) and context.is_zero(-noise, noise)
    assert not context.is_zero(2 * noise, noise)


@pytest.mark.parametrize("bits", [-3, 0, 5, 70])
def test_grids_are_exact_in_every_context(context, bits):
    for value in (fmpq(-77, 64), fmpq(12345), fmpq(1, 1 << 12)):
        assert context.to_grid(context.number(value), bits) == round_to_grid(value, bits)


def test_what_the_contexts_say_of_themselves():
    assert [(c.name, c.claim, c.prec, c.exact) for c in (ExactContext(), mp(200), float64())] == [
        ("exact", "exact", None, True),
        ("mp", "refined", 200, False),
        ("float64", "approximate", 53, False),
    ]
    for prec in (32, 64, 200, 1000):
        bits = mp(prec).answer_bits
        assert bits is not None and 3 * bits >= 4 * (prec + GUARD_BITS) > 3 * (bits - 1)
        assert mp(prec).arithmetic.prec == bits + GUARD_BITS


def test_contexts_by_name():
    assert isinstance(context_named("exact", 7), ExactContext)
    assert context_named("mp", 96).prec == 96
    assert context_named("float64", 7).name == "float64"
    with pytest.raises(ValueError, match="no context named 'double'; there are exact, mp and float64"):
        context_named("double", 200)
    with pytest.raises(ValueError, match="prec is 31 bits; ask for at least 32"):
        context_named("mp", 31)


def test_coarser_contexts_have_fewer_bits():
    assert ExactContext().coarser(20).exact
    coarse = mp(200).coarser(90)
    assert (coarse.name, coarse.prec, coarse.answer_bits) == ("mp", 200, 90)


# --- linear algebra: one table of operations, every context


SYSTEMS = {
    "2x2": ([[2, 1], [1, -3]], [[3], [-4]]),
    "several right sides": ([[0, 2, 0], [4, 0, 0], [1, 1, 1]], [[1, 2], [3, 4], [5, 6]]),
    "more rows than unknowns": ([[0, 0], [1, 2], [2, 4], [3, -1]], [[0], [5], [10], [1]]),
    "scales 2^60 apart": ([[2**60, 1], [1, 1]], [[2**60 + 1], [2]]),
}


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_solve(context, system):
    matrix, right = system
    exact = ExactContext()
    solution = context.solve(array(context, matrix), array(context, right))
    truth = exact.solve(array(exact, matrix), array(exact, right))
    assert solution is not None and truth is not None
    assert solution.shape == truth.shape == (len(matrix[0]), len(right[0]))
    assert ((array(exact, matrix) @ truth) == array(exact, right)).all()
    for x, y in zip(solution.ravel(), truth.ravel(), strict=True):
        assert abs(context.rational(x) - y) <= 64 * unit(context) * max(abs(y), fmpq(1))


@pytest.mark.parametrize("matrix", [[[1, 2], [2, 4]], [[0, 0], [0, 0]], [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1]]])
def test_solutions_that_are_not_unique_are_none(context, matrix):
    assert context.solve(array(context, matrix), array(context, [[1]] * len(matrix))) is None


def test_solve_refuses_fewer_rows_than_unknowns(context):
    with pytest.raises(ValueError, match="1 equations cannot fix 2 unknowns"):
        context.solve(array(context, [[1, 2]]), array(context, [[1]]))


def test_an_inconsistent_system_is_for_the_caller_to_see():
    """The residual is a statement about the data: the rows that were not needed are not looked at."""
    exact = ExactContext()
    solution = exact.solve(array(exact, [[1], [1]]), array(exact, [[2], [3]]))
    assert solution is not None and solution[0, 0] == 2


def test_solving_a_random_system_of_thirty(context):
    rows = random_rows(30, 30, 1)
    truth = random_rows(30, 1, 2)
    right = (np.array(rows, dtype=object) @ np.array(truth, dtype=object)).tolist()
    solution = context.solve(array(context, rows), array(context, right))
    assert solution is not None
    error = max(abs(context.rational(x) - y) for x, (y,) in zip(solution.ravel(), truth, strict=True))
    assert error <= 2**20 * unit(context)  # about the condition number of thirty random rows


@pytest.mark.parametrize(("rows", "columns", "rank"), [(4, 4, 4), (6, 4, 2), (3, 7, 3), (5, 5, 1), (3, 3, 0)])
def test_rank_and_nullspace(context, rows, columns, rank):
    product = np.array(random_rows(rows, rank, 3), dtype=object).reshape(rows, rank) @ np.array(
        random_rows(rank, columns, 4), dtype=object
    ).reshape(rank, columns)
    matrix = array(context, product.tolist() if rank else [[0] * columns] * rows)
    assert context.rank(matrix) == rank
    basis = context.nullspace(matrix)
    assert basis.shape == (columns, columns - rank)
    exact = np.array([[context.rational(x) for x in row] for row in basis], dtype=object).reshape(basis.shape)
    image = array(ExactContext(), product.tolist() if rank else [[0] * columns] * rows) @ exact
    size = max((abs(x) for x in exact.ravel()), default=fmpq(1)) * 2**20
    assert all(abs(x) <= size * unit(context) for x in image.ravel())
    assert ExactContext().rank(exact) == columns - rank


def test_a_row_is_normalised_by_its_context(context):
    row = [fmpq(-3, 4), fmpq(0), fmpq(1)]
    normal, scale = context.normalise_row(list(context.array(row)))
    assert scale > 0
    if context.exact:
        assert list(normal) == [-3, 0, 4] and scale == fmpq(1, 4)
    else:
        assert [context.rational(x) for x in normal[1:2]] == [0]
        wanted = (fmpq(-3, 5), fmpq(4, 5), fmpq(5, 4))
        for x, y in zip((normal[0], normal[2], scale), wanted, strict=True):
            assert abs(context.rational(x) - y) <= 8 * unit(context)


def test_the_exact_scale_of_a_row_is_fixed_by_its_direction():
    """Whatever positive factor a row comes with, the primitive vector is the same."""
    exact = ExactContext()
    row = [fmpq(6, 35), fmpq(-9, 14), fmpq(0)]
    forms = [exact.normalise_row([x * factor for x in row]) for factor in (fmpq(1), fmpq(35, 3), fmpq(10**30, 7))]
    assert all(list(normal) == [4, -15, 0] for normal, _ in forms)
    assert [scale for _, scale in forms] == [fmpq(3, 70), fmpq(1, 2), fmpq(3, 70) * 10**30 / 7]


def test_a_row_of_zeros_has_no_direction(context):
    with pytest.raises(ValueError, match="a row of zeros has no direction"):
        context.normalise_row(list(context.zeros(3)))


def test_results_at_two_precisions_agree():
    """The 200-bit answer is the 1000-bit answer to 200 bits and more, and is not merely the same number."""
    rows, right = random_rows(12, 12, 5), random_rows(12, 1, 6)
    solutions = []
    for context in (mp(200), mp(1000)):
        solution = context.solve(array(context, rows), array(context, right))
        assert solution is not None
        solutions.append([context.rational(x) for x in solution.ravel()])
    differences = [abs(x - y) for x, y in zip(*solutions, strict=True)]
    assert max(differences) < power_of_two(-300)
    assert max(differences) > power_of_two(-500)


def test_a_pivot_below_the_noise_is_no_pivot():
    context = mp(64)
    near = [[1, 1], [1, 1 + power_of_two(-context.answer_bits - 10)]]
    apart = [[1, 1], [1, 1 + power_of_two(-60)]]
    assert context.rank(array(context, near)) == 1
    assert context.rank(array(context, apart)) == 2
    assert ExactContext().rank(array(ExactContext(), near)) == 2


# --- where two pieces meet


def piece(context, position, values, slopes):
    noise = context.noise(context.number(1))
    return Piece(fmpq(position), context.array(values), context.array(slopes), fmpq(1), noise)


def test_pieces_meet_where_all_outputs_bend(context):
    left, right = piece(context, -1, [0, 4], [1, 0]), piece(context, 3, [2, 1], [0, -1])
    meeting = meeting_of(context, left, right)
    assert meeting is not None and meeting.others is not None  # 1 and 0: two places, two kinks
    one = meeting_of(context, left, piece(context, 3, [2, 2], [0, -1]))
    assert one is not None and one.others is None
    assert one.position == 1 == context.rational(one.number)
    assert meeting_of(context, left, piece(context, 3, [7, 7], [1, 0])) is None


def test_the_error_of_a_piece_grows_with_the_distance():
    for context in (mp(64), float64()):
        short = piece(context, 0, [1], [1])
        assert short.error(context, fmpq(100)) == 201 * short.noise
        assert short.on(context, fmpq(3))[0] == 4
    exact = ExactContext()
    assert piece(exact, 0, [1], [1]).error(exact, fmpq(100)) == 0


# --- dyadic helpers

rationals = st.builds(
    lambda p, q, e: fmpq(p, q) * power_of_two(e),
    st.integers(-(10**12), 10**12),
    st.integers(1, 10**6),
    st.integers(-300, 300),
)
nonzero = rationals.filter(lambda x: x != 0)
grids = st.integers(-320, 320)


@given(rationals, grids)
def test_rounding_to_a_grid(value, bits):
    cell = power_of_two(-bits)
    down, nearest = floor_to_grid(value, bits), round_to_grid(value, bits)
    assert (down / cell).q == 1 == (nearest / cell).q
    assert down <= value < down + cell
    assert abs(nearest - value) <= cell / 2
    assert nearest in (down, down + cell)


def test_ties_round_down_or_up_but_always_the_same():
    assert round_to_grid(fmpq(3, 2), 0) == 2 and round_to_grid(fmpq(-3, 2), 0) == -1
    assert round_to_grid(fmpq(3), -1) == 4


@given(nonzero)
def test_floor_log2(value):
    exponent = floor_log2(value)
    assert power_of_two(exponent) <= abs(value) < power_of_two(exponent + 1)
    assert floor_log2(power_of_two(exponent)) == exponent


@given(rationals, nonzero, st.integers(3, 8))
def test_simple_between_is_inside_and_short(left, length, spread):
    right = left + abs(length)
    place = simple_between(left, right, spread=spread)
    assert left < place < right
    assert abs(place - (left + right) / 2) <= (right - left) * power_of_two(-spread)
    # No bits but those that its size over the length of the interval needs.
    size = max(abs(left), abs(right)) / (right - left)
    assert abs(place.p).bit_length() <= max(0, floor_log2(size) if size >= 1 else 0) + spread + 3 or place.q == 1
    assert place == 0 or dyadic_exponent(place) <= max(0, spread - floor_log2(right - left))


def test_simple_between_refuses_an_empty_interval():
    with pytest.raises(ValueError, match="need left < right, got 2 and 2"):
        simple_between(fmpq(2), fmpq(2))


def test_what_is_not_dyadic_or_has_no_logarithm_is_refused():
    assert dyadic_exponent(fmpq(-5, 64)) == 6 and dyadic_exponent(fmpq(7)) == 0
    with pytest.raises(ValueError, match="1/3 is not dyadic"):
        dyadic_exponent(fmpq(1, 3))
    with pytest.raises(ValueError, match="zero has no logarithm"):
        floor_log2(fmpq(0))


@given(st.lists(st.lists(nonzero.map(lambda x: round_to_grid(x, 40)), min_size=3, max_size=3), min_size=1, max_size=4))
def test_dyadic_matrices_keep_every_number(rows):
    matrix = dyadic_matrix(rows, 3)
    assert matrix.rows() == rows and matrix.shape == (len(rows), 3)
    finer = DyadicMatrix(matrix.at_exponent(matrix.exponent + 9), matrix.exponent + 9)
    assert finer.rows() == rows
    with pytest.raises(ValueError, match=rf"grid 2\^-{finer.exponent} on the grid 2\^-{matrix.exponent}"):
        finer.at_exponent(matrix.exponent)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_float64_there_and_back(values):
    row = np.array([values])
    assert (from_float64(row).to_float64() == row).all()


def test_coarse_grids_and_rounding_to_float64():
    matrix = DyadicMatrix(fmpz_mat(1, 2, [3, -1]), -4)
    assert matrix.rows() == [[48, -16]]
    assert matrix.to_float64().tolist() == [[48.0, -16.0]]
    # Halfway cases and numbers beyond 53 bits round once, to even.
    long = DyadicMatrix(fmpz_mat(1, 2, [(1 << 53) + 1, (1 << 54) + 3]), 0)
    assert long.to_float64().tolist() == [[2.0**53, 2.0**54 + 4]]
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="query points must be finite"):
            from_float64(np.array([[bad]]))


# --- signs by lattice reduction


def subset_sum(equations, unknowns, seed, bits=53):
    """(columns, target, signs): random coefficients of so many bits over a power of two."""
    rng = np.random.default_rng(seed)
    numbers = [int(x) for x in rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), equations * unknowns)]
    columns = np.array([fmpq(x, 1 << 50) for x in numbers], dtype=object).reshape(equations, unknowns)
    signs = [int(s) for s in rng.choice([-1, 1], unknowns)]
    return columns, columns @ np.array([fmpq(s) for s in signs], dtype=object), signs


def test_forty_signs_from_ten_equations(seed):
    columns, target, signs = subset_sum(10, 40, seed)
    assert signs_by_lattice(columns, target) == signs


def test_a_hundred_signs_from_ten_equations():
    columns, target, signs = subset_sum(10, 100, 7)
    assert signs_by_lattice(columns, target) == signs


def test_one_equation_of_many_bits(seed):
    """Density below a half: 20 signs need some 60 bits, whoever has more finds them."""
    columns, target, signs = subset_sum(1, 20, seed, bits=62)
    columns, target = columns * fmpq(3, 7), target * fmpq(3, 7)
    assert signs_by_lattice(columns, target) == signs


@pytest.mark.parametrize("error_bits", [30, 45])
def test_rounded_equations(error_bits):
    columns, target, signs = subset_sum(10, 40, 8)
    noise = np.random.default_rng(9).integers(-(1 << 9), 1 << 9, 10)
    off = target + np.array([fmpq(int(x), 1 << (error_bits + 10)) for x in noise], dtype=object)
    assert signs_by_lattice(columns, off, error_bits=error_bits) == signs


@pytest.mark.parametrize("equations", [1, 10])
def test_equations_without_a_solution(equations):
    columns, target, signs = subset_sum(equations, 12, 10)
    found = signs_by_lattice(columns, target + fmpq(1, 3))
    assert found is None
    assert signs_by_lattice(columns, target) == signs


def test_columns_that_differ_late():
    """Neurons 2^-200 apart: the leading bits fit with either of the two signs, the last ones with one."""
    columns, target, signs = subset_sum(10, 12, 11)
    for q in range(0, 12, 2):
        columns[:, q + 1] = columns[:, q] + columns[:, q + 1] * power_of_two(-200)
        signs[q + 1] = -signs[q]
    target = columns @ np.array([fmpq(s) for s in signs], dtype=object)
    assert signs_by_lattice(columns, target) == signs


def test_a_private_mpmath_context_is_really_private():
    """Two contexts alive together keep their own bits; the global one keeps its eleven."""
    low, high = mp(64), mp(1000)
    thirds = [abs(c.rational(c.number(fmpq(1, 3))) - fmpq(1, 3)) for c in (low, high)]
    assert power_of_two(-260) < thirds[0] < power_of_two(-200) and 0 < thirds[1] < power_of_two(-1400)
    assert mpmath.mp.prec == 11
    assert isinstance(low, RoundedContext) and low.arithmetic is not high.arithmetic


def test_relations_of_rational_rows_are_those_modulo_a_prime():
    rng = np.random.default_rng(5)
    first = np.array([[fmpq(int(x), 7) for x in row] for row in rng.integers(-99, 99, (3, 6))], dtype=object)
    inside = (first * fmpq(2, 3)).sum(axis=0)[None]
    outside = inside + np.array([[fmpq(int(x), 5) for x in rng.integers(1, 9, 6)]], dtype=object)
    beyond = annihilator(modular(first))
    assert (modular(inside) * beyond).rank() == 0 and (modular(outside) * beyond).rank() == 1
    assert joined_rows(modular(first), modular(inside)).rank() == 3
    assert joined_rows(modular(first), modular(outside)).rank() == 4
    assert joined_rows(modular(first), modular(inside)).tolist()[3] == modular(inside).tolist()[0]
    kept = masked_rows(modular(first), np.array([True, False, True]))
    assert kept.tolist()[::2] == modular(first).tolist()[::2] and not any(int(x) for x in kept.tolist()[1])
