"""Modules of a network and its losses."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segvoc.encoders.prompts import PartWords
from segvoc.errors import UsageError
from segvoc.layers.aggregation import TwoStreamBlock
from segvoc.layers.aggregation_context import ForwardOptions
from segvoc.layers.class_selection import GroundTruthFirst
from segvoc.layers.maps import resized
from segvoc.layers.selection import ClassSelection
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.training.losses import (
    PartTargets,
    StreamSimilarity,
    binary_loss,
    competing_segmentation_loss,
    compositional_loss,
    cross_entropy_segmentation_loss,
    is_labeled,
    masked_segmentation_loss,
    object_loss,
    orthogonality_loss,
    part_loss,
    released_segmentation_loss,
    specific_loss,
)
from segvoc.training.recipe import Loss, Recipe


class TrainingObjective(nn.Module):
    """A network and its losses: maps the inputs of a batch to losses by name, of which training minimizes "loss"."""

    network: Any

    def __init__(self, network: SegmentationNetwork, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        blocks = cast(nn.ModuleList, getattr(network.aggregation, "blocks", ()))
        self.two_streams = any(isinstance(block, TwoStreamBlock) for block in blocks)
        """Whether the network's blocks have two streams, whose similarity is observed."""

    def divisor(self, *inputs: Any, **named: Any) -> Tensor | None:
        """The number of labeled pixels over which "loss" is a mean, or several numbers for a sum of means.

        `forward` takes it, or its mean over several passes, as its last input. None: a pass averages by itself.
        """
        return None

    def streams(self) -> "StreamSimilarity | None":
        """The collector of a forward pass; None if neither the loss nor the log needs one."""
        objective = self.recipe.objective
        needed = self.two_streams and (objective.fod_weight > 0 or objective.log_stream_similarity)
        return StreamSimilarity(gradients=objective.fod_weight > 0) if needed else None

    def with_streams(self, losses: dict[str, Tensor], streams: "StreamSimilarity | None") -> dict[str, Tensor]:
        """Losses by name, with each block's squared (fod_1, ...) and signed cosine; a weight adds "fod" to "loss"."""
        if streams is None:
            return losses
        means, weight = streams.means(), self.recipe.objective.fod_weight
        if weight > 0:
            weighted = orthogonality_loss(means, weight)
            losses = losses | {"loss": losses["loss"] + weighted, "fod": weighted.detach()}
        named = (("fod", means.squared.detach()), ("cosine", means.cosine))
        return losses | {f"{name}_{number}": mean for name, row in named for number, mean in enumerate(row, 1)}

    def class_options(self, streams: "StreamSimilarity | None") -> ForwardOptions:
        """Options of a forward pass: class chunks, recomputation, and the stream observer."""
        return {
            "chunk": self.recipe.runtime.class_chunk_size or None,
            "recompute": self.recipe.runtime.recomputes,
            "observe": None if streams is None else streams.observe,
        }


class PartObjective(TrainingObjective):
    """The losses of a batch, by name; "loss" is minimized.

    "specific", "part", "object" and "compositional" are the four losses of PartCATSeg, each with weight 1, and
    "segmentation" is their sum. For "fod", "fod_1", "cosine_1", ... see `Objective`; the blocks of the first level
    come before those of the second.
    """

    def __init__(self, network: PartNetwork, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        for name in ("num_sampled_classes", "num_kept_classes"):
            value = getattr(recipe.objective, name)
            if value:
                raise UsageError(f"{name}={value}: a part network trains on all its words at once; leave {name} at 0")
        # a part network's "none of them" is a class of its own in both
        competing = recipe.objective.loss in ("competing", "cross-entropy")
        self.of_pixels = partial(F.cross_entropy, reduction="none") if competing else binary_loss

    def divisor(self, images: Tensor, labels: Int[Tensor, "B 2 H W"], words: PartWords) -> Int[Tensor, "3"] | None:
        """The numbers of pixels that the losses average over (`PartTargets.pixel_counts`).

        None: each process averages by itself, as in the released code.
        """
        return None if self.recipe.objective.loss == "released" else self._targets(labels, words).pixel_counts()

    def forward(
        self, images: Tensor, labels: Int[Tensor, "B 2 H W"], words: PartWords, counts: Float[Tensor, "3"] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses, from RGB in [0, 255] (B 3 H W) and the labels of a `PartTrainingSet`.

        `counts` are the divisors of the sums over pixels; None: the numbers of these pixels (`divisor`).
        """
        side, streams = self.recipe.data.input_size, self.streams()
        pixels = resized(images.float(), (side, side)).contiguous(memory_format=torch.channels_last)
        first, second = self.network.levels(pixels, words, **self.class_options(streams))
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
        return self.with_streams(losses, streams)

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
            num_objects=len(words.general) - words.parts,
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
        super().__init__(network, recipe)
        observed = recipe.objective.fod_weight or recipe.objective.log_stream_similarity
        if len(getattr(network.aggregation, "blocks", ())) and not self.two_streams and observed:
            raise UsageError(
                f"the blocks of {recipe.model} don't have two streams; leave fod_weight and log_stream_similarity off"
            )

    def divisor(self, images: Tensor, labels: Int[Tensor, "B H W"], words: WordTensor) -> Int[Tensor, ""] | None:
        """The number of labeled pixels that the loss averages over; None: over all pixels."""
        loss, classes = self.recipe.objective.loss, len(words)
        averaged = labels < classes if loss == "cross-entropy" else is_labeled(labels, classes)
        return None if loss == "released" else averaged.sum()

    def forward(
        self, images: Tensor, labels: Int[Tensor, "B H W"], words: WordTensor, pixels: Float[Tensor, ""] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses, from RGB in [0, 255] (B 3 H W) and the class of every pixel, unlabeled, or others: none.

        `pixels` is the divisor of the sum over labeled pixels; None: their number (`divisor`).
        """
        recipe, side = self.recipe, self.recipe.data.input_size
        text = words if words.is_floating_point() else self._embedded(words)
        streams = self.streams()
        options = self.class_options(streams)
        if recipe.objective.num_kept_classes:
            options["selection"] = ClassSelection(keep=recipe.objective.num_kept_classes)
            options["first"] = GroundTruthFirst(labels, recipe.objective.fill_classes)
        # up to three times as fast for the encoders' convolutions, especially depthwise ones in the backward pass
        images = resized(images.float(), (side, side)).contiguous(memory_format=torch.channels_last)
        logits = self.network(images, text, **options)
        chunk = recipe.runtime.class_chunk_size if recipe.runtime.recomputes else 0
        divisor = {} if pixels is None else {"pixels": pixels}
        loss = SEGMENTATION_LOSSES[recipe.objective.loss](logits, labels, chunk or None, **divisor)
        losses = {"loss": loss, "segmentation": loss.detach()}
        return self.with_streams(losses, streams)

    def _embedded(self, tokens: Int[Tensor, "T P L"]) -> Float[Tensor, "T P C"]:
        encoder, rows = self.network.text_encoder, rearrange(tokens, "t p l -> (t p) l")
        if self.recipe.runtime.recomputes:
            chunks = [checkpoint(encoder, chunk, use_reentrant=False) for chunk in rows.split(PROMPTS)]
            text = torch.cat(cast(list[Tensor], chunks))
        else:
            text = encoder(rows)
        return rearrange(F.normalize(text, dim=-1), "(t p) c -> t p c", t=len(tokens))
