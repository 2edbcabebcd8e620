"""The papers' networks and recipes in small, under their own names, so that the papers' commands run as written.

A preset keeps its configuration, options and class selection; what it builds has a few thousand parameters, its words
have a few prompts, and its windows a few pixels. A recipe keeps all but its length and its sizes of images.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from papers import cat_seg_v1, reproduce
from segvoc.checkpoints.files import write_weights
from segvoc.checkpoints.published import PublishedFile
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.evaluation import runner
from segvoc.inference.protocols import LoaderResize, Protocol, Sliding, Strides
from segvoc.layers.aggregation import DecoderSizes
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.models import weights
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.preset import Preset
from segvoc.models.presets import PRESETS
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.choices import build_aggregation
from segvoc.networks.clip_network import ClipNetworkConfig, EvaEncoders, OpenAIEncoders, clip_segmentation_network
from segvoc.networks.err_seg import ErrAggregation, ErrSegConfig
from segvoc.networks.part_cat_seg import PartNetworkConfig, part_segmentation_network
from segvoc.networks.syn_seg import SynSegConfig
from segvoc.training import monitor, start, training_data
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from tests.inference.small_network import CONFIG, SMALL_PRESET, Letters, Patches, small_protocols
from tests.networks.aggregation_contract import SMALL, SMALL_DECODER, VIT, ThreeMaps, small_syn_seg, text_tower
from tests.networks.test_err_seg import TOWER

START_OF = {
    "openai-clip-b": "cat-seg-b",
    "openai-clip-l": "cat-seg-l",
    "dinov2-s": "pca-part-b",
    "convnext-clip-l": "err-seg-l",
}
"""The small network whose towers stand for published encoders."""

SMALL_BACKBONE = "resnet10t"
"""timm's network that stands for the guidance backbones of CAT-Seg's first version."""

FEW = 2
"""Prompts of a word, where the papers have 80."""

PAPERS = ("PCA-Seg", "CAT-Seg", "ERR-Seg", "SynSeg", "PartCATSeg", "PCA-Seg for parts")


def build_small(configuration: NetworkConfig) -> SegmentationNetwork:
    """A network of this configuration whose towers and aggregation have a few channels."""
    match configuration:
        case ClipNetworkConfig():
            return _clip_network(configuration)
        case ErrSegConfig():
            return _err_seg(configuration)
        case PartNetworkConfig():
            costs = {"costs": 3 * FEW, "prompts": FEW, "appearance_channels": None, "pad_classes": 0}
            sizes = SMALL | {"decoder_sizes": replace(SMALL_DECODER, lifts=())} | costs
            return part_segmentation_network(replace(configuration.aggregation, **sizes), ThreeMaps(), text_tower(""))
        case SynSegConfig():
            return small_syn_seg(**vars(configuration.decoder) | {"dim": 16, "heads": 2, "hidden": 24})
    raise AssertionError(configuration)


def _clip_network(configuration: ClipNetworkConfig) -> SegmentationNetwork:
    encoders, layers = configuration.encoder, configuration.aggregation
    layers = replace(layers, **SMALL | {"guidance_dim": min(layers.guidance_dim, 16)})
    if isinstance(encoders, EvaEncoders):
        tower = EvaClipImageEncoder(VIT, dense=encoders.dense)
        text = text_tower("qkv")
    else:
        assert isinstance(encoders, OpenAIEncoders), "no paper's network has others"
        tower = OpenAIClipImageEncoder(VIT, dense=encoders.dense)
        text = text_tower("qv")
    return clip_segmentation_network(replace(configuration, aggregation=layers), tower, text)


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


def side_of(family: str | None) -> int:
    """Side of the squares that a small network reads [px]: two cells of its coarsest map."""
    return 64 if family == "ERR-Seg" else 32


def small_protocol(way: Protocol, side: int) -> Protocol:
    """The same way of cutting an image, with fewer pixels."""
    sliding = way.sliding
    if isinstance(sliding, Sliding):
        sliding = Sliding(canvas=side * 3 // 2, window=side, stride=side // 2)
    elif isinstance(sliding, Strides):
        sliding = Strides(window=side, stride=side // 2)
    loader = None if way.loader is None else LoaderResize(shortest=side * 3 // 2, longest=side * 3)
    multiple = 1 if way.multiple == 1 else 32
    return replace(way, size=side, multiple=multiple, sliding=sliding, loader=loader)


def small_preset(preset: Preset) -> Preset:
    protocols_of, side = preset.protocols_of, side_of(preset.family)
    # where there are two encoders, one small file stands for both
    encoders = preset.encoders[1:] if isinstance(preset.configuration, PartNetworkConfig) else preset.encoders
    return replace(
        preset,
        build=build_small,
        templates_of=lambda asked: preset.templates_of(asked)[:FEW],
        protocols_of=lambda asked: {window: small_protocol(way, side) for window, way in protocols_of(asked).items()},
        encoders=encoders,
    )


@contextmanager
def small_papers(folder: Path) -> Iterator[None]:
    """The papers' presets and recipes in small, in all commands' tables; `folder` has the files to be fetched."""
    published = {preset.published.name: name for name, preset in PRESETS.items() if preset.published is not None}

    def fetch(file: PublishedFile) -> Path:
        return folder / f"{START_OF.get(file.name) or published[file.name]}.safetensors"

    # all before any is replaced, since some are made from others
    recipes = {name: recipe() for name, recipe in RECIPES.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, preset in PRESETS.items():
            if preset.family in PAPERS:
                patch.setitem(PRESETS, name, small_preset(preset))
        patch.setitem(PRESETS, "small", SMALL_PRESET)
        for name, recipe in recipes.items():
            patch.setitem(RECIPES, name, partial(small_recipe, recipe))
        for name in BENCHMARKS:
            # None: however many there are, so that the few images of a replica are all
            patch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], image_count=None))
        small_backbones = {key: {"model_name": SMALL_BACKBONE, "out_indices": (1, 2, 3)} for key in "bl"}
        patch.setattr(cat_seg_v1, "BACKBONES", small_backbones)
        for module in (weights, start, reproduce):
            patch.setattr(module, "fetch", fetch)
        patch.setattr(training_data, "LOOKED_AT", 1)
        patch.setattr(monitor, "draw_curves", lambda *_: None)
        patch.setattr(runner, "write_examples", lambda *_: {"worst": [], "best": []})
        yield


def write_small_weights(name: str, path: Path, **options: Any) -> Path:
    """A file of random weights of a small network with some options; call it within `small_papers`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PRESETS[name].build(replace(PRESETS[name].configuration, **options))
    write_weights(path, network.state_dict(), name, options=options)
    return path


