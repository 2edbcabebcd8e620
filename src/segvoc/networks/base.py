"""Modules shared by the papers' networks: the image and text encoders around an aggregation, and the cost aggregation.

Each paper defines its own order of spatial and class aggregation and its own fusion of the two streams (`pca_seg.py`,
`cat_seg.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack, cast

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import ImageFeatures, Tower
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.encoders.word_encoder import WordEncoder
from segvoc.inference.protocols import Protocols
from segvoc.layers.aggregation import StageGuidance, UpsamplingDecoder, cost_volumes
from segvoc.layers.aggregation_context import AggregationContext, ForwardOptions
from segvoc.layers.class_selection import SelectedLogits, scatter_to_all, select_classes
from segvoc.layers.precision import Float32Parts, lowest_precision, without_autocast
from segvoc.layers.shapes import ClassTokens, CostVolume, FeatureMaps, ImageGuidance, Images, Logits, PromptEmbeddings
from segvoc.networks.cost_aggregation_config import CostAggregationConfig


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ABC):
    """Configuration of a network: plain values, and what follows from them."""

    input_size = 0
    """Side of the images that a network with CLIP encoders reads [pixels]; 0 for other networks."""

    @abstractmethod
    def build(self) -> "SegmentationNetwork":
        """Build the network, with random weights. Encoders are imported here: their libraries take seconds."""

    @abstractmethod
    def protocols(self) -> Protocols:
        """The network's test protocols."""

    @abstractmethod
    def templates(self) -> tuple[str, ...]:
        """Prompt templates; `{}` stands for the word."""


