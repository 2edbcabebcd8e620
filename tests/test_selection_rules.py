"""Which rule a caller's number or name stands for."""

import numpy as np
import pytest

from segvoc.errors import UsageError
from segvoc.selection_rules import Voted, VotedShare, requested_selection


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
