"""SynSeg: a light decoder of CLIP tokens, conditioned on each word and trained on captions alone.

Zhang et al., "SynSeg: Feature Synergy for Multi-Category Contrastive Learning in End-to-End Open-Vocabulary Semantic
Segmentation", ICME 2026 (arXiv:2508.06115). The decoder is CLIPSeg's (Lüddecke and Ecker, CVPR 2022), whose published
weights make it CLIPSeg. There is no official code; docs/papers/syn_seg.md lists the details that the paper leaves open
and our choices.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, fit_thirds, inside, renamed, shapes_of, third, with_prefixes
from segvoc.encoders.base import ImageEncoder, TokenEncoder, TokenFeatures
from segvoc.encoders.official_clip import is_plain_clip
from segvoc.encoders.vit import PixelStatistics, VitConfig
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols, Strides, Tiles
from segvoc.layers.aggregation import cost_volumes
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import SelectedLogits, gather_classes
from segvoc.layers.precision import Float32Parts, at_least_float32, lowest_precision, without_autocast
from segvoc.layers.shapes import Images, PromptEmbeddings
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.official_weights import clip_state
from segvoc.storage.records import check_range

Head = Literal["plain", "refined"]
Pooled = Literal["conditional", "visual"]

Film = Literal["linear", "mlp"]

REFINED = 16
"""Logits per cell along each axis from the refined head."""

FILM_WIDTH = 2
"""Width of the hidden layer of FiLM's MLP, in multiples of the decoder's channels; the paper only says "small"."""

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

Tokens = Float[Tensor, "... L C"]
"""Tokens of (image, word) pairs: a global token, then one token per cell."""


@dataclass(frozen=True, kw_only=True)
class ConditionedDecoderConfig:
    """Sizes and options of SynSeg's decoder; the defaults are those of CLIPSeg's rd64."""

    kind: Literal["synergy"] = "synergy"
    film: Film = "linear"
    """FiLM's conditioning: two linear layers (CLIPSeg) or an MLP (SynSeg)."""
    head: Head = "plain"
    """One transposed convolution ("plain"), or three convolutions ("refined")."""
    pooled: Pooled = "conditional"
    """Features that the synergy vectors are sums of: the deepest tap after FiLM, as in the paper ("conditional"), or
    before it ("visual")."""
    dim: int = 64
    """Decoder channels."""
    heads: int = 4
    """Attention heads of the decoder layers; there is one layer for each tap."""
    hidden: int = 2048
    """Width of the hidden layer of their MLPs."""
    finer: int = REFINED
    """Logits per cell along each axis."""

    def __post_init__(self) -> None:
        check_range(self, {"dim": (1, 4096), "heads": (1, 256), "hidden": (1, 16384), "finer": (1, 64)})
        if self.head == "refined" and self.finer != REFINED:
            raise UsageError(f"the refined head makes {REFINED} logits of a cell; this network has {self.finer}")


@dataclass(frozen=True, kw_only=True)
class SynSegConfig(NetworkConfig):
    """Configuration of a SynSeg network."""

    kind: Literal["syn-seg"] = "syn-seg"
    vit: VitConfig
    """Sizes of OpenAI's image encoder; the text encoder matches its channels."""
    decoder: ConditionedDecoderConfig = ConditionedDecoderConfig()
    """The decoder on top of the frozen encoders."""
    prompts: Literal["one", "tcl", "bare"] = "one"
    """A single prompt template, TCL's nine, or the bare word as in CLIPSeg."""
    pixels: PixelStatistics = "clip"
    """Pixel normalization; CLIPSeg was trained with ImageNet's mean and standard deviation."""

    def build(self) -> SegmentationNetwork:
        """See `NetworkConfig.build`."""
        from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
        from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

        image_encoder = OpenAIClipImageEncoder(self.vit, pixels=self.pixels)
        # CLIPSeg's FiLM was trained on embeddings that are not normalized
        text_encoder = ClipTextEncoder(replace(openai_text(self.vit.channels), unit_length=False))
        return SynSeg(image_encoder, text_encoder, build_decoder(self.decoder, image_encoder))

    def protocols(self) -> Protocols:
        """For squares of 224 pixels.

        `official` is the paper's five views: 2 x 2 tiles and the whole image. `auto` uses the same views at the image's
        aspect ratio, up to 2:1. There is no released code, so `official-single` equals `single`. `tcl` is the protocol
        of competing methods, whose loader is mmcv's (mmsegmentation 0.27); the paper compares with their scores, so
        `official` reads images alike.
        """
        single = Protocol(size=224)
        official = replace(single, colors="stored", sliding=Tiles(), sigmoid_first=True)
        return {
            "auto": replace(official, colors="srgb", multiple=16, max_aspect=2.0),
            "single": single,
            "official": official,
            "official-single": single,
            "tcl": Protocol(
                size=448,
                colors="stored",
                loader=LoaderResize(shortest=448, longest=2048),
                sliding=Strides(window=448, stride=224),
                sigmoid_first=True,
            ),
        }

    def templates(self) -> tuple[str, ...]:
        """Those that `prompts` names."""
        return {"one": (SYN_TEMPLATE,), "tcl": TCL_TEMPLATES, "bare": ("{}",)}[self.prompts]


