"""The compact goldens are what the script cuts from the full ones."""

import json

import pytest
import torch

from tests.golden.cut import CASES, cut
from tests.golden_sets import compact_case


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_the_committed_cut_is_that_of_the_full_set(golden, case):
    tensors, record = cut(golden, case)
    committed = compact_case(case)
    assert committed.record == json.loads(json.dumps(record))
    assert committed.tensors.keys() == tensors.keys()
    assert all(torch.equal(committed.tensors[name], tensors[name]) for name in tensors)
