"""A network and its losses as one module, which maps images, labels and words to losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segvoc.data.training.training_set import IGNORED
from segvoc.encoders.prompts import PartWords
from segvoc.errors import UsageError
from segvoc.layers.class_selection import Kept, count_votes
from segvoc.layers.maps import resized
from segvoc.layers.selection_rules import Voted
from segvoc.layers.shapes import CostVolume
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.training.objectives.losses import (
    OrthogonalityLoss,
    PartTargets,
    TrainingObjective,
    binary_loss,
    class_options,
    competing_loss,
    competing_segmentation_loss,
    compositional_loss,
    cross_entropy_segmentation_loss,
    masked_segmentation_loss,
    object_loss,
    part_loss,
    released_segmentation_loss,
    specific_loss,
)
from segvoc.training.recipe import Loss, Recipe


@dataclass(frozen=True, eq=False)
class GroundTruthFirst:
    """ERR-Seg's selection in training: the classes of an image's labels, then others up to `voted.keep`.

    If more labeled classes exist than fit, those with the lowest indices are kept.
    """

    labels: Int[Tensor, "B H W"]
    """The class of every pixel."""
    voted: Voted
    """Number of kept classes, and the vote settings."""
    ignored: int = 255
    """Value of unlabeled pixels."""
    fill: Literal["strongest", "released"] = "strongest"
    """How other classes are added: by most votes, or as in the released code, which drops the classes with the highest
    indices instead of the fewest votes."""

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Select classes."""
        keep, classes = self.voted.keep, cost.shape[2]
        if keep >= classes:
            return None
        order = count_votes(cost, self.voted.votes).argsort(dim=1, descending=True, stable=True)
        if self.fill == "released":
            order = order[:, :keep].sort(dim=1).values
        # ranking avoids masks, whose sizes would force a device sync
        number = torch.arange(classes, device=order.device).expand(len(order), -1)
        rank = torch.full_like(number, classes).scatter(1, order, number[:, : order.shape[1]])
        known = (self.labels < classes) & (self.labels != self.ignored)
        seen = self.labels.where(known, classes).flatten(1).to(order.device)
        labeled = rank.new_zeros(len(order), classes + 1).scatter(1, seen, 1)[:, :-1].bool()
        rank = torch.where(labeled, number - classes, rank)
        return rank.argsort(dim=1, stable=True)[:, :keep].sort(dim=1).values


