"""CLIPSeg's decoder, both heads, against the original class on seeded weights."""

import pytest
import torch

from segvoc.checkpoints.official_cost_aggregation import decoder_state
from segvoc.networks.syn_seg import ConditionedDecoder, ConditionedDecoderConfig
from tests.err_goldens import err_case
from tests.golden_sets import TOLERANCE

pytestmark = pytest.mark.golden


@pytest.mark.parametrize(("tag", "head"), [("simple", "plain"), ("complex", "refined")])
def test_logits_are_those_of_the_original_decoder(golden, tag, head):
    case = err_case(golden, "clipseg_decoder")
    decoder = ConditionedDecoder(ConditionedDecoderConfig(head=head), 512, (768, 768, 768)).eval()
    mark = f"{tag}.w."
    official = {name.removeprefix(mark): x.float() for name, x in case.tensors.items() if name.startswith(mark)}
    # the parameters that CLIPSeg has: SynSeg adds the projector
    assert sum(value.numel() for value in official.values()) == {"plain": 1_073_153, "refined": 1_127_009}[head]
    missing = decoder.load_state_dict(decoder_state(official, decoder), strict=False).missing_keys
    assert missing == ["projector.weight", "projector.bias"]
    # act0 is the tap that nobody uses; tokens first, as the original has them
    taps = [case.tensors[f"in.act{index}"].float().transpose(0, 1) for index in (1, 2, 3)]
    with torch.no_grad():
        reduced = decoder.reduce_taps(taps)
        conditional = decoder.conditioned(reduced, case.tensors["in.cond"].float())
        logits = decoder.decode(conditional, reduced, (14, 14))
    assert case.error(f"{tag}.out", logits[:, None]) <= TOLERANCE
