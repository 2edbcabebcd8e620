"""The networks of the papers in small: few channels, and images of a quarter of the published sides.

`python -m papers.rehearsal.networks` is `papers.reproduce` with them and with the small benchmarks; `torchrun` may
start it.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from papers.reproduce import reproduce
from segvoc.cli import run_command
from segvoc.data.benchmarks import BENCHMARKS, Benchmark
from segvoc.data.preparation import conversions
from segvoc.encoders import clip_with_dino
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.clip_with_dino import ClipWithDino, DinoTokens
from segvoc.encoders.convnext_clip import ConvNextClipConfig, ConvNextClipImageEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig, vit_b16
from segvoc.evaluation import report_page
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols, Sliding, Strides
from segvoc.layers.aggregation import DecoderSizes
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.models.preset import Preset
from segvoc.models.presets import PRESETS
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.clip_network import ClipNetworkConfig, EvaEncoders, OpenAIEncoders, clip_segmentation_network
from segvoc.networks.err_seg import ErrAggregation, ErrSegConfig
from segvoc.networks.part_cat_seg import PartNetworkConfig, part_segmentation_network
from segvoc.networks.syn_seg import SynSeg, SynSegConfig, build_decoder
from segvoc.training import training_data
from tests.data.scene_originals import stems_of

SHRUNK = 4
"""Factor by which all sides of images and windows are reduced."""

CHANNELS, WIDTH, HEADS = 48, 64, 2
"""Sizes of all encoders: embedding channels, token channels, attention heads."""

CELLS = (6, 7)
"""Cells of a ViT's map along each side: the first of these numbers that divides its images."""

DINO_SIDE = 14 * CELLS[0]
"""Side of the images that DINOv2 reads [px]."""

_SIZES = {"dim": 32, "guidance_dim": 16, "window": 3}


def use_small_networks() -> None:
    """Put the small networks and the small benchmarks into segvoc's tables, in a separate process.

    Captions are parsed by the tests' stand-in for spaCy, whose language model isn't on the package index.
    """
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "stand_ins"))
    clip_with_dino.DINO_SIDE = DINO_SIDE
    report_page.MAX_EXAMPLES = 0
    training_data.LOOKED_AT = 1
    conversions.image_stems = lambda _: tuple(stems_of("pc-459"))
    counts = {name: len(stems_of(name)) for name, benchmark in BENCHMARKS.items() if benchmark.image_count is not None}
    small = {name: replace(BENCHMARKS[name], image_count=count) for name, count in counts.items()}
    cast(dict[str, Benchmark], BENCHMARKS).update(small)
    PRESETS.update({name: small_preset(preset) for name, preset in PRESETS.items() if preset.family is not None})


def small_preset(preset: Preset) -> Preset:
    """A network of a paper in small; its configuration takes the same settings."""
    configuration = preset.configuration
    build: Any = {
        ClipNetworkConfig: _clip_network,
        ErrSegConfig: _err_seg,
        PartNetworkConfig: _part_network,
        SynSegConfig: _syn_seg,
    }[type(configuration)]
    if isinstance(configuration, ClipNetworkConfig | PartNetworkConfig):
        sizes = _SIZES | {"decoder_sizes": _decoder(configuration)}
        if isinstance(configuration, PartNetworkConfig):
            sizes |= {"appearance_channels": WIDTH}
        configuration = replace(configuration, aggregation=replace(configuration.aggregation, **sizes))
    protocols_of = preset.protocols_of
    return replace(
        preset,
        configuration=configuration,
        build=build,
        protocols_of=lambda configuration: _small_protocols(protocols_of(configuration)),
    )


def _decoder(configuration: NetworkConfig) -> DecoderSizes:
    if isinstance(configuration, PartNetworkConfig):
        return DecoderSizes(lifts=(), taps=(WIDTH, WIDTH), guidance=(16, 8), stages=(32, 16))
    return DecoderSizes(taps=(24, 16), guidance=(16, 8), stages=(32, 16))


def _small_protocols(protocols: Protocols) -> Protocols:
    return {window: _small_protocol(protocol) for window, protocol in protocols.items()}


