"""Cost volume, spatial and class aggregation, and upsampling decoder (CAT-Seg, section 3; PCA-Seg, Eqs. 1 to 3).

All modules take the features of every class at every cell, (B T H W C). Spatial aggregation attends over the cells
of one class, class aggregation over the classes of one cell, and the decoder quadruples the resolution of each class's
map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import Fusion
from segvoc.layers.guided import GuidedConv2d, Projections, gelu_mlp
from segvoc.layers.maps import Windows, is_exporting, plus_shared, pool, unpool, windows_of
from segvoc.layers.precision import Float32Parts, at_least_float32, without_autocast
from segvoc.layers.shapes import ClassTokens, FeatureMaps, ImageGuidance, Logits
from segvoc.storage.records import check_range

HeadTokens: TypeAlias = Float[Tensor, "B T H W heads c"]
"""Queries, keys or values with their channels split into heads."""

Summary: TypeAlias = tuple[Tensor, ...]
"""Statistics over all classes that class attention needs to refine any class."""


def cost_volume(image: Float[Tensor, "B C H W"], text: Float[Tensor, "B T P C"]) -> Float[Tensor, "B P T H W"]:
    """Cosine similarity of every cell with every prompt of every class.

    Source: PCA-Seg, Eq. 1 (CAT-Seg, Eq. 1).

    Args:
        image: dense features, one cell per patch, any norm.
        text: P prompt embeddings for each of T classes, any norm.

    Returns:
        Similarity in [-1, 1], unitless, in float32 if the features are less precise.

    Raises:
        ValueError: The channel counts differ.
    """
    if image.shape[1] != text.shape[-1]:
        raise ValueError(f"the image has {image.shape[1]} feature channels, the text {text.shape[-1]}")
    image, text = F.normalize(at_least_float32(image), dim=1), F.normalize(at_least_float32(text), dim=-1)
    with without_autocast(image):
        return torch.einsum("bchw,btpc->bpthw", image, text)


def cost_volumes(maps: FeatureMaps, text: Float[Tensor, "B T P C"]) -> Float[Tensor, "B _ T H W"]:
    """The cost volumes of several maps on one grid: for each map, P costs of every class."""
    return torch.cat([cost_volume(image, text) for image in maps], dim=1)


class WindowGuidance(NamedTuple):
    """Shared by all classes of an image in a window block: guidance and windows."""

    q: Float[Tensor, "B 1 N S C"]
    """The guidance term of the queries."""
    k: Float[Tensor, "B 1 N S C"]
    """The guidance term of the keys."""
    windows: Windows
    """N windows of S cells."""


class WindowBlock(nn.Module):
    """A Swin block: attention within windows of cells, then an MLP, both residual (Liu et al., ICCV 2021).

    It has no relative position bias. The grid may have any size: border windows are padded with masked cells.
    """

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.project = Projections(dim, guidance_dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = gelu_mlp(dim)

    def precompute_guidance(self, guidance: ImageGuidance) -> WindowGuidance:
        """Precompute the terms shared by all classes of an image."""
        q, k = (layer.guidance(guidance)[:, None] for layer in (self.project.q, self.project.k))
        windows = windows_of((q.shape[2], q.shape[3]), self.window, self.shift, q.dtype, q.device)
        return WindowGuidance(windows.split(q), windows.split(k), windows)

    def forward(self, x: ClassTokens, guided: WindowGuidance) -> ClassTokens:
        """Refine every class independently."""
        project, windows, y = self.project, guided.windows, guided.windows.split(self.norm1(x))
        split = partial(rearrange, pattern="b t n s (heads c) -> (b t n) heads s c", heads=self.heads)
        q, k, v = split(project.q(y, guided.q)), split(project.k(y, guided.k)), split(project.v(y))
        # with a 4D mask PyTorch takes its fused kernel, with a 3D mask the slow path
        mask = None if windows.mask is None else windows.mask.repeat(x.shape[0] * x.shape[1], 1, 1)[:, None]
        attended = rearrange(F.scaled_dot_product_attention(q, k, v, mask), "btn heads s c -> btn s (heads c)")
        x = x + windows.join(self.out(attended.reshape(y.shape)), x.shape[2], x.shape[3])
        return x + self.mlp(self.norm2(x))


class SpatialAggregation(nn.Module):
    """Two Swin blocks over the cells of each class, the second with shifted windows, both guided by the image."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(guidance_dim) if guidance_dim else nn.Identity()
        shifts = (0, window // 2)
        self.blocks = nn.ModuleList(
            WindowBlock(dim=dim, guidance_dim=guidance_dim, heads=heads, window=window, shift=shift) for shift in shifts
        )

    def precompute_guidance(self, guidance: ImageGuidance) -> list[WindowGuidance]:
        """Precompute each block's terms shared by all classes of an image."""
        guidance = self.guidance_norm(guidance)
        return [cast(WindowBlock, block).precompute_guidance(guidance) for block in self.blocks]

    def forward(self, x: ClassTokens, guided: Sequence[WindowGuidance]) -> ClassTokens:
        """Refine every class independently."""
        for block, guide in zip(self.blocks, guided, strict=True):
            x = block(x, guide)
        return x


class ClassAggregation(nn.Module):
    """Linear attention among the classes of each cell, guided by the words (Katharopoulos et al., ICML 2020).

    With phi(x) = elu(x) + 1, a query q gets phi(q) . sum_s phi(k_s) v_s / (phi(q) . sum_s phi(k_s)). The classes s only
    enter through two sums, a small matrix and a vector per cell, so refining classes in chunks is exact.

    The released networks pad the class axis to `pad_classes` with one learned token. All pads are equal, so here they
    enter the sums once, multiplied by their number. Cells are pooled before and interpolated after.
    """

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, pad_classes: int) -> None:
        super().__init__()
        self.heads, self.pad_classes = heads, pad_classes
        self.norm1 = nn.LayerNorm(dim)
        self.project = Projections(dim, guidance_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        if pad_classes:
            self.pad_token = nn.Parameter(torch.zeros(dim))
            self.pad_guidance = nn.Parameter(torch.zeros(guidance_dim))

    def summarize(self, x: ClassTokens, text: Float[Tensor, "B T G"], context: AggregationContext) -> Summary:
        """Sum up all classes."""
        summaries = context.on_pooled_cells().each(self.summary, x, text, shared=(context.pooling,))
        if self.pad_classes and (is_exporting() or x.shape[1] < self.pad_classes):
            missing = self.pad_classes - x.shape[1]
            if is_exporting():  # a traced program takes any number of classes
                missing = cast(int, torch.sym_max(missing, 0))
            pad = self.keys_values(self.pad_token.expand(1, 1, 1, 1, -1), self.pad_guidance.expand(1, 1, -1))
            summaries.append(self.sums(*pad, missing))
        return self.merge(summaries)

    def summary(self, x: ClassTokens, text: Float[Tensor, "B T G"], pooling: tuple[int, int]) -> Summary:
        """The sums over a chunk of classes."""
        return self.sums(*self.keys_values(pool(x, pooling), text), 1)

    def forward(
        self, x: ClassTokens, text: Float[Tensor, "B T G"], summary: Summary, pooling: tuple[int, int]
    ) -> ClassTokens:
        """Refine a chunk of the classes that `summary` covers."""
        pooled = pool(x, pooling)
        pooled = pooled + self.attend(self.queries(pooled, text), summary).flatten(-2).to(x.dtype)
        pooled = pooled + self.mlp(self.norm2(pooled))
        return x + unpool(pooled, (x.shape[2], x.shape[3]))

    def sums(self, k: HeadTokens, v: HeadTokens, count: int) -> Summary:
        """The two sums over a chunk of classes, each counted `count` times."""
        k = count * _phi(k)
        with without_autocast(k):
            return torch.einsum("bthwnc,bthwnd->bhwncd", k, v), k.sum(1)

    def merge(self, summaries: Sequence[Summary]) -> Summary:
        """Add up the sums of several groups of classes; pads have a single cell, which broadcasts."""
        return tuple(cast(Tensor, sum(parts[1:], start=parts[0])) for parts in zip(*summaries, strict=True))

    def attend(self, q: HeadTokens, summary: Summary) -> HeadTokens:
        """Attention from a chunk of classes to all classes of the summary."""
        key_value, key = summary
        q = _phi(q)
        with without_autocast(q):
            attended = torch.einsum("bthwnc,bhwncd->bthwnd", q, key_value)
            return attended / (torch.einsum("bthwnc,bhwnc->bthwn", q, key) + 1e-6)[..., None]

    def queries(self, x: ClassTokens, text: Float[Tensor, "B T G"]) -> HeadTokens:
        """Queries of the classes at pooled cells."""
        q = self.project.q
        return self._heads(q(self.norm1(x), q.guidance(text)[:, :, None, None]))

    def keys_values(self, x: ClassTokens, text: Float[Tensor, "B T G"]) -> tuple[HeadTokens, HeadTokens]:
        """Keys and values of the classes at pooled cells."""
        k, y = self.project.k, self.norm1(x)
        return self._heads(k(y, k.guidance(text)[:, :, None, None])), self._heads(self.project.v(y))

    def _heads(self, x: ClassTokens) -> HeadTokens:
        # sums over hundreds of classes need more precision than float16 or bfloat16 has
        return at_least_float32(x.unflatten(-1, (self.heads, -1)))


def _phi(x: HeadTokens) -> HeadTokens:
    # flattened, gradients are contiguous: PyTorch's compiler gets the strides of an ELU's other gradients wrong
    return (F.elu(x.flatten(0, -2)) + 1).view(x.shape)


class TwoStreamBlock(nn.Module):
    """A block with a spatial and a class aggregation, whose two streams `fuse` joins."""

    def __init__(self, spatial: SpatialAggregation, semantic: ClassAggregation, fuse: Fusion) -> None:
        super().__init__()
        self.spatial, self.semantic, self.fuse = spatial, semantic, fuse


def fuse_streams(
    fuse: Fusion,
    streams: Callable[..., tuple[ClassTokens, ClassTokens]],
    of_classes: Sequence[Tensor],
    shared: Sequence[Any],
    context: AggregationContext,
) -> ClassTokens:
    """Compute the streams of each chunk of classes (axis 1) from its tensors and the shared arguments; fuse them."""
    statistics = fuse.statistics(context.run_chunks) if fuse.training else None
    if context.observe is None and statistics is None:
        return context.map(lambda *chunk: fuse(*streams(*chunk)), *of_classes, shared=shared)
    pairs = context.each(streams, *of_classes, shared=shared)
    if context.observe is not None:  # not in `streams`, which checkpointing may recompute
        for pair in pairs:
            context.observe(context.block, *pair)
    # batch norm needs all classes before the first chunk is fused
    moments = () if statistics is None else (statistics(pairs),)
    return torch.cat(context.run_chunks(fuse, pairs, moments), dim=1)


@dataclass(frozen=True, kw_only=True)
class DecoderSizes:
    """Sizes of a decoder; the defaults are CAT-Seg's and PCA-Seg's."""

    lifts: tuple[int, ...] = (2, 4)
    """Factor by which each tap of the image encoder is upsampled before it guides a stage; empty if the taps fit."""
    taps: tuple[int, ...] = (256, 128)
    """Channels of each tap after upsampling."""
    guidance: tuple[int, ...] = (32, 16)
    """Guidance channels of each stage."""
    stages: tuple[int, ...] = (64, 32)
    """Output channels of each stage."""

    def __post_init__(self) -> None:
        check_range(self, {"lifts": (1, 16), "taps": (1, 4096), "guidance": (1, 4096), "stages": (1, 4096)})


class StageGuidance(NamedTuple):
    """An upsampling stage's terms shared by all classes of an image."""

    kernel: Float[Tensor, "C D k k"] | None
    """The merged layers' response to a single cell; None for layers that aren't merged."""
    shared: Float[Tensor, "B D _ _"]
    """Map to add to each class's."""


class UpsamplingStage(nn.Module):
    """A transposed convolution that doubles the resolution, then two convolutions; the first also sees the guidance.

    There is no activation between `upsample` and `conv1`, so the two are one transposed convolution, with a kernel of
    4x4 cells: their response to a single cell. That halves the multiplications. The guidance term of `conv1` and the
    bias of `upsample` are the same for all classes.
    """

    def __init__(self, *, dim: int, own_dim: int, guidance_dim: int, out_dim: int, group: int = 16) -> None:
        super().__init__()
        self.dim = dim
        self.upsample: nn.Module = nn.ConvTranspose2d(dim, own_dim, kernel_size=2, stride=2, bias=False)
        self.bias = nn.Parameter(torch.empty(own_dim))
        nn.init.uniform_(self.bias, -((4 * own_dim) ** -0.5), (4 * own_dim) ** -0.5)
        self.conv1 = GuidedConv2d(own_dim, guidance_dim, out_dim, kernel=3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(out_dim // group, out_dim)
        self.conv2 = nn.Conv2d(out_dim, out_dim, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out_dim // group, out_dim)

    def precompute_guidance(self, guidance: Float[Tensor, "B G H W"]) -> StageGuidance:
        """The merged kernel (C D 4 4), and the map that all classes of an image share."""
        bias = self.bias[:, None, None].expand(1, -1, *guidance.shape[2:])
        return StageGuidance(self.merged_kernel(), self.conv1.own(bias) + self.conv1.guidance(guidance))

    def merged_kernel(self) -> Float[Tensor, "C D 4 4"]:
        """Response of `upsample` and `conv1` to a cell with a 1 in one of the C channels."""
        single = torch.eye(self.dim, dtype=self.bias.dtype, device=self.bias.device)[:, :, None, None]
        return self.conv1.own(F.pad(self.upsample(single), (1, 1, 1, 1)))

    def forward(self, x: Float[Tensor, "BT C H W"], guided: StageGuidance) -> Float[Tensor, "BT D _ _"]:
        """Upsample the maps of T classes of each of B images; the classes of one image are consecutive."""
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.first(x, guided))))))

    def first(self, x: Float[Tensor, "BT C H W"], guided: StageGuidance) -> Float[Tensor, "BT D 2*H 2*W"]:
        """`conv1` of the upsampled maps and the guidance."""
        return plus_shared(F.conv_transpose2d(x, cast(Tensor, guided.kernel), stride=2, padding=1), guided.shared)


