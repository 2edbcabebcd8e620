"""The one table of networks: for each name its sizes, protocols and prompts, and where its weights come from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor, nn

from segvoc.checkpoints.published import PUBLISHED, PublishedWeights
from segvoc.encoders.base import ImageEncoder
from segvoc.encoders.imagenet_templates import IMAGENET_TEMPLATES
from segvoc.encoders.vit import VitConfig, clip_seg_b16, vit_b16, vit_l14
from segvoc.errors import UsageError
from segvoc.inference.part_labels import PartsAgainst
from segvoc.inference.protocols import (
    Protocol,
    Protocols,
    clip_protocols,
    err_protocols,
    part_protocols,
    syn_protocols,
)
from segvoc.layers.aggregation import DecoderSizes
from segvoc.layers.class_selection import ClassSelection, OwnSelection, Voted, VotedShare, Votes
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.options import AGGREGATION_OPTIONS, ERR_OPTIONS, PART_OPTIONS, SYN_OPTIONS, Options
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PCA_PART, PartAggregation, PartAggregationConfig, PartNetwork
from segvoc.networks.pca_seg import PCA_SEG, CostAggregation, CostAggregationConfig, SegmentationNetwork
from segvoc.networks.stream_fusions import ConcatenatedStreams
from segvoc.networks.syn_seg import SynSeg, SynSegConfig

WEIGHTS = Path(__file__).parents[1] / "weights"
"""The folder of the weights that ship with the package."""

FAMILIAR_WORDS = 190
"""Words that tiny's projections were trained on."""

TINY = CostAggregationConfig(
    costs=3,
    appearance_channels=472,
    skip=partial(CostSum, familiar_words=FAMILIAR_WORDS, channels=384),
    dim=48,
    guidance_dim=48,
    heads=3,
    window=7,
    blocks=1,
    pad_classes=0,
    fuse=ConcatenatedStreams,
    decoder_sizes=DecoderSizes(lifts=(), taps=(48, 24), guidance=(8, 8), stages=(32, 16)),
)
"""tiny's own aggregation: what one small block adds to the sum of its costs."""

TINY_PARTS = PartAggregationConfig(
    costs=3,
    prompts=1,
    appearance_channels=TINY.appearance_channels,
    skip=TINY.skip,
    dim=48,
    guidance_dim=48,
    heads=3,
    window=7,
    blocks=1,
    decoder_sizes=TINY.decoder_sizes,
)
"""PartCATSeg's aggregation in small, on the towers of tiny: what it adds to the sums of their costs."""

TINY_SYNERGY = SynSegConfig(hidden=128, finer=8, pooled="visual", skip=CostSum)
"""SynSeg's decoder on tiny's towers: small, and added to the cost that no mask has taught."""

SYN_TEMPLATE = "a photo of a {}."
"""The template of TCL's evaluation; the paper of SynSeg names none."""

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
"""The templates of TCL's final evaluation: CLIP's seven best for ImageNet, and two more."""

CLIP_TEMPLATE = "A photo of a {} in the scene"
"""The template of the published networks."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A network by name.

    summary: one line. build: makes it with random weights, as `Options` want it. templates: prompts, `{}` stands for
    the word. protocols: the ways of a picture through it. protocols_of_side: these for another side of the square, of
    networks that read any. own_selection: of classes, where none is asked for; by default what the protocol says.
    parts_against: where a pixel of an object has one of its parts at all. shipped: files in `WEIGHTS` that together are
    its weights. record: JSON file there that tells their origin. published: weights that are fetched when they are
    first asked for. how_to_get: where weights come from if none ship and none are published. from_official: key map of
    released checkpoints. begin: what a new aggregation takes from the towers before it learns.
    """

    summary: str
    build: Callable[[Options], SegmentationNetwork]
    templates: tuple[str, ...]
    protocols: Protocols
    protocols_of_side: Callable[[int], Protocols] | None = None
    own_selection: OwnSelection | None = None
    parts_against: PartsAgainst = "object"
    shipped: tuple[str, ...] = ()
    record: str | None = None
    published: PublishedWeights | None = None
    how_to_get: str = ""
    from_official: Callable[[Mapping[str, Tensor], SegmentationNetwork], dict[str, Tensor]] | None = None
    begin: Callable[[SegmentationNetwork], None] | None = None

    def protocols_with(self, options: Options) -> Protocols:
        """The ways of a picture through the network that `options` make of it."""
        if options.side is None or self.protocols_of_side is None:
            return self.protocols
        return self.protocols_of_side(options.side)

    def templates_with(self, options: Options) -> tuple[str, ...]:
        """The prompts of the network that `options` make of it."""
        return TCL_TEMPLATES if options.prompts == "tcl" else self.templates

    def read_record(self) -> dict[str, Any]:
        """What is known of the shipped weights: origin, licences, data, command, date, sha256, scores."""
        return {} if self.record is None else json.loads((WEIGHTS / self.record).read_text(encoding="utf-8"))


