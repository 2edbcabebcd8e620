"""PartCATSeg: refines objects and generic parts, then the parts of each object from both.

Choi et al., "Fine-Grained Image-Text Correspondence with Cost Aggregation for Open-Vocabulary Part Segmentation", CVPR
2025. The architecture follows the released code, which refines objects and generic parts together in one aggregation
and applies the softmax of class attention over the queries. PCA-Seg's part mode is the same network with parallel
blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Unpack, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, inside, renamed, shapes_of, with_prefixes
from segvoc.encoders.base import ImageEncoder, ImageFeatures
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.encoders.prompts import IMAGENET_TEMPLATES, PartWordEncoder, PartWords
from segvoc.encoders.vit import VitConfig
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols
from segvoc.layers.aggregation import DecoderSizes, cost_volumes
from segvoc.layers.aggregation_context import AggregationContext, ForwardOptions
from segvoc.layers.class_selection import SelectedLogits
from segvoc.layers.precision import at_least_float32, without_autocast
from segvoc.layers.shapes import ClassTokens, CostVolume, FeatureMaps, Images, Logits
from segvoc.networks.base import CostAggregation, NetworkConfig, SegmentationNetwork
from segvoc.networks.choices import block_of, build_aggregation, decoder_of
from segvoc.networks.cost_aggregation_config import ClassAttention, CostAggregationConfig, Order
from segvoc.networks.official_weights import (
    AGGREGATOR,
    CLIP,
    COMPUTED,
    PREDICTOR,
    aggregator_name,
    clip_state,
    split_terms,
)
from segvoc.storage.records import check_range

NONE_SEED = 12345678
"""Random seed of the "none" embedding, as released."""

PART_CAT_SEG_DECODER = DecoderSizes(lifts=(), taps=(384, 384))
"""Decoder sizes of both levels; DINOv2's tokens guide it without projection."""


@dataclass(frozen=True, kw_only=True)
class PartAggregationConfig(CostAggregationConfig):
    """Sizes and layers of the aggregation of both levels; the defaults are PartCATSeg's."""

    kind: Literal["parts", "none"] = "parts"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Whether to aggregate the costs of both levels; "none" uses the costs as logits."""
    costs: int = 80
    """Costs per class on the first level: prompts x feature maps."""
    prompts: int = 80
    """Prompts per class; each is one cost on the second level."""
    appearance_channels: int | None = 384
    order: Order = "serial"
    blocks: int = 2
    fusion: str = "last"
    class_attention: ClassAttention = "query"
    pad_classes: int = 0
    decoder_sizes: DecoderSizes = PART_CAT_SEG_DECODER

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, {"prompts": (1, 1000)})


PART_CAT_SEG = PartAggregationConfig()
"""The released configuration: two serial blocks on each level."""

PCA_PART = replace(PART_CAT_SEG, order="parallel", fusion="experts")
"""PCA-Seg's part mode, for which no code was released: each serial block becomes a parallel block with experts."""


@dataclass(frozen=True, kw_only=True)
class PartNetworkConfig(NetworkConfig):
    """Configuration of a PartCATSeg network, or of PCA-Seg's part mode."""

    kind: Literal["part-network"] = "part-network"
    vit: VitConfig
    """Sizes of OpenAI's image encoder; the text encoder matches its channels. A DINOv2 next to it provides guidance."""
    clip_tuned: str = ""
    """Letters of the image encoder's projections that the recipe trains."""
    aggregation: PartAggregationConfig = PART_CAT_SEG
    """The aggregation between the encoders and the logits."""

    def build(self) -> SegmentationNetwork:
        """See `NetworkConfig.build`."""
        from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
        from segvoc.encoders.clip_with_dino import ClipWithDino

        image_encoder = ClipWithDino(self.vit, clip_tuned=self.clip_tuned)
        text_encoder = ClipTextEncoder(replace(openai_text(self.vit.channels), fine_tuned=""))
        return part_segmentation_network(self.aggregation, image_encoder, text_encoder)

    def protocols(self) -> Protocols:
        """See `part_protocols`."""
        return part_protocols(448)

    def templates(self) -> tuple[str, ...]:
        """CLIP's 80 for ImageNet."""
        return IMAGENET_TEMPLATES


def none_vector(channels: int) -> Float[Tensor, " C"]:
    """The random unit vector that serves as the embedding of "none of the words"."""
    generator = torch.Generator().manual_seed(NONE_SEED)
    return F.normalize(torch.randn(channels, generator=generator, device="cpu"), dim=0)