def small_recipe(recipe: Recipe) -> Recipe:
    """A recipe with one step of one small image of few classes."""
    own = replace(recipe, model="small", network=None) if recipe.model == "tiny" else recipe
    pixels = side_of(PRESETS[own.model].family)
    words = 0 if isinstance(PRESETS[own.model].configuration, PartNetworkConfig) else 4
    sizes = {"short_sides": (pixels,), "crop_size": pixels, "resize_crop_to": 0, "num_sampled_classes": words}
    short = {"steps": 1, "batch_size": 1, "num_workers": 0, "eval_every": 0, "precision": "float32"}
    return own.with_settings(**sizes, **short, num_kept_classes=min(own.objective.num_kept_classes, 3))


SHORTER: Mapping[str, tuple[str, ...]] = {
    "evaluate": ("--limit", "1"),
    "cat_seg_v1": ("--benchmark", "pas-20", "--device", "cpu"),
    "reproduce": ("--jobs", "1", "--device", "cpu"),
    "ablation": ("--seeds", "1", "--scored", "1", "--weights", "random"),
    "sweep": ("--limit", "1"),
    "blocks": ("--repeat", "1"),
    "steps": ("--repeat", "1", "--classes", "5"),
    "demo": ("--sides", "64"),
}

MANY_WORDS = ("a-847", "pc-459", "a-150", "pc-59")
"""Benchmarks that are left out where others are named beside them; VOC stands for ADE20K alone."""


def name_of(words: Sequence[str]) -> str:
    """The name of a command of segvoc, or of a script: "evaluate", "blocks"."""
    return words[2].removeprefix("papers.") if words[0] == "python" else words[1]


def smaller(words: Sequence[str]) -> list[str]:
    """The words of a command as the tests run it: the same, on fewer images and words, and with one seed."""
    name = name_of(words)
    shorter = [*words, *SHORTER.get(name, ())]
    if "--classes" in words and name == "blocks":
        place = shorter.index("--classes") + 1
        shorter[place] = "5,4" if "," in shorter[place] else "5"
    if not set(BENCHMARKS) & set(words) <= set(MANY_WORDS):
        shorter = [word for word in shorter if word not in MANY_WORDS]
    shorter = ["pas-20" if word == "a-150" else word for word in shorter]
    return [*shorter, *(("--seeds", "42") if "--captions" in words and name == "reproduce" else ())]


WORDS = ("cat", "sofa", "wall", "rocket", "cup")


def segmenter(**options) -> NetworkSegmenter:
    """Two blocks as `options` want them, the same random weights each time."""
    kind = {"kind": options.pop("aggregation", "cost")}
    chosen = replace(CONFIG, **{"blocks": 2, "experts": None if "fusion" in options else 3} | kind | options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = SegmentationNetwork(Patches(), Letters(), build_aggregation(chosen, Patches()))
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return NetworkSegmenter(
        name="small", network=network.requires_grad_(False), protocols=small_protocols(), templates=("{}",)
    )