def _eva(vit: VitConfig, config: CostAggregationConfig, options: Options) -> SegmentationNetwork:
    # towers are imported where they are built: their libraries take seconds, and no model needs them all
    from segvoc.encoders.clip_text import ClipTextEncoder, eva_text
    from segvoc.encoders.eva_clip import EvaClipConfig, EvaClipImageEncoder

    options.refuse_all_but((*AGGREGATION_OPTIONS, "dense"), "a network on EVA towers")
    image_encoder = EvaClipImageEncoder(EvaClipConfig(vit=vit, dense=options.dense or "csa"))
    text_encoder = ClipTextEncoder(eva_text(vit.channels))
    return SegmentationNetwork(image_encoder, text_encoder, options.build_aggregation(config, image_encoder))


def _openai(vit: VitConfig, config: CostAggregationConfig, options: Options) -> SegmentationNetwork:
    from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
    from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

    options.refuse_all_but(AGGREGATION_OPTIONS, "a network on OpenAI's towers")
    image_encoder, text_encoder = OpenAIClipImageEncoder(vit), ClipTextEncoder(openai_text(vit.channels))
    return SegmentationNetwork(image_encoder, text_encoder, options.build_aggregation(config, image_encoder))


def _err(size: Literal["b", "l"], options: Options) -> SegmentationNetwork:
    from segvoc.encoders.clip_text import ClipTextEncoder, convnext_text
    from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder, convnext_base_w, convnext_large_d
    from segvoc.networks.err_seg import ErrAggregation, ErrSegConfig, StarMLP, VanillaMLP

    options.refuse_all_but(ERR_OPTIONS, "ERR-Seg")
    if options.aggregation == "features":
        raise UsageError("ERR-Seg aggregates costs; aggregation=none leaves its towers alone, features has no meaning")
    tower, layers = (convnext_base_w(), 12) if size == "b" else (convnext_large_d(), 16)
    hierarchical, taught_by = options.maps != "single", options.stage_4_gradient or "both"
    side = options.side or tower.input_size
    image_encoder = ConvNextClipImageEncoder(
        replace(tower, hierarchical=hierarchical, stage_4_gradient=taught_by, input_size=side)
    )
    text_encoder = ClipTextEncoder(convnext_text(tower.channels, layers))
    changes = {
        "spatial_reduction": options.ssr,
        "class_reduction": options.csr,
        "blocks": options.blocks,
        "streams": options.streams,
        "mlp": VanillaMLP if options.mlp == "vanilla" else StarMLP,
    }
    if options.aggregation == "none":
        return SegmentationNetwork(image_encoder, text_encoder, NoAggregation(CostSum(2 if hierarchical else 1)))
    taps = image_encoder.tap_channels
    config = ErrSegConfig(
        decoder_sizes=replace(ErrSegConfig().decoder_sizes, taps=taps[1:]),
        **{name: value for name, value in changes.items() if value is not None},
    )
    aggregation = ErrAggregation(config, tower.channels, taps, maps=2 if hierarchical else 1)
    return SegmentationNetwork(image_encoder, text_encoder, aggregation)


def _part(config: PartAggregationConfig, clip_tuned: str, options: Options) -> SegmentationNetwork:
    from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
    from segvoc.encoders.clip_with_dino import ClipWithDino

    options.refuse_all_but(PART_OPTIONS, "a network of parts")
    vit = vit_b16()
    image_encoder = ClipWithDino(vit, clip_tuned=clip_tuned)
    text_encoder = ClipTextEncoder(replace(openai_text(vit.channels), fine_tuned=""))
    return _of_parts(config, image_encoder, text_encoder, options)


def _of_parts(
    config: PartAggregationConfig, image_encoder: nn.Module, text_encoder: nn.Module, options: Options
) -> SegmentationNetwork:
    tower = cast(ImageEncoder, image_encoder)
    if options.aggregation == "none":
        return SegmentationNetwork(image_encoder, text_encoder, options.build_aggregation(config, image_encoder))
    if options.aggregation not in (None, "parts"):
        raise UsageError(f"a network of parts has the aggregations parts and none, not {options.aggregation}")
    changed = cast(PartAggregationConfig, options.changed(config))
    return PartNetwork(image_encoder, text_encoder, PartAggregation(changed, tower.channels, tower.tap_channels))


