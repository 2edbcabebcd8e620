"""A network and its losses as one module: what a step computes from pictures, labels and words."""

from collections.abc import Callable
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segvoc.data.training.training_set import IGNORED
from segvoc.errors import UsageError
from segvoc.layers.class_selection import Voted
from segvoc.layers.interpolation import resized
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.shapes import ClassTokens
from segvoc.training.ground_truth_selection import GroundTruthFirst
from segvoc.training.objectives.losses import (
    OrthogonalityLoss,
    competing_segmentation_loss,
    masked_segmentation_loss,
    released_segmentation_loss,
)
from segvoc.training.objectives.parts import PartObjective
from segvoc.training.recipe import Loss, Recipe

SEGMENTATION_LOSSES: dict[Loss, Callable[..., Float[Tensor, ""]]] = {
    "released": released_segmentation_loss,
    "masked": masked_segmentation_loss,
    "competing": competing_segmentation_loss,
}

PROMPTS = 64
"""Prompts that go through the text tower together where its inner values are computed twice."""

Words = Float[Tensor, "T P C"] | Int[Tensor, "T P L"]


def objective_of(network: SegmentationNetwork, recipe: Recipe) -> "AnyObjective":
    """What a network is trained by: the losses of parts and objects, or those of one label for each pixel."""
    return PartObjective(network, recipe) if isinstance(network, PartNetwork) else Objective(network, recipe)


class Objective(nn.Module):
    """The losses of a batch, by name; "loss" is what is minimised.

    "segmentation": the recipe's loss of the labels. "fod": the orthogonality loss with its weight, and "fod_1",
    "fod_2", ... the mean squared cosine of the two streams in each block, without it. Where the weight is 0 these are
    there if the recipe watches the streams, and nothing is learnt from them.
    """

    def __init__(self, network: SegmentationNetwork, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        blocks = cast(nn.ModuleList, getattr(network.aggregation, "blocks", ()))
        self.blocks = sum(isinstance(block, ParallelBlock) for block in blocks)
        if len(blocks) and not self.blocks and (recipe.fod or recipe.watch_streams):
            raise UsageError(f"the blocks of {recipe.model} don't have two streams; leave fod and watch_streams off")
        self.orthogonality = OrthogonalityLoss(recipe.fod)

    def forward(self, images: Tensor, labels: Int[Tensor, "B H W"], words: Words) -> dict[str, Float[Tensor, ""]]:
        """The losses.

        Args:
            images: (B 3 H W) RGB in [0, 255], squares of the recipe's crop.
            labels: the class of every pixel; `IGNORED` is unknown, what no class has is none of them.
            words: embeddings of the classes' prompts, or their tokens where the text tower learns.
        """
        recipe, side = self.recipe, self.recipe.side
        chunk = recipe.chunk or None
        text = words if words.is_floating_point() else self._embedded(words)
        selection = None
        if recipe.kept_classes:
            selection = GroundTruthFirst(labels, Voted(recipe.kept_classes), IGNORED, recipe.fill)
        fod = recipe.fod > 0 and self.blocks > 0
        watched = fod or (recipe.watch_streams and self.blocks > 0)
        # convolutions of the towers are up to three times as fast so, most of all depthwise ones in the backward pass
        pixels = resized(images.float(), (side, side)).contiguous(memory_format=torch.channels_last)
        logits = self.network(
            pixels,
            text,
            selection=selection,
            chunk=chunk,
            recompute=recipe.recompute,
            observe=(self.orthogonality.observe if fod else self._watch) if watched else None,
        )
        loss = SEGMENTATION_LOSSES[recipe.loss](logits, labels, IGNORED, chunk if recipe.recompute else None)
        losses = {"loss": loss, "segmentation": loss.detach()}
        if not watched:
            return losses
        means = self.orthogonality.by_block(self.blocks)
        blocks = {f"fod_{number}": mean for number, mean in enumerate(means.detach(), 1)}
        if not fod:
            return losses | blocks
        weighted = recipe.fod * means.mean()
        return losses | {"loss": loss + weighted, "fod": weighted.detach()} | blocks

    def _watch(self, spatial: ClassTokens, semantic: ClassTokens) -> None:
        """Look at streams without learning from them."""
        self.orthogonality.observe(spatial.detach(), semantic.detach())

    def _embedded(self, tokens: Int[Tensor, "T P L"]) -> Float[Tensor, "T P C"]:
        encoder, rows = self.network.text_encoder, rearrange(tokens, "t p l -> (t p) l")
        if self.recipe.recompute:
            parts = [checkpoint(encoder, part, use_reentrant=False) for part in rows.split(PROMPTS)]
            text = torch.cat(cast(list[Tensor], parts))
        else:
            text = encoder(rows)
        return rearrange(F.normalize(text, dim=-1), "(t p) c -> t p c", t=len(tokens))


AnyObjective = Objective | PartObjective
