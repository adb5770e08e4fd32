"""Rows that are not of their layer: seen much more seldom at their predicted zeros than the others."""

from jaxtract.layers.any_depth.rows.confirm_rows import SELDOM, chances_unseen


def test_a_row_that_lines_miss_beside_others_that_they_meet():
    chances = chances_unseen([11, 30, 26, 19], [8, 0, 0, 1])
    assert [chance < SELDOM for chance in chances] == [True, False, False, False]


def test_where_all_rows_are_missed_none_is_refuted():
    """The layers before lack neurons then, and predict wrongly for all of them."""
    assert min(chances_unseen([6, 7, 5, 3, 5], [6, 3, 3, 3, 5])) >= SELDOM


def test_few_misses_and_a_row_alone_say_nothing():
    assert min(chances_unseen([7, 20, 30], [1, 0, 0])) >= SELDOM
    assert chances_unseen([3], [9]) == [1.0]
    assert chances_unseen([], []) == []