def _tiny(options: Options) -> SegmentationNetwork:
    from segvoc.encoders.efficientnet import EfficientNetLite
    from segvoc.encoders.minilm import MiniLM

    if options.aggregation == "synergy":
        options.refuse_all_but(("aggregation", "film", "pooled"), "tiny with SynSeg's decoder")
        image_encoder = EfficientNetLite()
        return SynSeg(image_encoder, MiniLM(), options.build_decoder(TINY_SYNERGY, image_encoder))
    options.refuse_all_but(AGGREGATION_OPTIONS, "tiny")
    if options.aggregation == "parts":
        return _of_parts(TINY_PARTS, EfficientNetLite(own_appearance=True), MiniLM(), options)
    image_encoder = EfficientNetLite(own_appearance=not options.chosen())
    taps = image_encoder.tap_channels
    if not options.chosen():
        aggregation = CostAggregation(TINY, image_encoder.channels, taps)
    else:
        sizes = DecoderSizes(lifts=(), taps=taps, guidance=(16, 8), stages=(32, 16))
        config = CostAggregationConfig(
            costs=3, skip=TINY.skip, dim=64, guidance_dim=64, window=14, blocks=2, decoder_sizes=sizes
        )
        aggregation = options.build_aggregation(config, image_encoder)
    return SegmentationNetwork(image_encoder, MiniLM(), aggregation)


def _begin_tiny(network: SegmentationNetwork) -> None:
    """SynSeg's decoder on tiny's towers begins as the cost: it reads the map in the words' space."""
    if isinstance(network, SynSeg):
        network.aggregation.begin_as_cost(cast(Tensor, network.image_encoder.class_embeddings))


def _syn(options: Options) -> SegmentationNetwork:
    from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
    from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

    options.refuse_all_but(SYN_OPTIONS, "SynSeg")
    image_encoder = OpenAIClipImageEncoder(clip_seg_b16())
    # CLIPSeg's FiLM has learnt from embeddings as they come
    text_encoder = ClipTextEncoder(replace(openai_text(image_encoder.channels), unit_length=False))
    return SynSeg(image_encoder, text_encoder, options.build_decoder(SynSegConfig(), image_encoder))


