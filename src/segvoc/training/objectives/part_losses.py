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

PixelLoss = Callable[[Logits, Int[Tensor, "B H W"]], Float[Tensor, "B H W"]]
"""Maps the logits and the classes of pixels to the loss of each."""


def binary_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], none_weight: float = NONE_WEIGHT
) -> Float[Tensor, "B H W"]:
    """Mean binary cross-entropy over the classes; the last class is "none of them"."""
    weight = logits.new_ones(logits.shape[1])
    weight[-1] = none_weight
    negatives = torch.einsum("bkhw,k->bhw", -F.logsigmoid(-logits), weight)
    # -log s(x) for the pixel's own class in place of -log(1 - s(x)): the difference is x
    own = weight[labels] * logits.gather(1, labels[:, None])[:, 0]
    return (negatives - own) / logits.shape[1]


def competing_loss(logits: Logits, labels: Int[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    """Softmax cross-entropy over all classes with "none of them"; no published network uses it."""
    return F.cross_entropy(logits, labels, reduction="none")


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
    counts: Float[Tensor, "3"] | None = None
    """What sums over the pixels of `counted` are divided by; None: their numbers in this batch."""

    @property
    def has_part(self) -> Bool[Tensor, "B H W"]:
        """Pixels whose part is known."""
        return (self.parts != NONE) & (self.parts != IGNORED)

    @property
    def no_object(self) -> Bool[Tensor, "B H W"]:
        """Pixels outside all objects that the network is trained on."""
        return self.objects == NONE

    def counted(self) -> Int[Tensor, "3"]:
        """Numbers of pixels with a part, outside all objects, and with a label of the object."""
        return torch.stack([pixels.sum() for pixels in (self.has_part, self.no_object, self.objects != IGNORED)])

    def divisors(self) -> Float[Tensor, "3"]:
        """What sums over these pixels are divided by."""
        return self.counted().clamp(min=1).float() if self.counts is None else self.counts


def specific_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_specific: the mean over pixels with a part, plus the mean over pixels outside all objects.

    The target of the latter is "none of them"; they only count if the batch also has pixels inside objects. Pixels of
    an object without a known part are left out. The logits (B S+1 h w) are interpolated to the labels' size.
    """
    has, none, (parts, outside, _) = targets.has_part, targets.no_object, targets.divisors()
    last = logits.shape[1] - 1
    losses = of_pixels(_by_pixel(logits, targets), targets.parts.where(has, last))
    weight = has / parts + none * (outside < none.numel()) / outside
    return (losses * weight).sum()


def part_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_part: general parts, over pixels with a part; it uses the first P logits (B P+O+1 h w) of the first level."""
    has = targets.has_part
    scores = _by_pixel(logits[:, : targets.general_parts], targets)
    general = targets.part_of[targets.parts.where(has, 0)]
    # no channel here means "none of them", so all have the same weight
    losses = binary_loss(scores, general, none_weight=1.0) if of_pixels is binary_loss else of_pixels(scores, general)
    return (losses * has).sum() / targets.divisors()[0]


def object_loss(logits: Logits, targets: PartTargets, of_pixels: PixelLoss = binary_loss) -> Float[Tensor, ""]:
    """L_obj: objects and "none of them", over all labeled pixels."""
    scores = _by_pixel(logits[:, targets.general_parts :], targets)
    known = targets.objects != IGNORED
    objects = targets.objects.where(known & ~targets.no_object, scores.shape[1] - 1)
    return (of_pixels(scores, objects) * known).sum() / targets.divisors()[2]


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
    objects = general.mean(dim=1)[:, targets.general_parts :]
    place = torch.cat((targets.object_of, targets.object_of.new_tensor([objects.shape[1] - 1])))
    compared = torch.zeros_like(objects[0, :, 0, 0], dtype=torch.bool).index_fill(0, place, True)[:, None, None]
    objects = objects.masked_fill(~compared, -torch.inf).softmax(dim=1)
    parts = specific.mean(dim=1).softmax(dim=1)
    # as in the released code, epsilon is added to every softmax, and again to both distributions
    together = torch.zeros_like(objects).index_add(1, place, parts + EPSILON) + EPSILON
    objects = objects + 2 * EPSILON
    middle = (0.5 * (together + objects)).log()
    divergence = together * (together.log() - middle) + objects * (objects.log() - middle)
    return 0.5 * (divergence * compared).sum(dim=1).mean()


EPSILON = 1e-10
"""Keeps logarithms finite."""


def _by_pixel(logits: Logits, targets: PartTargets) -> Float[Tensor, "B T H W"]:
    return F.interpolate(at_least_float32(logits), size=targets.parts.shape[1:], mode="bilinear")
