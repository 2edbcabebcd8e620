"""The table of presets: the configuration, protocols, prompts and weights of each named network."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor

from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, PublishedFile, UnconfirmedFile
from segvoc.encoders.prompts import IMAGENET_TEMPLATES
from segvoc.encoders.vit import TIMM_CLIPS, clip_seg_b16, vit_b16, vit_l14
from segvoc.inference import protocols
from segvoc.inference.confidence import ConfidenceModel
from segvoc.inference.decision import PLAIN_DECISION, Decision, StandIns
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols, Strides
from segvoc.layers.cost_sum import COSINES, CosineLogits
from segvoc.layers.selection import ClassSelection
from segvoc.models import builders
from segvoc.models.catalog import unknown_model
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.cost_aggregation_config import (
    ClipNetworkConfig,
    CostAggregationConfig,
    EvaEncoders,
    OpenAIEncoders,
    TimmEncoders,
)
from segvoc.networks.err_seg import ErrSegConfig, err_seg_state
from segvoc.networks.official_weights import network_state
from segvoc.networks.part_cat_seg import (
    PART_CAT_SEG,
    PCA_PART,
    PartAggregationConfig,
    PartNetworkConfig,
    part_network_state,
)
from segvoc.networks.pca_seg import PCA_SEG
from segvoc.networks.syn_seg import ConditionedDecoderConfig, Head, SynSegConfig, conditions_linearly, syn_seg_state
from segvoc.networks.tiny import TinyConfig
from segvoc.storage.files import SHIPPED


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
SYN_TEMPLATE = "a photo of a {}."
"""Prompt template of TCL's evaluation; the SynSeg paper doesn't specify one."""

TCL_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "a photo of {}s.",
)
"""Prompt templates of TCL's final evaluation: CLIP's seven best for ImageNet, and two more."""

CLIP_TEMPLATE = "A photo of a {} in the scene"
"""Prompt template of the published networks."""

Family = Literal["PCA-Seg", "CAT-Seg", "ERR-Seg", "SynSeg", "PartCATSeg", "PCA-Seg for parts"]
"""The papers' networks; all sizes share a test protocol."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named network."""

    summary: str
    family: Family | None = None
    """The paper's network; None for networks of other origins."""
    configuration: builders.NetworkConfig
    """The complete configuration of the network."""
    build: Callable[[Any], SegmentationNetwork]
    templates_of: Callable[[Any], tuple[str, ...]]
    """Prompt templates for such a configuration; `{}` stands for the word."""
    protocols_of: Callable[[Any], Protocols]
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

    @property
    def templates(self) -> tuple[str, ...]:
        """Prompt templates of the preset's network."""
        return self.templates_of(self.configuration)

    def read_record(self) -> dict[str, Any]:
        """Metadata of the shipped weights: origin, licenses, data, command, date, sha256, scores."""
        return {} if self.record is None else json.loads((SHIPPED / self.record).read_text(encoding="utf-8"))


def _none_published(unconfirmed: UnconfirmedFile | None = None) -> str:
    """Why a preset's weights aren't fetched, as the beginning of a sentence."""
    if unconfirmed is None:
        return "segvoc knows of none that are published"
    return f"segvoc knows of none that are published and could be checked (unchecked: {unconfirmed.page})"


def _clip_preset(
    network: Family,
    aggregation: CostAggregationConfig,
    towers: ClipTowers,
    published: PublishedFile | None = None,
    unconfirmed: UnconfirmedFile | None = None,
) -> Preset:
    return Preset(
        summary=f"{network} with {towers.name} at {towers.encoders.input_size} px",
        family=network,
        configuration=ClipNetworkConfig(encoder=towers.encoders, aggregation=aggregation),
        build=builders.build_clip_network,
        templates_of=_clip_templates,
        protocols_of=lambda configuration: protocols.clip_protocols(
            configuration.encoder.input_size, configuration.encoder.stride
        ),
        published=published,
        encoders=(towers.file,),
        how_to_get=(
            f"{_none_published(unconfirmed)}; train them, or give a checkpoint that the released code has trained, "
            f"from {towers.start}, or use these encoders alone with the option aggregation=none"
        ),
        from_official=network_state,
    )


def _clip_templates(configuration: ClipNetworkConfig) -> tuple[str, ...]:
    return IMAGENET_TEMPLATES if configuration.prompts == "imagenet" else (CLIP_TEMPLATE,)


