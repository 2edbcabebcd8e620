"""Released names into ours: everything fits exactly, or one line says what doesn't."""

import json
import re
from typing import cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from segvoc.checkpoints.files import read_weights
from segvoc.checkpoints.strict import inside, renamed, with_prefixes
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.errors import CheckpointError
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.official_weights import network_state
from segvoc.networks.syn_seg import SynSeg, syn_seg_state
from tests import transformers_models as transformers
from tests.built import built
from tests.golden_sets import TOLERANCE, compact_case
from tests.images import one_line_error
from tests.networks.aggregation_contract import small_syn_seg
from tests.networks.golden_stages import tiny_network

AGGREGATOR = "sem_seg_head.predictor.transformer."
EXPERT = f"{AGGREGATOR}layers.1.fusion_by_channel_second.expert_layers.2."


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    with torch.device("meta"):
        return tiny_network("pca")


@pytest.fixture
def published() -> dict[str, Tensor]:
    shapes = compact_case("tiny_pca_eva").record["weights"]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"upsample3.weight": torch.zeros(1)}, r"unexpected upsample3\.weight"),
        ({"upsample1.weight": torch.zeros(128, 8, 2, 2)}, r"upsample1\.weight \[128, 8, 2, 2\] instead of \[128, 24, "),
        ({f"{AGGREGATOR}head.bias": None}, r"missing decoder\.head\.bias"),
        ({f"{EXPERT}0.weight": None}, r"missing blocks\.3\.fuse\.parse\.expand\.weight of expert 2"),
        ({f"{EXPERT}0.bias": torch.zeros(9)}, r"layers\.1\.fusion.*\.2\.0\.bias \[9\] instead of \[64\]"),
        ({EXPERT.replace(".2.", ".4.") + "0.bias": torch.zeros(64)}, r"unexpected layers\.1\.fusion.*\.4\.0\.bias"),
        ({"sem_seg_head.predictor.clip_model.visual.head.bias": None}, r"missing image\.tower\.head\.bias"),
    ],
)
def test_what_does_not_fit_is_reported_in_one_line_with_its_remedy(network, published, change, difference):
    for name, value in change.items():
        published.pop(name, None)
        if value is not None:
            published[name] = value
    with one_line_error(CheckpointError, "segvoc info", match=difference):
        network_state(published, network)


def test_a_checkpoint_of_the_other_network_is_called_by_its_name(network, published):
    with torch.device("meta"):
        shapes = compact_case("tiny_cat_openai").record["weights"]
        cat, serial = tiny_network("cat"), {name: torch.empty(shape) for name, shape in shapes.items()}
    for ours, other, into, name in ((published, serial, network, "CAT-Seg"), (serial, published, cat, "PCA-Seg")):
        towers = {name: value for name, value in ours.items() if AGGREGATOR not in name}
        foreign = {name: value for name, value in other.items() if AGGREGATOR in name}
        with pytest.raises(CheckpointError, match=f"weights of {name}; load them as one of the {name.lower()} models"):
            network_state(towers | foreign, into)


def test_a_plain_clip_fills_a_network_without_aggregation_whose_logits_are_the_cosines(network, published):
    clip = inside("sem_seg_head.predictor.clip_model.", published)
    with pytest.raises(CheckpointError, match="towers alone, a plain CLIP without an aggregation; give"):
        network_state(clip, network)
    with torch.device("meta"):
        none = built("pca-seg-b", aggregation="none").aggregation
    network = SegmentationNetwork(network.image_encoder, network.text_encoder, none)
    state = network_state(clip, network)
    assert state.keys() == network.state_dict().keys()
    assert state["aggregation.skip.weight"].tolist() == [1.0] and state["aggregation.skip.bias"] == 0


