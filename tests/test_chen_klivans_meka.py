"""Low square loss from answers of any precision: worst cases, rounded and noisy answers, and the measured loss."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import chi2, norm

from jaxtract import CallableOracle, ExactNetwork, ExactNetworkOracle, float64
from jaxtract.methods import LossOptions, LossOutcome, chen_klivans_meka
from jaxtract.methods.low_loss.between import loss_between
from jaxtract.methods.low_loss.black_box import BlackBox, dyadic_points
from jaxtract.methods.low_loss.fit import fit_all, fit_outputs, mean_square, prune
from jaxtract.methods.low_loss.hinges import Hinges
from jaxtract.methods.low_loss.lines import Staircase, kinks_on_lines
from jaxtract.methods.low_loss.near_folds import LARGEST_WEIGHT, near_folds
from jaxtract.methods.low_loss.neurons import Candidates, measure
from jaxtract.methods.low_loss.pursue import with_best_guess
from jaxtract.methods.low_loss.square_loss import empirical_bernstein, largest_share, measure_loss, most_on_share
from jaxtract.network.families import FAMILIES, he, wide_range
from jaxtract.network.relu_network import ReLUNetwork, nearest_float64
from jaxtract.oracle.counting import CountingOracle

POINTS = 20_000


def forward(network):
    """A network of one hidden layer as a function of float64 arrays."""
    (first, second), (inner, outer) = (map(np.asarray, x) for x in (network.weights, network.biases))
    return lambda x: np.maximum(x @ first.T + inner, 0) @ second.T + outer


def rounded(f, bits):
    """Answers of so many bits each."""

    def answer(x):
        mantissa, exponent = np.frexp(f(x))
        return np.ldexp(np.round(mantissa * 2.0**bits), exponent - bits)

    return answer


def oracle_of(f, inputs, outputs=1):
    return CallableOracle(f, inputs=inputs, outputs=outputs)


def true_loss(f, result, inputs):
    """Mean square difference at inputs that the method did not draw."""
    x = np.random.default_rng(2**31).standard_normal((POINTS, inputs))
    difference = f(x) - forward(nearest_float64(result.network))(x)
    return float((difference**2).sum(axis=1).mean())


def bundle(angle, seed=0, inputs=6):
    """Four bundles of three neurons whose normals are ``angle`` apart, and biases as near."""
    rng = np.random.default_rng(seed)
    normals = np.repeat(rng.standard_normal((4, inputs)), 3, axis=0)
    offsets = np.repeat(rng.standard_normal(4) / 2, 3)
    normals += angle * rng.standard_normal(normals.shape)
    offsets += angle * rng.standard_normal(12)
    factors = rng.choice([-1.0, 1.0], (12, 1)) * rng.uniform(0.5, 1, (12, 1))
    return lambda x: np.maximum(x @ normals.T + offsets, 0) @ factors


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_at_float64(name):
    """Positions that no query tells apart, and weights over 6 orders of magnitude."""
    network = wide_range((6, 8, 1), 3, orders=6) if name == "wide-range" else FAMILIES[name]((6, 8, 1), 3)
    f = forward(as_doubles(network))
    result = chen_klivans_meka(oracle_of(f, 6), epsilon=1e-8)
    assert result.outcome is LossOutcome.REACHED and result.claim == "approximate", result.describe()
    assert result.loss is not None and result.loss.upper <= 1e-8
    assert true_loss(f, result, 6) <= 1e-8
    assert result.neurons <= 8


def as_doubles(network):
    return nearest_float64(network) if isinstance(network, ExactNetwork) else network


@pytest.mark.parametrize("name", ["he", "bump", "coincident", "duplicate", "zero-rows", "dead"])
def test_sixteen_bit_answers(name):
    """Below a millionth of what answers that round to 2^-16 could hide at most."""
    f = forward(as_doubles(FAMILIES[name]((6, 8, 1), 3)))
    result = chen_klivans_meka(oracle_of(rounded(f, 16), 6), epsilon=1e-7)
    assert result.outcome is LossOutcome.REACHED, result.describe()
    assert true_loss(f, result, 6) <= 1e-7


@pytest.mark.parametrize("angle", [1e-12, 1e-9, 1e-6, 1e-3])
def test_nearly_parallel_bundles(angle):
    """Kinks nearer than the answers resolve are merged; the function is the same to epsilon."""
    f = bundle(angle)
    result = chen_klivans_meka(oracle_of(f, 6), epsilon=1e-8)
    assert result.outcome is LossOutcome.REACHED, result.describe()
    assert true_loss(f, result, 6) <= 1e-8
    if angle <= 1e-12:
        assert result.neurons <= 4
    assert 0 < result.neurons <= 12


def test_many_more_neurons_than_inputs():
    f = forward(he((3, 40, 1), 0))
    result = chen_klivans_meka(oracle_of(f, 3), epsilon=1e-6)
    assert result.outcome is LossOutcome.REACHED and true_loss(f, result, 3) <= 1e-6


def test_several_outputs():
    f = forward(he((7, 6, 3), 1))
    result = chen_klivans_meka(oracle_of(f, 7, 3), epsilon=1e-8)
    assert result.network.widths[0] == 7 and result.network.widths[-1] == 3
    assert result.neurons == 6 and true_loss(f, result, 7) <= 1e-8


def test_noisy_answers():
    """Answers that differ when asked twice are averaged by the fits: the loss is near what the noise makes alone."""
    f, rng = forward(he((6, 6, 1), 2)), np.random.default_rng(0)
    noisy = lambda x: f(x) + 1e-4 * rng.standard_normal((len(x), 1))  # noqa: E731
    result = chen_klivans_meka(oracle_of(noisy, 6), epsilon=1e-6)
    assert result.outcome is LossOutcome.REACHED, result.describe()
    assert true_loss(f, result, 6) <= 1e-7
    assert 1e-9 < result.noise < 2e-7  # the square of 1e-4 is 1e-8


def test_below_the_noise_no_loss_is_claimed():
    f = forward(he((6, 6, 1), 2))
    result = chen_klivans_meka(oracle_of(rounded(f, 8), 6), epsilon=1e-8)
    assert result.outcome in (LossOutcome.RESOLUTION, LossOutcome.NOT_REACHED) and result.claim == "incomplete"
    assert result.loss is not None and result.loss.upper > 1e-8 and result.noise > 1e-8
    assert true_loss(f, result, 6) < 1e-3 and "incomplete" in result.describe()


def test_a_deeper_network_is_not_claimed():
    deep, shallow = he((3, 4, 3), 0), he((3, 4, 1), 1)
    f = lambda x: forward(shallow)(forward(deep)(x))  # noqa: E731
    result = chen_klivans_meka(oracle_of(f, 3), epsilon=1e-8, options=LossOptions(rounds=1))
    assert result.outcome is LossOutcome.NOT_REACHED and result.loss is not None
    assert result.loss.upper > 1e-8


def test_exact_oracles_are_asked_too():
    network = he((5, 4, 1), 0)
    result = chen_klivans_meka(ExactNetworkOracle(network), epsilon=1e-10)
    assert result.outcome is LossOutcome.REACHED and true_loss(forward(network), result, 5) <= 1e-10


def test_an_affine_function_has_no_neurons():
    result = chen_klivans_meka(oracle_of(lambda x: x @ np.array([[2.0], [-1.0]]) + 3, 2), epsilon=1e-12)
    assert result.neurons == 0 and result.outcome is LossOutcome.REACHED
    assert result.network([0, 0])[0] == pytest.approx(3)


def test_the_same_seed_asks_the_same():
    f = forward(he((5, 5, 1), 0))
    first, second = (chen_klivans_meka(oracle_of(f, 5), epsilon=1e-6, options=LossOptions(seed=4)) for _ in range(2))
    assert first.network == second.network and first.queries == second.queries


@pytest.mark.parametrize("budget", [10, 900, 4000])
def test_a_spent_budget_is_kept_to(budget):
    f = forward(he((20, 20, 1), 0))
    result = chen_klivans_meka(oracle_of(f, 20), epsilon=1e-8, options=LossOptions(max_queries=budget))
    assert result.outcome is LossOutcome.BUDGET_SPENT and result.loss is None and result.queries.total <= budget
    assert "not measured" in result.describe()


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
def test_bad_epsilon(epsilon):
    with pytest.raises(ValueError, match="epsilon is"):
        chen_klivans_meka(oracle_of(lambda x: x, 1), epsilon=epsilon)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 2.0])
def test_bad_confidence(confidence):
    with pytest.raises(ValueError, match="confidence is"):
        chen_klivans_meka(oracle_of(lambda x: x, 1), epsilon=1, options=LossOptions(confidence=confidence))


# --- the parts


def black_box(f, inputs, outputs=1):
    box = BlackBox(CountingOracle(oracle_of(f, inputs, outputs), float64()))
    box.estimate_noise(np.random.default_rng(0))
    return box


@pytest.mark.parametrize("bits", [10, 12, 16, 20, 24, 32, 40])
def test_noise_of_rounding_is_estimated(bits):
    """Within a factor of 8 of the standard error of the rounding at Gaussian points."""
    f = forward(he((8, 12, 1), 5))
    x = np.random.default_rng(1).standard_normal((4000, 8))
    error = np.sqrt(np.mean((rounded(f, bits)(x) - f(x)) ** 2))
    assert error / 8 < black_box(rounded(f, bits), 8).noise[0] < 8 * error


def test_noise_of_doubles_is_estimated():
    assert 1e-17 < black_box(forward(he((8, 12, 1), 5)), 8).noise[0] < 1e-14


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e20, 1e300])
def test_points_of_any_size_are_sent_as_they_are(scale):
    points = scale * np.random.default_rng(0).standard_normal((3, 4))
    assert np.allclose(dyadic_points(points).to_float64(), points, rtol=0, atol=scale * 2.0**-58)


def hand_made(kinks, jumps):
    """(points, 1) to f and noise: bends of a function of the first coordinate."""
    kinks, jumps = np.array(kinks), np.array(jumps)

    def f(points):
        return np.maximum(points[:, :1] - kinks, 0) @ jumps[:, None] / 1e-12, np.ones(len(points))

    return f


def test_kinks_of_a_hand_made_line():
    """Placed as well as the noise of 1e-12 allows, two that are 1e-3 apart included."""
    kinks = [-3.0, -0.25, -0.249, 0.4, 11.0]
    (found,) = kinks_on_lines(hand_made(kinks, [1.0, -2.0, 2.0, 0.01, 3.0]), np.zeros((1, 1)), np.ones((1, 1)))
    assert np.allclose(found.places, kinks, rtol=0, atol=1e-8)
    assert np.all(found.left[:, 1] <= found.places) and np.all(found.right[:, 0] >= found.places)


def test_kinks_nearer_than_the_noise_are_one():
    (found,) = kinks_on_lines(hand_made([0.3, 0.3 + 1e-14], [1.0, 2.0]), np.zeros((1, 1)), np.ones((1, 1)))
    assert len(found.places) == 1 and found.places[0] == pytest.approx(0.3, abs=1e-11)


def test_opposite_kinks_symmetric_about_a_sample_are_seen():
    (found,) = kinks_on_lines(hand_made([0.1, 0.2], [1.0, -1.0]), np.zeros((1, 1)), np.ones((1, 1)))
    assert np.allclose(found.places, [0.1, 0.2], rtol=0, atol=1e-9)


def test_neurons_of_a_line_are_those_of_the_network():
    network = he((5, 6, 1), 0)
    f, rng = forward(network), np.random.default_rng(0)
    unexplained = lambda x: (f(x) / 1e-14, np.ones(len(x)))  # noqa: E731
    (kinks,) = kinks_on_lines(unexplained, rng.standard_normal((1, 5)), rng.standard_normal((1, 5)))
    found = measure(unexplained, kinks, np.arange(len(kinks.places)))
    rows = np.asarray(network.weights[0])
    norms = np.linalg.norm(rows, axis=1)
    cosines = np.abs(found.normals @ (rows / norms[:, None]).T)
    nearest = cosines.argmax(axis=1)
    assert sorted(nearest) == list(range(6)) and np.all(cosines.max(axis=1) > 1 - 1e-9)
    strength = np.abs(np.asarray(network.weights[1])[0, nearest]) * norms[nearest]
    assert np.allclose(np.abs(found.factors[:, 0]) * 1e-14, strength, rtol=1e-6)


def test_what_two_lines_show_is_told_from_what_one_shows():
    """Rows may differ by three standard errors and point the other way; a far kink says little about its hyperplane."""
    x, y = np.array([1.0, 0.0]), np.array([0.0, 1.0])

    def candidates(rows, errors, distances):
        rows = np.array(rows)
        ones = np.ones((len(rows), 1))
        return Candidates(rows[:, :2], rows[:, 2], ones, np.array(errors), np.array(distances))

    known = candidates([[*x, 0.5], [*y, 0.0]], [1e-6, 1e-6], [0.0, 0.0])
    found = candidates([[*x, 0.5 + 2e-6], [*-x, -0.5], [*x, 0.51], [*y, 1e-3]], [1e-6] * 4, [0.0, 0.0, 0.0, 1e6])
    assert found.unlike(known).offsets.tolist() == [0.51]
    assert len(found.unlike(known.unlike(known)).offsets) == 4


def random_hinges(count, inputs, outputs, seed=0):
    rng = np.random.default_rng(seed)
    normals = rng.standard_normal((count, inputs))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    matrix, constant = rng.standard_normal((inputs, outputs)), rng.standard_normal(outputs)
    return Hinges(normals, rng.standard_normal(count), rng.standard_normal((count, outputs)), matrix, constant)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_model_and_its_network_are_one_function(outputs):
    model = random_hinges(4, 5, outputs)
    x = np.random.default_rng(1).standard_normal((100, 5))
    assert np.allclose(forward(nearest_float64(model.network()))(x), model(x), rtol=0, atol=1e-12)


def test_fits_find_a_model_that_is_near():
    truth, rng = random_hinges(5, 4, 2), np.random.default_rng(1)
    x = rng.standard_normal((400, 4))
    near = dataclasses.replace(truth, offsets=truth.offsets + 1e-2 * rng.standard_normal(5), factors=0 * truth.factors)
    linear = fit_outputs(near, x, truth(x))
    assert mean_square(truth(x) - linear(x)) < 1e-2
    fitted = fit_all(linear, x, truth(x), 1e-24)
    assert mean_square(truth(x) - fitted(x)) < 1e-20
    fresh = rng.standard_normal((400, 4))
    assert mean_square(truth(fresh) - fitted(fresh)) < 1e-20


def test_neurons_that_cancel_are_dropped_and_others_are_not():
    model, rng = random_hinges(3, 4, 1), np.random.default_rng(1)
    x = rng.standard_normal((300, 4))
    doubled = model.with_hinges(model.normals[:1], model.offsets[:1] + 1e-9, np.array([[5.0]]))
    doubled = dataclasses.replace(doubled, factors=doubled.factors - np.array([[5.0], [0], [0], [0]]))
    kept, indices = prune(doubled, x, model(x), 1e-12)
    assert len(kept) == 3 and {1, 2} < set(indices.tolist())
    assert mean_square(model(x) - kept(x)) < 1e-12


def test_a_staircase_is_not_taken_for_kinks():
    """Rounding to 2^-20 that is believed to be 2^-50: thousands of kinks, which no neuron made."""
    stairs = lambda x: (np.round(x[:, :1] * 2.0**20) * 2.0**30, np.ones(len(x)))  # noqa: E731
    with pytest.raises(Staircase):
        kinks_on_lines(stairs, np.zeros((1, 1)), np.ones((1, 1)))


def test_rounding_that_hides_where_a_function_is_constant():
    """A bump that most inputs do not meet: answers of 14 bits are seen to be rounded by their last bits."""
    rows, factors = np.ones((3, 1)), np.array([[1.0], [-2.0], [1.0]])
    bump = lambda x: np.maximum(x @ rows.T - [2.0, 2.3, 2.6], 0) @ factors + 1 / 3  # noqa: E731
    box = black_box(rounded(bump, 14), 1)
    assert 2.0**-17 < box.relative[0] < 2.0**-12
    result = chen_klivans_meka(oracle_of(rounded(bump, 14), 1), epsilon=1e-6)
    assert result.outcome is LossOutcome.REACHED and true_loss(bump, result, 1) <= 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_bumps_are_not_taken_for_noise(seed):
    """Segments longer than a bump is wide all show about the same of it, which is no noise of the answers."""
    rng = np.random.default_rng(seed)
    normals, offsets = rng.standard_normal((4, 8)) / np.sqrt(8), rng.standard_normal(4)
    steep = lambda z: np.maximum(z, 0) - 2 * np.maximum(z - 0.05, 0) + np.maximum(z - 0.1, 0)  # noqa: E731
    box = black_box(rounded(lambda x: steep(x @ normals.T + offsets).sum(axis=1, keepdims=True) - 0.03, 16), 8)
    assert box.relative[0] < 2.0**-14


def test_narrow_bumps_are_found_also_where_few_inputs_meet_them():
    """Four bumps 0.01 wide and 0.5 high, one of them met by one input in 2000; at float64 and at 16 bits."""
    rng = np.random.default_rng(1)
    normals = rng.standard_normal((4, 8))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets, steps = np.array([-0.4, 2.0, 0.6, 0.7]), np.array([0.0, 0.005, 0.01])
    rows, factors = np.repeat(normals, 3, axis=0), np.tile([100.0, -200.0, 100.0], 4)[:, None]
    f = lambda x: np.maximum(x @ rows.T + (offsets[:, None] - steps).ravel(), 0) @ factors + 0.3  # noqa: E731
    for answers in (f, rounded(f, 16)):
        result = chen_klivans_meka(oracle_of(answers, 8), epsilon=1e-8, options=LossOptions(seed=1))
        assert result.outcome is LossOutcome.REACHED, result.describe()
        assert true_loss(f, result, 8) <= 1e-8


def test_decimal_rounding_is_found_out():
    """Answers of five decimals have mantissas of all lengths."""
    f = forward(he((5, 6, 1), 3))
    result = chen_klivans_meka(oracle_of(lambda x: np.round(f(x), 5), 5), epsilon=1e-7)
    assert result.outcome is LossOutcome.REACHED, result.describe()
    assert true_loss(f, result, 5) <= 1e-7


def test_a_guess_explains_what_no_line_showed():
    model = random_hinges(3, 4, 1)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 4))
    fewer = fit_outputs(model.select(np.arange(2)), x, model(x))
    guessed = with_best_guess(fewer, x, model(x), rng)
    assert len(guessed) == 3
    assert mean_square(model(x) - guessed(x)) < 0.7 * mean_square(model(x) - fewer(x))
    fitted = fit_all(guessed, x, model(x), 1e-20)
    assert mean_square(model(x) - fitted(x)) < 1e-15


def test_weights_undo_that_inputs_are_drawn_near_hyperplanes():
    """Means of functions with known Gaussian means, one of them an event near a hyperplane."""
    model = random_hinges(5, 3, 1)
    x, weights = near_folds(model, 200_000, np.random.default_rng(2))
    assert weights.min() > 0 and weights.max() <= LARGEST_WEIGHT
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert (weights * x[:, 0] ** 2).mean() == pytest.approx(1, abs=0.02)
    distance = x @ model.normals[0] + model.offsets[0]
    inside = np.abs(distance) < 1e-3
    share = norm.cdf(-model.offsets[0] + 1e-3) - norm.cdf(-model.offsets[0] - 1e-3)
    assert (weights * inside).mean() == pytest.approx(share, rel=0.1)
    assert inside.mean() > 20 * share


def test_without_hyperplanes_inputs_are_gaussian():
    x, weights = near_folds(Hinges.zero(3, 1), 1000, np.random.default_rng(0))
    assert np.all(weights == 1) and np.array_equal(x, np.random.default_rng(0).standard_normal((1000, 3)))


# --- the measured loss


def test_the_interval_holds_the_mean_as_often_as_it_says():
    """Squares of uniform numbers, mean 1/3: in 400 trials at 90 % at most 10 % and some may miss; far fewer do."""
    rng = np.random.default_rng(0)
    misses = 0
    for _ in range(400):
        lower, upper = empirical_bernstein(rng.uniform(0, 1, 200) ** 2, 1.0, 0.9)
        assert 0 <= lower <= upper <= 1
        misses += not lower <= 1 / 3 <= upper
    assert misses <= 40


def test_the_interval_shrinks_with_the_spread():
    lower, upper = empirical_bernstein(np.full(10_001, 0.25), 1.0, 0.99)
    assert upper - lower == pytest.approx(2 * 7 * math.log(400) / (3 * 10_000), rel=1e-9)


def test_shares_are_those_of_clopper_and_pearson():
    assert largest_share(0, 100, 0.95) == pytest.approx(1 - 0.05**0.01, rel=1e-12)
    assert largest_share(7, 7, 0.95) == 1


@pytest.mark.parametrize("share", [1e-6, 1e-3, 0.1, 1.0])
def test_most_on_a_share_is_the_tail(share):
    """In one dimension the event is |x| > q: 2 slope^2 E[x^2; |x| > q] in closed form."""
    q = norm.isf(share / 2)
    tail = share + 2 * q * norm.pdf(q)
    assert most_on_share(share, 1, 0.0, 3.0) == pytest.approx(2 * 9 * tail, rel=1e-9)
    assert chi2.isf(share, 1) == pytest.approx(q**2, abs=1e-12)


def test_squares_beyond_what_the_interval_allows_for_are_counted():
    squares = np.array([0.0] * 995 + [1.0, 3.9, 4.1, 100.0, 1e6])
    loss = measure_loss(np.ones(10), squares, inputs=1, confidence=0.99, constant=0.0, slope=1.0)
    assert loss.above == 3 and loss.cap == 4 and loss.mean == pytest.approx((1 + 3.9 + 3 * 4) / 1000)
    assert loss.share_beyond > 3 / 1000


def test_a_rare_bump_is_in_what_the_inputs_could_not_show():
    """A difference that no sample met adds less than ``most_beyond`` says."""
    rng = np.random.default_rng(0)
    slope, where = 2.0, 4.0  # D(x) = 2 s(x - 4): met with probability 3e-5
    bump = lambda x: slope * np.maximum(x - where, 0)  # noqa: E731
    x = rng.standard_normal((2000, 1))
    squares = bump(x)[:, 0] ** 2
    loss = measure_loss(squares[:200], squares, inputs=1, confidence=0.99, constant=0.0, slope=slope)
    truth = slope**2 * ((1 + where**2) * norm.sf(where) - where * norm.pdf(where))
    assert loss.mean == 0 and loss.upper < truth < loss.upper + loss.most_beyond and loss.above == 0
    assert "2000 inputs" in str(loss)


# --- the loss between two known networks


def changed_network(network, *, inner=0.0, outer=0.0, seed=0):
    rng = np.random.default_rng(seed)
    weights, biases = [list(map(np.asarray, x)) for x in (network.weights, network.biases)]
    weights[0] = weights[0] + inner * rng.standard_normal(weights[0].shape)
    weights[1] = weights[1] + outer * rng.standard_normal(weights[1].shape)
    return ReLUNetwork(weights, biases)


@pytest.mark.parametrize(("inner", "outer"), [(0.0, 0.0), (1e-6, 0.0), (0.0, 1e-6), (1e-2, 1e-2)])
def test_loss_between_networks(inner, outer):
    """The mean is that of the squares at the inputs; no difference anywhere in the ball is above the bound."""
    first = he((5, 7, 2), 0)
    second = changed_network(first, inner=inner, outer=outer)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4000, 5))
    loss = loss_between(first.exact(), second.exact(), x, confidence=0.99)
    difference = forward(first)(x) - forward(second)(x)
    assert loss.mean == pytest.approx(mean_square(difference), rel=1e-6, abs=1e-30)
    assert loss.mean <= loss.upper <= max(1e-25, 2000 * loss.mean)
    far = rng.standard_normal((4000, 5))
    far *= rng.uniform(0, 13, (4000, 1)) / np.linalg.norm(far, axis=1, keepdims=True)
    assert np.linalg.norm(forward(first)(far) - forward(second)(far), axis=1).max() <= loss.largest + 1e-13


def test_loss_between_does_not_see_signs_and_shapes():
    """max(0, z) and z + max(0, -z) are one function; neurons that are flat or far away are affine."""
    one = ReLUNetwork([[[1.0, 2.0]], [[3.0]]], [[0.5], [0.0]])
    rows = [[-1.0, -2.0], [1.0, 2.0], [-1.0, -2.0], [0.0, 0.0], [1.0, 0.0]]
    other = ReLUNetwork([rows, [[3.0, 3.0, -3.0, 2.0, 1.0]]], [[-0.5, 100.5, -100.5, 4.0, -1e6], [-308.0]])
    x = np.random.default_rng(0).standard_normal((100, 2))
    loss = loss_between(one.exact(), other.exact(), x, confidence=0.99)
    assert loss.mean < 1e-20 and loss.upper < 1e-20


def test_a_rare_difference_is_in_the_upper_limit():
    """A neuron that no sample reaches is in the bound."""
    one = ReLUNetwork([[[1.0]], [[1.0]]], [[0.0], [0.0]])
    other = ReLUNetwork([[[1.0], [1.0]], [[1.0, 1.0]]], [[0.0, -4.5], [0.0]])
    x = np.linspace(-3, 3, 1000)[:, None]
    loss = loss_between(one.exact(), other.exact(), x, confidence=0.99)
    truth = (1 + 4.5**2) * norm.sf(4.5) - 4.5 * norm.pdf(4.5)
    assert loss.mean == 0 and loss.upper > truth


@pytest.mark.parametrize("widths", [(3, 4, 4, 1), (3, 4)])
def test_loss_between_is_for_one_hidden_layer(widths):
    network = he(widths, 0).exact()
    with pytest.raises(ValueError, match="one hidden layer"):
        loss_between(network, network, np.zeros((1, 3)), confidence=0.9)


def test_loss_between_needs_equal_dimensions():
    with pytest.raises(ValueError, match="3 and 2 inputs"):
        loss_between(he((3, 2, 1), 0).exact(), he((2, 2, 1), 0).exact(), np.zeros((1, 3)), confidence=0.9)
