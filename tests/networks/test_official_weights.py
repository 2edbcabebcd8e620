"""The released CAT-Seg's and PCA-Seg's names into ours: everything fits exactly, or one line says what doesn't."""

import json

import pytest
import torch
from torch import Tensor

from segvoc.checkpoints.strict import inside
from segvoc.errors import CheckpointError
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.official_weights import network_state
from tests.built import built
from tests.golden_sets import compact_case
from tests.images import one_line_error
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


def test_experts_stand_side_by_side_even_channels_first(network, published):
    published |= {f"{EXPERT[:-2]}{number}.1.running_mean": torch.arange(64.0) + 100 * number for number in (3, 1, 0, 2)}
    state = network_state(published, network)
    first, second = (state[f"aggregation.blocks.3.fuse.parse.halves.{half}.norm.running_mean"] for half in (0, 1))
    assert first.tolist() == [100.0 * number + channel for number in range(4) for channel in range(0, 64, 2)]
    assert torch.equal(second, first + 1)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"upsample3.weight": torch.zeros(1)}, r"unexpected upsample3\.weight"),
        (
            {"upsample1.weight": torch.zeros(128, 8, 2, 2)},
            r"upsample1\.weight \[128, 8, 2, 2\] instead of \[128, 24, 2, 2\]",
        ),
        ({"upsample2.bias": None}, r"missing decoder\.lifts\.1\.bias"),
        ({f"{AGGREGATOR}conv2.weight": torch.zeros(1)}, r"unexpected conv2\.weight"),
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
        ("cat_vitl_336", "cat-seg-l"),
        ("pca_vitb_384", "pca-seg-clip-b"),
        ("pca_vitl_336", "pca-seg-clip-l"),
        ("pca_eva_vitb_384", "pca-seg-b"),
        ("pca_eva_vitl_336", "pca-seg-l"),
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
