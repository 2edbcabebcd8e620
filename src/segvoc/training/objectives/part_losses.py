"""Losses of PartCATSeg (Choi et al., CVPR 2025), as its released code has them.

For every pixel, the label map of parts holds the index of its part among the parts of objects, and the label map of
objects the index of its object. Pixels without a part or object are `NONE`, and unlabeled pixels are `IGNORED`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from segvoc.data.training.part_training_set import NONE
from segvoc.data.training.training_set import IGNORED
from segvoc.layers.precision import at_least_float32
from segvoc.shapes import Logits

NONE_WEIGHT = 0.05
"""Weight of the channel "none of them"."""

PixelLoss = Callable[[Float[Tensor, "N K"], Float[Tensor, "N K"]], Float[Tensor, ""]]
"""Maps the logits and targets of N pixels to their mean loss."""


def binary_loss(logits: Float[Tensor, "N K"], targets: Float[Tensor, "N K"]) -> Float[Tensor, ""]:
    """Mean binary cross-entropy over pixels and classes; the last class is "none of them"."""
    weight = logits.new_ones(logits.shape[1])
    weight[-1] = NONE_WEIGHT
    return F.binary_cross_entropy_with_logits(logits, targets, weight=weight)


def competing_loss(logits: Float[Tensor, "N K"], targets: Float[Tensor, "N K"]) -> Float[Tensor, ""]:
    """Mean softmax cross-entropy over pixels and all classes with "none of them"; no published network uses it."""
    return F.cross_entropy(logits, targets)


@dataclass(frozen=True, kw_only=True)
class PartTargets:
    """The true classes of a batch's pixels, and how the classes of the two levels are related."""

    parts: Int[Tensor, "B H W"]
    """Index of each pixel's part among the parts of objects ("dog's head"), `NONE` or `IGNORED`."""
    objects: Int[Tensor, "B H W"]
    """Index of each pixel's object among the objects, `NONE` or `IGNORED`."""
    part_of: Int[Tensor, " S"]
    """For each part of an object, the index of its general part ("head")."""
    object_of: Int[Tensor, " S"]
    """For each part of an object, the index of its object."""
    general_parts: int
    """Number of general parts."""

    @property
    def has_part(self) -> Bool[Tensor, "B H W"]:
        """Pixels whose part is known."""
        return (self.parts != NONE) & (self.parts != IGNORED)

    @property
    def no_object(self) -> Bool[Tensor, "B H W"]:
        """Pixels outside all objects that the network is trained on."""
        return self.objects == NONE


def specific_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_specific: the mean over pixels with a part, plus the mean over pixels outside all objects.

    The target of the latter is "none of them"; they only count if the batch also has pixels inside objects. Pixels of
    an object without a known part are left out. The logits (B S+1 h w) are interpolated to the labels' size.
    """
    scores, has, none = _by_pixel(logits, targets), targets.has_part, targets.no_object
    loss = _mean(scores[has], targets.parts[has], of_pixels)
    if none.any() and not none.all():
        last = targets.parts.new_full((int(none.sum()),), scores.shape[-1] - 1)
        loss = loss + _mean(scores[none], last, of_pixels)
    return loss


def part_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_part: general parts, over pixels with a part; it uses the first P logits (B P+O+1 h w) of the first level."""
    has = targets.has_part
    scores = _by_pixel(logits[:, : targets.general_parts], targets)[has]
    general = targets.part_of[targets.parts[has]]
    if of_pixels is binary_loss:  # no channel here means "none of them", so all have the same weight
        one_hot = F.one_hot(general, targets.general_parts).to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, one_hot) if len(scores) else scores.sum()
    return _mean(scores, general, of_pixels)


def object_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_obj: objects and "none of them", over all labeled pixels."""
    scores = _by_pixel(logits[:, targets.general_parts :], targets)
    known = targets.objects != IGNORED
    objects = targets.objects[known]
    return _mean(scores[known], objects.where(objects != NONE, scores.shape[-1] - 1), of_pixels)


def compositional_loss(
    general: Float[Tensor, "B N G H W"], specific: Float[Tensor, "B M S1 H W"], targets: PartTargets
) -> Float[Tensor, ""]:
    """L_jsd: the probability of an object should equal the sum of the probabilities of its parts.

    This is the Jensen-Shannon divergence between the softmax over the costs of objects, and the softmax over the costs
    of parts of objects, summed by object. Costs are averaged over prompts. Objects without parts are left out.

    Args:
        general: cost volume of the first level: P general parts, O objects and "none of them" (M = P + O + 1).
        specific: cost volume of the second level: S parts of objects and "none of them" (S1 = S + 1).
        targets: which part belongs to which object.
    """
    owners = targets.object_of.unique()
    objects = general.mean(dim=1)[:, targets.general_parts :]
    last = objects.shape[1] - 1
    objects = objects[:, torch.cat((owners, owners.new_tensor([last])))].softmax(dim=1)
    parts = specific.mean(dim=1).softmax(dim=1)
    place = torch.searchsorted(owners, targets.object_of)
    place = torch.cat((place, place.new_tensor([len(owners)])))
    # as in the released code, epsilon is added to every softmax, and again to both distributions
    together = torch.zeros_like(objects).index_add(1, place, parts + EPSILON) + EPSILON
    objects = objects + 2 * EPSILON
    middle = (0.5 * (together + objects)).log()
    divergence = together * (together.log() - middle) + objects * (objects.log() - middle)
    return 0.5 * divergence.sum(dim=1).mean()


EPSILON = 1e-10
"""Keeps logarithms finite."""


def _by_pixel(logits: Logits, targets: PartTargets) -> Float[Tensor, "B H W K"]:
    precise = at_least_float32(logits)
    return F.interpolate(precise, size=targets.parts.shape[1:], mode="bilinear").movedim(1, -1)


def _mean(scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"], of_pixels: PixelLoss) -> Float[Tensor, ""]:
    """The loss of some pixels; without pixels 0, but still connected to the logits' graph."""
    if not len(scores):
        return scores.sum()
    return of_pixels(scores, F.one_hot(labels, scores.shape[1]).to(scores.dtype))