def _from_official(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    from segvoc.checkpoints.official_cost_aggregation import network_state

    return network_state(official, network)


@dataclass(frozen=True, kw_only=True)
class _Towers:
    """A pair of published towers. name: as people call it. start: the file that training starts from."""

    name: str
    start: str
    vit: VitConfig
    build: Callable[[VitConfig, CostAggregationConfig, Options], SegmentationNetwork]


def _declip(size: str, original: str) -> str:
    return f"EVA02-CLIP-{size} of DeCLIP (github.com/xiaomoguhz/DeCLIP, which distils it from EVA-CLIP's {original})"


_EVA_B = _Towers(name="EVA02-CLIP-B/16", start=_declip("B-16", "EVA02_CLIP_B_psz16_s8B.pt"), vit=vit_b16(), build=_eva)
_EVA_L = _Towers(
    name="EVA02-CLIP-L/14", start=_declip("L-14-336", "EVA02_CLIP_L_336_psz14_s6B.pt"), vit=vit_l14(), build=_eva
)
_OPENAI_B = _Towers(name="OpenAI CLIP ViT-B/16", start="OpenAI's ViT-B-16.pt", vit=vit_b16(), build=_openai)
_OPENAI_L = _Towers(name="OpenAI CLIP ViT-L/14", start="OpenAI's ViT-L-14-336px.pt", vit=vit_l14(), build=_openai)


def _clip_preset(
    network: str, config: CostAggregationConfig, towers: _Towers, published: PublishedWeights | None = None
) -> Preset:
    return Preset(
        summary=f"{network} with {towers.name} at {towers.vit.input_size} px",
        build=partial(towers.build, towers.vit, config),
        templates=(CLIP_TEMPLATE,),
        protocols=clip_protocols(towers.vit.input_size, towers.vit.patch_size),
        published=published,
        how_to_get=(
            "segvoc knows of none that are published; give a checkpoint that the released code has trained, from "
            f"{towers.start}, or these towers alone with the option aggregation=none"
        ),
        from_official=_from_official,
    )


def _err_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    from segvoc.checkpoints.official_err_seg import err_seg_state

    return err_seg_state(official, network)


def _err_selection(classes: int, votes: Votes) -> ClassSelection:
    from segvoc.networks.err_seg import own_kept

    return Voted(own_kept(classes), votes)


def _err_preset(size: Literal["b", "l"], side: int, towers: str, start: str) -> Preset:
    return Preset(
        summary=f"ERR-Seg with {towers} at {side} px, for many words",
        build=partial(_err, size),
        templates=(CLIP_TEMPLATE,),
        protocols=err_protocols(side),
        protocols_of_side=err_protocols,
        own_selection=_err_selection,
        how_to_get=(
            "segvoc knows of none that are published and could be checked; give a checkpoint of its authors' code "
            f"(its towers start from open_clip's {start})"
        ),
        from_official=_err_state,
    )


def _syn_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    from segvoc.checkpoints.official_syn_seg import syn_seg_state

    return syn_seg_state(official, network)


def tiny_selection(classes: int, votes: Votes) -> ClassSelection:
    """The words that tiny goes on with: all of up to 24, of more those with nearly all votes, as it has learnt to."""
    return VotedShare(share=0.98, least=24, votes=votes)


def _tiny_protocols() -> Protocols:
    single = Protocol(size=448)
    # photographs up to 2:1 score the same or better as squares than in their own shape (LOG.md)
    shaped = replace(single, multiple=32, squash=2.0, max_aspect=4.0)
    return {"auto": shaped, "single": single, "official": single, "official-single": single}


def _part_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    from segvoc.checkpoints.official_part_cat_seg import part_network_state

    return part_network_state(official, network)


def _part_preset(network: str, config: PartAggregationConfig, clip_tuned: str, released: str) -> Preset:
    return Preset(
        summary=f"{network}: parts of objects, with OpenAI CLIP ViT-B/16 at 384 px and DINOv2 ViT-S/14 at 448 px",
        build=partial(_part, config, clip_tuned),
        templates=IMAGENET_TEMPLATES,
        protocols=part_protocols(448),
        how_to_get=(
            f"segvoc knows of none that are published and could be checked; {released}; a training starts from "
            "OpenAI's ViT-B-16.pt and DINOv2's dinov2_vits14_pretrain.pth"
        ),
        from_official=_part_state,
    )


PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        summary="ships with segvoc: EfficientNet-Lite2 and MiniLM, for any photograph and any words, on a laptop",
        build=_tiny,
        templates=("{}",),
        protocols=_tiny_protocols(),
        own_selection=tiny_selection,
        begin=_begin_tiny,
        shipped=("minilm_l6.safetensors", "tiny.safetensors"),
        record="tiny.json",
    ),
    "pca-seg-b": _clip_preset("PCA-Seg", PCA_SEG, _EVA_B),
    "pca-seg-l": _clip_preset("PCA-Seg", PCA_SEG, _EVA_L),
    "pca-seg-clip-b": _clip_preset("PCA-Seg", PCA_SEG, _OPENAI_B),
    "pca-seg-clip-l": _clip_preset("PCA-Seg", PCA_SEG, _OPENAI_L),
    "cat-seg-b": _clip_preset("CAT-Seg", CAT_SEG, _OPENAI_B, PUBLISHED["cat-seg-b"]),
    "cat-seg-l": _clip_preset("CAT-Seg", CAT_SEG, _OPENAI_L, PUBLISHED["cat-seg-l"]),
    "cat-seg-eva-b": _clip_preset("CAT-Seg", CAT_SEG, _EVA_B),
    "cat-seg-eva-l": _clip_preset("CAT-Seg", CAT_SEG, _EVA_L),
    "err-seg-b": _err_preset("b", 640, "CLIP-ConvNeXt-B", "convnext_base_w_320"),
    "err-seg-l": _err_preset("l", 768, "CLIP-ConvNeXt-L", "convnext_large_d_320"),
    "part-cat-seg-b": _part_preset(
        "PartCATSeg", PART_CAT_SEG, "", "give a checkpoint that its authors' code has trained"
    ),
    "pca-part-b": _part_preset("PCA-Seg's part mode", PCA_PART, "qv", "its authors released no code for it"),
    "syn-seg-b": Preset(
        summary="SynSeg with OpenAI CLIP ViT-B/16 at 224 px, which learns from captions alone",
        build=_syn,
        templates=(SYN_TEMPLATE,),
        protocols=syn_protocols(),
        how_to_get=(
            "segvoc knows of none that are published; train them from captions with OpenAI's ViT-B-16.pt, or convert "
            "CLIPSeg's, which the same network reads"
        ),
        from_official=_syn_state,
    ),
}
"""Every preset, by name."""


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises: UsageError: there is none of that name; the names are listed.
    """
    if name not in PRESETS:
        raise UsageError(f"model {name!r} is unknown; it is one of {', '.join(PRESETS)}, or a .safetensors of segvoc")
    return PRESETS[name]