class CostAggregation(Float32Parts):
    """Computes logits from dense image features and word embeddings: cost volume, aggregation blocks, decoder."""

    float32_parts = ("embed_cost",)

    def __init__(
        self,
        config: CostAggregationConfig,
        channels: int,
        block_of: Callable[[CostAggregationConfig], nn.Module],
        decoder_of: Callable[[CostAggregationConfig], UpsamplingDecoder],
    ) -> None:
        """Build the aggregation with random weights.

        Args:
            config: sizes and choices of layers.
            channels: channels of the embedding space that images and words share.
            block_of: builds a block (`choices.py`).
            decoder_of: builds the decoder (`choices.py`).
        """
        super().__init__()
        self.embed_cost = nn.Conv2d(config.costs, config.dim, kernel_size=7, padding=3)
        self.guidance, self.text_guidance = config.build_guidance(channels)
        self.blocks = nn.ModuleList(block_of(config) for _ in range(config.blocks))
        self.decoder = decoder_of(config)

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Compute logits of the selected classes; see `SegmentationNetwork.selected_logits`.

        Args:
            maps: dense feature maps of the images.
            text: prompt embeddings of the T classes of each image.
            guidance: the feature map that guides the blocks, then the image encoder's taps.
            context: settings of this forward pass.

        Returns:
            Logits, and the indices of the selected classes (None: all of them).
        """
        cost = cost_volumes(maps, text)
        kept = context.select(cost)
        cost, text = select_classes(cost, text, kept)
        return self.refined(cost, text, guidance, context), kept

    def refined(
        self, cost: CostVolume, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> Logits:
        """Refine and decode the selected classes."""
        appearance, guided = self.precompute_guidance(guidance)
        x = self.refine(self.embed_cost, self.blocks, cost, text, appearance, context)
        return self.decode(x, guided, context)

    def precompute_guidance(self, guidance: FeatureMaps) -> tuple[ImageGuidance, list[StageGuidance]]:
        """Guidance of the blocks and of the decoder, which all classes of an image share."""
        first, *taps = [tap.to(lowest_precision(self)) for tap in guidance]
        appearance = rearrange(F.relu(self.guidance(first)), "b c h w -> b h w c")
        return appearance, self.decoder.precompute_guidance(taps)

    def refine(
        self,
        embed: nn.Module,
        blocks: nn.ModuleList,
        cost: CostVolume,
        text: PromptEmbeddings,
        appearance: ImageGuidance,
        context: AggregationContext,
    ) -> Float[Tensor, "B T H W D"]:
        """Embed the costs and refine them in blocks, which are numbered from `context.block`."""
        dtype = lowest_precision(self)
        with without_autocast(cost):
            x = embed(rearrange(cost, "b p t h w -> (b t) p h w")).to(dtype)
        x = rearrange(x, "(b t) c h w -> b t h w c", b=cost.shape[0]).contiguous()
        words = F.relu(self.text_guidance(F.normalize(text.mean(dim=2), dim=-1).to(dtype)))
        for number, block in enumerate(blocks, context.block):
            x = block(x, appearance, words, context.of_block(number))
        return x

    def decode(self, x: ClassTokens, guided: Sequence[StageGuidance], context: AggregationContext) -> Logits:
        """Decode the refined classes."""
        return context.map(self.decoder, x, shared=(guided,))


class SegmentationNetwork(Float32Parts):
    """An image encoder, a text encoder, and an aggregation of the costs between their features.

    Any module with the call signature of `CostAggregation.forward` can serve as the aggregation.
    """

    has_background = False
    """Whether the network predicts a map for "none of the words"."""
    selects = True
    """Whether the network supports class selection."""
    features_type: type = ImageFeatures
    """Type returned by `encoded`."""
    float32_parts = ("text_encoder",)

    def __init__(
        self,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        aggregation: nn.Module,
        *,
        average_prompts: bool = False,
    ) -> None:
        """Compose the parts.

        Args:
            image_encoder: an `ImageEncoder`.
            text_encoder: a `Tower` that is a `Tokenizer` too, from token ids to embeddings.
            aggregation: computes logits from the features of both.
            average_prompts: whether a class has a single embedding, the mean over the prompt templates.
        """
        super().__init__()
        self.image_encoder, self.text_encoder, self.aggregation = image_encoder, text_encoder, aggregation
        self.average_prompts = average_prompts

    def word_encoder(self, templates: Sequence[str]) -> WordEncoder:
        """The encoder from a `Vocabulary` to the embeddings that `selected_logits` takes, with prompt templates."""
        return VocabularyEncoder(self.text_encoder, templates, average=self.average_prompts)

    def trainable_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the published recipe trains.

        These are the parameters that each encoder lists as fine-tuned, and all of the aggregation.
        """
        towers = {"image_encoder.": self.image_encoder, "text_encoder.": self.text_encoder}
        tuned = {place + n for place, t in towers.items() for n in cast(Tower, t).fine_tuned_parameters()}
        return tuple(n for n, _ in self.named_parameters() if n in tuned or not n.startswith(tuple(towers)))

    def forward(self, image: Images, text: Float[Tensor, "T P C"], **options: Unpack[ForwardOptions]) -> Logits:
        """Logits of all T classes; see `selected_logits`. Classes that were not selected get -100."""
        return scatter_to_all(*self.selected_logits(image, text, **options), text.shape[0])

    def selected_logits(
        self, image: Images, text: Float[Tensor, "T P C"], **options: Unpack[ForwardOptions]
    ) -> SelectedLogits:
        """Logits of the selected classes, on a finer grid than the image encoder's.

        Args:
            image: RGB pixels in [0, 255]; H and W are multiples of the image encoder's stride.
            text: P prompt embeddings for each of T classes, from the text encoder.
            options: fields of `AggregationContext`.

        Returns:
            Logits (B T h w), and the indices of their classes (None: all of them).
        """
        return self.compared(self.encoded(image, complete=options.get("selection") is not None), text, **options)

    def encoded(self, image: Images, *, complete: bool = True) -> ImageFeatures:
        """Encode images, independently of the words; see `selected_logits`.

        Not `complete`: without what only class selection and taught words read, as far as the network can.
        """
        del complete
        return self.image_encoder(image)

    def compared(
        self, features: Any, text: Float[Tensor, "T P C"], **options: Unpack[ForwardOptions]
    ) -> SelectedLogits:
        """Compute logits of the selected classes from the features of `encoded`; see `selected_logits`."""
        return self.aggregated(features, text, AggregationContext(**options))

    def aggregated(
        self, features: ImageFeatures, text: Float[Tensor, "T P C"], context: AggregationContext
    ) -> SelectedLogits:
        """Compute logits as `compared` does, with the settings of a context."""
        text = text.expand(features.maps[0].shape[0], -1, -1, -1)
        return self.aggregation(features.cost_maps, text, features.guidance, context)
