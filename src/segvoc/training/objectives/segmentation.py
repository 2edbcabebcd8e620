"""A network and its losses as one module, which maps images, labels and words to losses."""

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
from segvoc.layers.maps import resized
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.selection_rules import Voted
from segvoc.training.ground_truth_selection import GroundTruthFirst
from segvoc.training.objectives.chunks import class_options
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
"""Prompts that the text encoder processes at a time when its activations are recomputed."""

WordTensor = Float[Tensor, "T P C"] | Int[Tensor, "T P L"]
"""Prompt embeddings of the classes, or prompt tokens where the text encoder is trained."""


def objective_of(network: SegmentationNetwork, recipe: Recipe) -> "AnyObjective":
    """The objective of a network: losses of parts and objects, or of one label per pixel."""
    return PartObjective(network, recipe) if isinstance(network, PartNetwork) else Objective(network, recipe)


class Objective(nn.Module):
    """The losses of a batch, by name; "loss" is minimized.

    "segmentation" is the recipe's segmentation loss, and "fod" the weighted orthogonality loss. "fod_1", "fod_2", ...
    are the unweighted mean squared cosines of the two streams in each block, and "cosine_1", "cosine_2", ... the mean
    signed ones; with a weight of 0 they are still reported, without gradients, if the recipe sets
    `log_stream_similarity`.
    """

    def __init__(self, network: SegmentationNetwork, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        blocks = cast(nn.ModuleList, getattr(network.aggregation, "blocks", ()))
        self.blocks = any(isinstance(block, ParallelBlock) for block in blocks)
        if len(blocks) and not self.blocks and (recipe.objective.fod_weight or recipe.objective.log_stream_similarity):
            raise UsageError(
                f"the blocks of {recipe.model} don't have two streams; leave fod_weight and log_stream_similarity off"
            )
        self.orthogonality = OrthogonalityLoss(recipe.objective.fod_weight)

    def counted(self, images: Tensor, labels: Int[Tensor, "B H W"], words: WordTensor) -> Int[Tensor, ""] | None:
        """The number of labeled pixels that the loss averages over; None: over all pixels."""
        return None if self.recipe.objective.loss == "released" else (labels != IGNORED).sum()

    def forward(
        self,
        images: Tensor,
        labels: Int[Tensor, "B H W"],
        words: WordTensor,
        pixels: Float[Tensor, ""] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses.

        Args:
            images: (B 3 H W) RGB in [0, 255], squares of the recipe's crop.
            labels: the class of every pixel. `IGNORED` pixels are unlabeled; other values that are not a class mean
                none of the classes.
            words: embeddings of the classes' prompts, or their tokens where the text encoder is trained.
            pixels: what the sum over labeled pixels is divided by; None: their number (`counted`).
        """
        recipe, side = self.recipe, self.recipe.data.input_size
        text = words if words.is_floating_point() else self._embedded(words)
        selection = None
        if recipe.objective.num_kept_classes:
            voted = Voted(recipe.objective.num_kept_classes)
            selection = GroundTruthFirst(labels, voted, IGNORED, recipe.objective.fill_classes)
        streams = self.orthogonality.similarity(log=recipe.objective.log_stream_similarity) if self.blocks else None
        # up to three times as fast for the encoders' convolutions, above all for depthwise ones in the backward pass
        images = resized(images.float(), (side, side)).contiguous(memory_format=torch.channels_last)
        options = class_options(recipe, streams)
        logits = self.network(images, text, selection=selection, **options)
        chunk = recipe.runtime.class_chunk_size if recipe.runtime.activation_checkpointing else 0
        divisor = {} if pixels is None else {"pixels": pixels}
        loss = SEGMENTATION_LOSSES[recipe.objective.loss](logits, labels, IGNORED, chunk or None, **divisor)
        losses = {"loss": loss, "segmentation": loss.detach()}
        return self.orthogonality.add_to(losses, streams)

    def _embedded(self, tokens: Int[Tensor, "T P L"]) -> Float[Tensor, "T P C"]:
        encoder, rows = self.network.text_encoder, rearrange(tokens, "t p l -> (t p) l")
        if self.recipe.runtime.activation_checkpointing:
            chunks = [checkpoint(encoder, chunk, use_reentrant=False) for chunk in rows.split(PROMPTS)]
            text = torch.cat(cast(list[Tensor], chunks))
        else:
            text = encoder(rows)
        return rearrange(F.normalize(text, dim=-1), "(t p) c -> t p c", t=len(tokens))


AnyObjective = Objective | PartObjective
