"""The losses of the published networks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segvoc.data.training.training_set import IGNORED, NONE
from segvoc.imaging.label_maps import UNLABELED_8_BIT
from segvoc.layers.precision import at_least_float32
from segvoc.layers.shapes import ClassTokens, Logits
from segvoc.training.recipe import CaptionConfig


def is_labeled(labels: Int[Tensor, "*N"], classes: int) -> Bool[Tensor, "*N"]:
    """Whether pixels have a label: all but 65535, and 255 where neither a class nor the background has this number.

    That is the case below 255 classes, since the background's number follows those of the classes; maps of more have
    16 bits, and unlabeled pixels are 65535.
    """
    labeled = labels != IGNORED
    return labeled & (labels != UNLABELED_8_BIT) if classes < UNLABELED_8_BIT else labeled


PixelLoss = Callable[[Logits, Int[Tensor, "B H W"]], Float[Tensor, "B H W"]]
"""Maps logits and classes to the loss of each pixel."""


def binary_loss(logits: Logits, labels: Int[Tensor, "B H W"], none_weight: float = 0.05) -> Float[Tensor, "B H W"]:
    """Mean binary cross-entropy over the classes; the last class is "none of them"."""
    weight = logits.new_ones(logits.shape[1])
    weight[-1].fill_(none_weight)  # assigning a number would wait for a GPU
    negatives = torch.einsum("bkhw,k->bhw", -F.logsigmoid(-logits), weight)
    # -log s(x) for the true class instead of -log(1 - s(x)): the difference is x
    own = weight[labels] * logits.gather(1, labels[:, None])[:, 0]
    return (negatives - own) / logits.shape[1]


@dataclass(frozen=True, kw_only=True)
class PartTargets:
    """The true classes of a batch's pixels, and how the classes of the two levels are related."""

    parts: Int[Tensor, "B H W"]
    """Index of each pixel's part among the parts of objects ("dog's head"), `NONE`, or unlabeled (`is_labeled`)."""
    objects: Int[Tensor, "B H W"]
    """Index of each pixel's object among the objects, `NONE`, or unlabeled."""
    part_of: Int[Tensor, " S"]
    """For each part of an object, the index of its general part ("head")."""
    object_of: Int[Tensor, " S"]
    """For each part of an object, the index of its object."""
    general_parts: int
    num_objects: int
    counts: Float[Tensor, "3"] | None = None
    """Divisors of the sums over the pixels of `pixel_counts`; None: their numbers in this batch."""

    @property
    def has_part(self) -> Bool[Tensor, "B H W"]:
        """Pixels whose part is known."""
        return is_labeled(self.parts, len(self.part_of)) & (self.parts != NONE)

    @property
    def no_object(self) -> Bool[Tensor, "B H W"]:
        """Pixels outside all objects that the network is trained on."""
        return self.objects == NONE

    @property
    def has_object(self) -> Bool[Tensor, "B H W"]:
        """Pixels with a label of the object, which may be none."""
        return is_labeled(self.objects, self.num_objects)

    def pixel_counts(self) -> Int[Tensor, "3"]:
        """Numbers of pixels with a part, outside all objects, and with a label of the object."""
        return torch.stack([pixels.sum() for pixels in (self.has_part, self.no_object, self.has_object)])

    def divisors(self) -> Float[Tensor, "3"]:
        """Divisors of the sums over these pixels."""
        return self.pixel_counts().clamp(min=1).float() if self.counts is None else self.counts


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
    known = targets.has_object
    objects = targets.objects.where(known & ~targets.no_object, scores.shape[1] - 1)
    return (of_pixels(scores, objects) * known).sum() / targets.divisors()[2]


def compositional_loss(
    general: Float[Tensor, "B N G H W"], specific: Float[Tensor, "B M S1 H W"], targets: PartTargets
) -> Float[Tensor, ""]:
    """L_jsd: the probability of an object should equal the sum of the probabilities of its parts.

    This is the Jensen-Shannon divergence between the softmax over the costs of objects, and the softmax over the costs
    of parts of objects, summed by object. Costs, averaged over prompts, are those of both levels: P general parts, O
    objects and "none of them" (M = P + O + 1); S parts of objects and "none of them". Those without parts don't count.
    """
    objects = general.mean(dim=1)[:, targets.general_parts :]
    place = torch.cat((targets.object_of, targets.object_of.new_full((1,), objects.shape[1] - 1)))
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


TERMS = ("align", "cont", "back", "sep")


