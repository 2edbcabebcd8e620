"""PartCATSeg: objects and general parts first, then the parts of each object, from what both have become.

Choi et al., "Fine-Grained Image-Text Correspondence with Cost Aggregation for Open-Vocabulary Part Segmentation",
CVPR 2025. The shape follows the released code, in which objects and general parts go through one aggregation together,
and whose class attention is a softmax over the queries. PCA-Seg's part mode is the same network with parallel blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Unpack, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.configuration import check_range
from segvoc.encoders.vit import VitConfig
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import UsageError
from segvoc.layers.aggregation import StageGuidance, cost_volume
from segvoc.layers.aggregation_context import AggregationContext, ClassOptions, ForwardOptions, StreamObserver
from segvoc.layers.class_selection import ClassSelection, SelectedLogits
from segvoc.layers.decoder_sizes import DecoderSizes
from segvoc.layers.interpolation import resized
from segvoc.layers.pointwise import PointwiseLinear
from segvoc.networks.base import CostAggregation, SegmentationNetwork
from segvoc.networks.cost_aggregation_config import (
    AggregationLayers,
    ClassAttention,
    CostAggregationConfig,
    Fusion,
    Order,
    check_vit,
)
from segvoc.networks.part_words import PartWordEncoder, PartWords
from segvoc.shapes import AppearanceGuidance, ClassTokens, CostVolume, FeatureMaps, Images, Logits

NONE_SEED = 12345678
"""Of the vector for "none of them", as released."""


PART_CAT_SEG_DECODER = DecoderSizes(lifts=(), taps=(384, 384))
"""Of both levels; DINOv2's tokens guide it as they are."""


@dataclass(frozen=True, kw_only=True)
class PartAggregationConfig(CostAggregationConfig):
    """Sizes and layers of the aggregation of both levels; the defaults are PartCATSeg's.

    The sum of costs (`skip`) is one more cost of each level and is added to its logits; the class for none of the
    words has no such sum.
    """

    kind: Literal["parts", "none"] = "parts"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Aggregates the costs of both levels; "none": the costs are the logits."""
    costs: int = 80
    """Costs of each class of the first level: prompts x maps."""
    prompts: int = 80
    """Prompts of each class; each is a cost of the second level."""
    appearance_channels: int | None = 384
    """Channels of the map that guides the blocks."""
    order: Order = "serial"
    """Spatial and class aggregation side by side, or one after the other."""
    blocks: int = 2
    """Blocks of each level."""
    fusion: Fusion = "last"
    """How the streams are joined."""
    class_attention: ClassAttention = "query"
    """The attention among classes."""
    pad_classes: int = 0
    """The class axis is padded to this length with a learnt token; 0: not at all."""
    decoder_sizes: DecoderSizes = PART_CAT_SEG_DECODER
    """Channels of the decoder."""

    def __post_init__(self) -> None:
        """Refuse sizes out of range."""
        super().__post_init__()
        check_range(self, {"prompts": (1, 1000)})


PART_CAT_SEG = PartAggregationConfig()
"""As released: two serial blocks for each level."""

PCA_PART = replace(PART_CAT_SEG, order="parallel", fusion="experts")
"""PCA-Seg's part mode, of which no code was released: a parallel block with experts for each serial one."""


@dataclass(frozen=True, kw_only=True)
class PartNetworkConfig:
    """The whole of PartCATSeg, or of PCA-Seg's part mode."""

    kind: Literal["part-network"] = "part-network"
    """Tells it from other networks."""
    vit: VitConfig
    """Sizes of OpenAI's image encoder; the text encoder goes with its channels. DINOv2 guides beside it."""
    clip_tuned: str = ""
    """Letters of the projections of the image encoder that the recipe trains."""
    aggregation: PartAggregationConfig = PART_CAT_SEG
    """What stands between the towers' features and the logits."""

    def __post_init__(self) -> None:
        """Refuse sizes out of range."""
        check_vit(self.vit)


