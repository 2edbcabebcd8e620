"""ERR-Seg: drops the classes that are absent from the image and shortens every sequence in the aggregation.

Chen et al., "Efficient Redundancy Reduction for Open-Vocabulary Semantic Segmentation". The architecture follows the
released code, which adds image and text guidance, averages the embeddings of both costs, and applies a convolution
after the star MLP.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, inside, renamed, shapes_of, with_prefixes
from segvoc.encoders.official_clip import is_plain_clip
from segvoc.encoders.prompts import CLIP_TEMPLATE
from segvoc.encoders.vit import vit_b16
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.protocols import LoaderResize, Protocol, Protocols
from segvoc.layers.aggregation import DecoderSizes, StageGuidance, UpsamplingDecoder, UpsamplingStage, cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import SelectedLogits, gather_classes
from segvoc.layers.cost_sum import CostSum, NoAggregation
from segvoc.layers.guided import GuidedConv2d, Projections, gelu_mlp
from segvoc.layers.maps import on_maps, plus_shared, pool, resized, unpool
from segvoc.layers.precision import Float32Parts, lowest_precision, without_autocast
from segvoc.layers.selection import PUBLISHED_VOTES, ClassSelection, Votes
from segvoc.layers.shapes import ClassTokens, FeatureMaps, ImageGuidance, PromptEmbeddings, TextGuidance
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.networks.official_weights import clip_state, cosine_state, split_terms
from segvoc.storage.records import check_range

Streams = Literal["both", "spatial", "class", "none"]
MLP = Literal["star", "star-paper", "vanilla"]
VotingMap = Literal["stride_16", "stride_32"]

STRIDE = 32
"""Stride of the coarsest feature map [px]."""

LARGEST_TAP = 16.0
"""The image encoder's taps are clamped to this magnitude before they serve as guidance."""

ERR_SEG_DECODER = DecoderSizes(lifts=(), taps=(512, 256, 128), guidance=(32, 16, 8), stages=(64, 32, 16))
"""Decoder sizes of the released code, with the taps of ConvNeXt-B."""

VIT_LIFTS, VIT_TAPS = (2, 4), (256, 128)
"""How the decoder upsamples the taps of a ViT, which all have its stride, to strides 8 and 4: as in CAT-Seg."""


@dataclass(frozen=True, kw_only=True)
class ErrAggregationConfig:
    """Sizes and options of ERR-Seg's aggregation."""

    kind: Literal["cost", "none"] = "cost"
    """Whether to aggregate costs; "none" uses their sum as the logits."""
    ssr: int = 2
    """Factor by which the keys of spatial aggregation are reduced along each axis (SSR, r1 of Table 11); 1: no
    reduction."""
    csr: int = 2
    """Cells that class aggregation pools along each axis (CSR, r2 of Table 11); 1: no pooling."""
    blocks: int = 4
    """Number of consecutive blocks."""
    streams: Streams = "both"
    """The aggregations in a block (Table 10)."""
    mlp: MLP = "star"
    """The MLP of both aggregations (Table 12): the star operation as released or to the letter of Eq. 8, or none."""
    local: Literal["after", "before"] = "after"
    """Whether the depth-wise convolution of spatial aggregation follows its MLP, as in the released code, or precedes
    it, as in the paper (Sec. 3.2.1)."""
    voting_map: VotingMap = "stride_16"
    """The costs that vote for classes: S3 at stride 16, as in the released code, or S4 at stride 32, as in the paper
    (Sec. 3.1.2). Networks with a single cost map have no choice."""
    embed_dim: int = 256
    """Channels of each cost's embedding."""
    dim: int = 128
    """Channels of the merged embeddings."""
    heads: int = 4
    """Attention heads."""
    drop_path: float = 0.025
    """Drop-path rate per block: block i (from 0) drops a class with probability i times this value."""
    decoder_sizes: DecoderSizes = ERR_SEG_DECODER
    """Decoder channels; those of the taps come from the image encoder."""

    def __post_init__(self) -> None:
        check_range(self, {"ssr": (1, 8), "csr": (1, 8), "blocks": (0, 100), "drop_path": (0, 1 / max(1, self.blocks))})
        check_range(self, {"embed_dim": (1, 4096), "dim": (1, 4096), "heads": (1, 256)})