@pytest.mark.golden
@pytest.mark.parametrize(
    ("case", "preset"),
    [
        ("cat_vitb_384", "cat-seg-b"),
        pytest.param("cat_vitl_336", "cat-seg-l", marks=pytest.mark.slow),
        ("pca_vitb_384", "pca-seg-clip-b"),
        pytest.param("pca_vitl_336", "pca-seg-clip-l", marks=pytest.mark.slow),
        ("pca_eva_vitb_384", "pca-seg-b"),
        pytest.param("pca_eva_vitl_336", "pca-seg-l", marks=pytest.mark.slow),
    ],
)
def test_the_key_lists_of_all_released_models_fit(golden, case, preset):
    record = json.loads((golden / "cat_pca" / f"keys_{case}.json").read_text())
    with torch.device("meta"):
        network = built(preset)
    official = {name: torch.empty(shape, device="meta") for name, shape in record["state_dict"].items()}
    assert network_state(official, network).keys() == network.state_dict().keys()
    theirs = sum(torch.Size(record["state_dict"][name]).numel() for name in record["trainable"])
    assert theirs == sum(network.get_parameter(name).numel() for name in network.trainable_parameters())


pytestmark = pytest.mark.filterwarnings("ignore::segvoc.errors.ActivationWarning")  # weights without OpenAI's sizes

AUTHORS = (
    (r"film\.", "film_"), (r"query_key_value\.", "self_attn.in_proj_"), (r"\.out\.", ".self_attn.out_proj."),
    (r"\.expand\.", ".linear1."), (r"\.contract\.", ".linear2."), ("attention_norm", "norm1"), ("mlp_norm", "norm2"),
    ("head", "trans_conv"), (r"reduce\.", "reduces."), (r"layers\.", "blocks."),
)  # fmt: skip
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
def syn_seg() -> SynSeg:
    torch.manual_seed(0)
    return small_syn_seg()


def test_the_authors_decoder_with_a_clip_is_the_network_but_for_the_projector(syn_seg):
    state, ours = syn_seg_state(authors_decoder(syn_seg) | openai_clip(syn_seg), syn_seg), syn_seg.state_dict()
    assert state.keys() == ours.keys()
    different = {name for name, value in state.items() if not torch.equal(value, ours[name])}
    assert different == {"aggregation.projector.weight", "aggregation.projector.bias"}


def test_a_decoder_or_a_clip_alone_is_refused_with_the_mend(syn_seg):
    with pytest.raises(CheckpointError, match=r"--encoder-weights ViT-B-16\.pt"):
        syn_seg_state(authors_decoder(syn_seg), syn_seg)
    with pytest.raises(CheckpointError, match="weights aren't from CLIPSeg"):
        syn_seg_state(openai_clip(syn_seg), syn_seg)


@pytest.mark.parametrize(
    ("head", "prefix", "buffers"),
    [("plain", "clip.", False), ("refined", "clip.", True), ("refined", "clipseg.", True)],
)
def test_logits_of_transformers_files_are_those_of_transformers(head, prefix, buffers, tmp_path):
    weights = {
        re.sub(r"^clip\.", prefix, name): value for name, value in transformers.weights_of(f"clipseg_{head}").items()
    }
    if buffers:  # as early versions wrote them
        weights |= {f"{prefix}text_model.embeddings.position_ids": torch.arange(77)[None]}
        weights |= {f"{prefix}vision_model.embeddings.position_ids": torch.arange(17)[None]}
    save_file(weights, tmp_path / "model.safetensors")
    network = transformers.small_clipseg(head)
    network.load_state_dict(syn_seg_state(read_weights(tmp_path / "model.safetensors").tensors, network))
    words = cast(ClipTextEncoder, network.text_encoder)
    with torch.no_grad():
        logits = network(transformers.CLIPSEG_IMAGES, words(words.tokenize(transformers.PHRASES))[:, None])
    assert (logits[:, 1:] - logits[:, :1]).abs().amax(dim=(0, 2, 3)).min() > 0.01  # the phrases matter
    for version in transformers.VERSIONS:
        assert transformers.transformers_case().error(f"{version}.clipseg_{head}.logits", logits) <= TOLERANCE


def test_every_name_and_shape_of_the_refined_head_fits():
    """tests/checkpoints/test_origins.py has the plain one."""
    with torch.device("meta"):
        network = built("syn-seg-b", head="refined", film="linear")
        official = {name: torch.empty(x) for name, x in transformers.shapes_of("full", "clipseg_refined").items()}
    assert syn_seg_state(official, network).keys() == network.state_dict().keys()