class UpsamplingDecoder(Float32Parts):
    """Upsampling stages guided by taps of the image encoder, then a convolution to one logit for each class."""

    float32_parts = ("head",)
    rectify = staticmethod(F.relu)

    def __init__(self, dim: int, tap_channels: Sequence[int], sizes: DecoderSizes) -> None:
        super().__init__()
        dims = (dim, *sizes.stages)
        self.lifts = nn.ModuleList(
            nn.ConvTranspose2d(channels, lifted, factor, factor)
            for channels, lifted, factor in zip(tap_channels, sizes.taps, sizes.lifts, strict=bool(sizes.lifts))
        )
        self.guidance = nn.ModuleList(
            nn.Conv2d(tap, guide, kernel_size=3, padding=1)
            for tap, guide in zip(sizes.taps, sizes.guidance, strict=True)
        )
        self.stages = nn.ModuleList(
            self.build_stage(i, dims[i], guide, dims[i + 1]) for i, guide in enumerate(sizes.guidance)
        )
        self.head: nn.Module = nn.Conv2d(dims[-1], 1, kernel_size=3, padding=1)

    def build_stage(self, index: int, dim: int, guidance_dim: int, out_dim: int) -> UpsamplingStage:
        """Build the stage at an index."""
        return UpsamplingStage(dim=dim, own_dim=dim - guidance_dim, guidance_dim=guidance_dim, out_dim=out_dim)

    def precompute_guidance(self, taps: FeatureMaps) -> list[StageGuidance]:
        """Precompute each stage's terms shared by all classes, from the tap at its resolution."""
        lifted = [lift(tap) for lift, tap in zip(self.lifts, taps, strict=True)] if self.lifts else taps
        guides = (self.rectify(project(tap)) for project, tap in zip(self.guidance, lifted, strict=True))
        stages = zip(self.stages, guides, strict=True)
        return [cast(UpsamplingStage, stage).precompute_guidance(guide) for stage, guide in stages]

    def forward(self, x: ClassTokens, guided: Sequence[StageGuidance]) -> Logits:
        """Decode every class independently."""
        maps = rearrange(x, "b t h w c -> (b t) c h w").contiguous(memory_format=torch.channels_last)
        for stage, guide in zip(self.stages, guided, strict=True):
            maps = stage(maps, guide)
        with without_autocast(maps):
            return rearrange(self.head(at_least_float32(maps)), "(b t) 1 h w -> b t h w", b=x.shape[0])