ERR_SELECTION = ClassSelection(fraction=0.25, least=16, keep=48)
"""Class selection of ERR-Seg for an arbitrary vocabulary. It is ours: the paper only has a number per benchmark
(`segvoc.evaluation.protocol`), and the bounds are the smallest and largest of these."""


@dataclass(frozen=True, kw_only=True)
class ErrSegConfig(NetworkConfig):
    """Configuration of an ERR-Seg network."""

    kind: Literal["err-seg"] = "err-seg"
    encoder: Literal["convnext_base_w", "convnext_large_d", "vit_b16"]
    """The CLIP model of both encoders: ConvNeXt-CLIP by its open_clip name, or OpenAI's ViT-B/16 (Table 13)."""
    side: int
    """Side of the image encoder's square input [px] (Table 14)."""
    maps: Literal["hierarchical", "single"] = "hierarchical"
    """Costs at two strides, or at the last one only (Table 6)."""
    stage_4_gradient: Literal["both", "stride_16", "stride_32"] = "both"
    """Map that backpropagates into the image encoder's last stage (Table 6)."""
    votes: Votes = PUBLISHED_VOTES
    """How the cells of an image vote for classes (k and lambda of Table 7 and Fig. 6)."""
    aggregation: ErrAggregationConfig = ErrAggregationConfig()
    """The aggregation between the encoders and the logits."""

    def __post_init__(self) -> None:
        check_range(self, {"side": (64, 4096)})
        check_range(self.votes, {"top": (1, 1000), "decay": (0, 1)})
        if self.side % STRIDE:
            near = self.side + -self.side % STRIDE
            raise UsageError(f"side={self.side} is not a multiple of {STRIDE}, the coarsest stride; give {near}")
        if self.encoder == "vit_b16" and self.maps == "hierarchical":
            raise UsageError("encoder=vit_b16 has no map at a second stride; give maps=single")

    def build(self) -> SegmentationNetwork:
        """See `NetworkConfig.build`."""
        from segvoc.encoders.clip_text import ClipTextEncoder, convnext_text, openai_text

        is_vit = self.encoder == "vit_b16"
        costs = 2 if self.maps == "hierarchical" else 1
        if is_vit:  # a plain CLIP (Table 13)
            from segvoc.encoders.openai_clip import OpenAIClipImageEncoder

            image = OpenAIClipImageEncoder(replace(vit_b16(), input_size=self.side))
            text = ClipTextEncoder(openai_text(image.channels))
        else:
            from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder, convnext_base_w, convnext_large_d

            sizes, layers = (convnext_base_w(), 12) if self.encoder == "convnext_base_w" else (convnext_large_d(), 16)
            sizes = replace(sizes, input_size=self.side, stage_4_gradient=self.stage_4_gradient)
            image = ConvNextClipImageEncoder(replace(sizes, hierarchical=self.maps == "hierarchical"))
            text = ClipTextEncoder(convnext_text(image.channels, layers))
        if self.aggregation.kind == "none":
            return SegmentationNetwork(image, text, NoAggregation(CostSum(costs)))
        lifts, guides, taps = (), image.tap_channels, image.tap_channels[1:]
        if is_vit:  # its dense map and taps guide as in CAT-Seg; the paper doesn't say which maps do
            guides, lifts, taps = (image.channels, *guides), VIT_LIFTS, (image.channels, *VIT_TAPS)
        decoder = replace(self.aggregation.decoder_sizes, lifts=lifts, taps=taps)
        aggregation = ErrAggregation(replace(self.aggregation, decoder_sizes=decoder), image.channels, guides, costs)
        return SegmentationNetwork(image, text, aggregation)

    def protocols(self) -> Protocols:
        """For squares of `side` pixels; the official ones are preceded by detectron2's loader.

        `auto` keeps the aspect ratio of images up to 2:1, with the same area as the square.
        """
        single = Protocol(size=self.side, selection=replace(ERR_SELECTION, votes=self.votes))
        official = replace(single, colors="stored", loader=LoaderResize(shortest=800, longest=1333), sigmoid_first=True)
        return {
            "auto": replace(single, multiple=32, max_aspect=2.0),
            "single": single,
            "official": official,
            "official-single": official,
        }

    def templates(self) -> tuple[str, ...]:
        """The one of the published networks."""
        return (CLIP_TEMPLATE,)


