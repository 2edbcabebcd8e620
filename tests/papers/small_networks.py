"""The networks and recipes of the papers in small, under their own names, so that the papers' commands run as written.

A preset keeps its configuration, options, prompts and class selection; what it builds has a few thousand parameters, and
its windows have a few pixels. A recipe keeps all but its length and its sizes of images.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from segvoc.checkpoints.files import write_weights
from segvoc.checkpoints.published import PublishedFile
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.encoders.eva_clip import EvaClipConfig, EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.evaluation.report import examples
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols, Sliding, Strides
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.layers.decoder_sizes import DecoderSizes
from segvoc.models import loading
from segvoc.models.builders import NetworkConfig, build_decoder, part_segmentation_network
from segvoc.models.presets import PRESETS, Preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.choices import build_aggregation
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, EvaEncoders
from segvoc.networks.err_seg import ErrAggregation, ErrSegConfig
from segvoc.networks.part_cat_seg import PartNetworkConfig
from segvoc.networks.syn_seg import SynSeg, SynSegConfig
from segvoc.reproduction import reproduce
from segvoc.training import monitor, recipe_data, start
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from tests.analysis.small_preset import SMALL as SMALL_PRESET
from tests.inference.small_network import Letters
from tests.networks.aggregation_contract import SMALL, SMALL_DECODER, VIT, ThreeMaps, text_tower
from tests.networks.test_err_seg import TOWER

SIDE = 64
"""Side of the squares that the networks read [px]."""

START_OF = {
    "openai-clip-b": "cat-seg-b",
    "openai-clip-l": "cat-seg-l",
    "dinov2-s": "pca-part-b",
    "convnext-clip-l": "err-seg-l",
}
"""The small network whose towers stand for published encoders."""

PAPERS = ("PCA-Seg", "CAT-Seg", "ERR-Seg", "SynSeg", "PartCATSeg", "PCA-Seg for parts")
"""The families of the presets that are made small."""


def build_small(configuration: NetworkConfig) -> SegmentationNetwork:
    """A network of this configuration whose towers and aggregation have a few channels."""
    if isinstance(configuration, ClipNetworkConfig):
        return _clip_network(configuration)
    if isinstance(configuration, ErrSegConfig):
        return _err_seg(configuration)
    if isinstance(configuration, PartNetworkConfig):
        costs = {"costs": 3 * 80, "prompts": 80, "appearance_channels": None}
        sizes = SMALL | {"pad_classes": 0, "decoder_sizes": replace(SMALL_DECODER, lifts=())}
        aggregation = replace(configuration.aggregation, **sizes, **costs)
        letters = Letters()
        letters.channels, letters.table, letters.place = (
            32,
            nn.Embedding(257, 32, padding_idx=256),
            nn.Embedding(64, 32),
        )
        return part_segmentation_network(aggregation, ThreeMaps(), letters)
    assert isinstance(configuration, SynSegConfig)
    tower = OpenAIClipImageEncoder(replace(VIT, taps=(0, 1, 2)))
    text = text_tower("qv")
    text.unit_length = False
    return SynSeg(tower, text, build_decoder(replace(configuration.decoder, dim=16, heads=2, hidden=24), tower))


def _clip_network(configuration: ClipNetworkConfig) -> SegmentationNetwork:
    encoders = configuration.encoders
    eva = isinstance(encoders, EvaEncoders)
    if isinstance(encoders, EvaEncoders):
        tower = EvaClipImageEncoder(EvaClipConfig(vit=VIT, dense=encoders.dense))
    else:
        tower = OpenAIClipImageEncoder(VIT, dense=encoders.dense)
    aggregation = build_aggregation(replace(configuration.aggregation, **SMALL), tower)
    average = configuration.prompts == "imagenet"
    return SegmentationNetwork(tower, text_tower("qkv" if eva else "qv"), aggregation, average_prompts=average)


def _err_seg(configuration: ErrSegConfig) -> SegmentationNetwork:
    guides = {"guidance": (8, 8, 8), "stages": (32, 16, 8)}
    if configuration.encoder == "vit_b16":
        tower, costs, text = OpenAIClipImageEncoder(VIT), 1, text_tower("qv")
        sizes = DecoderSizes(lifts=(2, 4), taps=(32, 16, 8), **guides)
        taps = (32, *tower.tap_channels)
    else:
        hierarchical = configuration.maps == "hierarchical"
        options = {"hierarchical": hierarchical, "stage_4_gradient": configuration.stage_4_gradient}
        tower, costs, text = ConvNextClipImageEncoder(replace(TOWER, **options)), 1 + hierarchical, text_tower("qkv")
        sizes = DecoderSizes(lifts=(), taps=(32, 16, 8), **guides)
        taps = tower.tap_channels
    if configuration.aggregation.kind == "none":
        return SegmentationNetwork(tower, text, NoAggregation(CostSum(costs)))
    small = replace(configuration.aggregation, embed_dim=16, dim=32, heads=2, decoder_sizes=sizes)
    return SegmentationNetwork(tower, text, ErrAggregation(small, 32, taps, costs))


def small_protocols(protocols: Protocols) -> Protocols:
    """The same ways of cutting an image, with fewer pixels."""
    return {window: _small_protocol(way) for window, way in protocols.items()}


def _small_protocol(way: Protocol) -> Protocol:
    sliding = way.sliding
    if isinstance(sliding, Sliding):
        sliding = Sliding(canvas=96, window=SIDE, stride=32)
    elif isinstance(sliding, Strides):
        sliding = Strides(window=SIDE, stride=32)
    loader = None if way.loader is None else LoaderResize(shortest=96, longest=192)
    return replace(way, size=SIDE if way.size else 0, multiple=min(way.multiple, 32), sliding=sliding, loader=loader)


def small_preset(preset: Preset) -> Preset:
    """A preset of a paper in small; its published weights are not fetched."""
    protocols_of = preset.protocols_of
    return replace(
        preset, build=build_small, protocols_of=lambda configuration: small_protocols(protocols_of(configuration))
    )


@contextmanager
def small_papers(folder: Path) -> Iterator[None]:
    """The papers' presets and recipes in small, in the tables that all commands read.

    Args:
        folder: has the files that would be fetched, by the name of their preset.
    """
    published = {preset.published.name: name for name, preset in PRESETS.items() if preset.published is not None}

    def fetch(file: PublishedFile) -> Path:
        return folder / f"{START_OF.get(file.name) or published[file.name]}.safetensors"

    with pytest.MonkeyPatch.context() as patch:
        for name, preset in PRESETS.items():
            if preset.family in PAPERS:
                patch.setitem(PRESETS, name, small_preset(preset))
        patch.setitem(PRESETS, "small", SMALL_PRESET)
        for name, recipe in RECIPES.items():
            patch.setitem(RECIPES, name, small_recipe(recipe))
        for name in BENCHMARKS:
            # None: however many there are, so that the few images of a replica are all
            patch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], image_count=None))
        for module in (loading, start, reproduce):
            patch.setattr(module, "fetch", fetch)
        patch.setattr(recipe_data, "LOOKED_AT", 1)
        patch.setattr(examples, "MAX_EXAMPLES", 0)
        patch.setattr(monitor, "draw_curves", lambda *_: None)  # twice a run, a second each
        yield


def write_small_weights(name: str, path: Path) -> Path:
    """A file of random weights of a small network; call it within `small_papers`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PRESETS[name].build(PRESETS[name].configuration)
    write_weights(path, network.state_dict(), name)
    return path


def small_recipe(recipe: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """A recipe with one step of one small image of few classes."""

    def small() -> Recipe:
        own = recipe()
        if own.model == "tiny":
            own = replace(own, model="small", network=None)
        side = {"shortest": (SIDE,), "crop": SIDE, "input_size": 0}
        parts = own.data.endswith("part-116-train") or own.data.endswith("part-234-train")
        words = {"words": 0 if parts else 4, "kept_classes": min(own.kept_classes, 3)}
        return replace(own, **side, **words, steps=1, batch=1, workers=0, precision="float32", watch_every=0)

    return small
