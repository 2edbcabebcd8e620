"""Builds networks from their configurations, with random weights or none: one builder for each family.

Encoders are imported only when they are built: their libraries take seconds to import, and no network needs all of
them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segvoc.encoders.base import ImageEncoder
from segvoc.encoders.vit import TIMM_CLIPS, vit_b16
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.networks.base import CostAggregation, SegmentationNetwork
from segvoc.networks.choices import DECODERS, FeatureAggregation
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, CostAggregationConfig, EvaEncoders, TimmEncoders
from segvoc.networks.err_seg import VIT_LIFTS, VIT_TAPS, ErrAggregation, ErrSegConfig
from segvoc.networks.part_cat_seg import PartAggregation, PartAggregationConfig, PartNetwork, PartNetworkConfig
from segvoc.networks.syn_seg import ConditionedDecoder, ConditionedDecoderConfig, SynSeg, SynSegConfig
from segvoc.networks.tiny import TinyConfig, tiny_network

NetworkConfig = ClipNetworkConfig | ErrSegConfig | PartNetworkConfig | SynSegConfig | TinyConfig


def input_size_of(config: NetworkConfig | None) -> int:
    """Input size of a network with CLIP encoders [pixels]; 0 for other networks."""
    return config.encoder.input_size if isinstance(config, ClipNetworkConfig) else 0


def build_clip_network(config: ClipNetworkConfig) -> SegmentationNetwork:
    """Build PCA-Seg, CAT-Seg, one of their baselines, or a CLIP alone."""
    from segvoc.encoders.clip_text import ClipTextEncoder, SiglipTextEncoder, eva_text, open_clip_text_of, openai_text

    encoders = config.encoder
    if isinstance(encoders, TimmEncoders):
        from segvoc.encoders.clip_with_dino import build_dino_txt, dino_txt_text
        from segvoc.encoders.timm_clip import build_timm_clip

        sizes = replace(TIMM_CLIPS[encoders.kind], input_size=encoders.input_size)
        image_encoder = build_dino_txt(sizes) if sizes.model is None else build_timm_clip(sizes)
        text = dino_txt_text() if sizes.model is None else open_clip_text_of(sizes.model)
        text_encoder = SiglipTextEncoder(text) if text.siglip else ClipTextEncoder(text)
    elif isinstance(encoders, EvaEncoders):
        from segvoc.encoders.eva_clip import EvaClipImageEncoder

        image_encoder = EvaClipImageEncoder(encoders.vit, dense=encoders.dense)
        text_encoder = ClipTextEncoder(eva_text(encoders.vit.channels))
    else:
        from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

        image_encoder = OpenAIClipImageEncoder(encoders.vit, dense=encoders.dense, activation=encoders.activation)
        quick_gelu = encoders.activation == "quick_gelu"
        text_encoder = ClipTextEncoder(openai_text(encoders.vit.channels, quick_gelu=quick_gelu))
    return clip_segmentation_network(config, image_encoder, text_encoder)


def clip_segmentation_network(
    config: ClipNetworkConfig, image_encoder: nn.Module, text_encoder: nn.Module
) -> SegmentationNetwork:
    """Build a network on these encoders."""
    layers = config.aggregation
    if isinstance(config.encoder, TimmEncoders) and TIMM_CLIPS[config.encoder.kind].pyramid:
        taps = cast(ImageEncoder, image_encoder).tap_channels
        layers = replace(layers, decoder_sizes=replace(layers.decoder_sizes, lifts=(), taps=taps))
    aggregation = build_aggregation(layers, image_encoder)
    return SegmentationNetwork(image_encoder, text_encoder, aggregation, average_prompts=config.prompts == "imagenet")


def build_aggregation(config: CostAggregationConfig, image_encoder: nn.Module) -> nn.Module:
    """Build the aggregation of a configuration, with random weights, for the features of an image encoder."""
    tower = cast(ImageEncoder, image_encoder)
    channels = tower.channels
    if config.kind == "none":
        return NoAggregation(CostSum(config.costs))
    if config.kind == "features":
        decoder = DECODERS[config.decoder](2 * channels, tower.tap_channels, config.decoder_sizes)
        return FeatureAggregation(decoder)
    return CostAggregation(config, channels, tower.tap_channels)


def build_err_seg(config: ErrSegConfig) -> SegmentationNetwork:
    """Build ERR-Seg."""
    from segvoc.encoders.clip_text import ClipTextEncoder, convnext_text, openai_text

    is_vit = config.encoder == "vit_b16"
    costs = 2 if config.maps == "hierarchical" else 1
    if is_vit:  # a plain CLIP (Table 13)
        from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

        image = OpenAIClipImageEncoder(replace(vit_b16(), input_size=config.side))
        text = ClipTextEncoder(openai_text(image.channels))
    else:
        from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder, convnext_base_w, convnext_large_d

        sizes, layers = (convnext_base_w(), 12) if config.encoder == "convnext_base_w" else (convnext_large_d(), 16)
        sizes = replace(sizes, input_size=config.side, stage_4_gradient=config.stage_4_gradient)
        image = ConvNextClipImageEncoder(replace(sizes, hierarchical=config.maps == "hierarchical"))
        text = ClipTextEncoder(convnext_text(image.channels, layers))
    if config.aggregation.kind == "none":
        return SegmentationNetwork(image, text, NoAggregation(CostSum(costs)))
    lifts, guides, taps = (), image.tap_channels, image.tap_channels[1:]
    if is_vit:  # its dense map and taps guide as in CAT-Seg; the paper doesn't say which maps do
        guides, lifts, taps = (image.channels, *guides), VIT_LIFTS, (image.channels, *VIT_TAPS)
    decoder = replace(config.aggregation.decoder_sizes, lifts=lifts, taps=taps)
    aggregation = ErrAggregation(replace(config.aggregation, decoder_sizes=decoder), image.channels, guides, costs)
    return SegmentationNetwork(image, text, aggregation)


def build_part_network(config: PartNetworkConfig) -> SegmentationNetwork:
    """Build PartCATSeg or PCA-Seg's part mode."""
    from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
    from segvoc.encoders.clip_with_dino import ClipWithDino

    image_encoder = ClipWithDino(config.vit, clip_tuned=config.clip_tuned)
    text_encoder = ClipTextEncoder(replace(openai_text(config.vit.channels), fine_tuned=""))
    return part_segmentation_network(config.aggregation, image_encoder, text_encoder)


