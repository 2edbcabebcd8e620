"""Looks up the layer classes named in a `CostAggregationConfig` and builds the aggregation from them."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from torch import nn

from segvoc.encoders.base import ImageEncoder
from segvoc.layers.aggregation import ClassAggregation, UpsamplingDecoder
from segvoc.layers.cost_sum import NoAggregation
from segvoc.layers.decoders import BilinearDecoder, NoUpsampling
from segvoc.layers.query_class_attention import QueryClassAggregation
from segvoc.layers.softmax_class_attention import SoftmaxClassAggregation
from segvoc.networks.base import CostAggregation
from segvoc.networks.block_variants import JointBlock, SpatialBlock
from segvoc.networks.cat_seg import LastStream, SerialBlock
from segvoc.networks.cost_aggregation_config import (
    AggregationLayers,
    ClassAttention,
    CostAggregationConfig,
    Decoder,
    Fusion,
    Order,
)
from segvoc.networks.feature_aggregation import FeatureAggregation
from segvoc.networks.fusion_variants import (
    AddedExperts,
    AveragedExperts,
    ConcatenatedStreams,
    ConvolvedExperts,
    PaperExpertFusion,
)
from segvoc.networks.pca_seg import ExpertFusion, ParallelBlock

ORDERS: dict[Order, Callable[..., nn.Module]] = {
    "parallel": ParallelBlock,
    "serial": SerialBlock,
    "spatial": SpatialBlock,
    "joint": JointBlock,
}
"""Block classes, by the order of their aggregations."""

FUSIONS: dict[Fusion, Callable[..., nn.Module]] = {
    "experts": ExpertFusion,
    "experts-paper": PaperExpertFusion,
    "single": partial(ExpertFusion, experts=1, integrate=AveragedExperts),
    "convolution": partial(ExpertFusion, integrate=ConvolvedExperts),
    "average": partial(ExpertFusion, integrate=AveragedExperts),
    "addition": partial(ExpertFusion, integrate=AddedExperts),
    "concatenation": ConcatenatedStreams,
    "last": LastStream,
}
"""Modules that fuse the two streams of a block."""

CLASS_ATTENTIONS: dict[ClassAttention, type[ClassAggregation]] = {
    "linear": ClassAggregation,
    "softmax": SoftmaxClassAggregation,
    "query": QueryClassAggregation,
}
"""Class aggregations, by their type of attention."""

DECODERS: dict[Decoder, type[UpsamplingDecoder]] = {
    "transposed": UpsamplingDecoder,
    "bilinear": BilinearDecoder,
    "none": NoUpsampling,
}
"""Decoders, which map refined features to logits."""


def layers_of(config: CostAggregationConfig) -> AggregationLayers:
    """The layer classes that a configuration names."""
    chosen: dict[str, Any] = {} if config.experts is None else {"experts": config.experts}
    return AggregationLayers(
        block=ORDERS[config.order],
        fusion=partial(FUSIONS[config.fusion], **chosen),
        class_attention=CLASS_ATTENTIONS[config.class_attention],
        decoder=DECODERS[config.decoder],
    )


def build_aggregation(config: CostAggregationConfig, image_encoder: nn.Module) -> nn.Module:
    """Build the aggregation of a configuration, with random weights, for the features of an image encoder."""
    tower = cast(ImageEncoder, image_encoder)
    if config.kind == "none":
        channels = tower.channels
        return NoAggregation(config.build_cost_sum(channels), config.build_synthesized_classifiers(channels))
    if config.kind == "features":
        decoder = DECODERS[config.decoder](2 * tower.channels, tower.tap_channels, config.decoder_sizes)
        return FeatureAggregation(decoder)
    return CostAggregation(config, layers_of(config), tower.channels, tower.tap_channels)
