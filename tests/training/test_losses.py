"""The losses against their definitions and the official code: of pixels, SynSeg's and PartCATSeg's."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segvoc.data.training.training_set import IGNORED, NONE
from segvoc.encoders.prompts import PartNames
from segvoc.training import losses
from segvoc.training.objectives import SEGMENTATION_LOSSES
from segvoc.training.recipe import CaptionConfig
from tests.golden_sets import TOLERANCE, err_case, err_record
from tests.networks.contract import NoDeviceWaits


@pytest.mark.parametrize("loss", SEGMENTATION_LOSSES.values())
def test_a_loss_in_chunks_is_the_loss(loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 6, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(6, (2, 13, 11), generator=generator)
    labels[labels == 4] = 255
    results = []
    for chunk in (None, 1, 2, 5, 9):
        leaf = logits.clone().requires_grad_(True)
        value = loss(leaf, labels, chunk)
        value.backward()
        results.append((value.detach(), leaf.grad))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_the_released_loss_counts_pixels_without_a_label_as_no_class_and_the_masked_one_leaves_them_out():
    logits = torch.tensor([[[[2.0, 2.0]], [[-1.0, 3.0]]]])
    labels = torch.tensor([[[0, 255]]])
    softplus = torch.nn.functional.softplus
    known = softplus(torch.tensor(-2.0)) + softplus(torch.tensor(-1.0))
    unknown = softplus(torch.tensor(2.0)) + softplus(torch.tensor(3.0))
    torch.testing.assert_close(losses.released_segmentation_loss(logits, labels), (known + unknown) / 4)
    torch.testing.assert_close(losses.masked_segmentation_loss(logits, labels), known / 2)


@pytest.mark.parametrize("name", ["masked", "competing", "cross-entropy"])
@pytest.mark.parametrize("unlabeled", [255, 65535])
def test_unlabeled_pixels_of_both_depths_are_ignored_also_if_there_are_no_others(name, unlabeled):
    loss, generator = SEGMENTATION_LOSSES[name], torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 4, 6, generator=generator).requires_grad_(True)
    labels = torch.randint(4, (1, 4, 6), generator=generator)
    nothing = loss(logits, torch.full_like(labels, unlabeled))
    nothing.backward()
    assert nothing == 0 and (logits.grad == 0).all()
    partly = labels.clone()
    partly[..., 3:] = unlabeled
    torch.testing.assert_close(loss(logits, partly), loss(logits[..., :3], labels[..., :3]))
    single = torch.full_like(labels, unlabeled)
    single[0, 1, 2] = 1
    alone = loss(logits[..., 1:2, 2:3], single[..., 1:2, 2:3], pixels=torch.ones(()))
    assert alone > 0
    torch.testing.assert_close(loss(logits, single), alone)


@pytest.mark.parametrize("classes", [254, 255, 256])
def test_255_is_a_label_where_a_class_or_the_background_has_that_number(classes):
    logits, labels = torch.zeros(1, classes, 1, 2), torch.tensor([[[0, 255]]])
    softplus = torch.log(torch.tensor(2.0))
    for name, expected in (("masked", softplus), ("competing", torch.log(torch.tensor(classes + 1.0)))):
        found = SEGMENTATION_LOSSES[name](logits, labels)
        torch.testing.assert_close(found, expected)
        # the second pixel's share: nothing below 255 classes, where it has no label
        alone = SEGMENTATION_LOSSES[name](logits[..., 1:], labels[..., 1:])
        torch.testing.assert_close(alone, expected if classes >= 255 else torch.zeros(()))


def test_classes_compete_with_each_other_and_with_none_of_them():
    logits = torch.randn(1, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[2, 0, 3, 255]]])
    with_none = torch.cat([logits, torch.zeros(1, 1, 1, 4)], dim=1)
    expected = torch.nn.functional.cross_entropy(with_none, labels, ignore_index=255)
    torch.testing.assert_close(losses.competing_segmentation_loss(logits, labels), expected)


def test_cross_entropy_is_pytorchs_and_leaves_out_what_is_no_class():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 9, 8), generator=torch.Generator().manual_seed(1))
    labels[:, :2], labels[:, 2] = 65535, 3  # unlabeled, and the background's
    scores = torch.nn.functional.interpolate(logits, size=(9, 8), mode="bilinear")
    expected = torch.nn.functional.cross_entropy(scores, labels.where(labels < 3, -100))
    torch.testing.assert_close(losses.cross_entropy_segmentation_loss(logits, labels, 2), expected)


OWNER = [0, 0, 0, 1, 2, 2]
IMAGES = 4
"""The last one has no phrase."""


def _vectors(seed: int = 0) -> list[np.ndarray]:
    """Foreground, background and text of six phrases; the first pair of f and g is nearly opposite, one is alike."""
    generator = np.random.default_rng(seed)
    f, g, t = (generator.normal(size=(len(OWNER), 5)) for _ in range(3))
    g[0] = -f[0] + 0.01 * g[0]
    g[1] = 2 * f[1] + 0.1 * g[1]
    f[5] = 0.9 * f[4] + 0.1 * f[5]
    return [f, g, t]


def _bounded(cosine: float, version: str, eps: float) -> float:
    """Eq. 4: v2 clips, v3 clamps and then maps [-1, 1] to [eps, 1 - eps]."""
    if version == "v2":
        return min(max(cosine, eps), 1 - eps)
    return eps + (1 - 2 * eps) * (min(max(cosine, -1.0), 1.0) + 1) / 2


def _cosine(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))


def reference(vectors: list[np.ndarray], version: str, eps: float, active: float) -> dict[str, float]:
    """Eqs. 5 to 8, term by term, averaged over the images."""
    f, g, t = vectors
    sums = dict.fromkeys(losses.TERMS, 0.0)
    for image in range(IMAGES):
        mine = [index for index, owner in enumerate(OWNER) if owner == image]
        n = len(mine)
        for i in mine:
            sums["align"] -= np.log(_bounded(_cosine(f[i], t[i]), version, eps)) / n
            apart = _cosine(f[i], g[i])
            if version == "v2" or apart > active:
                sums["cont"] -= np.log(1 - _bounded(apart, version, eps)) / n
        if n < 2:
            continue
        pairs = [(j, k) for j in mine for k in mine if version == "v2" or j != k]
        assert len(pairs) == (n * n if version == "v2" else n * (n - 1))
        for j, k in pairs:
            sums["back"] -= np.log(_bounded(_cosine(g[j], g[k]), version, eps)) / len(pairs)
            sums["sep"] -= np.log(1 - _bounded(_cosine(f[j], f[k]), version, eps)) / len(pairs)
    return {term: value / IMAGES for term, value in sums.items()}


def _ours(vectors: list[torch.Tensor], **settings) -> dict[str, torch.Tensor]:
    return losses.synergy_losses(CaptionConfig(**settings), *vectors, torch.tensor(OWNER), IMAGES)


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize(("eps", "active"), [(5e-3, 0.1), (0.1, 0.0)])
def test_losses_are_the_papers(version, eps, active):
    vectors = _vectors()
    ours = _ours([torch.tensor(part) for part in vectors], loss_version=version, loss_eps=eps, active_threshold=active)
    expected = reference(vectors, version, eps, active)
    assert list(ours) == list(losses.TERMS)
    for term, value in expected.items():
        assert ours[term].item() == pytest.approx(value, rel=1e-9), term
        assert value > 0


def test_without_phrases_there_is_nothing_to_learn():
    vectors, owner = [torch.zeros(0, 4) for _ in range(3)], torch.zeros(0, dtype=torch.int64)
    found = losses.synergy_losses(CaptionConfig(), *vectors, owner, 2)
    assert [value.item() for value in found.values()] == [0, 0, 0, 0]


NAMES = PartNames.of(["cat's tail", "cat's head", "bus's wheel"])


def targets(parts: Tensor, objects: Tensor) -> losses.PartTargets:
    related = {"part_of": torch.tensor(NAMES.part_of), "object_of": torch.tensor(NAMES.object_of)}
    return losses.PartTargets(parts=parts, objects=objects, general_parts=len(NAMES.parts), num_objects=2, **related)


def terms(inputs: dict[str, Tensor], of: losses.PartTargets, **options) -> dict[str, Tensor]:
    return {
        "specific": losses.specific_loss(inputs["specific_logits"], of, **options),
        "part": losses.part_loss(inputs["part_obj_logits"], of, **options),
        "obj": losses.object_loss(inputs["part_obj_logits"], of, **options),
        "jsd": losses.compositional_loss(inputs["part_obj_cost"], inputs["specific_cost"], of),
    }


INPUTS = ("part_obj_cost", "part_obj_logits", "specific_cost", "specific_logits")


@pytest.mark.golden
def test_every_term_and_the_gradient_of_their_sum(golden: Path):
    case = err_case(golden, "part_loss")
    record = err_record(golden, "part_loss")
    case, stored = replace(case, record=case.record | record), case.tensors
    table = torch.full((256,), NONE)  # the released map of objects: "boat" has no parts, 255 is no object
    for place, name in enumerate(record["obj_classes"]):
        if name in NAMES.objects:
            table[place] = NAMES.objects.index(name)
    parts = stored["in.part_gt"]
    of = targets(parts.where(parts != 255, IGNORED), table[stored["in.obj_gt"]])
    inputs = {name: stored[f"in.{name}"].requires_grad_() for name in INPUTS}
    found = terms(inputs, of)
    for name, value in found.items():
        assert case.scalar_error("components", value.item(), name) <= TOLERANCE, name
    torch.stack(list(found.values())).sum().backward()
    for name, value in inputs.items():
        assert value.grad is not None
        assert case.error(f"grad.{name}", value.grad) <= TOLERANCE, name


def random_inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 6, 4, 4), (2, 6, 8, 8), (2, 4, 4, 4, 4), (2, 4, 8, 8))
    named = zip(INPUTS, shapes, strict=True)
    return {name: torch.randn(shape, generator=generator).requires_grad_() for name, shape in named}


COMPETING = partial(F.cross_entropy, reduction="none")
each_loss_of_pixels = pytest.mark.parametrize("options", [{}, {"of_pixels": COMPETING}])


@each_loss_of_pixels
def test_pixels_of_which_nothing_is_known_change_nothing(options):
    inputs = random_inputs()
    parts, objects = torch.zeros(2, 8, 8, dtype=torch.long), torch.ones(2, 8, 8, dtype=torch.long)
    parts[:, :4], objects[:, :4] = IGNORED, IGNORED
    parts[:, 4], objects[:, 4] = NONE, NONE
    found = terms(inputs, targets(parts, objects), **options)
    torch.stack([found[name] for name in ("specific", "part", "obj")]).sum().backward()
    for name in ("part_obj_logits", "specific_logits"):
        gradient = inputs[name].grad
        assert not gradient[:, :, :4].any() and gradient[:, :, 4:].any()


@each_loss_of_pixels
def test_a_batch_without_any_part_has_finite_losses(options):
    inputs = random_inputs()
    nothing = torch.full((2, 8, 8), NONE)
    found = terms(inputs, targets(nothing, nothing), **options)
    torch.stack(list(found.values())).sum().backward()
    assert found["part"] == 0 and found["specific"] == 0 and found["obj"] > 0
    assert all(value.isfinite() for value in found.values())


@each_loss_of_pixels
def test_unevenly_labeled_batches_add_up(options):
    """With the mean counts of both, the mean of two batches' losses is the loss of all pixels, and no pixel waits."""
    inputs = {name: value.detach() for name, value in random_inputs().items()}
    parts = torch.stack((torch.randint(0, 3, (8, 8)), torch.full((8, 8), IGNORED)))
    objects = torch.tensor(NAMES.object_of)[parts.clamp(max=2)].where(parts != IGNORED, IGNORED)
    parts[1, 0, :3], objects[1, 0, :3], parts[:, 1], objects[:, 1] = 1, 1, NONE, NONE
    whole = targets(parts, objects)
    halves = [targets(parts[[n]], objects[[n]]) for n in range(2)]
    counts = torch.stack([half.pixel_counts() for half in halves]).sum(0) / 2
    with NoDeviceWaits():
        found = [
            terms({name: value[[n]] for name, value in inputs.items()}, replace(half, counts=counts), **options)
            for n, half in enumerate(halves)
        ]
    for name, expected in terms(inputs, whole, **options).items():
        torch.testing.assert_close((found[0][name] + found[1][name]) / 2, expected, msg=name)
