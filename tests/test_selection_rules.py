"""Which rule a caller's number or name stands for."""

import numpy as np
import pytest

from segvoc.errors import UsageError
from segvoc.selection_rules import Listed, MostSimilar, Voted, VotedShare, WithParts, may_drop, requested_selection


@pytest.mark.usefixtures("as_users_call")
def test_callers_ask_for_a_number_or_by_name():
    assert requested_selection(7) == requested_selection(np.int64(7)) == Voted(7)
    assert requested_selection("auto") == VotedShare()
    assert requested_selection("all") is None


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("wrong", [0, -1, True, False, 2.0, "many", "", "7", b"all", [3], np.array([1, 2]), object()])
def test_what_is_no_number_of_classes_is_refused(wrong):
    with pytest.raises(UsageError, match="from 1, 'auto' or 'all'"):
        requested_selection(wrong)


@pytest.mark.parametrize(
    ("rule", "most_that_are_kept"),
    [
        (MostSimilar(4), 4),
        (Voted(3), 3),
        (VotedShare(least=6), 6),
        (Listed((0, 2, 5)), 3),
        (WithParts(Voted(3), 3, ((0,),) * 9), 12),
    ],
)
def test_whether_a_rule_may_drop_classes_depends_on_their_number(rule, most_that_are_kept):
    assert not may_drop(rule, most_that_are_kept)
    assert may_drop(rule, most_that_are_kept + 1) != isinstance(rule, WithParts)  # parts don't compete
    assert not may_drop(None, 10**6) and may_drop(WithParts(Voted(3), 4, ()), 4)
