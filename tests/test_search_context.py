"""Line search over a context: exact kinks, the three ways to get them wrong, resolution, reach and cost."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq
from helpers import (
    CONTEXTS,
    Recording,
    bent,
    network,
    on_axis,
    random_lines,
    random_rational_network,
    relu,
    search_axis,
    true_line,
)

import jaxtract.search.context_lines as context_lines
from jaxtract.network.exact_network import rational
from jaxtract.network.families import he
from jaxtract.oracle.counting import BudgetSpent, CountingOracle
from jaxtract.oracle.oracle import OracleError
from jaxtract.oracle.serve import ExactNetworkOracle
from jaxtract.search.context_lines import LineSettings, search_lines, settings_for
from precision.dyadic import dyadic_matrix, floor_to_grid, power_of_two
from precision.exact import ExactContext
from precision.kink import meeting_of
from precision.rounded import float64, mp

EXACT = ExactContext()
TWO = Fraction(2)
KINK_ERROR = {"mp": power_of_two(-60), "float64": power_of_two(-25)}
"""Slopes of a few units, kinks of a few units: an answer's noise over a slope's jump, and room."""


def kinks_of(profile):
    return [rational(t) for t in profile.kinks]


def agree(context, profile, kinks):
    """The very kinks in the exact context; as many and all of them near in the others."""
    found, wanted = [context.rational(t) for t in profile.kinks], [rational(t) for t in kinks]
    if context.exact:
        return found == wanted
    return len(found) == len(wanted) and all(
        abs(one - two) <= KINK_ERROR[context.name] for one, two in zip(found, wanted, strict=True)
    )


def found_within(queries, oracle, context, **settings):
    """The profile, or None when the search is not done after so many queries."""
    counting = CountingOracle(oracle, context, max_queries=queries)
    zero, one = dyadic_matrix([[fmpq(0)]], 1), dyadic_matrix([[fmpq(1)]], 1)
    try:
        return search_lines(counting, zero, one, settings=settings_for(context, **settings))[0]
    except (BudgetSpent, OracleError):
        return None


def random_bends(rng, count, *, spread=6, denominator=2**31 - 1):
    """(kinks, slopes) without structure: no kink on a short dyadic, nothing cancels."""
    kinks = sorted(
        {Fraction(int(x), denominator) for x in rng.integers(-spread * denominator, spread * denominator, count)}
    )
    return kinks, [Fraction(int(x), 10**6 + 3) for x in rng.integers(-(10**7), 10**7, len(kinks) + 1)]


@pytest.fixture(params=["exact", "mp64", "mp200", "float64"])
def context(request):
    return CONTEXTS[request.param]()


# --- pitfall a: the outer lines meet at a true kink although the interval holds three


def clipped_pair(place, *, before=TWO, after=Fraction(3), deep=Fraction(5), shallow=Fraction(7, 2)):
    """(kinks, g): a shallow kink at ``place`` and a deep neuron that is off around it.

    g = shallow s(u) + deep s(after s(u) + before s(-u) - 1) with u = t - place. Were the deep neuron not clipped, the
    kink at ``place`` would be the only one, so that is where the outer lines meet, exactly.
    """

    def g(t):
        u = t - place
        return shallow * relu(u) + deep * relu(after * relu(u) + before * relu(-u) - 1)

    return [place - 1 / before, place, place + 1 / after], g


def outer_lines_meet_at(g, places):
    """Where the lines through the two outer pairs of places meet."""
    a, b, c, d = places
    left, right = (g(b) - g(a)) / (b - a), (g(d) - g(c)) / (d - c)
    return (g(a) - left * a - g(c) + right * c) / (right - left)


@pytest.mark.parametrize("place", [Fraction(1, 3), Fraction(0), Fraction(-5, 8)])
def test_outer_lines_that_meet_at_a_true_kink(context, place):
    kinks, g = clipped_pair(place)
    assert outer_lines_meet_at(g, (place - 9, place - 8, place + 8, place + 9)) == place
    profile, _ = search_axis(on_axis(g), context=context)
    assert agree(context, profile, kinks) and not profile.clusters


def test_the_same_far_from_the_base_of_the_line():
    kinks, g = clipped_pair(Fraction(10**30 + 1, 7))
    profile, _ = search_axis(on_axis(g))
    assert kinks_of(profile) == [rational(t) for t in kinks]


def test_a_slope_across_the_meeting_place_is_wrong(monkeypatch):
    """The cure: an interval is split at the place that failed, with a slope that points away from the meeting place.

    Without it, as a piece drawn through the two answers beside the meeting place, the search finds kinks that are none.
    """
    kinks, g = clipped_pair(Fraction(1, 3))
    cured = context_lines._Line._split

    def across(self, left, right, position, answer=None, *, towards=None):
        meeting = meeting_of(self.context, left, right)
        if answer is None or meeting is None:
            return (yield from cured(self, left, right, position, answer, towards=towards))
        before = floor_to_grid(meeting.position, 60) - power_of_two(-60)
        after = before + power_of_two(-58)
        values = yield [before, after]
        middle = self._chord((before, values[0]), (after, values[1]))
        return [self.interval(left, middle), self.interval(middle, right)]

    assert kinks_of(found_within(20, on_axis(g), EXACT)) == [rational(t) for t in kinks]
    monkeypatch.setattr(context_lines._Line, "_split", across)
    wrong = found_within(2000, on_axis(g), EXACT)
    assert wrong is None or kinks_of(wrong) != [rational(t) for t in kinks]


def test_the_pitfall_in_a_network():
    """The same with a real network of two hidden layers, on a line through its input space."""
    third = fmpq(1, 3)
    net = network(
        ([[1, 2], [-1, -2]], [-third, third]),
        ([[3, 2], [1, 0]], [-1, 0]),
        ([[5, fmpq(7, 2)]], [fmpq(1, 9)]),
    )
    base, direction = [fmpq(1, 4), fmpq(-1, 8)], [fmpq(1), fmpq(1, 2)]
    kinks, slopes = true_line(net, base, direction)
    assert [2 * t for t in kinks] == [third - fmpq(1, 2), third, third + third]
    oracle = CountingOracle(ExactNetworkOracle(net), EXACT)
    lines = dyadic_matrix([base], 2), dyadic_matrix([direction], 2)
    (profile,) = search_lines(oracle, *lines, settings=settings_for(EXACT))
    assert kinks_of(profile) == kinks
    assert [list(piece.slope) for piece in profile.pieces] == slopes


# --- pitfall b: both ends on one line prove nothing


def bump(t):
    """Zero outside (1, 3), by cancellation."""
    return relu(t - 1) - 2 * relu(t - 2) + relu(t - 3)


def test_a_bump_between_ends_on_one_line(context):
    """The cure is a grid of cells; without one the whole line looks affine, and is so exactly."""

    def g(t):
        return bump(t) + t / 3

    blind, queries = search_axis(on_axis(g), context=context)
    assert blind.kinks == () and blind.clusters == () and queries == 6
    cells = [fmpq(2 * i + 1, 4) for i in range(-8, 9)]
    seen, _ = search_axis(on_axis(g), context=context, cells=cells)
    assert agree(context, seen, [1, 2, 3])
    # A kink elsewhere makes the two outer lines differ and still does not show the bump.
    other, _ = search_axis(on_axis(lambda t: g(t) + relu(t + Fraction(20, 3))), context=context)
    assert agree(context, other, [Fraction(-20, 3)])


def test_a_grid_sees_what_is_as_wide_as_its_cells(context):
    """Bumps of every place and of the width of two cells are found, those that fall between cells are not."""
    cells = [fmpq(i, 4) for i in range(-16, 17)]
    for shift in (Fraction(1, 7), Fraction(-3, 5), Fraction(0), Fraction(-2)):
        wide, _ = search_axis(on_axis(lambda t, s=shift: bump(4 * (t - s))), context=context, cells=cells)
        assert agree(context, wide, [shift + Fraction(k, 4) for k in (1, 2, 3)])
    narrow, _ = search_axis(on_axis(lambda t: bump(32 * t - Fraction(1, 3))), context=context, cells=cells)
    assert narrow.kinks == ()


@pytest.mark.parametrize("denominator", [1, 2, 8])
def test_one_cell_in_every_piece_is_enough(denominator, seed):
    """Kinks on a coarse grid coincide, cancel and sit on query points; a cell beside each of them tells them all."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        places = sorted({Fraction(int(x), denominator) for x in rng.integers(-20, 20, 12)})
        slopes = [Fraction(int(x)) for x in rng.integers(-4, 4, len(places) + 1)]
        kinks = [t for t, (a, b) in zip(places, itertools.pairwise(slopes), strict=True) if a != b]
        cells = [fmpq(2 * i + 1, 2 * denominator) for i in range(-21, 21)]
        for offset in (fmpq(0), fmpq(1, 2 * denominator)):  # between the grid points, and on them
            grid = [cell + offset for cell in cells]
            profile, _ = search_axis(on_axis(bent(places, slopes)), cells=sorted({*cells, *grid}))
            assert kinks_of(profile) == [rational(t) for t in kinks]