def clip_seg_protocols() -> Protocols:
    """Protocols of CLIPSeg, which squashes every image to 352 x 352 pixels, in its authors' code and transformers.

    The official windows read images as transformers' `load_image`; its authors open them with Pillow, and have no
    profiles converted either.
    """
    squashed = Protocol(size=352)
    official = replace(squashed, colors="stored")
    return {"auto": squashed, "single": squashed, "official": official, "official-single": official}


class Synergy(NamedTuple):
    """Sums of image features inside and outside the activations of M phrases, in the text embedding space."""

    foreground: Float[Tensor, "M C"]
    """Features weighted by the activation."""
    background: Float[Tensor, "M C"]
    """Features weighted by 1 minus the activation."""


class FeatureModulation(nn.Module):
    """FiLM: a word scales and shifts the channels of an image's tokens, mul(t) a + add(t)."""

    def __init__(self, channels: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU()) if hidden else nn.Identity()
        self.mul, self.add = (nn.Linear(hidden or channels, dim) for _ in range(2))

    def forward(self, x: Tokens, words: Float[Tensor, "... W"]) -> Tokens:
        """Condition all tokens on their words."""
        words = self.shared(words)[..., None, :]
        return self.mul(words) * x + self.add(words)


class DecoderLayer(nn.Module):
    """A post-norm transformer layer: attention, then a ReLU MLP."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.mlp_norm = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "N L C"]) -> Float[Tensor, "N L C"]:
        """Refine the tokens of N (image, word) pairs."""
        q, k, v = rearrange(self.query_key_value(x), "n l (part h d) -> part n h l d", part=3, h=self.heads)
        attended = rearrange(F.scaled_dot_product_attention(q, k, v), "n h l d -> n l (h d)")
        x = self.attention_norm(x + self.out(attended))
        return self.mlp_norm(x + self.contract(F.relu(self.expand(x), inplace=True)))


class PlainHead(nn.ConvTranspose2d):
    """A transposed convolution without overlap, computed as a linear map of each cell: five times as fast."""

    def __init__(self, dim: int, finer: int) -> None:
        super().__init__(dim, 1, kernel_size=finer, stride=finer)

    def forward(self, input: Float[Tensor, "N C h w"]) -> Float[Tensor, "N 1 H W"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Compute the logits of every cell."""
        bias = cast(Tensor, self.bias).expand(self.weight[0].numel())
        logits = F.linear(rearrange(input, "n c h w -> n h w c"), self.weight.flatten(1).mT, bias)
        return rearrange(logits, "n h w (y x) -> n 1 (h y) (w x)", y=self.stride[0])