def none_vector(channels: int) -> Float[Tensor, " C"]:
    """The random vector of unit length that stands for "none of the words" as an embedding."""
    generator = torch.Generator().manual_seed(NONE_SEED)
    return F.normalize(torch.randn(channels, generator=generator, device="cpu"), dim=0)


@dataclass(frozen=True, eq=False)
class Level:
    """What a level gives, of all its classes and last of none of them: its costs, and logits on a finer grid."""

    cost: CostVolume
    logits: Logits


class PartAggregation(CostAggregation):
    """From dense features and words to logits of both levels.

    1. Costs of [parts; objects; none], 2. refined and decoded; 3. for each part of an object the features of the part
    and of the object, mapped to the words' space, give costs with its full name; 4. refined and decoded.
    """

    def __init__(
        self, config: PartAggregationConfig, layers: AggregationLayers, channels: int, tap_channels: Sequence[int] = ()
    ) -> None:
        super().__init__(config, layers, channels, tap_channels)
        more = 0 if self.skip is None else 1
        self.embed_specific = nn.Conv2d(config.prompts + more, config.dim, kernel_size=7, padding=3)
        self.specific_blocks = nn.ModuleList(config.build_block(layers) for _ in range(config.blocks))
        self.project = PointwiseLinear(2 * config.dim, channels)
        # the released code draws it anew whenever it starts and never trains it; here it belongs to the weights
        self.register_buffer("none", none_vector(channels).to(self.project.weight.device))

    def levels(
        self, maps: FeatureMaps, words: PartWords, guidance: FeatureMaps, context: AggregationContext
    ) -> tuple[Level, Level | None]:
        """Both levels, or only the first if no word is a part; see `SegmentationNetwork.selected_logits`."""
        appearance = rearrange(F.relu(self.guidance(guidance[0])), "b c h w -> b h w c")
        guided = self.decoder.precompute_guidance(guidance[1:])
        general, specific = self._with_none(words.general, maps[0]), self._with_none(words.specific, maps[0])
        summed = self._sum(maps, general)
        cost = torch.cat([cost_volume(image, general) for image in maps], dim=1)
        x = self._refined(self.embed_cost, self.blocks, cost, summed, general, appearance, context)
        first = Level(cost, self._decoded(x, guided, summed, context))
        if not len(words.specific):
            return first, None
        last = words.part_of.new_tensor([len(words.general)])
        part_of, object_of = torch.cat((words.part_of, last)), torch.cat((words.object_of, last))
        summed = self._sum(maps, specific)
        cost = self._specific_cost(x, specific, part_of, object_of, context)
        x = self._refined(self.embed_specific, self.specific_blocks, cost, summed, specific, appearance, context)
        return first, Level(cost, self._decoded(x, guided, summed, context))

    def _specific_cost(
        self,
        x: ClassTokens,
        text: Float[Tensor, "B S N E"],
        part_of: Int[Tensor, " S"],
        object_of: Int[Tensor, " S"],
        context: AggregationContext,
    ) -> Float[Tensor, "B N S H W"]:
        """Cosine of each class's full name with what its part and its object together are mapped to."""

        def costs(text: Tensor, part_of: Tensor, object_of: Tensor) -> Tensor:
            mapped = self.project(torch.cat((x[:, part_of], x[:, object_of]), dim=-1))
            return torch.einsum("bthwc,btnc->bnthw", F.normalize(mapped, dim=-1), F.normalize(text, dim=-1))

        chunks = zip(
            text.split(context.chunk, 1), part_of.split(context.chunk), object_of.split(context.chunk), strict=True
        )
        return torch.cat([context.run(costs, *chunk) for chunk in chunks], dim=2)

    def _refined(
        self,
        embed: nn.Module,
        blocks: nn.ModuleList,
        cost: CostVolume,
        summed: Float[Tensor, "B T H W"] | None,
        text: Float[Tensor, "B T N E"],
        appearance: AppearanceGuidance,
        context: AggregationContext,
    ) -> ClassTokens:
        """The features of all classes of a level."""
        cost = cost if summed is None else torch.cat((cost, summed[:, None]), dim=1)
        x = rearrange(embed(rearrange(cost, "b p t h w -> (b t) p h w")), "(b t) c h w -> b t h w c", b=len(cost))
        words = F.relu(self.text_guidance(F.normalize(text.mean(dim=2), dim=-1)))
        for block in blocks:
            x = block(x, appearance, words, context)
        return x

    def _decoded(
        self,
        x: ClassTokens,
        guided: Sequence[StageGuidance],
        summed: Float[Tensor, "B T H W"] | None,
        context: AggregationContext,
    ) -> Logits:
        logits = torch.cat([context.run(self.decoder, chunk, guided) for chunk in x.split(context.chunk, 1)], dim=1)
        return logits if summed is None else logits + resized(summed, (logits.shape[2], logits.shape[3]))

    def _sum(self, maps: FeatureMaps, text: Float[Tensor, "B T N C"]) -> Logits | None:
        """The sum of the raw costs of a level's classes, 0 for none of them."""
        if self.skip is None:
            return None
        logits = self.skip(torch.cat([cost_volume(image, text[:, :-1]) for image in maps], dim=1), text[:, :-1])
        return F.pad(logits, (0, 0, 0, 0, 0, 1))

    def _with_none(self, text: Float[Tensor, "T N C"], image: Float[Tensor, "B _ _ _"]) -> Float[Tensor, "B T1 N C"]:
        none = cast(Tensor, self.none).to(text).expand(1, *text.shape[1:])
        return torch.cat((text, none)).expand(len(image), -1, -1, -1)