def part_segmentation_network(
    config: PartAggregationConfig, image_encoder: nn.Module, text_encoder: nn.Module
) -> SegmentationNetwork:
    """Build a network for objects and parts on these encoders."""
    if config.kind == "none":
        return SegmentationNetwork(image_encoder, text_encoder, build_aggregation(config, image_encoder))
    tower = cast(ImageEncoder, image_encoder)
    aggregation = PartAggregation(config, tower.channels, tower.tap_channels)
    return PartNetwork(image_encoder, text_encoder, aggregation)


def build_syn_seg(config: SynSegConfig) -> SegmentationNetwork:
    """Build SynSeg or CLIPSeg."""
    from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
    from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

    image_encoder = OpenAIClipImageEncoder(config.vit, pixels=config.pixels)
    # CLIPSeg's FiLM was trained on embeddings that are not normalized
    text_encoder = ClipTextEncoder(replace(openai_text(config.vit.channels), unit_length=False))
    return SynSeg(image_encoder, text_encoder, build_decoder(config.decoder, image_encoder))


def build_decoder(config: ConditionedDecoderConfig, image_encoder: nn.Module) -> ConditionedDecoder:
    """Build SynSeg's decoder for the tokens of an image encoder."""
    tower = cast(ImageEncoder, image_encoder)
    return ConditionedDecoder(config, tower.channels, tower.tap_channels)


def build_tiny(config: TinyConfig) -> SegmentationNetwork:
    """Build tiny."""
    from segvoc.encoders.efficientnet import EfficientNetLite
    from segvoc.encoders.minilm import MiniLM

    appearance = config.aggregation.appearance_channels is not None
    return tiny_network(config, EfficientNetLite(own_appearance=appearance), MiniLM())


@contextmanager
def weightless() -> Iterator[None]:
    """Build modules on the meta device, without memory or random weights.

    Alone, that device runs the Python reference of every random draw, which takes as long to import as PyTorch itself.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    """Skips random initialization."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        filled = args[0] if args else named.get("tensor")
        if func in _FILLS and isinstance(filled, Tensor) and filled.is_meta:
            return filled
        if func in _RANDOM_TENSORS:
            return torch.empty(*args, **{name: value for name, value in named.items() if name != "generator"})
        return func(*args, **named)


_DRAWS = {nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_, Tensor.normal_, Tensor.uniform_}
_FILLS = _DRAWS | {Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_, Tensor.fill_, Tensor.zero_}
"""Random fills of a tensor, and operations in place that libraries chain to draw from other distributions."""

_RANDOM_TENSORS = frozenset((torch.rand, torch.randn))
"""Functions that create random tensors, with the arguments of `torch.empty`."""
