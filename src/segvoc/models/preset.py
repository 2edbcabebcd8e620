"""`Preset`: a named network with its weights; and the presets that the sizes of a network have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import methodcaller
from typing import Any, Literal, NamedTuple

from torch import Tensor

from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, PublishedFile, UnconfirmedFile
from segvoc.encoders.vit import clip_seg_b16, vit_b16, vit_l14
from segvoc.inference.decision import PLAIN_DECISION, Decision
from segvoc.inference.protocols import Protocols
from segvoc.layers.cost_sum import COSINES, CosineLogits
from segvoc.models.decisions import FROZEN_DECISION, HALF
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.clip_network import (
    ClipNetworkConfig,
    EvaEncoders,
    OpenAIEncoders,
    TimmEncoders,
    frozen_clip_protocols,
)
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.networks.err_seg import ErrSegConfig, err_seg_state
from segvoc.networks.official_weights import network_state
from segvoc.networks.part_cat_seg import PartAggregationConfig, PartNetworkConfig, part_network_state
from segvoc.networks.syn_seg import (
    ConditionedDecoderConfig,
    Head,
    SynSegConfig,
    clip_seg_protocols,
    conditions_linearly,
    syn_seg_state,
)
from segvoc.storage.files import SHIPPED, read_json

Family = Literal["PCA-Seg", "CAT-Seg", "ERR-Seg", "SynSeg", "PartCATSeg", "PCA-Seg for parts"]
"""The papers' networks; all sizes share a test protocol."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named network."""

    summary: str
    family: Family | None = None
    """The paper's network; None for networks of other origins."""
    configuration: NetworkConfig
    """The complete configuration of the network."""
    build: Callable[[Any], SegmentationNetwork] = methodcaller("build")
    """The network of such a configuration."""
    templates_of: Callable[[Any], tuple[str, ...]] = methodcaller("templates")
    """Prompt templates for such a configuration; `{}` stands for the word."""
    protocols_of: Callable[[Any], Protocols] = methodcaller("protocols")
    decision: Decision = PLAIN_DECISION
    """What becomes of a pixel, by the preset's own weights; `segvoc.models.loading.decision_of` says what holds for
    others."""
    refines_edges: bool = False
    """Whether the edge refiner was trained on the network's features."""
    keeps_labels_in_bfloat16: bool = False
    """Whether bfloat16 gives at least 99.5 % of the pixels of photographs the same labels as float32, with the shipped
    weights. Not verified for published networks' or users' weights."""
    cosine_logits: CosineLogits = COSINES
    """Logits of a plain CLIP without an aggregation."""
    shipped: tuple[str, ...] = ()
    """Files in `SHIPPED` that together contain its weights."""
    record: str | None = None
    """JSON file in the same folder that documents their origin."""
    published: PublishedFile | None = None
    unconfirmed: UnconfirmedFile | None = None
    """Published weights that aren't fetched."""
    encoders: tuple[PublishedFile | UnconfirmedFile, ...] = ()
    """Published encoders that training starts from, in the order of `--encoder-weights`."""
    how_to_get: str = ""
    """Explains where to get weights if none ship with segvoc and none are published."""
    from_official: Callable[[Mapping[str, Tensor], SegmentationNetwork], dict[str, Tensor]] | None = None
    """Maps a released checkpoint's tensors to a network's state dict."""
    fit_to_official: Callable[[Mapping[str, Tensor], Any], Any] | None = None
    """The configuration for a released checkpoint, from its tensors and the preset's; None: the preset's."""

    @property
    def fetched_encoders(self) -> tuple[PublishedFile, ...]:
        """The encoders that training starts from, if all can be fetched; otherwise none."""
        published = tuple(file for file in self.encoders if isinstance(file, PublishedFile))
        return published if len(published) == len(self.encoders) else ()

    @property
    def protocols(self) -> Protocols:
        """Test protocols of the preset's network."""
        return self.protocols_of(self.configuration)

    def read_record(self) -> dict[str, Any]:
        """Metadata of the shipped weights: origin, licenses, data, command, date, sha256, scores."""
        return {} if self.record is None else read_json(SHIPPED / self.record)


class ClipTowers(NamedTuple):
    """A pair of published image and text encoders, with the description and the file of their initial weights."""

    name: str
    start: str
    file: PublishedFile | UnconfirmedFile
    encoders: EvaEncoders | OpenAIEncoders


def _declip(size: str, original: str) -> str:
    return f"EVA02-CLIP-{size} of DeCLIP (github.com/xiaomoguhz/DeCLIP, which distils it from EVA-CLIP's {original})"


EVA_B = ClipTowers(
    "EVA02-CLIP-B/16", _declip("B-16", "EVA02_CLIP_B_psz16_s8B.pt"), UNCONFIRMED["declip-b"], EvaEncoders(vit=vit_b16())
)
EVA_L = ClipTowers(
    "EVA02-CLIP-L/14",
    _declip("L-14-336", "EVA02_CLIP_L_336_psz14_s6B.pt"),
    UNCONFIRMED["declip-l"],
    EvaEncoders(vit=vit_l14()),
)
OPENAI_B = ClipTowers(
    "OpenAI CLIP ViT-B/16", "OpenAI's ViT-B-16.pt", PUBLISHED["openai-clip-b"], OpenAIEncoders(vit=vit_b16())
)
OPENAI_L = ClipTowers(
    "OpenAI CLIP ViT-L/14", "OpenAI's ViT-L-14-336px.pt", PUBLISHED["openai-clip-l"], OpenAIEncoders(vit=vit_l14())
)


def none_published(unconfirmed: UnconfirmedFile | None = None) -> str:
    """Why a preset's weights aren't fetched, as the beginning of a sentence."""
    if unconfirmed is None:
        return "segvoc knows of none that are published"
    return f"segvoc knows of none that are published and could be checked (unchecked: {unconfirmed.page})"