class StarMLP(nn.Module):
    """fc3(ReLU6(fc1 x) * fc2 x): an MLP with the star operation in its first layer (Eq. 8, as released)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(dim, 3 * dim), nn.Linear(dim, 3 * dim), nn.Linear(3 * dim, dim)

    def forward(self, x: Float[Tensor, "*cells C"]) -> Float[Tensor, "*cells C"]:
        """Apply the MLP to every cell."""
        return self.fc3(F.relu6(self.fc1(x)) * self.fc2(x))


class PaperStarMLP(StarMLP):
    """fc3(ReLU6(fc1 x * fc2 x)): to the letter of Eq. 8, the product is activated."""

    def forward(self, x: Float[Tensor, "*cells C"]) -> Float[Tensor, "*cells C"]:
        """Apply the MLP to every cell."""
        return self.fc3(F.relu6(self.fc1(x) * self.fc2(x)))


GuidedQueriesKeys: TypeAlias = tuple[Tensor, Tensor]
"""What the guidance contributes to queries and keys: (B 1 H W C), and (B 1 h w D) on the grid of the reduced keys."""

MLPS: dict[MLP, Callable[[int], nn.Module]] = {"star": StarMLP, "star-paper": PaperStarMLP, "vanilla": gelu_mlp}
"""MLPs of Eq. 8 and Table 12, which gives no sizes for the vanilla MLP: ours has a GELU and 4 times the width."""


class DropPath(nn.Module):
    """Stochastic depth: the residual branch of a sample is dropped at this rate in training (Huang et al., ECCV 2016).

    The factors of all samples are drawn at once, so they don't depend on chunking.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, samples: int) -> Float[Tensor, "..."]:
        """The factor of each sample's branch, 0 or 1 / (1 - rate); the first `samples` axes of `x` number them."""
        shape = (*x.shape[:samples], *[1] * (x.ndim - samples))
        if not self.training or not self.rate:
            return x.new_ones(shape)
        kept = 1 - self.rate
        return x.new_empty(shape).bernoulli_(kept) / kept


class ReducedSpatialAggregation(nn.Module):
    """Attention among the cells of a class, with keys and values reduced by r x r cells (SSR, Eq. 7)."""

    def __init__(self, config: ErrAggregationConfig, drop_path: float) -> None:
        super().__init__()
        dim, r = config.dim, config.ssr
        self.heads, self.reduction, self.local_first = config.heads, r, config.local == "before"
        self.norm1 = nn.LayerNorm(dim)
        self.project = Projections(dim, dim)
        if r > 1:
            self.project.add_module("k", nn.Linear(2 * dim, dim))  # on reduced cells, which join both terms
            self.reduce_k = GuidedConv2d(dim, dim, 2 * dim, kernel=r, stride=r, bias=True)
            self.norm_k = nn.LayerNorm(2 * dim)
            self.reduce_v = nn.Conv2d(dim, dim, kernel_size=r, stride=r)
            self.norm_v = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLPS[config.mlp](dim)
        self.local = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.drop = DropPath(drop_path)

    def precompute_guidance(self, guidance: ImageGuidance) -> GuidedQueriesKeys:
        """Precompute the guidance's queries and keys, which all classes of an image share."""
        q = self.project.q.guidance(guidance)[:, None]
        if self.reduction == 1:
            return q, self.project.k.guidance(guidance)[:, None]
        k = self.reduce_k.guidance(rearrange(guidance, "b h w c -> b c h w"))
        return q, rearrange(k, "b c h w -> b 1 h w c")

    def forward(
        self,
        x: ClassTokens,
        attention_factor: Float[Tensor, "B T 1 1 1"],
        mlp_factor: Float[Tensor, "B T 1 1 1"],
        guided: GuidedQueriesKeys,
    ) -> ClassTokens:
        """Refine each class independently; the factors are `drop`'s, of both residual branches."""
        x = torch.addcmul(x, attention_factor, self.attend(self.norm1(x), guided))
        y = self.norm2(x)
        y = self.mlp(on_maps(self.local, y)) if self.local_first else on_maps(self.local, self.mlp(y))
        return torch.addcmul(x, mlp_factor, y)

    def attend(self, x: ClassTokens, guided: GuidedQueriesKeys) -> ClassTokens:
        """Softmax attention from every cell to all reduced cells of its class."""
        q, k, v = self.queries_keys_values(x, guided)
        attended = rearrange(F.scaled_dot_product_attention(q, k, v), "bt n l c -> bt l (n c)")
        return self.out(attended.view(x.shape))

    def queries_keys_values(
        self, x: ClassTokens, guided: GuidedQueriesKeys
    ) -> tuple[Float[Tensor, "BT n L c"], Float[Tensor, "BT n S c"], Float[Tensor, "BT n S c"]]:
        """Queries of all L cells, and keys and values of the S reduced ones, for each class and each of n heads."""
        q = self.project.q(x, guided[0])
        if self.reduction == 1:
            k, v = self.project.k(x, guided[1]), self.project.v(x)
        else:
            k = self.project.k(self.norm_k(on_maps(self.reduce_k.own, x) + guided[1]))
            v = self.project.v(self.norm_v(on_maps(self.reduce_v, x)))
        q, k, v = (rearrange(part, "b t h w (n c) -> (b t) n (h w) c", n=self.heads) for part in (q, k, v))
        return q, k, v