FROZEN_LOGITS = CosineLogits(scale=40.0, likely=0.2)
"""Logits of CLIPs alone: the factor is that of SCLIP's and NACLIP's code, which apply a softmax; probability 0.5 is in
the middle of the range from 0 to 0.4, which CLIPScore (Hessel et al., EMNLP 2021) scales to 1. Not calibrated: words
can be compared, but probabilities are rough."""

SURROUNDINGS = (
    "banner", "bridge", "counter", "curtain", "door", "wood floor", "gravel", "house", "mirror", "net", "platform",
    "playing field", "railroad", "river", "road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent",
    "brick wall", "stone wall", "tile wall", "wood wall", "water", "window blind", "window", "tree", "fence",
    "ceiling", "sky", "cabinet", "floor", "pavement", "mountain", "grass", "dirt", "building", "rock", "wall", "rug",
)  # fmt: skip
"""Words for surroundings that stand for the background: the stuff classes of COCO panoptic (Kirillov et al., CVPR
2019), except those that are often used as things, such as food and flowers."""

HALF = Decision(parts_against="half")
"""Of networks that were trained on parts, or on phrases with independent probabilities."""

FROZEN_DECISION = Decision(
    stand_ins=StandIns(words=SURROUNDINGS, similarity=0.95, threshold=0.0), parts_against="contrast"
)
"""The background of CLIPs alone is where one of its stand-ins is the likeliest word, as in SCLIP's settings for PASCAL
VOC. There is no threshold, since probabilities are rough, and CLIP's word embeddings are close to each other, so only
stand-ins that are almost the same as a word are left out. Not measured here."""


def _frozen_preset(
    title: str, encoder: EvaEncoders | OpenAIEncoders | TimmEncoders, file: PublishedFile | UnconfirmedFile
) -> Preset:
    """A published CLIP alone, in windows of its training size."""
    published = file if isinstance(file, PublishedFile) else None
    return Preset(
        summary=f"{title} alone, without training, in windows of {encoder.input_size} px",
        configuration=ClipNetworkConfig(encoder=encoder, aggregation=replace(CAT_SEG, kind="none"), prompts="imagenet"),
        build=builders.build_clip_network,
        templates_of=_clip_templates,
        protocols_of=lambda configuration: protocols.frozen_clip_protocols(configuration.encoder.input_size),
        decision=FROZEN_DECISION,
        cosine_logits=FROZEN_LOGITS,
        published=published,
        encoders=(file,),
        how_to_get="" if published else f"{_none_published(UNCONFIRMED[file.name])}; give those of {title}",
        from_official=partial(network_state, cosines=FROZEN_LOGITS),
    )


def _frozen_vit_preset(title: str, encoder: EvaEncoders | OpenAIEncoders, file: PublishedFile) -> Preset:
    """A ViT CLIP alone, in NACLIP's dense mode; see `dense_modes.py`."""
    vit = replace(encoder.vit, input_size=encoder.vit.pretrained_size)
    return _frozen_preset(title, replace(encoder, vit=vit, dense="naclip"), file)


def _err_preset(
    encoder: Literal["convnext_base_w", "convnext_large_d", "vit_b16"],
    side: int,
    towers: str,
    encoders: PublishedFile | UnconfirmedFile,
) -> Preset:
    is_vit = encoder == "vit_b16"
    start = OPENAI_B.start if is_vit else f"open_clip's {encoder}_320"
    return Preset(
        summary=f"ERR-Seg with {towers} at {side} px, for many words",
        family="ERR-Seg",
        configuration=ErrSegConfig(encoder=encoder, side=side, maps="single" if is_vit else "hierarchical"),
        build=builders.build_err_seg,
        templates_of=lambda configuration: (CLIP_TEMPLATE,),
        protocols_of=lambda configuration: protocols.err_protocols(configuration.side, configuration.votes),
        encoders=(encoders,),
        how_to_get=(
            f"{_none_published(None if is_vit else UNCONFIRMED['err-seg'])}; train them, or give a checkpoint of its "
            f"authors' code (its towers start from {start})"
        ),
        from_official=err_seg_state,
    )


def _syn_configuration(official: Mapping[str, Tensor], configuration: SynSegConfig) -> SynSegConfig:
    if not conditions_linearly(official):
        return configuration
    return replace(configuration, decoder=replace(configuration.decoder, film="linear"))


def _syn_templates(configuration: SynSegConfig) -> tuple[str, ...]:
    return {"one": (SYN_TEMPLATE,), "tcl": TCL_TEMPLATES, "bare": ("{}",)}[configuration.prompts]