# --- pitfall c: a piece must not begin nearer to a kink than it is long


def test_pieces_are_shorter_than_the_way_to_the_meeting_place(monkeypatch):
    """Rounded answers need long steps, longer than the distance to t* at which they are checked: they point away."""
    place = Fraction(1, 3)
    kinks, g = clipped_pair(place)
    for context in (mp(64), mp(200), float64()):
        assert agree(context, found_within(40, on_axis(g), context), kinks)
    cured = context_lines._Line._step
    monkeypatch.setattr(context_lines._Line, "_step", lambda self, t, towards: -cured(self, t, towards))
    for context in (mp(64), mp(200)):
        wrong = found_within(2000, on_axis(g), context)
        assert wrong is None or wrong.clusters or not agree(context, wrong, kinks)
    # With few bits a third answer shows what a step went over.
    assert agree(float64(), found_within(2000, on_axis(g), float64()), kinks)


@pytest.mark.parametrize("gap_bits", [100, 200, 250])
def test_steps_shrink_with_the_room(monkeypatch, gap_bits):
    """Two kinks 2^-gap_bits apart and a third; a step of fixed length straddles the pair."""
    place, gap = Fraction(1, 3), 1 / TWO**gap_bits
    kinks = [place, place + gap, place + Fraction(7, 2)]
    g = bent(kinks, [Fraction(1), Fraction(-2), Fraction(5), Fraction(0)])
    assert kinks_of(found_within(60, on_axis(g), EXACT)) == [rational(t) for t in kinks]

    def fixed(self, position, towards):
        return power_of_two(-90) if towards > position else -power_of_two(-90)

    monkeypatch.setattr(context_lines._Line, "_step", fixed)
    wrong = found_within(400, on_axis(g), EXACT)
    assert wrong is None or wrong.clusters or kinks_of(wrong) != [rational(t) for t in kinks]


