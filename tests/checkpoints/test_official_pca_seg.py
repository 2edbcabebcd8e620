"""The released PCA-Seg's names into our network: everything fits exactly, or one line says what doesn't."""

import json

import pytest
import torch
from torch import Tensor

from segvoc.checkpoints.official_pca_seg import pca_seg_state
from segvoc.errors import CheckpointError
from segvoc.networks.pca_seg import PCASeg
from tests.golden_sets import compact_case
from tests.networks.test_pca_seg import official_pca_seg
from tests.networks.test_pca_seg_golden import tiny_pca_seg

AGGREGATOR = "sem_seg_head.predictor.transformer."
EXPERT = f"{AGGREGATOR}layers.1.fusion_by_channel_second.expert_layers.2."


@pytest.fixture(scope="module")
def network() -> PCASeg:
    with torch.device("meta"):
        return tiny_pca_seg()


@pytest.fixture
def published() -> dict[str, Tensor]:
    shapes = compact_case("tiny_pca_eva").record["weights"]
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_every_parameter_is_filled(network, published):
    state = pca_seg_state(published, network)
    assert state.keys() == network.state_dict().keys()
    assert all(state[name].shape == value.shape for name, value in network.state_dict().items())


def test_experts_stand_side_by_side_in_their_order(network, published):
    published |= {f"{EXPERT[:-2]}{number}.1.running_mean": torch.full((64,), float(number)) for number in (3, 1, 0, 2)}
    mean = pca_seg_state(published, network)["aggregation.blocks.3.fuse.expert_norm.running_mean"]
    assert mean.tolist() == [float(number) for number in range(4) for _ in range(64)]


def test_computed_tables_are_needless(network, published):
    tables = {f"{AGGREGATOR}layers.0.swin_block_first.block_2.attn_mask": torch.zeros(4, 144, 144)}
    tables["sem_seg_head.predictor.clip_model.visual.rope.freqs_cos"] = torch.zeros(196, 64)
    assert pca_seg_state({**published, **tables}, network).keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"upsample3.weight": torch.zeros(1)}, r"strange upsample3\.weight"),
        (
            {"upsample1.weight": torch.zeros(128, 8, 2, 2)},
            r"upsample1\.weight \[128, 8, 2, 2\] instead of \[128, 24, 2, 2\]",
        ),
        ({"upsample2.bias": None}, r"missing lifts\.1\.bias"),
        ({f"{AGGREGATOR}conv2.weight": torch.zeros(1)}, r"strange conv2\.weight"),
        ({f"{AGGREGATOR}head.bias": None}, r"missing decoder\.head\.bias"),
        ({f"{EXPERT}0.weight": None}, r"missing blocks\.3\.fuse\.expert_in\.weight of expert 2"),
        ({f"{EXPERT}0.bias": torch.zeros(9)}, r"layers\.1\.fusion.*\.2\.0\.bias \[9\] instead of \[64\]"),
        ({EXPERT.replace(".2.", ".4.") + "0.bias": torch.zeros(64)}, r"strange layers\.1\.fusion.*\.4\.0\.bias"),
        ({"sem_seg_head.predictor.clip_model.visual.head.bias": None}, r"missing image\.tower\.head\.bias"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line_with_the_mend(network, published, change, complaint):
    for name, value in change.items():
        published.pop(name, None)
        if value is not None:
            published[name] = value
    with pytest.raises(CheckpointError, match=complaint) as caught:
        pca_seg_state(published, network)
    assert "\n" not in str(caught.value) and "segvoc info" in str(caught.value)


def test_of_many_complaints_the_first_three_are_named(network, published):
    published |= {f"ema{number}": torch.zeros(1) for number in range(7)}
    with pytest.raises(CheckpointError, match=r"strange ema0, ema1, ema2 and 4 more; take"):
        pca_seg_state(published, network)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("case", "family", "size"),
    [
        ("pca_vitb_384", "openai", "b"),
        ("pca_vitl_336", "openai", "l"),
        ("pca_eva_vitb_384", "eva", "b"),
        ("pca_eva_vitl_336", "eva", "l"),
    ],
)
def test_the_key_lists_of_all_released_models_fit(golden, case, family, size):
    record = json.loads((golden / "cat_pca" / f"keys_{case}.json").read_text())
    network = official_pca_seg(family, size)
    official = {name: torch.empty(shape, device="meta") for name, shape in record["state_dict"].items()}
    assert pca_seg_state(official, network).keys() == network.state_dict().keys()
    theirs = sum(torch.Size(record["state_dict"][name]).numel() for name in record["trainable"])
    assert theirs == sum(network.get_parameter(name).numel() for name in network.trainable_parameters())
