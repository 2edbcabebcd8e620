"""Spatial and class aggregation of a cost volume, and the upsampling decoder (CAT-Seg, section 3; PCA-Seg, Eqs. 2, 3).

All see the features of every class at every cell, (B T H W C): spatial aggregation compares the cells of one class,
class aggregation the classes of one cell, and the decoder makes each class's map four times as fine.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.axes import ClassTokens, Logits

HeadTokens: TypeAlias = Float[Tensor, "B T H W heads c"]
"""Queries, keys or values, their channels split into heads."""

Summary: TypeAlias = tuple[Tensor, ...]
"""What class attention must know of all classes to refine one."""


class GuidedLinear(nn.Linear):
    """W [x; guidance] + b = W_x x + (W_g guidance + b), its two halves computed apart.

    The guidance is the same for many x: one picture for all classes, one word for all cells.
    """

    def __init__(self, dim: int, guidance_dim: int) -> None:
        super().__init__(dim + guidance_dim, dim)

    def own(self, x: Float[Tensor, "*cells C"]) -> Float[Tensor, "*cells C"]:
        """The half of x."""
        return F.linear(x, self.weight[:, : self.out_features])

    def guide(self, guidance: Float[Tensor, "*cells G"]) -> Float[Tensor, "*cells C"]:
        """The half of the guidance, and the bias."""
        return F.linear(guidance, self.weight[:, self.out_features :], self.bias)


class Projections(nn.Module):
    """Queries and keys of [x; guidance], values of x alone."""

    def __init__(self, dim: int, guidance_dim: int) -> None:
        super().__init__()
        self.q = GuidedLinear(dim, guidance_dim)
        self.k = GuidedLinear(dim, guidance_dim)
        self.v = nn.Linear(dim, dim)


class WindowBlock(nn.Module):
    """A Swin block: attention inside windows of cells, then an MLP, both residual (Liu et al., ICCV 2021).

    No relative position bias. The grid may have any size: the windows at its end are filled up with cells to which no
    cell of the picture attends.
    """

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.project = Projections(dim, guidance_dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: ClassTokens, guidance: Float[Tensor, "B H W G"]) -> ClassTokens:
        """Refine every class on its own; `guidance` is the picture's, the same for all classes."""
        normed, project = self.norm1(x), self.project
        q, k = (part.own(normed) + part.guide(guidance)[:, None] for part in (project.q, project.k))
        x = x + self.out(self.attend(q, k, project.v(normed)))
        return x + self.mlp(self.norm2(x))

    def attend(self, q: ClassTokens, k: ClassTokens, v: ClassTokens) -> ClassTokens:
        """Softmax attention of every cell with the cells of its window."""
        batch, _, *grid, _ = q.shape
        shifts = [0 if size <= self.window else self.shift for size in grid]
        pads = [-size % self.window for size in grid]
        regions = [_regions(*axis, q.device) for axis in zip(grid, pads, shifts, strict=True)]
        mask = self._mask(*regions, dtype=q.dtype) if any(pads) or any(shifts) else None  # else all windows are whole

        def split(x: Tensor) -> Tensor:
            x = F.pad(x, (0, 0, 0, pads[1], 0, pads[0])) if any(pads) else x
            x = x.roll((-shifts[0], -shifts[1]), dims=(2, 3)) if any(shifts) else x
            pattern = "b t (y wy) (x wx) (heads c) -> (b t) (y x heads) (wy wx) c"
            return rearrange(x, pattern, wy=self.window, wx=self.window, heads=self.heads)

        # a mask of four axes takes PyTorch's fused kernel, one of three its slow path
        x = F.scaled_dot_product_attention(split(q), split(k), split(v), None if mask is None else mask[None])
        pattern = "(b t) (y x heads) (wy wx) c -> b t (y wy) (x wx) (heads c)"
        x = rearrange(x, pattern, b=batch, y=(grid[0] + pads[0]) // self.window, wy=self.window, heads=self.heads)
        x = x.roll((shifts[0], shifts[1]), dims=(2, 3)) if any(shifts) else x
        return x[:, :, : grid[0], : grid[1]]

    def _mask(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Float[Tensor, "window_heads cell other"]:
        """-100 between cells of a window that are no neighbours in the picture."""
        region = rearrange(
            3 * rows[:, None] + columns, "(y wy) (x wx) -> (y x) (wy wx)", wy=self.window, wx=self.window
        )
        apart = (region[:, :, None] != region[:, None]).to(dtype) * -100.0
        return apart.repeat_interleave(self.heads, dim=0)


def _regions(size: int, pad: int, shift: int, device: torch.device) -> Int[Tensor, " cells"]:
    """Along one axis of the shifted grid: 0, 1 for cells that the shift brought round, 2 for cells that fill up."""
    place = torch.arange(size + pad, device=device).roll(-shift)
    return (place < shift).int() + 2 * (place >= size).int()


class SpatialAggregation(nn.Module):
    """Two Swin blocks over the cells of each class, the second with shifted windows; the picture guides both."""

    def __init__(self, *, dim: int, guidance_dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(guidance_dim)
        shifts = (0, window // 2)
        self.blocks = nn.ModuleList(
            WindowBlock(dim=dim, guidance_dim=guidance_dim, heads=heads, window=window, shift=shift) for shift in shifts
        )

    def forward(self, x: ClassTokens, guidance: Float[Tensor, "B H W G"]) -> ClassTokens:
        """Refine every class on its own."""
        guidance = self.guidance_norm(guidance)
        for block in self.blocks:
            x = block(x, guidance)
        return x


class ClassAggregation(nn.Module):
    """Linear attention among the classes of each cell, guided by the words (Katharopoulos et al., ICML 2020).

    With phi(x) = elu(x) + 1, a query q gets phi(q) . sum_s phi(k_s) v_s / (phi(q) . sum_s phi(k_s)). All that it needs
    of the classes s are two sums, a small matrix and a vector for each cell, so classes can be refined in chunks,
    exactly.

    The released networks fill the class axis up to `pad_classes` with one learnt token. All pads are equal, so here
    they enter the sums once, with their number as a factor. Cells are pooled before and interpolated after.
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

    def summarise(self, x: ClassTokens, text: Float[Tensor, "B T G"], pooling: tuple[int, int], chunk: int) -> Summary:
        """What must be known of all classes to refine one; `chunk` classes are worked on at a time."""
        parts = [
            self.sums(*self._key_value(pool(part, pooling), words), 1)
            for part, words in zip(x.split(chunk, 1), text.split(chunk, 1), strict=True)
        ]
        if (missing := self.pad_classes - x.shape[1]) > 0:
            pad = self._key_value(self.pad_token.expand(1, 1, 1, 1, -1), self.pad_guidance.expand(1, 1, -1))
            parts.append(self.sums(*pad, missing))
        return self.merge(parts)

    def forward(
        self, x: ClassTokens, text: Float[Tensor, "B T G"], summary: Summary, pooling: tuple[int, int]
    ) -> ClassTokens:
        """Refine some of the classes that `summary` sums up."""
        pooled = pool(x, pooling)
        q = self._heads(self.project.q.own(self.norm1(pooled)) + self.project.q.guide(text)[:, :, None, None])
        pooled = pooled + self.attend(q, summary).flatten(-2).to(x.dtype)
        pooled = pooled + self.mlp(self.norm2(pooled))
        return x + unpool(pooled, (x.shape[2], x.shape[3]))

    def sums(self, k: HeadTokens, v: HeadTokens, count: int) -> Summary:
        """The two sums over some classes, each class counted `count` times."""
        k = F.elu(k) + 1
        return count * torch.einsum("bthwnc,bthwnd->bhwncd", k, v), count * k.sum(1)

    def merge(self, parts: Sequence[Summary]) -> Summary:
        """The sums over several groups of classes; pads have one cell, which stands for all."""
        total = parts[0]
        for part in parts[1:]:
            total = tuple(so_far + more for so_far, more in zip(total, part, strict=True))
        return total

    def attend(self, q: HeadTokens, summary: Summary) -> HeadTokens:
        """Attention of some classes to all that are summed up."""
        key_value, key = summary
        q = F.elu(q) + 1
        attended = torch.einsum("bthwnc,bhwncd->bthwnd", q, key_value)
        return attended / (torch.einsum("bthwnc,bhwnc->bthwn", q, key) + 1e-6)[..., None]

    def _key_value(self, x: ClassTokens, text: Float[Tensor, "B T G"]) -> tuple[HeadTokens, HeadTokens]:
        x, project = self.norm1(x), self.project
        return self._heads(project.k.own(x) + project.k.guide(text)[:, :, None, None]), self._heads(project.v(x))

    def _heads(self, x: ClassTokens) -> HeadTokens:
        # sums over hundreds of classes need more bits than half precision has
        return x.unflatten(-1, (self.heads, -1)).to(torch.promote_types(x.dtype, torch.float32))


def pool(x: ClassTokens, pooling: tuple[int, int]) -> Float[Tensor, "B T h w C"]:
    """Mean of `pooling` cells (rows, columns); a grid smaller than that becomes one cell."""
    if pooling == (1, 1):
        return x
    kernel = (min(pooling[0], x.shape[2]), min(pooling[1], x.shape[3]))
    return on_maps(lambda maps: F.avg_pool2d(maps, kernel), x)


def unpool(x: ClassTokens, size: tuple[int, int]) -> Float[Tensor, "B T h w C"]:
    """Bilinear interpolation to `size` cells, corners on corners."""
    if tuple(x.shape[2:4]) == size:
        return x
    return on_maps(lambda maps: F.interpolate(maps, size=size, mode="bilinear", align_corners=True), x)


def on_maps(operation: Callable[[Tensor], Tensor], x: ClassTokens) -> Float[Tensor, "B T h w D"]:
    """Apply what works on maps (N C H W) to the features of every class."""
    maps = operation(rearrange(x, "b t h w c -> (b t) c h w"))
    return rearrange(maps, "(b t) c h w -> b t h w c", b=len(x))


class UpsamplingStage(nn.Module):
    """Twice the resolution by a transposed convolution, then two convolutions that also see the picture's guidance."""

    def __init__(self, *, dim: int, guidance_dim: int, out_dim: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(dim, dim - guidance_dim, kernel_size=2, stride=2)
        self.conv1 = nn.Conv2d(dim, out_dim, kernel_size=3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(out_dim // 16, out_dim)
        self.conv2 = nn.Conv2d(out_dim, out_dim, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out_dim // 16, out_dim)

    def forward(
        self, x: Float[Tensor, "BT C H W"], guidance: Float[Tensor, "B G 2*H 2*W"]
    ) -> Float[Tensor, "BT D 2*H 2*W"]:
        """Upsample the maps of T classes of each of B pictures, picture by picture one after another."""
        x = self.upsample(x)
        own = x.shape[1]
        # the convolution of [x; guidance] is a sum; the picture's share is the same for all of its classes
        shared = F.conv2d(guidance, self.conv1.weight[:, own:], padding=1)
        x = F.conv2d(x, self.conv1.weight[:, :own], padding=1)
        x = (x.unflatten(0, (len(guidance), -1)) + shared[:, None]).flatten(0, 1)
        x = F.relu(self.norm1(x))
        return F.relu(self.norm2(self.conv2(x)))


class UpsamplingDecoder(nn.Module):
    """Two upsampling stages and a convolution to one logit for every class."""

    def __init__(self, *, dim: int, guidance_dims: Sequence[int], stage_dims: Sequence[int]) -> None:
        super().__init__()
        dims = (dim, *stage_dims)
        self.stages = nn.ModuleList(
            UpsamplingStage(dim=dims[i], guidance_dim=guide, out_dim=dims[i + 1])
            for i, guide in enumerate(guidance_dims)
        )
        self.head = nn.Conv2d(dims[-1], 1, kernel_size=3, padding=1)

    def forward(self, x: ClassTokens, guidance: Sequence[Float[Tensor, "B _ _ _"]]) -> Logits:
        """Decode every class on its own; `guidance` has one map for each stage, at that stage's resolution."""
        maps = rearrange(x, "b t h w c -> (b t) c h w").contiguous(memory_format=torch.channels_last)
        for stage, guide in zip(self.stages, guidance, strict=True):
            maps = stage(maps, guide)
        return rearrange(self.head(maps), "(b t) 1 h w -> b t h w", b=len(x))