@pytest.mark.parametrize("place", [fmpq(0), fmpq(1), fmpq(-3, 4)])
def test_kinks_on_query_points(context, place):
    """The search cuts at short dyadics; a kink on one of them has two slopes, of which a piece may use one."""
    kinks = [Fraction(int(place.p), int(place.q)) + Fraction(k) for k in (0, 1, 3)]
    g = bent(kinks, [Fraction(1), Fraction(-1), Fraction(4), Fraction(2)])
    for cells in ([], [place], [place, place + 1], [place - 1, place, place + 1, place + 3]):
        profile, _ = search_axis(on_axis(g), context=context, cells=cells)
        assert agree(context, profile, kinks)
        # Rounded answers cannot tell such a kink from the query point: the place is named, as narrow as can be.
        assert not (context.exact and profile.clusters)
        widest = 8 * power_of_two(-settings_for(context).resolution_bits)
        assert all(cluster.right - cluster.left <= widest for cluster in profile.clusters)


# --- exactness on networks


DEEP = [(5, 8, 1), (4, 9, 7, 1), (3, 7, 6, 5, 2), (6, 5, 5, 5, 5, 3), (2, 12, 12, 1), (1, 6, 6, 2)]


@pytest.mark.parametrize("widths", DEEP)
@pytest.mark.parametrize("kind", ["float64 weights", "rational weights"])
def test_every_kink_of_deep_networks_is_exact(widths, kind, seed):
    """Kinks and slopes on whole lines, compared with == with those that the network's own layers have."""
    if kind == "float64 weights":
        net = he(widths, seed, bias_std=0.5).exact()
    else:
        net = random_rational_network(widths, np.random.default_rng(seed))
    lines, bases, directions = random_lines(widths[0], 4, seed)
    oracle = CountingOracle(ExactNetworkOracle(net), EXACT)
    # Structure that cancels between two samples stays unseen on a bare line: cells as fine as the kinks are dense.
    truths = [true_line(net, line.base, line.direction) for line in lines]
    cuts = [[(a + b) / 2 for a, b in itertools.pairwise(kinks)] for kinks, _ in truths]
    rounded = [[floor_to_grid(t, 200) for t in places] for places in cuts]
    for own in (None, rounded):
        profiles = search_lines(oracle, bases, directions, settings=settings_for(EXACT), cuts=own)
        for profile, (kinks, slopes) in zip(profiles, truths, strict=True):
            if own is None:
                assert set(kinks_of(profile)) <= set(kinks)  # nothing is invented
            else:
                assert kinks_of(profile) == kinks and not profile.clusters
                assert [list(piece.slope) for piece in profile.pieces] == slopes


