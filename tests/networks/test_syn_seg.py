"""The contract of networks for small siblings of SynSeg, what only it does, and the original decoder's logits."""

import pytest
import torch
from torch import nn

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.selection import ClassSelection
from segvoc.networks.syn_seg import ConditionedDecoder, ConditionedDecoderConfig, decoder_state
from tests.golden_sets import TOLERANCE, err_case
from tests.networks.aggregation_contract import small_syn_seg
from tests.networks.contract import PaperContract, assert_alike, make_image, words


class TestSynSeg(PaperContract):
    build = staticmethod(small_syn_seg)
    finer = 16
    idle = frozenset({"aggregation.projector.weight", "aggregation.projector.bias"})  # what only training uses


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return small_syn_seg().eval()


def test_words_that_go_on_keep_their_logits(network):
    image, text = make_image(2, 64, 64), words(7, 1, 32)
    with torch.no_grad():
        every = network(image, text)
        logits, kept = network.selected_logits(image, text, selection=ClassSelection(keep=3, by="similarity"), chunk=2)
        features = network.image_encoder.tokens(image, dense=True)
        best = cost_volume(features.maps[0], text.expand(2, -1, -1, -1)).amax(dim=(1, 3, 4))
    assert kept.tolist() == [row.topk(3).indices.sort().values.tolist() for row in best]
    assert_alike(logits, every.take_along_dim(kept[:, :, None, None], dim=1))


def test_what_is_learned_is_what_segments():
    torch.manual_seed(0)
    network, images, text = small_syn_seg().eval(), make_image(2, 64, 64), words(5, 1, 32)
    owner = torch.tensor([0, 0, 1, 1, 1])
    with torch.no_grad():
        taps = network.image_encoder.tokens(images, dense=False).taps
        vectors, logits = network.learn(taps, text[:, 0], owner)
        every = network(images, text)
    assert_alike(logits, every[owner, torch.arange(5)])
    assert vectors.foreground.shape == vectors.background.shape == (5, 32)


def test_synergy_vectors_are_the_papers_sums_over_the_full_map(network):
    """With the features repeated to the size of A: f = sum A V / n, g = sum (1 - A) V / n."""
    decoder, generator = network.aggregation, torch.Generator().manual_seed(1)
    cells, activation = torch.randn(3, 6, 32, generator=generator), torch.rand(3, 32, 48, generator=generator)
    vectors = decoder.synergy(cells, activation, (2, 3))
    full = cells.view(3, 2, 3, 32).repeat_interleave(16, 1).repeat_interleave(16, 2)
    for found, weight in zip(vectors, (activation, 1 - activation), strict=True):
        assert_alike(found, (weight[..., None] * full).mean(dim=(1, 2)))


@pytest.mark.golden
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
