"""The compact goldens are part of the full ones."""

import pytest
import torch

from tests.golden_sets import compact_case, full_case
from tests.networks.golden_stages import FAMILIES

CASES = [case for family in FAMILIES.values() for case in (family.aggregator, family.tiny)]


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_it_has_every_so_manyth_value_of_each_stage_and_all_scalars(golden, case):
    compact, full = compact_case(case), full_case(golden, case)
    stages = compact.record["tensors"]
    # the others are inputs: random ones by a rule, and pictures, which one case has for all
    assert stages.keys() == {
        name for name, x in full.tensors.items() if x.dtype != torch.uint8 and not name.endswith(".text_feats")
    }
    for name, value in compact.tensors.items():
        if name in full.tensors:
            theirs, kept = full.tensors[name], stages.get(name, {"step": 1, "shape": list(value.shape)})
            assert kept["shape"] == list(theirs.shape), name
            assert torch.equal(value.flatten(), theirs.flatten()[:: kept["step"]]), name
    scalars = full.record.keys() - {"tensors"}
    assert {name: compact.record[name] for name in scalars} == {name: full.record[name] for name in scalars}