def _small_protocol(protocol: Protocol) -> Protocol:
    """All sides of a protocol, smaller by the same factor."""
    loader, sliding = protocol.loader, protocol.sliding
    if loader is not None:
        loader = LoaderResize(shortest=loader.shortest // SHRUNK, longest=loader.longest // SHRUNK)
    if isinstance(sliding, Sliding):
        sides = (sliding.canvas, sliding.window, sliding.stride)
        canvas, window, stride = (side // SHRUNK for side in sides)
        sliding = Sliding(canvas=canvas, window=window, stride=stride)
    elif isinstance(sliding, Strides):
        sliding = Strides(window=sliding.window // SHRUNK, stride=sliding.stride // SHRUNK)
    return replace(protocol, size=protocol.size // SHRUNK, loader=loader, sliding=sliding)


def _vit(published: VitConfig) -> VitConfig:
    side = published.input_size // SHRUNK
    taps = (0, 1, 2)[: len(published.taps)]
    return VitConfig(
        channels=CHANNELS,
        width=WIDTH,
        layers=max(len(taps) + 1, 3),
        heads=HEADS,
        patch_size=side // next(cells for cells in CELLS if side % cells == 0),
        pretrained_size=side,
        input_size=side,
        taps=taps,
    )


def _text(fine_tuned: str = "qv", **options: Any) -> ClipTextEncoder:
    sizes = ClipTextConfig(
        channels=CHANNELS, width=WIDTH, layers=2, heads=HEADS, quick_gelu=False, fine_tuned=fine_tuned
    )
    return ClipTextEncoder(replace(sizes, **options))


def _clip_network(configuration: ClipNetworkConfig) -> SegmentationNetwork:
    encoders = configuration.encoder
    if isinstance(encoders, EvaEncoders):
        tower = EvaClipImageEncoder(_vit(encoders.vit), dense=encoders.dense)
        text = _text("qkv")
    else:
        assert isinstance(encoders, OpenAIEncoders)  # no paper's network has others
        tower = OpenAIClipImageEncoder(
            _vit(encoders.vit),
            dense=encoders.dense,
            activation=encoders.activation,
        )
        text = _text("qv")
    return clip_segmentation_network(configuration, tower, text)


def _err_seg(configuration: ErrSegConfig) -> SegmentationNetwork:
    if configuration.encoder == "vit_b16":
        tower: Any = OpenAIClipImageEncoder(_vit(replace(vit_b16(), input_size=configuration.side)))
        guides, lifts, costs = (CHANNELS, *tower.tap_channels), (2, 4), 1
        taps, text = (CHANNELS, 24, 16), _text()
    else:
        hierarchical = configuration.maps == "hierarchical"
        sizes = ConvNextClipConfig(
            channels=CHANNELS,
            widths=(16, 32, 48, 64),
            depths=(1, 1, 1, 1),
            input_size=configuration.side // SHRUNK,
            hierarchical=hierarchical,
            stage_4_gradient=configuration.stage_4_gradient,
        )
        tower = ConvNextClipImageEncoder(sizes)
        guides, lifts, costs = tower.tap_channels, (), 2 if hierarchical else 1
        taps, text = tower.tap_channels[1:], _text("qkv", also_fine_tuned=(".mlp.c_fc.weight",))
    if configuration.aggregation.kind == "none":
        return SegmentationNetwork(tower, text, NoAggregation(CostSum(costs)))
    decoder = DecoderSizes(lifts=lifts, taps=taps, guidance=(16, 8, 8), stages=(32, 16, 8))
    aggregation = replace(configuration.aggregation, embed_dim=32, dim=32, decoder_sizes=decoder)
    return SegmentationNetwork(tower, text, ErrAggregation(aggregation, CHANNELS, guides, costs))


def _part_network(configuration: PartNetworkConfig) -> SegmentationNetwork:
    dino = DinoTokens(width=WIDTH, depth=2, heads=HEADS, pretrained_size=DINO_SIDE)
    tower = ClipWithDino(_vit(configuration.vit), clip_tuned=configuration.clip_tuned, dino=dino)
    return part_segmentation_network(configuration.aggregation, tower, _text(""))


def _syn_seg(configuration: SynSegConfig) -> SegmentationNetwork:
    tower = OpenAIClipImageEncoder(_vit(configuration.vit), pixels=configuration.pixels)
    decoder = replace(configuration.decoder, dim=32, hidden=64, finer=tower.stride)
    return SynSeg(tower, _text(unit_length=False), build_decoder(decoder, tower))


if __name__ == "__main__":
    use_small_networks()
    run_command(reproduce, "python -m papers.reproduce")