@dataclass(frozen=True, eq=False)
class Level:
    """Output of one level, for all of its classes followed by "none of them"."""

    cost: CostVolume
    """Costs of the classes, before refinement."""
    logits: Logits
    """Logits of the classes, on a finer grid than the costs."""


class PartAggregation(CostAggregation):
    """Computes logits of both levels from dense image features and word embeddings.

    1. Compute the costs of [parts; objects; none].
    2. Refine and decode them.
    3. For each part of an object, map the features of the part and of the object to the text embedding space and
       compute their costs with the part's full name.
    4. Refine and decode these.
    """

    float32_parts = (*CostAggregation.float32_parts, "embed_specific", "none")

    def __init__(self, config: PartAggregationConfig, channels: int, tap_channels: Sequence[int] = ()) -> None:
        super().__init__(config, channels, block_of, decoder_of(tap_channels))
        self.embed_specific = nn.Conv2d(config.prompts, config.dim, kernel_size=7, padding=3)
        self.specific_blocks = nn.ModuleList(block_of(config) for _ in range(config.blocks))
        self.project = nn.Linear(2 * config.dim, channels)
        # the released code draws a new one at every start and never trains it; here it is saved with the weights
        self.register_buffer("none", none_vector(channels).to(self.project.weight.device))

    def levels(
        self, maps: FeatureMaps, words: PartWords, guidance: FeatureMaps, context: AggregationContext
    ) -> tuple[Level, Level | None]:
        """Both levels, or only the first if no word is a part; see `SegmentationNetwork.selected_logits`."""
        appearance, guided = self.precompute_guidance(guidance)
        general, specific = self._with_none(words.general, maps[0]), self._with_none(words.specific, maps[0])
        cost = cost_volumes(maps, general)
        x = self.refine(self.embed_cost, self.blocks, cost, general, appearance, context)
        first = Level(cost, self.decode(x, guided, context))
        if words.specific.shape[0] == 0:
            return first, None
        last = words.part_of.new_full((1,), words.general.shape[0])
        part_of, object_of = torch.cat((words.part_of, last)), torch.cat((words.object_of, last))
        cost = self._specific_cost(x, specific, part_of, object_of, context)
        context = context.of_block(len(self.blocks))
        x = self.refine(self.embed_specific, self.specific_blocks, cost, specific, appearance, context)
        return first, Level(cost, self.decode(x, guided, context))

    def _specific_cost(
        self,
        x: ClassTokens,
        text: Float[Tensor, "B S N E"],
        part_of: Int[Tensor, " S"],
        object_of: Int[Tensor, " S"],
        context: AggregationContext,
    ) -> Float[Tensor, "B N S H W"]:
        """Cosine similarity of each class's full name with the projected features of its part and object."""

        def costs(text: Tensor, part_of: Int[Tensor, "1 S"], object_of: Int[Tensor, "1 S"]) -> Tensor:
            mapped = self.project(torch.cat((x[:, part_of[0]], x[:, object_of[0]]), dim=-1))
            mapped, text = F.normalize(at_least_float32(mapped), dim=-1), F.normalize(at_least_float32(text), dim=-1)
            with without_autocast(mapped):
                return torch.einsum("bthwc,btnc->bnthw", mapped, text)

        return torch.cat(context.each(costs, text, part_of[None], object_of[None]), dim=2)

    def _with_none(self, text: Float[Tensor, "T N C"], image: Float[Tensor, "B _ _ _"]) -> Float[Tensor, "B T1 N C"]:
        none = cast(Tensor, self.none).to(text).expand(1, *text.shape[1:])
        return torch.cat((text, none)).expand(image.shape[0], -1, -1, -1)