def clip_preset(
    network: Family,
    aggregation: CostAggregationConfig,
    towers: ClipTowers,
    published: PublishedFile | None = None,
    unconfirmed: UnconfirmedFile | None = None,
) -> Preset:
    """PCA-Seg or CAT-Seg with the encoders of a CLIP."""
    return Preset(
        summary=f"{network} with {towers.name} at {towers.encoders.input_size} px",
        family=network,
        configuration=ClipNetworkConfig(encoder=towers.encoders, aggregation=aggregation),
        published=published,
        unconfirmed=unconfirmed,
        encoders=(towers.file,),
        how_to_get=(
            f"{none_published(unconfirmed)}; train them, or give a checkpoint that the released code has trained, "
            f"from {towers.start}, or use these encoders alone with the option aggregation=none"
        ),
        from_official=network_state,
    )


FROZEN_LOGITS = CosineLogits(scale=40.0, likely=0.2)
"""Logits of CLIPs alone: the factor is that of SCLIP's and NACLIP's code, which apply a softmax; probability 0.5 is in
the middle of the range from 0 to 0.4, which CLIPScore (Hessel et al., EMNLP 2021) scales to 1. Not calibrated: words
can be compared, but probabilities are rough."""


def frozen_preset(
    title: str, encoder: EvaEncoders | OpenAIEncoders | TimmEncoders, file: PublishedFile | UnconfirmedFile | None
) -> Preset:
    """A published CLIP alone, in windows of its training size."""
    published = file if isinstance(file, PublishedFile) else None
    unconfirmed = file if isinstance(file, UnconfirmedFile) else None
    return Preset(
        summary=f"{title} alone, without training, in windows of {encoder.input_size} px",
        configuration=ClipNetworkConfig(encoder=encoder, aggregation=replace(CAT_SEG, kind="none"), prompts="imagenet"),
        protocols_of=lambda configuration: frozen_clip_protocols(configuration.input_size),
        decision=FROZEN_DECISION,
        cosine_logits=FROZEN_LOGITS,
        published=published,
        unconfirmed=unconfirmed,
        encoders=() if file is None else (file,),
        how_to_get="" if published else f"{none_published(unconfirmed)}; give those of {title}",
        from_official=partial(network_state, cosines=FROZEN_LOGITS),
    )


def frozen_vit_preset(title: str, encoder: EvaEncoders | OpenAIEncoders, file: PublishedFile) -> Preset:
    """A ViT CLIP alone, in NACLIP's dense mode; see `dense_modes.py`."""
    vit = replace(encoder.vit, input_size=encoder.vit.pretrained_size)
    return frozen_preset(title, replace(encoder, vit=vit, dense="naclip"), file)


def err_preset(
    encoder: Literal["convnext_base_w", "convnext_large_d", "vit_b16"],
    side: int,
    towers: str,
    encoders: PublishedFile | UnconfirmedFile,
) -> Preset:
    """ERR-Seg with one of its CLIPs."""
    is_vit = encoder == "vit_b16"
    start = OPENAI_B.start if is_vit else f"open_clip's {encoder}_320"
    unconfirmed = None if is_vit else UNCONFIRMED["err-seg"]
    return Preset(
        summary=f"ERR-Seg with {towers} at {side} px, for many words",
        family="ERR-Seg",
        configuration=ErrSegConfig(encoder=encoder, side=side, maps="single" if is_vit else "hierarchical"),
        unconfirmed=unconfirmed,
        encoders=(encoders,),
        how_to_get=(
            f"{none_published(unconfirmed)}; train them, or give a checkpoint of its authors' code (its towers start "
            f"from {start})"
        ),
        from_official=err_seg_state,
    )


def syn_configuration(official: Mapping[str, Tensor], configuration: SynSegConfig) -> SynSegConfig:
    """SynSeg's configuration for a released checkpoint, whose FiLM may be linear."""
    if not conditions_linearly(official):
        return configuration
    return replace(configuration, decoder=replace(configuration.decoder, film="linear"))


def clip_seg_preset(file: PublishedFile, head: Head) -> Preset:
    """CLIPSeg as published (Lüddecke and Ecker, CVPR 2022): each phrase has an independent probability."""
    return Preset(
        summary=f"CLIPSeg rd64 with the {head} head, for phrases, at 352 px",
        configuration=SynSegConfig(
            vit=clip_seg_b16(352), decoder=ConditionedDecoderConfig(head=head), prompts="bare", pixels="imagenet"
        ),
        protocols_of=lambda configuration: clip_seg_protocols(),
        decision=HALF,
        published=file,
        encoders=(PUBLISHED["openai-clip-b"],),
        from_official=syn_seg_state,
    )


def part_preset(
    network: Family,
    aggregation: PartAggregationConfig,
    clip_tuned: str,
    released: str,
    unconfirmed: UnconfirmedFile | None = None,
) -> Preset:
    """PartCATSeg, or PCA-Seg's part mode."""
    return Preset(
        summary=f"{network}: parts of objects, with OpenAI CLIP ViT-B/16 at 384 px and DINOv2 ViT-S/14 at 448 px",
        family=network,
        configuration=PartNetworkConfig(vit=vit_b16(), clip_tuned=clip_tuned, aggregation=aggregation),
        decision=HALF,
        unconfirmed=unconfirmed,
        encoders=(PUBLISHED["openai-clip-b"], PUBLISHED["dinov2-s"]),
        how_to_get=(
            f"{none_published(unconfirmed)}; {released}; train them from OpenAI's ViT-B-16.pt and DINOv2's ViT-S/14"
        ),
        from_official=part_network_state,
    )