def refined_head(dim: int) -> nn.Module:
    """A 3x3 convolution followed by two transposed convolutions of stride 4."""
    return nn.Sequential(
        nn.Conv2d(dim, dim, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(dim, dim // 2, kernel_size=4, stride=4),
        nn.ReLU(),
        nn.ConvTranspose2d(dim // 2, 1, kernel_size=4, stride=4),
    )


class ConditionedDecoder(Float32Parts):
    """Computes an activation map for each word from the taps of a frozen image encoder and the word embeddings."""

    float32_parts = ("head",)

    def __init__(self, config: ConditionedDecoderConfig, channels: int, tap_channels: Sequence[int]) -> None:
        super().__init__()
        c = config
        self.reduce = nn.ModuleList(nn.Linear(tap, c.dim) for tap in reversed(tap_channels))
        self.film = FeatureModulation(channels, c.dim, FILM_WIDTH * c.dim if c.film == "mlp" else 0)
        self.layers = nn.ModuleList(DecoderLayer(c.dim, c.heads, c.hidden) for _ in tap_channels)
        self.head = refined_head(c.dim) if c.head == "refined" else PlainHead(c.dim, c.finer)
        self.projector, self.pooled = nn.Linear(c.dim, channels), c.pooled

    def forward(self, features: TokenFeatures, text: PromptEmbeddings, context: AggregationContext) -> SelectedLogits:
        """Logits of the selected words, and their indices (None: all); the prompt embeddings of a word are averaged."""
        # by cosine similarity with the dense maps; without these, all words are kept
        kept = context.select(cost_volumes(features.maps, text)) if features.maps else None
        if kept is not None:
            text = gather_classes(text, kept, 1)
        dtype = lowest_precision(self)
        reduced = [tap[:, None] for tap in self.reduce_taps([tap.to(dtype) for tap in features.taps])]
        words = text.mean(dim=2).to(dtype)
        logits = context.map(lambda part: self.decode(self.conditioned(reduced, part), reduced, features.grid), words)
        return logits, kept

    def reduce_taps(self, taps: Sequence[Float[Tensor, "B L _"]]) -> list[Float[Tensor, "B L C"]]:
        """Project the taps to the decoder's channels, deepest first; all words share the result."""
        return [reduce(tap) for reduce, tap in zip(self.reduce, reversed(taps), strict=True)]

    def conditioned(self, reduced: Sequence[Tokens], words: Float[Tensor, "... W"]) -> Tokens:
        """The conditional visual features: the deepest tap, modulated by each word."""
        return self.film(reduced[0], words)

    def decode(self, conditional: Tokens, reduced: Sequence[Tokens], grid: tuple[int, int]) -> Float[Tensor, "... h w"]:
        """Compute logits from the conditional features and the reduced taps."""
        x = conditional
        for layer, tap in zip(self.layers, (None, *reduced[1:]), strict=True):
            x = x if tap is None else x + tap
            x = layer(x.flatten(0, -3)).view(x.shape)
        cells = rearrange(at_least_float32(x[..., 1:, :].flatten(0, -3)), "n (h w) c -> n c h w", h=grid[0])
        with without_autocast(cells):
            return self.head(cells)[:, 0].unflatten(0, x.shape[:-2])

    def synergy(
        self, cells: Float[Tensor, "M N C"], activation: Float[Tensor, "M h w"], grid: tuple[int, int]
    ) -> Synergy:
        """Feature Synergy Structure: sums of features in the text embedding space, weighted by A and by 1 - A.

        A is averaged over each cell. This equals the sums over the full-resolution map with repeated features.
        """
        inside = F.adaptive_avg_pool2d(activation[:, None], grid).flatten(1)
        foreground, background = (torch.einsum("ml,mlc->mc", weight, cells) for weight in (inside, 1 - inside))
        return Synergy(foreground / cells.shape[1], background / cells.shape[1])


class SynSeg(SegmentationNetwork):
    """Two frozen encoders and the decoder, which takes the place of the aggregation."""

    aggregation: ConditionedDecoder
    features_type = TokenFeatures

    def trainable_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the paper trains: FiLM, projector and decoder; the encoders are frozen."""
        return tuple(name for name, _ in self.named_parameters() if name.startswith("aggregation."))

    def encoded(self, image: Images, *, complete: bool = True) -> TokenFeatures:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See `SegmentationNetwork.encoded`: the tokens; if complete, the encoder's last blocks and the dense maps."""
        return cast(TokenEncoder, self.image_encoder).tokens(image, dense=complete)

    def aggregated(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, features: TokenFeatures, text: Float[Tensor, "T P C"], context: AggregationContext
    ) -> SelectedLogits:
        """Compute logits from tokens; see `SegmentationNetwork.aggregated`."""
        return self.aggregation(features, text.expand(len(features.taps[0]), -1, -1, -1), context)

    def learn(
        self, taps: Sequence[Float[Tensor, "B L _"]], phrases: Float[Tensor, "M C"], owner: Int[Tensor, " M"]
    ) -> tuple[Synergy, Float[Tensor, "M h w"]]:
        """Synergy vectors and logits of M phrases, each with its image's index; the taps' grids must be square."""
        decoder, side = self.aggregation, round((taps[0].shape[1] - 1) ** 0.5)
        reduced = [tap[owner] for tap in decoder.reduce_taps(taps)]
        conditional = decoder.conditioned(reduced, phrases)
        logits = decoder.decode(conditional, reduced, (side, side))
        cells = decoder.projector((conditional if decoder.pooled == "conditional" else reduced[0])[:, 1:])
        return decoder.synergy(cells, logits.sigmoid(), (side, side)), logits


def build_decoder(config: ConditionedDecoderConfig, image_encoder: nn.Module) -> ConditionedDecoder:
    """Build SynSeg's decoder for the tokens of an image encoder."""
    tower = cast(ImageEncoder, image_encoder)
    return ConditionedDecoder(config, tower.channels, tower.tap_channels)


_DECODER = ("film_mul.", "film_add.", "trans_conv.", "reduces.", "blocks.", "reduce.")
"""Prefixes of the decoder's weights in the authors' format; the last one belongs to an unused layer."""

_DECODER_OF_HUGGING_FACE = "decoder."
_CLIPS_OF_HUGGING_FACE = ("clip.", "clipseg.")
"""Prefixes of its CLIP, as written by transformers and by its first conversion script."""

_REFINED = re.compile(r"(trans_conv|transposed_convolution)\.0\.weight")
_PACKED = ".query_key_value."
_OURS = (
    (r"^film_(mul|add)\.", r"film.\1."),
    (r"^(trans_conv|transposed_convolution)\.", "head."),
    (r"^reduces\.", "reduce."),
    (r"^blocks\.", "layers."),
    (r"\.self_attn\.in_proj_", _PACKED),
    (r"\.self_attn\.([qkv])_proj\.(weight|bias)$", lambda match: third(f"{_PACKED}{match[2]}", match[1])),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.(linear1|mlp\.fc1)\.", ".expand."),
    (r"\.(linear2|mlp\.fc2)\.", ".contract."),
    (r"\.(norm1|layer_norm1)\.", ".attention_norm."),
    (r"\.(norm2|layer_norm2)\.", ".mlp_norm."),
)


def holds_decoder(official: Mapping[str, Tensor]) -> bool:
    """Whether weights contain the decoder in its authors' format, with or without a CLIP."""
    return any(name.startswith(_DECODER[:2]) for name in official)


def conditions_linearly(official: Mapping[str, Tensor]) -> bool:
    """Whether weights contain CLIPSeg's FiLM, two linear layers, in either format."""
    return any(name.removeprefix(_DECODER_OF_HUGGING_FACE).startswith(_DECODER[:2]) for name in official)


def is_decoder_alone(official: Mapping[str, Tensor]) -> bool:
    """Whether weights are the decoder in its authors' format, without a CLIP."""
    return holds_decoder(official) and all(name.startswith(_DECODER) for name in official)


def syn_seg_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict for a SynSeg network: a CLIPSeg with a projector.

    The projector, unused in inference, gets fixed random values. It reads a whole CLIPSeg with Hugging Face's names, or
    the authors' decoder together with a plain CLIP.
    """
    decoder, clip = _decoder_and_clip(official)
    if not decoder:
        if not is_plain_clip(clip):
            refuse_other_origins(official, "CLIPSeg")
        raise CheckpointError("these weights aren't from CLIPSeg; give those of CLIPSeg, or a plain CLIP to train from")
    if not clip:
        raise CheckpointError(
            "this is CLIPSeg's decoder without its CLIP; convert it with OpenAI's beside it: "
            "segvoc convert DECODER OUT --model syn-seg-b --encoder-weights ViT-B-16.pt"
        )
    state = decoder_state(decoder, network.aggregation) | _projector_state(network.aggregation)
    return clip_state(clip, network) | with_prefixes({"aggregation.": state})


def _decoder_and_clip(official: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the decoder and of the CLIP, without prefixes, in either format; empty if missing."""
    prefix = next((clip for clip in _CLIPS_OF_HUGGING_FACE if any(name.startswith(clip) for name in official)), None)
    if prefix is not None:
        known = (_DECODER_OF_HUGGING_FACE, prefix)
        fit_exactly(((name, name, x) for name, x in official.items() if not name.startswith(known)), {}, "CLIPSeg")
        return inside(_DECODER_OF_HUGGING_FACE, official), inside(prefix, official)
    if any(name.startswith("clip_model.") for name in official):
        # the authors' checkpoints of whole networks contain the image tower twice
        official = {
            name.removeprefix("clip_model."): x for name, x in official.items() if not name.startswith("model.")
        }
    decoder = {name: value for name, value in official.items() if name.startswith(_DECODER)}
    return decoder, {name: value for name, value in official.items() if name not in decoder}


def decoder_state(official: Mapping[str, Tensor], decoder: nn.Module) -> dict[str, Tensor]:
    """State dict of `decoder`, without its projector, from CLIPSeg's weights in either format."""
    expected = {name: shape for name, shape in shapes_of(decoder).items() if not name.startswith("projector.")}
    refined = "head.0.weight" in expected
    if any(map(_REFINED.fullmatch, official)) != refined:
        theirs, option = ("plain", "head=plain") if refined else ("refined", "head=refined")
        raise CheckpointError(f"these weights have CLIPSeg's {theirs} head; load them with the option {option}")
    if any(name.startswith("film.shared.") for name in expected):
        raise CheckpointError("these weights have CLIPSeg's linear FiLM; load them with the option film=linear")
    weights = ((name, renamed(name, _OURS), x) for name, x in official.items() if not name.startswith("reduce."))
    return fit_thirds(weights, expected, "CLIPSeg", _PACKED)


def _projector_state(decoder: nn.Module) -> dict[str, Tensor]:
    """Random values for the projector, drawn like those of a new linear layer; the same each time."""
    shapes = inside("projector.", decoder.state_dict())
    generator, bound = torch.Generator().manual_seed(0), shapes["weight"].shape[1] ** -0.5
    return {
        f"projector.{name}": (2 * torch.rand(value.shape, generator=generator) - 1) * bound
        for name, value in shapes.items()
    }