def synergy_losses(
    config: CaptionConfig,
    foreground: Float[Tensor, "M C"],
    background: Float[Tensor, "M C"],
    text: Float[Tensor, "M C"],
    owner: Int[Tensor, " M"],
    images: int,
) -> dict[str, Float[Tensor, ""]]:
    """The mean of each loss over the images, by name, of the synergy vectors and text embeddings of M phrases.

    For an image with one phrase, back and sep are 0; for an image without phrases, all four are. `owner` is the
    position of each phrase's image in the batch. All vectors may have any norm. `Version` says what the versions do.
    """
    eps = config.loss_eps

    def bounded(cosine: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """b: the cosine, mapped (v3) or clipped (v2) to [eps, 1 - eps]."""
        if config.loss_version == "v2":
            return cosine.clamp(eps, 1 - eps)
        return eps + (1 - 2 * eps) * (cosine.clamp(-1, 1) + 1) / 2

    f, g, t = (F.normalize(vectors, dim=-1) for vectors in (foreground, background, text))
    same_image = owner[:, None] == owner
    counts = same_image.sum(dim=1).to(f.dtype)  # `bincount` would wait for a GPU
    phrase_weight = 1 / (counts * images)
    similarity = (f * g).sum(dim=-1)
    pairs, active = counts * counts, torch.ones_like(similarity)
    if config.loss_version == "v3":
        same_image = same_image & ~torch.eye(len(owner), dtype=torch.bool, device=owner.device)
        pairs, active = counts * (counts - 1), (similarity > config.active_threshold).to(f.dtype)
    pair_weight = torch.where(same_image & (counts > 1), 1 / (pairs.clamp(min=1) * images)[:, None], 0.0)
    return {
        "align": -(phrase_weight * bounded((f * t).sum(dim=-1)).log()).sum(),
        "cont": -(phrase_weight * active * (1 - bounded(similarity)).log()).sum(),
        "back": -(pair_weight * bounded(g @ g.mT).log()).sum(),
        "sep": -(pair_weight * (1 - bounded(f @ f.mT)).log()).sum(),
    }


Count = Float[Tensor, ""] | None
"""Divisor of a sum over pixels; None: the number of counted pixels."""


def stream_cosine(spatial: ClassTokens, semantic: ClassTokens) -> Float[Tensor, "B T H W"]:
    """Cosine similarity of the two streams for every class and cell, in [-1, 1] (PCA-Seg, Eq. 7; Eq. 8 squares it).

    As in the released code, 1e-6 is added to each norm.
    """
    # sums over many cells overflow in half precision
    spatial, semantic = at_least_float32(spatial), at_least_float32(semantic)
    norms = (spatial.norm(dim=-1) + 1e-6) * (semantic.norm(dim=-1) + 1e-6)
    return (spatial * semantic).sum(dim=-1) / norms


def released_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], chunk: int | None = None
) -> Float[Tensor, ""]:
    """Binary cross-entropy of every class at every pixel, as CAT-Seg, PCA-Seg and ERR-Seg were trained.

    Logits of any size are interpolated to that of the labels. Pixels whose label isn't a class, unlabeled ones too, are
    trained as negatives for every class. Classes are processed in chunks, whose maps at the labels' size are recomputed
    in the backward pass; without, all are stored.
    """
    return _entropy(logits, labels, labels.new_ones(()).bool(), chunk) / (labels.numel() * logits.shape[1])


def masked_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], chunk: int | None = None, pixels: Count = None
) -> Float[Tensor, ""]:
    """`released_segmentation_loss` over the labeled pixels (`is_labeled`); 0 if there are none.

    The sum over these pixels is divided by `pixels`, by default their number; see `TrainingObjective.divisor`.
    """
    labeled = is_labeled(labels, logits.shape[1])
    pixels = labeled.sum().clamp(min=1) if pixels is None else pixels
    return _entropy(logits, labels, labeled[:, None], chunk) / (pixels * logits.shape[1])


def competing_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], chunk: int | None = None, pixels: Count = None
) -> Float[Tensor, ""]:
    """Softmax cross-entropy over all classes and "none of them", whose logit is fixed at 0.

    A class then wins over "none of them" where its sigmoid exceeds 1/2, the default threshold of the background rule.
    With few training images this works better than binary losses, in which the many negative classes of a pixel
    outweigh its positive one. No published network is trained this way. It averages as `masked_segmentation_loss`.
    """
    return _softmax_entropy(logits, labels, is_labeled(labels, logits.shape[1]), chunk, pixels, none=0.0)


def cross_entropy_segmentation_loss(
    logits: Logits, labels: Int[Tensor, "B H W"], chunk: int | None = None, pixels: Count = None
) -> Float[Tensor, ""]:
    """Softmax cross-entropy over all classes (ERR-Seg, Sec. 4.1.4) at pixels with a class: `F.cross_entropy`."""
    return _softmax_entropy(logits, labels, labels < logits.shape[1], chunk, pixels, none=-torch.inf)