class PartObjective(TrainingObjective):
    """The losses of a batch, by name; "loss" is minimized.

    "specific", "part", "object" and "compositional" are the four losses of PartCATSeg, each with weight 1, and
    "segmentation" is their sum. For "fod", "fod_1", "cosine_1", ... see `Objective`; the blocks of the first level
    come before those of the second.
    """

    def __init__(self, network: PartNetwork, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.network = network
        for name in ("num_sampled_classes", "num_kept_classes"):
            value = getattr(recipe.objective, name)
            if value:
                raise UsageError(f"{name}={value}: a part network trains on all its words at once; leave {name} at 0")
        self.two_streams = isinstance(next(iter(network.aggregation.blocks), None), ParallelBlock)
        # a part network's "none of them" is a class of its own in both
        competing = recipe.objective.loss in ("competing", "cross-entropy")
        self.of_pixels = competing_loss if competing else binary_loss
        self.orthogonality = OrthogonalityLoss(recipe.objective.fod_weight)

    def counted(self, images: Tensor, labels: Int[Tensor, "B 2 H W"], words: PartWords) -> Int[Tensor, "3"] | None:
        """The numbers of pixels that the losses average over (`PartTargets.counted`).

        None: each process averages by itself, as in the released code.
        """
        return None if self.recipe.objective.loss == "released" else self._targets(labels, words).counted()

    def forward(
        self, images: Tensor, labels: Int[Tensor, "B 2 H W"], words: PartWords, counts: Float[Tensor, "3"] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses.

        Args:
            images: (B 3 H W) RGB in [0, 255], squares of the recipe's crop.
            labels: the part of an object and the object of every pixel (`PartTrainingSet`).
            words: the encoded classes; at least one is a part of an object.
            counts: divisors of the sums over pixels; None: the numbers of these pixels (`counted`).
        """
        recipe, side = self.recipe, self.recipe.data.input_size
        log = recipe.objective.log_stream_similarity
        streams = self.orthogonality.similarity(log=log) if self.two_streams else None
        pixels = resized(images.float(), (side, side)).contiguous(memory_format=torch.channels_last)
        first, second = self.network.levels(pixels, words, **class_options(recipe, streams))
        if second is None:
            raise UsageError('none of the classes is a part of an object; name parts as "car\'s door" (--object car)')
        targets = self._targets(labels, words, counts)
        losses = {
            "specific": specific_loss(second.logits, targets, self.of_pixels),
            "part": part_loss(first.logits, targets, self.of_pixels),
            "object": object_loss(first.logits, targets, self.of_pixels),
            "compositional": compositional_loss(first.cost, second.cost, targets),
        }
        total = torch.stack(list(losses.values())).sum()
        detached = {name: value.detach() for name, value in losses.items()}
        losses = {"loss": total, **detached, "segmentation": total.detach()}
        return self.orthogonality.add_to(losses, streams)

    @staticmethod
    def _targets(
        labels: Int[Tensor, "B 2 H W"], words: PartWords, counts: Float[Tensor, "3"] | None = None
    ) -> PartTargets:
        return PartTargets(
            parts=labels[:, 0],
            objects=labels[:, 1],
            part_of=words.part_of,
            object_of=words.object_of - words.parts,
            general_parts=words.parts,
            counts=counts,
        )


SEGMENTATION_LOSSES: dict[Loss, Callable[..., Float[Tensor, ""]]] = {
    "released": released_segmentation_loss,
    "masked": masked_segmentation_loss,
    "competing": competing_segmentation_loss,
    "cross-entropy": cross_entropy_segmentation_loss,
}

PROMPTS = 64
"""Chunk size, in prompts, of the text encoder when its activations are recomputed."""

WordTensor = Float[Tensor, "T P C"] | Int[Tensor, "T P L"]
"""Prompt embeddings of the classes, or prompt tokens where the text encoder is trained."""


class Objective(TrainingObjective):
    """The losses of a batch, by name; "loss" is minimized.

    "segmentation" is the recipe's segmentation loss, and "fod" the weighted orthogonality loss. "fod_1", "fod_2", ...
    are the unweighted mean squared cosines of the two streams in each block, and "cosine_1", "cosine_2", ... the mean
    signed ones; with a weight of 0 they are still reported, without gradients, if the recipe sets
    `log_stream_similarity`.
    """

    def __init__(self, network: SegmentationNetwork, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.network = network
        blocks = cast(nn.ModuleList, getattr(network.aggregation, "blocks", ()))
        self.blocks = any(isinstance(block, ParallelBlock) for block in blocks)
        if len(blocks) and not self.blocks and (recipe.objective.fod_weight or recipe.objective.log_stream_similarity):
            raise UsageError(
                f"the blocks of {recipe.model} don't have two streams; leave fod_weight and log_stream_similarity off"
            )
        self.orthogonality = OrthogonalityLoss(recipe.objective.fod_weight)

    def counted(self, images: Tensor, labels: Int[Tensor, "B H W"], words: WordTensor) -> Int[Tensor, ""] | None:
        """The number of labeled pixels that the loss averages over; None: over all pixels."""
        loss = self.recipe.objective.loss
        counted = labels < len(words) if loss == "cross-entropy" else labels != IGNORED
        return None if loss == "released" else counted.sum()

    def forward(
        self, images: Tensor, labels: Int[Tensor, "B H W"], words: WordTensor, pixels: Float[Tensor, ""] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses.

        Args:
            images: (B 3 H W) RGB in [0, 255], squares of the recipe's crop.
            labels: the class of every pixel. `IGNORED` pixels are unlabeled; other non-class values mean none of the
                classes.
            words: embeddings of the classes' prompts, or their tokens where the text encoder is trained.
            pixels: divisor of the sum over labeled pixels; None: their number (`counted`).
        """
        recipe, side = self.recipe, self.recipe.data.input_size
        text = words if words.is_floating_point() else self._embedded(words)
        selection = None
        if recipe.objective.num_kept_classes:
            voted = Voted(recipe.objective.num_kept_classes)
            selection = GroundTruthFirst(labels, voted, IGNORED, recipe.objective.fill_classes)
        streams = self.orthogonality.similarity(log=recipe.objective.log_stream_similarity) if self.blocks else None
        # up to three times as fast for the encoders' convolutions, especially depthwise ones in the backward pass
        images = resized(images.float(), (side, side)).contiguous(memory_format=torch.channels_last)
        options = class_options(recipe, streams)
        logits = self.network(images, text, selection=selection, **options)
        chunk = recipe.runtime.class_chunk_size if recipe.runtime.recomputes else 0
        divisor = {} if pixels is None else {"pixels": pixels}
        loss = SEGMENTATION_LOSSES[recipe.objective.loss](logits, labels, IGNORED, chunk or None, **divisor)
        losses = {"loss": loss, "segmentation": loss.detach()}
        return self.orthogonality.add_to(losses, streams)

    def _embedded(self, tokens: Int[Tensor, "T P L"]) -> Float[Tensor, "T P C"]:
        encoder, rows = self.network.text_encoder, rearrange(tokens, "t p l -> (t p) l")
        if self.recipe.runtime.recomputes:
            chunks = [checkpoint(encoder, chunk, use_reentrant=False) for chunk in rows.split(PROMPTS)]
            text = torch.cat(cast(list[Tensor], chunks))
        else:
            text = encoder(rows)
        return rearrange(F.normalize(text, dim=-1), "(t p) c -> t p c", t=len(tokens))