def test_a_bare_line_shows_nearly_every_kink():
    """Without cells hardly a kink hides, and none is wrong: over forty lines of a deep network."""
    net = he((6, 12, 10, 1), 5, bias_std=0.3).exact()
    lines, bases, directions = random_lines(6, 40, 6)
    oracle = CountingOracle(ExactNetworkOracle(net), EXACT)
    profiles = search_lines(oracle, bases, directions, settings=settings_for(EXACT))
    truths = [true_line(net, line.base, line.direction)[0] for line in lines]
    found, there = (sum(map(len, x)) for x in ([p.kinks for p in profiles], truths))
    assert all(set(p.kinks) <= set(kinks) for p, kinks in zip(profiles, truths, strict=True))
    assert found >= 0.97 * there
    assert oracle.count.search <= 6.5 * found


@pytest.mark.parametrize(("outputs", "count"), [(1, 12), (2, 25), (3, 40)])
def test_random_functions_in_every_context(context, outputs, count, seed):
    """Every output sees some of the kinks; found is every kink of any."""
    rng = np.random.default_rng(seed)
    kinks, _ = random_bends(rng, count)
    kinks = [t for i, t in enumerate(kinks) if i == 0 or t - kinks[i - 1] > Fraction(1, 50)]
    functions = []
    for output in range(outputs):
        jumps = [int(x) * (i % outputs == output or int(x) % 2) for i, x in enumerate(rng.integers(1, 9, len(kinks)))]
        functions.append(bent(kinks, [Fraction(x, 3) for x in itertools.accumulate(jumps, initial=-17)]))
    oracle = on_axis(lambda t: [f(t) for f in functions], outputs=outputs)
    profile, queries = search_axis(oracle, context=context)
    # A double's slopes need long steps; a step across an unseen kink ends in a place that is named.
    assert agree(context, profile, kinks) or (context.name == "float64" and profile.clusters)
    assert queries <= 8 * len(kinks) + 12


# --- what cannot be told apart, and what is far away


def twins(gap, place=Fraction(5, 7)):
    kinks = [place, place + gap, place + 3]
    return kinks, bent(kinks, [Fraction(1), Fraction(-2), Fraction(5), Fraction(0)])


@pytest.mark.parametrize("bits", [40, 100, 256])
def test_the_resolution_that_was_asked_is_reached(bits):
    for gap_bits in (bits - 20, bits - 1):
        kinks, g = twins(1 / TWO**gap_bits)
        profile = found_within(100, on_axis(g), EXACT, resolution_bits=bits)
        assert kinks_of(profile) == [rational(t) for t in kinks] and not profile.clusters


def test_below_the_resolution_two_kinks_are_one():
    """Nothing else gets wrong: the third kink and the outer pieces stay exact."""
    kinks, g = twins(1 / TWO**150)
    profile = found_within(100, on_axis(g), EXACT, resolution_bits=60)
    assert len(profile.kinks) == 2 and kinks_of(profile)[1] == rational(kinks[2])
    assert abs(kinks_of(profile)[0] - rational(kinks[0])) < power_of_two(-100)
    assert [list(piece.slope) for piece in profile.pieces] == [[1], [5], [0]]
    finer = found_within(100, on_axis(g), EXACT, resolution_bits=160)
    assert kinks_of(finer) == [rational(t) for t in kinks]