def _clip_seg_preset(file: PublishedFile, head: Head) -> Preset:
    """CLIPSeg as published (Lüddecke and Ecker, CVPR 2022): each phrase has an independent probability."""
    return Preset(
        summary=f"CLIPSeg rd64 with the {head} head, for phrases, at 352 px",
        configuration=SynSegConfig(
            vit=clip_seg_b16(352), decoder=ConditionedDecoderConfig(head=head), prompts="bare", pixels="imagenet"
        ),
        build=builders.build_syn_seg,
        templates_of=_syn_templates,
        protocols_of=lambda configuration: protocols.clip_seg_protocols(),
        decision=HALF,
        published=file,
        encoders=(PUBLISHED["openai-clip-b"],),
        from_official=syn_seg_state,
    )


def _part_preset(
    network: Family,
    aggregation: PartAggregationConfig,
    clip_tuned: str,
    released: str,
    unconfirmed: UnconfirmedFile | None = None,
) -> Preset:
    return Preset(
        summary=f"{network}: parts of objects, with OpenAI CLIP ViT-B/16 at 384 px and DINOv2 ViT-S/14 at 448 px",
        family=network,
        configuration=PartNetworkConfig(vit=vit_b16(), clip_tuned=clip_tuned, aggregation=aggregation),
        build=builders.build_part_network,
        templates_of=lambda configuration: IMAGENET_TEMPLATES,
        protocols_of=lambda configuration: protocols.part_protocols(448),
        decision=HALF,
        encoders=(PUBLISHED["openai-clip-b"], PUBLISHED["dinov2-s"]),
        how_to_get=(
            f"{_none_published(unconfirmed)}; {released}; train them from OpenAI's ViT-B-16.pt and DINOv2's ViT-S/14"
        ),
        from_official=part_network_state,
    )


TINY_SELECTION = ClassSelection(share=0.98, least=16)
"""Class selection of `tiny`: keeps all of up to 16 words, otherwise those with nearly all votes."""


