"""A part network and its losses as one module."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from segvoc.errors import UsageError
from segvoc.layers.maps import resized
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.part_words import PartWords
from segvoc.networks.pca_seg import ParallelBlock
from segvoc.training.objectives.chunks import class_options
from segvoc.training.objectives.losses import OrthogonalityLoss
from segvoc.training.objectives.part_losses import (
    PartTargets,
    binary_loss,
    competing_loss,
    compositional_loss,
    object_loss,
    part_loss,
    specific_loss,
)
from segvoc.training.recipe import Recipe


class PartObjective(nn.Module):
    """The losses of a batch, by name; "loss" is minimized.

    "specific", "part", "object" and "compositional" are the four losses of PartCATSeg, each with weight 1, and
    "segmentation" is their sum. For "fod", "fod_1", "cosine_1", ... see `Objective`; the blocks of the first level
    come before those of the second.
    """

    def __init__(self, network: PartNetwork, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        for name in ("num_sampled_classes", "num_kept_classes"):
            value = getattr(recipe.objective, name)
            if value:
                raise UsageError(
                    f"{name}={value}: a part network is trained on all its words at once; leave {name} at 0"
                )
        self.two_streams = isinstance(next(iter(network.aggregation.blocks), None), ParallelBlock)
        self.of_pixels = competing_loss if recipe.objective.loss == "competing" else binary_loss
        self.orthogonality = OrthogonalityLoss(recipe.objective.fod_weight)

    def counted(self, images: Tensor, labels: Int[Tensor, "B 2 H W"], words: PartWords) -> Int[Tensor, "3"] | None:
        """The numbers of pixels that the losses average over (`PartTargets.counted`).

        None: each process averages by itself, as in the released code.
        """
        return None if self.recipe.objective.loss == "released" else self._targets(labels, words).counted()

    def forward(
        self,
        images: Tensor,
        labels: Int[Tensor, "B 2 H W"],
        words: PartWords,
        counts: Float[Tensor, "3"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses.

        Args:
            images: (B 3 H W) RGB in [0, 255], squares of the recipe's crop.
            labels: the part of an object and the object of every pixel (`PartTrainingSet`).
            words: the encoded classes; at least one is a part of an object.
            counts: what sums over pixels are divided by; None: the numbers of these pixels (`counted`).
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