def _softmax_entropy(
    logits: Logits, labels: Int[Tensor, "B H W"], counted: Tensor, chunk: int | None, pixels: Count, none: float
) -> Float[Tensor, ""]:
    """Softmax cross-entropy over the classes and "none of them", whose logit is `none`, at the counted pixels."""

    def sums(logits: Logits, first: int) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B H W"]]:
        """Log-sum-exp over a chunk of classes, and the logit of the true class where the chunk contains it."""
        scores = F.interpolate(at_least_float32(logits), size=labels.shape[1:], mode="bilinear")
        place = labels - first
        here = (place >= 0) & (place < scores.shape[1])
        true = scores.gather(1, place.where(here, place.new_zeros(()))[:, None])[:, 0]
        return scores.logsumexp(dim=1), true * here

    total, true = (torch.full_like(labels, value, dtype=torch.float32) for value in (none, 0.0))
    for more, found in _by_chunk(sums, logits, chunk):
        total, true = torch.logaddexp(total, more), true + found
    return ((total - true) * counted).sum() / (counted.sum().clamp(min=1) if pixels is None else pixels)


def _entropy(logits: Logits, labels: Int[Tensor, "B H W"], counted: Tensor, chunk: int | None) -> Float[Tensor, ""]:
    """The sum of binary cross-entropies over all classes and counted pixels."""

    def of_some(logits: Logits, first: int) -> Float[Tensor, ""]:
        scores = F.interpolate(at_least_float32(logits), size=labels.shape[1:], mode="bilinear")
        classes = torch.arange(first, first + scores.shape[1], device=labels.device)
        targets = (labels[:, None] == classes[:, None, None]).to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, targets, weight=counted.to(scores.dtype), reduction="sum")

    return torch.stack(list(_by_chunk(of_some, logits, chunk))).sum()


def _by_chunk(function: Callable[[Logits, int], Any], logits: Logits, chunk: int | None) -> Iterator[Any]:
    """The function of each chunk of classes and its first class, recomputed in the backward pass; None: of all."""
    if chunk is None:
        yield function(logits, 0)
        return
    for number, some in enumerate(logits.split(chunk, dim=1)):
        yield checkpoint(function, some, number * chunk, use_reentrant=False)


class StreamMeans(NamedTuple):
    """Similarity of the two streams in each block, averaged over classes and cells."""

    squared: Float[Tensor, " blocks"]
    """Mean squared cosine, which the loss reduces (PCA-Seg, Eq. 8)."""
    cosine: Float[Tensor, " blocks"]
    """Mean cosine, which the released code returns with its loss; without a gradient."""


class StreamSimilarity:
    """Collects how similar the two streams of each block are in one forward pass; `observe` is its observer."""

    def __init__(self, *, gradients: bool = True) -> None:
        """Begin a forward pass; without `gradients`, the collected numbers are detached."""
        self._gradients = gradients
        self._sums: dict[int, list[tuple[Float[Tensor, ""], Float[Tensor, ""], int]]] = {}

    def observe(self, block: int, spatial: ClassTokens, semantic: ClassTokens) -> None:
        """Add streams of the block with this number."""
        if not self._gradients:
            spatial, semantic = spatial.detach(), semantic.detach()
        cosine = stream_cosine(spatial, semantic)
        self._sums.setdefault(block, []).append((cosine.square().sum(), cosine.detach().sum(), cosine.numel()))

    def means(self) -> StreamMeans:
        """The means of each block over all of its classes and cells, in their order; `RuntimeError` without any."""
        if not self._sums:
            raise RuntimeError("no streams were observed: pass `observe=streams.observe` to the network's forward pass")
        blocks = [zip(*self._sums[number], strict=True) for number in sorted(self._sums)]
        squared, cosine = zip(
            *((torch.stack(s).sum() / sum(n), torch.stack(c).sum() / sum(n)) for s, c, n in blocks), strict=True
        )
        return StreamMeans(torch.stack(squared), torch.stack(cosine))


def orthogonality_loss(means: StreamMeans, weight: float = 0.01) -> Float[Tensor, ""]:
    """Feature orthogonalization decoupling (FOD): pushes the spatial and the class stream apart (PCA-Seg, Eqs. 7-10).

        streams = StreamSimilarity()
        logits = network(image, text, observe=streams.observe)
        loss = segmentation_loss(logits, labels) + orthogonality_loss(streams.means())

    It is `weight` times the mean squared cosine over all blocks, classes and cells; lambda of Eq. 10 is 0.01 in the
    paper, 0.001 in the released code.
    """
    return weight * means.squared.mean()
