"""Rows that are not of their layer: seen much more seldom at their predicted zeros than the others."""

from jaxtract.layers.any_depth.rows.confirm_rows import seldom_seen


def test_a_row_that_lines_miss_beside_others_that_they_meet():
    assert seldom_seen([11, 30, 26, 19], [8, 0, 0, 1]) == [True, False, False, False]


def test_where_all_rows_are_missed_none_is_refuted():
    """The layers before lack neurons then, and predict wrongly for all of them."""
    assert not any(seldom_seen([6, 7, 5, 3, 5], [6, 3, 3, 3, 5]))


def test_few_misses_and_a_row_alone_say_nothing():
    assert not any(seldom_seen([7, 20, 30], [1, 0, 0]))
    assert seldom_seen([3], [9]) == [False]
    assert seldom_seen([], []) == []