class PartNetwork(SegmentationNetwork):
    """Towers, and an aggregation that answers on two levels.

    A word such as "dog's head" is a part of an object and gets its logits from the second level; every other word is an
    object, with logits from the first.
    """

    aggregation: PartAggregation
    has_background = True
    selects = False

    def word_encoder(self, templates: Sequence[str]) -> PartWordEncoder:
        """From a vocabulary to `PartWords`."""
        return PartWordEncoder(VocabularyEncoder(self.text_encoder, templates))

    # its words come sorted, from its own `word_encoder`: a plain tensor of embeddings tells nothing of parts
    def forward(self, image: Images, text: PartWords, **options: Unpack[ForwardOptions]) -> Logits:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Logits of every word; see `selected_logits`."""
        return self.selected_logits(image, text, **options)[0]

    def selected_logits(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        image: Images,
        text: PartWords,
        *,
        selection: ClassSelection | None = None,
        **options: Unpack[ClassOptions],
    ) -> SelectedLogits:
        """Logits of every word, and None: all of them go on.

        The word for none of the others gets those of "no object"; of "no part" where only parts of objects are asked.

        Raises: UsageError: `selection` is to drop some, of which the other level might need the parts or objects.
        """
        if selection is not None:
            raise UsageError("a network of parts goes on with all words; leave out keep_classes, or give 'all'")
        first, second = self.levels(image, text, **options)
        objects = first.logits[:, text.parts :]
        if second is None:
            return objects[:, text.places], None  # its last map is "none of them"
        none = objects[:, -1:] if text.names_objects else second.logits[:, -1:]
        return torch.cat((objects[:, :-1], second.logits[:, :-1], none), dim=1)[:, text.places], None

    def levels(
        self,
        image: Images,
        words: PartWords,
        *,
        pooling: tuple[int, int] = (2, 2),
        chunk: int | None = None,
        observe: StreamObserver | None = None,
        recompute: bool = False,
    ) -> tuple[Level, Level | None]:
        """Of [parts; objects; none] and of [parts of objects; none]; see `SegmentationNetwork.selected_logits`."""
        features = self.image_encoder(image)
        most = max(len(words.general), len(words.specific)) + 1
        context = AggregationContext(pooling, None, chunk or most, observe, recompute)
        appearance = features.maps[0] if features.appearance is None else features.appearance
        return self.aggregation.levels(features.maps, words, (appearance, *features.taps), context)