def tiny_protocols() -> Protocols:
    """Protocols of `tiny`; apart from `auto` and `fine`, every image is squashed to a square.

    `fine` has windows of the shorter side, two for images up to 7:4: twice the time of `auto`.
    """
    side = protocols.SHIPPED_VIEW.size
    single = Protocol(size=side, selection=TINY_SELECTION)
    fine = replace(
        single,
        loader=LoaderResize(shortest=side, longest=8 * side),
        sliding=Strides(window=side, stride=side * 3 // 4),
    )
    return {
        "auto": replace(protocols.SHIPPED_VIEW, selection=TINY_SELECTION),
        "single": single,
        "official": single,
        "official-single": single,
        "fine": fine,
    }


TINY_CONFIDENCE = ConfidenceModel(
    slope=0.638,
    bias=-1.0794,
    word=(-0.2224, 0.3702, -0.5097, -0.4686, -0.1087, 2.3402),
    image=(
        -0.1921, 0.3054, -0.3942, 0.3179, 0.5814, -0.671, -0.0055, 0.672, 0.0221, 0.4067, -0.793, 1.3, -0.5525, -4.0,
    ),
)  # fmt: skip
"""Confidence of `tiny`, fitted by tools/tiny/confidence.py."""

TINY_DECISION = Decision(
    stand_ins=StandIns(
        words=(*SURROUNDINGS, "bed"),  # pets on beds lie on no sofa
        similarity=0.6,
        threshold=0.3,
        margin=0.5,
    ),
    common=(
        ("wall", "brick wall", "stone wall", "tile wall", "wood wall"),
        ("sky",),
        ("sea", "water", "river"),
        ("grass", "playing field"),
        ("tree",),
        ("road", "pavement", "railroad", "gravel", "dirt", "floor", "wood floor"),
        ("floor", "wood floor", "rug", "pavement", "road", "dirt"),
        ("building", "house"),
    ),
    most_open=8,
    wholes=("person", "car"),
    lead=1.0,
    parts_against="contrast",
    confidence=TINY_CONFIDENCE,
    better="cat-seg-b (0.8 GB once, 1 to 3 seconds an image on two cores)",
    tells_colors=False,
    # of photographs that are more than half right a tenth are below, of photographs of other things 60 %
    unsure_below=0.22,
    windows=("auto", "single", "official", "official-single", "fine"),
    weights="93739061a7d57673ecff1e9905ba308d9e7ca1c33853e5c722882224b376dea3",
)
"""What becomes of a pixel of `tiny`; fitted by the scripts of tools/tiny."""

PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        summary="ships with segvoc: EfficientNet-Lite2 and MiniLM, for any photograph and any words, on a laptop",
        configuration=TinyConfig(),
        build=builders.build_tiny,
        templates_of=lambda configuration: ("{}",),
        protocols_of=lambda configuration: tiny_protocols(),
        decision=TINY_DECISION,
        refines_edges=True,
        shipped=("minilm_l6.safetensors", "tiny.safetensors"),
        keeps_labels_in_bfloat16=True,
        record="tiny.json",
    ),
    "pca-seg-b": _clip_preset("PCA-Seg", PCA_SEG, EVA_B),
    "pca-seg-l": _clip_preset("PCA-Seg", PCA_SEG, EVA_L),
    "pca-seg-clip-b": _clip_preset("PCA-Seg", PCA_SEG, OPENAI_B),
    "pca-seg-clip-l": _clip_preset("PCA-Seg", PCA_SEG, OPENAI_L),
    "cat-seg-b": _clip_preset("CAT-Seg", CAT_SEG, OPENAI_B, PUBLISHED["cat-seg-b"]),
    "cat-seg-l": _clip_preset("CAT-Seg", CAT_SEG, OPENAI_L, PUBLISHED["cat-seg-l"]),
    "cat-seg-eva-b": _clip_preset("CAT-Seg", CAT_SEG, EVA_B, unconfirmed=UNCONFIRMED["cat-seg-declip-b"]),
    "cat-seg-eva-l": _clip_preset("CAT-Seg", CAT_SEG, EVA_L),
    "err-seg-b": _err_preset("convnext_base_w", 640, "CLIP-ConvNeXt-B", UNCONFIRMED["convnext-clip-b"]),
    "err-seg-l": _err_preset("convnext_large_d", 768, "CLIP-ConvNeXt-L", PUBLISHED["convnext-clip-l"]),
    "err-seg-vit-b": _err_preset("vit_b16", 384, OPENAI_B.name, PUBLISHED["openai-clip-b"]),
    "part-cat-seg-b": _part_preset(
        "PartCATSeg",
        PART_CAT_SEG,
        "",
        "give a checkpoint that its authors' code has trained",
        UNCONFIRMED["part-cat-seg"],
    ),
    "pca-part-b": _part_preset("PCA-Seg for parts", PCA_PART, "qv", "its authors released no code for it"),
    "syn-seg-b": Preset(
        summary="SynSeg with OpenAI CLIP ViT-B/16 at 224 px, which learns from captions alone",
        family="SynSeg",
        configuration=SynSegConfig(vit=clip_seg_b16(), decoder=ConditionedDecoderConfig(film="mlp")),
        build=builders.build_syn_seg,
        templates_of=_syn_templates,
        protocols_of=lambda configuration: protocols.syn_protocols(),
        encoders=(PUBLISHED["openai-clip-b"],),
        how_to_get=(
            f"{_none_published()}; train them from captions with OpenAI's ViT-B-16.pt, or take the same network with "
            "CLIPSeg's weights, clipseg-rd64"
        ),
        from_official=syn_seg_state,
        fit_to_official=_syn_configuration,
    ),
    "clipseg": _clip_seg_preset(PUBLISHED["clipseg-rd64-refined"], "refined"),
    "clipseg-rd64": _clip_seg_preset(PUBLISHED["clipseg-rd64"], "plain"),
    "clip-b": _frozen_vit_preset("OpenAI CLIP ViT-B/16", OPENAI_B.encoders, PUBLISHED["openai-clip-b"]),
    "clip-l": _frozen_vit_preset("OpenAI CLIP ViT-L/14", OPENAI_L.encoders, PUBLISHED["openai-clip-l"]),
    "eva-clip-b": _frozen_vit_preset("EVA02-CLIP-B/16", EVA_B.encoders, PUBLISHED["eva02-clip-b"]),
    "eva-clip-l": _frozen_vit_preset("EVA02-CLIP-L/14", EVA_L.encoders, PUBLISHED["eva02-clip-l"]),
    **{
        name: _frozen_preset(sizes.title, TimmEncoders(kind=name, side=sizes.pretrained_size), UNCONFIRMED[name])
        for name, sizes in TIMM_CLIPS.items()
    },
}


def find_preset(name: str) -> Preset:
    """Look up a preset; the `UsageError` for an unknown name lists the known names."""
    if name not in PRESETS:
        raise unknown_model(name)
    return PRESETS[name]