class ReducedClassAggregation(nn.Module):
    """Attention among the classes at r x r pooled cells (CSR)."""

    def __init__(self, config: ErrAggregationConfig, drop_path: float) -> None:
        super().__init__()
        self.heads, self.pooling = config.heads, (config.csr, config.csr)
        self.norm1 = nn.LayerNorm(config.dim)
        self.project = Projections(config.dim, config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.norm2 = nn.LayerNorm(config.dim)
        self.mlp = MLPS[config.mlp](config.dim)
        self.clamped = config.mlp != "star-paper"
        self.drop = DropPath(drop_path)

    def forward(self, x: ClassTokens, text: TextGuidance) -> ClassTokens:
        """Refine all classes jointly; the released code clamps the MLP's output to [0, 6], unlike Eq. 8."""
        pooled = rearrange(pool(x, self.pooling), "b t h w c -> b h w t c")
        # drop path is sampled for each cell
        pooled = torch.addcmul(pooled, self.drop(pooled, 3), self.attend(self.norm1(pooled), text))
        y = self.mlp(self.norm2(pooled))
        pooled = torch.addcmul(pooled, self.drop(pooled, 3), F.relu6(y) if self.clamped else y)
        return x + unpool(rearrange(pooled, "b h w t c -> b t h w c"), (x.shape[2], x.shape[3]))

    def attend(self, x: Float[Tensor, "B h w T C"], text: TextGuidance) -> Float[Tensor, "B h w T C"]:
        """Softmax attention from every class to all classes at its cell."""
        q, k = (layer(x, layer.guidance(text)[:, None, None]) for layer in (self.project.q, self.project.k))
        q, k, v = (
            rearrange(part, "b h w t (n c) -> (b h w) n t c", n=self.heads) for part in (q, k, self.project.v(x))
        )
        attended = rearrange(F.scaled_dot_product_attention(q, k, v), "bhw n t c -> bhw t (n c)")
        return self.out(attended.view(x.shape))


class SplitStage(UpsamplingStage):
    """A stage whose `upsample`, here a 1x1 convolution, isn't merged with its first convolution."""

    def __init__(self, *, dim: int, own_dim: int, **sizes: int) -> None:
        super().__init__(dim=dim, own_dim=own_dim, **sizes)
        self.upsample = nn.Conv2d(dim, own_dim, kernel_size=1)
        del self.bias

    def precompute_guidance(self, guidance: Float[Tensor, "B G H W"]) -> StageGuidance:
        """The map that the guidance adds to those of all classes."""
        return StageGuidance(None, self.conv1.guidance(guidance))

    def first(self, x: Float[Tensor, "BT C H W"], guided: StageGuidance) -> Float[Tensor, "BT D _ _"]:
        """`conv1` of the upsampled maps and the guidance."""
        return plus_shared(self.conv1.own(self.upsample(x)), guided.shared)


class ErrDecoder(UpsamplingDecoder):
    """One stage at stride 16 without upsampling, two upsampling stages, and a linear head with one logit per class."""

    rectify = staticmethod(F.relu6)

    def __init__(self, dim: int, tap_channels: Sequence[int], sizes: DecoderSizes) -> None:
        super().__init__(dim, (), replace(sizes, lifts=()))
        if sizes.lifts:  # ViT: the map at stride 16 fits its stage unchanged
            lifted = zip(tap_channels[1:], sizes.taps[1:], sizes.lifts, strict=True)
            self.lifts.extend([nn.Identity(), *(nn.ConvTranspose2d(tap, own, by, by) for tap, own, by in lifted)])
        self.head = nn.Conv2d(sizes.stages[-1], 1, kernel_size=1)

    def build_stage(self, index: int, dim: int, guidance_dim: int, out_dim: int) -> UpsamplingStage:
        """Build the stage with this index."""
        kind = UpsamplingStage if index else SplitStage
        return kind(dim=dim, own_dim=out_dim, guidance_dim=guidance_dim, out_dim=out_dim, group=8)


class ErrBlock(nn.Module):
    """One block of redundancy-reduced cost aggregation (RRCA): spatial aggregation, then class aggregation."""

    def __init__(self, config: ErrAggregationConfig, index: int) -> None:
        super().__init__()
        drop, streams = config.drop_path * index, config.streams
        self.spatial = ReducedSpatialAggregation(config, drop) if streams in ("both", "spatial") else None
        self.semantic = ReducedClassAggregation(config, drop) if streams in ("both", "class") else None

    def forward(
        self, x: ClassTokens, guidance: ImageGuidance, text: TextGuidance, context: AggregationContext
    ) -> ClassTokens:
        """Refine all classes."""
        if (spatial := self.spatial) is not None:
            guided = spatial.precompute_guidance(guidance)
            x = context.map(spatial, x, spatial.drop(x, 2), spatial.drop(x, 2), shared=(guided,))
        return x if self.semantic is None else context.run(self.semantic, x, text)


class ErrAggregation(Float32Parts):
    """Computes logits of the classes that seem to be in the image, from hierarchical features and word embeddings."""

    float32_parts = ("embed_costs",)

    def __init__(self, config: ErrAggregationConfig, channels: int, tap_channels: Sequence[int], maps: int = 2) -> None:
        """Build the aggregation with random weights, for words of so many channels and `maps` costs per class.

        Of the guidance maps, from coarse to fine, the last two guide the decoder, the others the blocks, and the third
        from the end, at stride 16, both.
        """
        super().__init__()
        c = config
        self.embed_costs = nn.ModuleList(nn.Conv2d(1, c.embed_dim, kernel_size=7, padding=3) for _ in range(maps))
        self.merge_costs = nn.Conv2d(c.embed_dim, c.dim, kernel_size=1)
        self.guidance = nn.ModuleList(nn.Conv2d(tap, c.embed_dim, 3, padding=1) for tap in tap_channels[:-2])
        self.merge_guidance = nn.Conv2d(c.embed_dim, c.dim, kernel_size=1)
        self.text_guidance = nn.Linear(channels, c.dim)
        self.blocks = nn.ModuleList(ErrBlock(c, index) for index in range(c.blocks))
        self.decoder = ErrDecoder(c.dim, tap_channels[-3:], c.decoder_sizes)
        self.taps = len(tap_channels)
        self.voting_cost = 0 if c.voting_map == "stride_16" else maps - 1

    def forward(
        self, maps: FeatureMaps, text: PromptEmbeddings, guidance: FeatureMaps, context: AggregationContext
    ) -> SelectedLogits:
        """Compute logits of the selected classes; see `CostAggregation.forward`.

        The costs of one map vote for classes (`voting_map`). Pooling follows the configuration, not the context. Of the
        guidance the last maps are used: strides 32, 16, 8 and 4, or a ViT's dense map and two taps.
        """
        dtype = lowest_precision(self)
        taps = [tap.to(dtype).clamp(-LARGEST_TAP, LARGEST_TAP) for tap in guidance[-self.taps :]]
        stride_16 = taps[-3]
        costs = [cost_volume(image, text) for image in maps]
        kept = context.select(costs[self.voting_cost])
        if kept is not None:
            costs, text = [gather_classes(cost, kept, 2) for cost in costs], gather_classes(text, kept, 1)
        size = (stride_16.shape[2], stride_16.shape[3])
        x = self._embedded(costs, size, context)
        guides = [resized(F.relu6(project(tap)), size) for project, tap in zip(self.guidance, taps[:-2], strict=True)]
        appearance = rearrange(self.merge_guidance(torch.stack(guides).mean(dim=0)), "b c h w -> b h w c")
        words = F.gelu(self.text_guidance(F.normalize(text.mean(dim=2), dim=-1).to(dtype)))
        for number, block in enumerate(self.blocks):
            x = block(x, appearance, words, context.of_block(number))
        # as released, the decoder has no gradient here
        guided = self.decoder.precompute_guidance((stride_16.detach(), *taps[-2:]))
        return context.map(self.decoder, x, shared=(guided,)), kept

    def _embedded(
        self, costs: Sequence[Float[Tensor, "B 1 T _ _"]], size: tuple[int, int], context: AggregationContext
    ) -> ClassTokens:
        """Average the cost embeddings at a common size and project them (Eq. 6 of the paper sums them instead)."""
        dtype = lowest_precision(self)

        def merged(*chunk: Float[Tensor, "B 1 T _ _"]) -> ClassTokens:
            with without_autocast(chunk[0]):
                embedded = [
                    resized(embed(rearrange(cost, "b 1 t h w -> (b t) 1 h w")), size)
                    for embed, cost in zip(self.embed_costs, chunk, strict=True)
                ]
            maps = self.merge_costs(torch.stack(embedded).mean(dim=0).to(dtype))
            return rearrange(maps, "(b t) c h w -> b t h w c", b=chunk[0].shape[0])

        return torch.cat(context.each(merged, *costs, dim=2), dim=1)


HEAD = "sem_seg_head.decoder."
"""Prefix of all weights outside CLIP in the released ERR-Seg."""

_ERR_SEG_NAMES = (
    (r"^corr_proj_convs\.(\d)\.0\.", r"embed_costs.\1."),
    (r"^low_corr_fusion\.", "merge_costs."),
    (r"^img_guidance_projection_agg\.(\d)\.0\.", r"guidance.\1."),
    (r"^low_img_fusion\.", "merge_guidance."),
    (r"^img_guidance_projection_dec\.(\d)\.0\.", r"decoder.guidance.\1."),
    (r"^text_guidance_projection\.0\.", "text_guidance."),
    (r"^aggregator_layers\.(\d+)\.spatial_fusion\.sa\.", r"blocks.\1.spatial."),
    (r"^aggregator_layers\.(\d+)\.class_fusion\.sa\.", r"blocks.\1.semantic."),
    (r"\.attention\.proj\.", ".out."),
    (r"\.attention\.sr_([kv])\.", r".reduce_\1."),
    (r"\.attention\.norm_([kv])\.", r".norm_\1."),
    (r"\.attention\.", ".project."),
    (r"\.mlp\.dwconv\.dwconv\.", ".local."),
    (r"^up_decoder([123])\.", lambda match: f"decoder.stages.{int(match[1]) - 1}."),
    (r"\.up_conv\.", ".upsample."),
    (r"\.textual_fusion\.0\.", ".conv1."),
    (r"\.textual_fusion\.1\.", ".norm1."),
    (r"\.textual_fusion\.3\.", ".conv2."),
    (r"\.textual_fusion\.4\.", ".norm2."),
    (r"^head\.", "decoder.head."),
)


def err_seg_state(official: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict for an ERR-Seg network.

    It reads the whole released state dict (`sem_seg_head.clip_model.*`, `sem_seg_head.decoder.*`), or that of a plain
    CLIP for a network without aggregation.
    """
    if is_plain_clip(official):
        return clip_state(official, network) | cosine_state(network.aggregation)
    refuse_other_origins(official, "ERR-Seg")
    unexpected = [name for name in official if not name.startswith(("sem_seg_head.clip_model.", HEAD))]
    if unexpected:
        raise CheckpointError(f"these weights aren't from ERR-Seg ({unexpected[0]}); use its authors' checkpoint")
    head = err_head_state(inside(HEAD, official), network.aggregation)
    return clip_state(official, network) | with_prefixes({"aggregation.": head})


def err_head_state(official: Mapping[str, Tensor], aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of `aggregation` from that of the released head (`sem_seg_head.decoder.*`)."""
    expected = shapes_of(aggregation)
    weights = ((name, err_seg_name(name), value) for name, value in official.items())
    return fit_exactly(split_terms(weights, expected), expected, "ERR-Seg")


def err_seg_name(official: str) -> str:
    """Our name of a weight of the released head."""
    return renamed(official, _ERR_SEG_NAMES)
