"""Losses of PartCATSeg (Choi et al., CVPR 2025), as its released code has them.

The label map of the parts holds for every pixel the index of its part among the parts of objects, and that of the
objects the index of its object. Pixels without one are `NONE`, and unknown pixels `IGNORED`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from segvoc.data.training.part_training_set import NONE
from segvoc.data.training.training_set import IGNORED
from segvoc.shapes import Logits

NONE_WEIGHT = 0.05
"""Weight of the channel for "none of them"."""

PixelLoss = Callable[[Float[Tensor, "N K"], Float[Tensor, "N K"]], Float[Tensor, ""]]
"""Maps the logits and targets of N pixels to their mean loss."""


def binary_loss(logits: Float[Tensor, "N K"], targets: Float[Tensor, "N K"]) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of pixels and classes, the last of which is none of them."""
    weight = logits.new_ones(logits.shape[1])
    weight[-1] = NONE_WEIGHT
    return F.binary_cross_entropy_with_logits(logits, targets, weight=weight)


def competing_loss(logits: Float[Tensor, "N K"], targets: Float[Tensor, "N K"]) -> Float[Tensor, ""]:
    """Mean softmax cross-entropy of pixels, where all classes and none of them compete; no published network's."""
    return F.cross_entropy(logits, targets)


@dataclass(frozen=True, kw_only=True)
class PartTargets:
    """The true classes of a batch's pixels, and how the classes of both levels belong together."""

    parts: Int[Tensor, "B H W"]
    """Index of each pixel's part among the parts of objects ("dog's head"), `NONE` or `IGNORED`."""
    objects: Int[Tensor, "B H W"]
    """Index of each pixel's object among the objects, `NONE` or `IGNORED`."""
    part_of: Int[Tensor, " S"]
    """For each part of an object the index of its general part ("head")."""
    object_of: Int[Tensor, " S"]
    """For each part of an object the index of its object."""
    general_parts: int
    """Number of general parts."""

    @property
    def has_part(self) -> Bool[Tensor, "B H W"]:
        """Pixels whose part is known."""
        return (self.parts != NONE) & (self.parts != IGNORED)

    @property
    def no_object(self) -> Bool[Tensor, "B H W"]:
        """Pixels that lie in no object that is learnt."""
        return self.objects == NONE


def specific_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_specific: the mean over pixels with a part, plus that over pixels in no object, which are none of the parts.

    Pixels of an object without a known part don't count. The second mean is there where the batch has both kinds of
    pixels. Logits (B S+1 h w) are interpolated to the labels.
    """
    scores, has, none = _by_pixel(logits, targets), targets.has_part, targets.no_object
    loss = _mean(scores[has], targets.parts[has], of_pixels)
    if none.any() and not none.all():
        last = targets.parts.new_full((int(none.sum()),), scores.shape[-1] - 1)
        loss = loss + _mean(scores[none], last, of_pixels)
    return loss


def part_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_part: general parts, of pixels with a part; logits (B P+O+1 h w) of the first level, of which it sees P."""
    has = targets.has_part
    scores = _by_pixel(logits[:, : targets.general_parts], targets)[has]
    general = targets.part_of[targets.parts[has]]
    if of_pixels is binary_loss:  # there is no channel for none among these: all weigh alike
        one_hot = F.one_hot(general, targets.general_parts).to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, one_hot) if len(scores) else scores.sum()
    return _mean(scores, general, of_pixels)


def object_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_obj: objects and none of them, of all pixels of which something is known."""
    scores = _by_pixel(logits[:, targets.general_parts :], targets)
    known = targets.objects != IGNORED
    objects = targets.objects[known]
    return _mean(scores[known], objects.where(objects != NONE, scores.shape[-1] - 1), of_pixels)


def compositional_loss(
    general: Float[Tensor, "B N G H W"], specific: Float[Tensor, "B M S1 H W"], targets: PartTargets
) -> Float[Tensor, ""]:
    """L_jsd: an object is as likely as its parts together.

    The Jensen-Shannon divergence between the softmax of the objects' costs and that of the costs of parts of objects,
    summed for each object; costs are means over prompts. General costs (B N P+O+1 h w), specific ones (B N S+1 h w).
    Objects of which no part is asked take no part in it.
    """
    owners = targets.object_of.unique()
    objects = general.mean(dim=1)[:, targets.general_parts :]
    last = objects.shape[1] - 1
    objects = objects[:, torch.cat((owners, owners.new_tensor([last])))].softmax(dim=1)
    parts = specific.mean(dim=1).softmax(dim=1)
    place = torch.searchsorted(owners, targets.object_of)
    place = torch.cat((place, place.new_tensor([len(owners)])))
    # the released code adds its epsilon to every softmax, and once more to both distributions
    together = torch.zeros_like(objects).index_add(1, place, parts + EPSILON) + EPSILON
    objects = objects + 2 * EPSILON
    middle = (0.5 * (together + objects)).log()
    divergence = together * (together.log() - middle) + objects * (objects.log() - middle)
    return 0.5 * divergence.sum(dim=1).mean()


EPSILON = 1e-10
"""Keeps logarithms finite."""


def _by_pixel(logits: Logits, targets: PartTargets) -> Float[Tensor, "B H W K"]:
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.interpolate(precise, size=targets.parts.shape[1:], mode="bilinear").movedim(1, -1)


def _mean(scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"], of_pixels: PixelLoss) -> Float[Tensor, ""]:
    """The loss of some pixels; 0 of none, and then still a function of the logits."""
    if not len(scores):
        return scores.sum()
    return of_pixels(scores, F.one_hot(labels, scores.shape[1]).to(scores.dtype))