@pytest.mark.parametrize("prec", [64, 200])
def test_rounded_answers_reach_the_resolution_that_they_name(prec):
    """A sixteenth coarser than the stated resolution: told apart, or named as not told apart; four bits finer: one."""
    context = mp(prec)
    stated = settings_for(context).resolution_bits
    outcomes = set()
    for place in (Fraction(i, 11) for i in range(-6, 6)):
        kinks, g = twins(1 / TWO ** (stated * 15 // 16), place)
        profile = found_within(200, on_axis(g), context)
        assert profile.clusters or len(profile.kinks) == 3
        outcomes.add(bool(profile.clusters))
        kinks, g = twins(1 / TWO ** (stated + 4), place)
        assert len(found_within(200, on_axis(g), context).kinks) < 4
    assert False in outcomes
    kinks, g = twins(1 / TWO ** (stated * 2 // 3))
    profile = found_within(60, on_axis(g), context)
    assert agree(context, profile, kinks) and not profile.clusters


@pytest.mark.parametrize("gap_bits", range(4, 24))
def test_doubles_never_creep(gap_bits, seed):
    """A slope that was measured across an unseen kink is wrong; the search must still come to an end."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        place = Fraction(int(rng.integers(-1000, 1000)), 997)
        slopes = [Fraction(int(x), 7) for x in rng.choice(np.arange(-50, 50), 4, replace=False)]
        kinks = [place, place + 3 / TWO ** (gap_bits + 1), place + Fraction(7, 2)]
        profile = found_within(200, on_axis(bent(kinks, slopes)), float64())
        assert profile is not None and len(profile.kinks) >= 2


def test_the_finest_steps_of_a_cut_are_reported_as_a_cluster():
    """A dozen kinks inside one resolution: the change across them is kept, the place is named."""
    kinks = [Fraction(i, 7 * 2**80) for i in range(12)] + [Fraction(4)]
    slopes = [Fraction((-1) ** i * i) for i in range(14)]
    profile = found_within(200, on_axis(bent(kinks, slopes)), EXACT, resolution_bits=40)
    assert len(profile.kinks) < 13 and list(profile.pieces[0].slope) == [0] and list(profile.pieces[-1].slope) == [-13]
    assert all(c.left < fmpq(1, 2**30) and c.right > -fmpq(1, 2**30) for c in profile.clusters)


@pytest.mark.parametrize("far_bits", [39, 41, 100])
def test_kinks_far_out(far_bits):
    """The line is extended until both ends are final."""
    kinks = [Fraction(-(2**far_bits)) / 3, Fraction(2, 3), Fraction(2**far_bits) * 5]
    profile, queries = search_axis(on_axis(bent(kinks, [Fraction(k) for k in (1, 2, -4, 0)])))
    assert kinks_of(profile) == [rational(t) for t in kinks]
    assert profile.reach_bits >= far_bits - 36 and queries < 60


def test_the_reach_of_a_search_is_stated():
    """A kink beyond three answers on one line, 2^40, 2^80 and 2^120 out, is not seen; asked to look farther, it is."""
    kinks = [Fraction(2, 3), Fraction(2**1000)]
    g = bent(kinks, [Fraction(k) for k in (1, 2, -4)])
    near, _ = search_axis(on_axis(g))
    assert kinks_of(near) == [rational(kinks[0])] and near.reach_bits == 40
    zero, one = dyadic_matrix([[fmpq(0)]], 1), dyadic_matrix([[fmpq(1)]], 1)
    settings = LineSettings(reach_bits=990)
    (far,) = search_lines(CountingOracle(on_axis(g), EXACT), zero, one, settings=settings)
    assert kinks_of(far) == [rational(t) for t in kinks] and far.reach_bits >= 990


def test_ends_that_are_never_final_are_named():
    """Kinks at 3, 6, 12, ...: the reach is limited, what lies inside is found, the rest is named."""
    places = [Fraction(3 * 2**k) for k in range(60)]
    g = bent(places, [Fraction(k * k) for k in range(61)])
    settings = LineSettings(reach_bits=4, growth_bits=4, longest_bits=20)
    zero, one = dyadic_matrix([[fmpq(0)]], 1), dyadic_matrix([[fmpq(1)]], 1)
    (profile,) = search_lines(CountingOracle(on_axis(g), EXACT), zero, one, settings=settings)
    (cluster,) = profile.clusters
    assert cluster.right == -cluster.left == 2**28
    assert set(kinks_of(profile)) >= {rational(t) for t in places if t < 2**20}


def test_a_function_that_is_not_piecewise_linear(monkeypatch):
    monkeypatch.setattr(context_lines, "MOST_CLUSTERS", 8)
    monkeypatch.setattr(context_lines, "LANES", 16)
    monkeypatch.setattr(context_lines, "DEEP_LANES", 4)
    zero, one = dyadic_matrix([[fmpq(0)]], 1), dyadic_matrix([[fmpq(1)]], 1)
    settings = LineSettings(reach_bits=4, growth_bits=4, longest_bits=12, resolution_bits=16)
    with pytest.raises(OracleError, match=r"8 intervals as short as .* the oracle is not piecewise linear"):
        search_lines(CountingOracle(on_axis(lambda t: t * t), EXACT), zero, one, settings=settings)


def test_no_kinks_cost_six_queries(context):
    for g in (lambda t: Fraction(0), lambda t: 3 * t - Fraction(1, 7)):
        profile, queries = search_axis(on_axis(g), context=context)
        assert (profile.kinks, profile.clusters, len(profile.pieces), queries) == ((), (), 1, 6)


# --- lines together


def test_many_lines_in_few_batches():
    """Every round asks for all lines together: the result is that of each line alone, in a few dozen calls."""
    net = he((5, 9, 6, 2), 2).exact()
    _, bases, directions = random_lines(5, 60, 3)
    settings = settings_for(EXACT, cells=(fmpq(0),))
    recording = Recording(ExactNetworkOracle(net))
    together = search_lines(CountingOracle(recording, EXACT), bases, directions, settings=settings)
    rounds = len(recording.batches)
    total = sum(len(batch) for batch in recording.batches)
    assert rounds < 80 and total > 40 * rounds
    rows = list(zip(bases.rows(), directions.rows(), strict=True))
    for (base, direction), profile in list(zip(rows, together, strict=True))[::12]:
        oracle = CountingOracle(ExactNetworkOracle(net), EXACT)
        (alone,) = search_lines(oracle, dyadic_matrix([base], 5), dyadic_matrix([direction], 5), settings=settings)
        assert alone.kinks == profile.kinks


def test_more_intervals_than_lanes_change_nothing(monkeypatch, seed):
    kinks, slopes = random_bends(np.random.default_rng(seed), 40)
    whole, queries = search_axis(on_axis(bent(kinks, slopes)))
    monkeypatch.setattr(context_lines, "LANES", 4)
    monkeypatch.setattr(context_lines, "DEEP_LANES", 2)
    narrow, same = search_axis(on_axis(bent(kinks, slopes)))
    assert whole.kinks == narrow.kinks == tuple(rational(t) for t in kinks) and queries == same


@pytest.mark.parametrize("count", [1, 10, 100])
def test_queries_per_kink(context, count):
    """Five to six and a half queries a kink, whatever the numbers, beside the six of the ends of a line."""
    asked = there = 0
    for trial in range(10 if count < 100 else 3):
        kinks, slopes = random_bends(np.random.default_rng(trial), count)
        _, queries = search_axis(on_axis(bent(kinks, slopes)), context=context)
        asked, there = asked + queries - 6, there + len(kinks)
    assert 2 * there <= asked <= (6.5 if count == 100 else 7.5) * there


def test_mp_profiles_agree_at_two_precisions(seed):
    """The 200-bit kinks are the 1000-bit kinks to 200 bits."""
    net = he((4, 8, 5, 1), seed).exact()
    _, bases, directions = random_lines(4, 3, seed)
    found = []
    for context in (mp(200), mp(1000), EXACT):
        oracle = CountingOracle(ExactNetworkOracle(net), context)
        profiles = search_lines(oracle, bases, directions, settings=settings_for(context))
        found.append([[context.rational(t) for t in profile.kinks] for profile in profiles])
    for low, high, exact in zip(*found, strict=True):
        assert len(low) == len(high) == len(exact)
        for x, y, t in zip(low, high, exact, strict=True):
            assert abs(x - t) <= power_of_two(-200) * (1 + abs(t)) * 2**20
            assert abs(y - t) <= power_of_two(-1000) * (1 + abs(t)) * 2**20
