"""CLIPSeg's weights in both published formats become a SynSeg; what doesn't fit is named."""

import re
from typing import cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from segvoc.checkpoints.files import read_weights
from segvoc.checkpoints.strict import renamed, with_prefixes
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.errors import CheckpointError
from segvoc.networks.syn_seg import SynSeg, syn_seg_state
from tests.built import built
from tests.golden_sets import TOLERANCE
from tests.networks.small_syn_seg import small_syn_seg
from tests.transformers_models import (
    CLIPSEG_IMAGES,
    PHRASES,
    VERSIONS,
    shapes_of,
    small_clipseg,
    transformers_case,
    weights_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::segvoc.errors.ActivationWarning")  # weights without OpenAI's sizes

AUTHORS = (
    (r"film\.", "film_"),
    (r"query_key_value\.", "self_attn.in_proj_"),
    (r"\.out\.", ".self_attn.out_proj."),
    (r"\.expand\.", ".linear1."),
    (r"\.contract\.", ".linear2."),
    ("attention_norm", "norm1"),
    ("mlp_norm", "norm2"),
    ("head", "trans_conv"),
    (r"reduce\.", "reduces."),
    (r"layers\.", "blocks."),
)
"""From our names of the decoder to those of timojl/clipseg, as the golden's weights have them."""


def authors_decoder(network: SynSeg) -> dict[str, Tensor]:
    """As `rd64-uni.pth` holds it, with the layer `reduce` that its base class has and no forward pass uses."""
    found = {"reduce.weight": torch.zeros(16, 64), "reduce.bias": torch.zeros(16)}
    for name, value in network.aggregation.state_dict().items():
        if not name.startswith("projector"):
            found[renamed(name, AUTHORS)] = value
    return found


def openai_clip(network: SynSeg) -> dict[str, Tensor]:
    """The towers by OpenAI's names, but for queries, keys and values, which stay apart."""
    towers = {"visual.": network.image_encoder.tower.state_dict(), "": network.text_encoder.tower.state_dict()}
    return with_prefixes(towers) | {"logit_scale": network.text_encoder.logit_scale.detach()}


@pytest.fixture
def network() -> SynSeg:
    torch.manual_seed(0)
    return small_syn_seg()


def test_the_authors_decoder_with_a_clip_is_the_network_but_for_the_projector(network):
    state, ours = syn_seg_state(authors_decoder(network) | openai_clip(network), network), network.state_dict()
    assert state.keys() == ours.keys()
    different = {name for name, value in state.items() if not torch.equal(value, ours[name])}
    assert different == {"aggregation.projector.weight", "aggregation.projector.bias"}


def test_the_refined_head_fits_the_option_alone(network):
    refined = small_syn_seg(head="refined")
    official = authors_decoder(refined) | openai_clip(network)
    assert syn_seg_state(official, refined).keys() == refined.state_dict().keys()
    with pytest.raises(CheckpointError, match="refined head; load them with the option head=refined"):
        syn_seg_state(official, network)
    with pytest.raises(CheckpointError, match="plain head; load them with the option head=plain"):
        syn_seg_state(authors_decoder(network) | openai_clip(network), refined)


def test_a_decoder_or_a_clip_alone_is_refused_with_the_mend(network):
    with pytest.raises(CheckpointError, match=r"--encoder-weights ViT-B-16\.pt"):
        syn_seg_state(authors_decoder(network), network)
    with pytest.raises(CheckpointError, match="weights aren't from CLIPSeg"):
        syn_seg_state(openai_clip(network), network)


@pytest.mark.parametrize("head", ["plain", "refined"])
@pytest.mark.parametrize(("prefix", "buffers"), [("clip.", False), ("clip.", True), ("clipseg.", True)])
def test_logits_of_transformers_files_are_those_of_transformers(head, prefix, buffers, tmp_path):
    weights = {re.sub(r"^clip\.", prefix, name): value for name, value in weights_of(f"clipseg_{head}").items()}
    if buffers:  # as early versions wrote them
        weights |= {f"{prefix}text_model.embeddings.position_ids": torch.arange(77)[None]}
        weights |= {f"{prefix}vision_model.embeddings.position_ids": torch.arange(17)[None]}
    save_file(weights, tmp_path / "model.safetensors")
    network = small_clipseg(head)
    network.load_state_dict(syn_seg_state(read_weights(tmp_path / "model.safetensors").tensors, network))
    words = cast(ClipTextEncoder, network.text_encoder)
    with torch.no_grad():
        logits = network(CLIPSEG_IMAGES, words(words.tokenize(PHRASES))[:, None])
    assert (logits[:, 1:] - logits[:, :1]).abs().amax(dim=(0, 2, 3)).min() > 0.01  # the phrases matter
    for version in VERSIONS:
        assert transformers_case().error(f"{version}.clipseg_{head}.logits", logits) <= TOLERANCE


@pytest.mark.parametrize("head", ["plain", "refined"])
def test_every_name_and_shape_of_the_published_sizes_fits(head):
    with torch.device("meta"):
        network = built("syn-seg-b", head=head, film="linear")
    official = {name: torch.empty(shape, device="meta") for name, shape in shapes_of("full", f"clipseg_{head}").items()}
    assert syn_seg_state(official, network).keys() == network.state_dict().keys()