class PartNetwork(SegmentationNetwork):
    """Encoders and an aggregation with two levels of output.

    A word such as "dog's head" is a part of an object and gets its logits from the second level; every other word is an
    object and gets them from the first.
    """

    aggregation: PartAggregation
    has_background = True
    selects = False

    def word_encoder(self, templates: Sequence[str]) -> PartWordEncoder:
        """The encoder that turns a vocabulary into `PartWords`."""
        return PartWordEncoder(VocabularyEncoder(self.text_encoder, templates))

    # its `word_encoder` sorts the words first: a plain embedding tensor carries no information about parts
    def forward(self, image: Images, text: PartWords, **options: Unpack[ForwardOptions]) -> Logits:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Logits of every word; see `compared`."""
        return self.compared(self.encoded(image), text, **options)[0]

    def compared(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, features: ImageFeatures, text: PartWords, **options: Unpack[ForwardOptions]
    ) -> SelectedLogits:
        """Logits of every word, and None, because all words are kept; see `SegmentationNetwork.compared`.

        The word for "none of the others" gets the logits of "no object", or of "no part" if only parts of objects are
        queried. Class selection is refused, since it could drop words that the other level needs.
        """
        if options.get("selection") is not None:
            raise UsageError("part networks don't support class selection; leave out keep_classes, or give 'all'")
        first, second = self._levels(features, text, AggregationContext(**options))
        objects = first.logits[:, text.parts :]
        if second is None:
            return objects[:, text.places], None  # the last map is "none of them"
        none = objects[:, -1:] if text.names_objects else second.logits[:, -1:]
        return torch.cat((objects[:, :-1], second.logits[:, :-1], none), dim=1)[:, text.places], None

    def levels(self, image: Images, words: PartWords, **options: Unpack[ForwardOptions]) -> tuple[Level, Level | None]:
        """Outputs of both levels: [parts; objects; none] and [parts of objects; none].

        See `SegmentationNetwork.selected_logits` for the arguments. The second level is None if no word is a part.
        """
        return self._levels(self.encoded(image), words, AggregationContext(**options))

    def _levels(
        self, features: ImageFeatures, words: PartWords, context: AggregationContext
    ) -> tuple[Level, Level | None]:
        return self.aggregation.levels(features.cost_maps, words, features.guidance, context)


def part_protocols(size: int) -> Protocols:
    """Protocols of PartCATSeg, whose image encoders each squash their input to a square.

    The released code pads the loader's image to a multiple of 32 px and then squashes it. It never crops the padding
    from the output, which is therefore shifted by up to 26 px against the image (`official-single`). `official`
    squashes the image without padding. The loader is detectron2's.
    """
    single = Protocol(size=size)
    official = Protocol(size=0, colors="stored", loader=LoaderResize(shortest=640, longest=768), sigmoid_first=True)
    return {"auto": single, "single": single, "official": official, "official-single": replace(official, pad_to=32)}


def part_segmentation_network(
    config: PartAggregationConfig, image_encoder: nn.Module, text_encoder: nn.Module
) -> SegmentationNetwork:
    """Build a network for objects and parts on these encoders."""
    if config.kind == "none":
        return SegmentationNetwork(image_encoder, text_encoder, build_aggregation(config, image_encoder))
    tower = cast(ImageEncoder, image_encoder)
    aggregation = PartAggregation(config, tower.channels, tower.tap_channels)
    return PartNetwork(image_encoder, text_encoder, aggregation)


_NONE = f"{PREDICTOR}non_object_embedding"
_DINO = "backbone.dinov2."
_NEVER_USED = "layers_object."
"""A copy of the blocks that the released forward pass never uses."""

_PART_NAMES = ((r"^conv2\.", "embed_specific."), (r"^conv_proj_feat\.", "project."))
_SPECIFIC = "layers_specific_part."


def part_network_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict of a `PartNetwork` on OpenAI CLIP and DINOv2 from the whole released one.

    The embedding for "none of them" is taken from the checkpoint, which was trained with it. (The released code loads
    it into an unused parameter and uses a newly drawn one; they are only equal due to the fixed seed.)
    """
    if not isinstance(network, PartNetwork):
        raise CheckpointError("checkpoints of PartCATSeg have an aggregation; leave out the option aggregation=none")
    if is_plain_clip(official):
        towers_state(official, network.image_encoder, network.text_encoder)  # says that two encoders are needed
    refuse_other_origins(official, "PartCATSeg")
    rest = {name: value for name, value in official.items() if not name.startswith((CLIP, _DINO)) and name != _NONE}
    released = {name.removeprefix(AGGREGATOR): value for name, value in rest.items()}
    state = part_aggregation_state(released, network.aggregation)
    if _NONE in official:
        state["none"] = F.normalize(official[_NONE].flatten().float(), dim=0)
    towers = clip_state(inside(CLIP, official), network, inside(_DINO, official))
    return towers | with_prefixes({"aggregation.": state})


def part_aggregation_state(official: Mapping[str, Tensor], aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of a `PartAggregation` from that of the released aggregator, which lacks the embedding for none."""
    expected = shapes_of(aggregation)
    none = none_vector(expected.pop("none")[0])
    weights = (
        (name, _part_name(name), value.flatten(1) if name == "conv_proj_feat.weight" else value)
        for name, value in official.items()
        if not name.startswith(_NEVER_USED) and not COMPUTED.search(name)
    )
    return fit_exactly(split_terms(weights, expected), expected, "aggregation") | {"none": none}


def _part_name(official: str) -> str:
    if official.startswith(_SPECIFIC):
        return "specific_" + aggregator_name("layers." + official.removeprefix(_SPECIFIC))
    return aggregator_name(renamed(official, _PART_NAMES))
