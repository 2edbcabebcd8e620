"""Networks with the image and text encoders of a CLIP: PCA-Seg and CAT-Seg, their baselines, and the encoders alone."""

from dataclasses import dataclass, replace
from typing import Literal, cast

from torch import nn

from segvoc.encoders.base import ImageEncoder
from segvoc.encoders.dense_modes import DenseMode, OpenAIDenseMode
from segvoc.encoders.prompts import CLIP_TEMPLATE, IMAGENET_TEMPLATES
from segvoc.encoders.vit import TIMM_CLIPS, Activation, TimmClipName, VitConfig
from segvoc.errors import UsageError
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols, Sliding, Strides
from segvoc.layers.selection import ClassSelection
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.choices import build_aggregation
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.storage.records import check_range


class _VitEncoders:
    """Shared by the ViT encoders."""

    vit: VitConfig

    @property
    def input_size(self) -> int:
        """Side of the images that the network reads [pixels]."""
        return self.vit.input_size

    @property
    def stride(self) -> int:
        """Side of a patch [pixels]."""
        return self.vit.patch_size


@dataclass(frozen=True, kw_only=True)
class EvaEncoders(_VitEncoders):
    """The image and text encoders of EVA02-CLIP."""

    kind: Literal["eva"] = "eva"
    vit: VitConfig
    """Sizes of the image encoder; the text encoder matches its channels."""
    dense: DenseMode = "csa"
    """Attention of the last block in dense mode; it must match the mode that the weights were distilled in, if any."""


@dataclass(frozen=True, kw_only=True)
class OpenAIEncoders(_VitEncoders):
    """The image and text encoders of OpenAI's CLIP."""

    kind: Literal["openai"] = "openai"
    vit: VitConfig
    """Sizes of the image encoder; the text encoder matches its channels."""
    dense: OpenAIDenseMode = "cat-seg"
    """Attention of the last block in dense mode; networks with an aggregation were trained with CAT-Seg's."""
    activation: Activation = "quick_gelu"
    """Activation of the MLPs."""


@dataclass(frozen=True, kw_only=True)
class TimmEncoders:
    """The image and text encoders of a CLIP with a timm image encoder."""

    kind: TimmClipName = "siglip2-b"
    """Name of the CLIP; its sizes are in `TIMM_CLIPS`."""
    side: int | None = None
    """Side of the images that the network reads [pixels]; None: the encoder's own."""

    def __post_init__(self) -> None:
        check_range(self, {"side": (1, 4096)})
        if self.side is not None and self.side % self.stride:
            raise UsageError(f"side={self.side} doesn't divide into cells of {self.stride} px; give a multiple of that")

    @property
    def input_size(self) -> int:
        """Side of the images that the network reads [pixels]."""
        return self.side or TIMM_CLIPS[self.kind].input_size

    @property
    def stride(self) -> int:
        """Side of a cell [pixels]."""
        return TIMM_CLIPS[self.kind].stride


@dataclass(frozen=True, kw_only=True)
class ClipNetworkConfig(NetworkConfig):
    """A network with CLIP encoders: PCA-Seg, CAT-Seg, one of their baselines, or the encoders alone."""

    kind: Literal["clip"] = "clip"
    encoder: EvaEncoders | OpenAIEncoders | TimmEncoders
    """Image and text encoder."""
    aggregation: CostAggregationConfig
    """The aggregation between the encoders and the logits."""
    prompts: Literal["scene", "imagenet"] = "scene"
    """A single prompt template, or the mean of CLIP's 80 for ImageNet."""

    @property
    def input_size(self) -> int:
        """Side of the images that the encoders read [pixels]."""
        return self.encoder.input_size

    def build(self) -> SegmentationNetwork:
        """See `NetworkConfig.build`."""
        from segvoc.encoders.clip_text import (
            ClipTextEncoder,
            SiglipTextEncoder,
            eva_text,
            open_clip_text_of,
            openai_text,
        )

        encoders = self.encoder
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
        return clip_segmentation_network(self, image_encoder, text_encoder)

    def protocols(self) -> Protocols:
        """See `clip_protocols`."""
        return clip_protocols(self.encoder.input_size, self.encoder.stride)

    def templates(self) -> tuple[str, ...]:
        """A template of the published networks, or CLIP's 80 for ImageNet."""
        return IMAGENET_TEMPLATES if self.prompts == "imagenet" else (CLIP_TEMPLATE,)


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


def clip_protocols(size: int, patch_size: int) -> Protocols:
    """Protocols of CAT-Seg and PCA-Seg, whose image encoders take squares of `size` pixels.

    `auto` keeps the aspect ratio of images up to 2:1, with the same area as the square and an even number of patches
    per side (class aggregation pools 2 x 2 cells). Both test with detectron2's loader (`INPUT.FORMAT` is RGB).
    """
    single = Protocol(size=size)
    loaded = replace(
        single,
        colors="stored",
        loader=LoaderResize(shortest=640, longest=2560),
        selection=ClassSelection(keep=256, by="similarity"),
        sigmoid_first=True,
    )
    return {
        "auto": replace(single, multiple=2 * patch_size, max_aspect=2.0),
        "single": single,
        "official": replace(loaded, sliding=Sliding(canvas=640, window=384, stride=256), pooling=(1, 1)),
        "official-single": replace(loaded, pad_to=32),
    }


def frozen_clip_protocols(size: int) -> Protocols:
    """Protocols of plain CLIP, whose image encoder was trained on squares of `size` pixels.

    `auto` and `official` are the windows of SCLIP (Wang et al., arXiv:2312.01597) and NACLIP (Hajimiri et al.,
    arXiv:2404.08181): the shorter side is 1.5 times that of a window, windows are half their side apart, and cosines
    are averaged. Their encoder is ViT-B/16, with 336, 224 and 112 px, and their loader mmcv's (mmsegmentation 1.x).
    """
    single = Protocol(size=size)
    slide = replace(
        single,
        loader=LoaderResize(shortest=size * 3 // 2, longest=2048),
        sliding=Strides(window=size, stride=size // 2),
    )
    return {"auto": slide, "single": single, "official": replace(slide, colors="stored"), "official-single": single}
