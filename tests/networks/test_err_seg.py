"""The contract of networks for a small sibling of ERR-Seg, its switches, and its published sizes."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from segvoc.checkpoints.official_err_seg import err_seg_state
from segvoc.class_selection import Voted
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.errors import CheckpointError
from segvoc.layers.aggregation import DecoderSizes
from segvoc.networks.err_seg import ErrAggregation, ErrSegConfig
from segvoc.networks.options import Options
from segvoc.networks.pca_seg import AggregationNetwork
from segvoc.presets import PRESETS
from tests.encoders.test_convnext_clip import TINY
from tests.err_goldens import FOLDER, err_clip
from tests.networks.aggregation_contract import SelectionContract, text_tower
from tests.networks.contract import CompilesWhole, assert_alike

TOWER = replace(TINY, channels=32, widths=(8, 16, 32, 64), depths=(1, 1, 1, 1))
DECODER = DecoderSizes(lifts=(), taps=(32, 16, 8), guidance=(8, 8, 8), stages=(32, 16, 8))


def small(*, hierarchical: bool = True, **changes) -> AggregationNetwork:
    config = ErrSegConfig(embed_dim=16, dim=32, heads=2, hidden=48, blocks=2, decoder_sizes=DECODER, **changes)
    tower = ConvNextClipImageEncoder(replace(TOWER, hierarchical=hierarchical))
    aggregation = ErrAggregation(config, tower.channels, tower.tap_channels, maps=2 if hierarchical else 1)
    return AggregationNetwork(tower, text_tower("qkv"), aggregation)


class TestErrSeg(SelectionContract, CompilesWhole):
    finer = 8

    def build(self) -> nn.Module:
        return small()

    def inputs(self, network, *, batch=1, rows=3, columns=3, classes=3):
        return super().inputs(network, batch=batch, rows=rows, columns=columns, classes=classes)

    def test_voted_classes_alone_give_what_they_give_in_the_crowd(self, network):
        image, text = self.inputs(network, classes=9)
        with torch.no_grad():
            logits, kept = network.kept_logits(image, text, selection=Voted(4))
            assert kept is not None and kept.shape == (1, 4)
            assert_alike(logits, network(image, text[kept[0]]))


class TestWithoutReduction(TestErrSeg):
    """Table 11, first row."""

    def build(self) -> nn.Module:
        return small(spatial_reduction=1, class_reduction=1)


class TestSingleMap(TestErrSeg):
    """Table 6, "Single"."""

    def build(self) -> nn.Module:
        return small(hierarchical=False)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("preset", "clip", "head"),
    [
        ("err-seg-b", "convnext_base_w_320", "err_decoder_B_keys"),
        ("err-seg-l", "convnext_large_d_320", "err_decoder_L_keys"),
    ],
)
def test_the_key_lists_of_the_released_models_fit(golden, preset, clip, head):
    with torch.device("meta"):
        network = PRESETS[preset].build(Options())
        official = {
            f"sem_seg_head.clip_model.{name}": torch.empty(shape)
            for name, shape in err_clip(golden, clip).shapes.items()
        }
        names = json.loads((golden / FOLDER / f"{head}.json").read_text())
        official |= {f"sem_seg_head.decoder.{name}": torch.empty(shape) for name, shape in names.items()}
    assert err_seg_state(official, network).keys() == network.state_dict().keys()
    with pytest.raises(CheckpointError, match="no weights of ERR-Seg"):
        err_seg_state(official | {"backbone.weight": torch.empty(1, device="meta")}, network)


@pytest.mark.parametrize(("preset", "aggregation"), [("err-seg-b", 7_368_825), ("err-seg-l", 9_251_449)])
def test_parameters_are_counted_as_published(preset, aggregation):
    with torch.device("meta"):
        network = PRESETS[preset].build(Options())
    assert sum(parameter.numel() for parameter in network.aggregation.parameters()) == aggregation
