"""PartCATSeg's losses: each term, and the gradient of their sum, against the official code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segvoc.data.training.training_set import IGNORED, NONE
from segvoc.encoders.prompts import PartNames
from segvoc.training.objectives.losses import (
    PartTargets,
    competing_loss,
    compositional_loss,
    object_loss,
    part_loss,
    specific_loss,
)
from tests.device_waits import NoDeviceWaits
from tests.err_goldens import FOLDER, err_case
from tests.golden_sets import TOLERANCE

NAMES = PartNames.of(["cat's tail", "cat's head", "bus's wheel"])


def targets(parts: Tensor, objects: Tensor) -> PartTargets:
    return PartTargets(
        parts=parts,
        objects=objects,
        part_of=torch.tensor(NAMES.part_of),
        object_of=torch.tensor(NAMES.object_of),
        general_parts=len(NAMES.parts),
    )


def terms(inputs: dict[str, Tensor], of: PartTargets, **options) -> dict[str, Tensor]:
    return {
        "specific": specific_loss(inputs["specific_logits"], of, **options),
        "part": part_loss(inputs["part_obj_logits"], of, **options),
        "obj": object_loss(inputs["part_obj_logits"], of, **options),
        "jsd": compositional_loss(inputs["part_obj_cost"], inputs["specific_cost"], of),
    }


INPUTS = ("part_obj_cost", "part_obj_logits", "specific_cost", "specific_logits")


@pytest.mark.golden
def test_every_term_and_the_gradient_of_their_sum(golden: Path):
    case = err_case(golden, "part_loss")
    record = json.loads((golden / FOLDER / "part_loss.json").read_text())
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
    return {
        name: torch.randn(shape, generator=generator).requires_grad_()
        for name, shape in zip(INPUTS, shapes, strict=True)
    }


@pytest.mark.parametrize("options", [{}, {"of_pixels": competing_loss}])
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


@pytest.mark.parametrize("options", [{}, {"of_pixels": competing_loss}])
def test_a_batch_without_any_part_has_finite_losses(options):
    inputs = random_inputs()
    nothing = torch.full((2, 8, 8), NONE)
    found = terms(inputs, targets(nothing, nothing), **options)
    torch.stack(list(found.values())).sum().backward()
    assert found["part"] == 0 and found["specific"] == 0 and found["obj"] > 0
    assert all(value.isfinite() for value in found.values())


@pytest.mark.parametrize("options", [{}, {"of_pixels": competing_loss}])
def test_unevenly_labeled_batches_add_up(options):
    """With the mean counts of both, the mean of two batches' losses is the loss of all pixels, and no pixel waits."""
    inputs = {name: value.detach() for name, value in random_inputs().items()}
    parts = torch.stack((torch.randint(0, 3, (8, 8)), torch.full((8, 8), IGNORED)))
    objects = torch.tensor(NAMES.object_of)[parts.clamp(max=2)].where(parts != IGNORED, IGNORED)
    parts[1, 0, :3], objects[1, 0, :3], parts[:, 1], objects[:, 1] = 1, 1, NONE, NONE
    whole = targets(parts, objects)
    halves = [targets(parts[[n]], objects[[n]]) for n in range(2)]
    counts = torch.stack([half.counted() for half in halves]).sum(0) / 2
    with NoDeviceWaits():
        found = [
            terms({name: value[[n]] for name, value in inputs.items()}, replace(half, counts=counts), **options)
            for n, half in enumerate(halves)
        ]
    for name, expected in terms(inputs, whole, **options).items():
        torch.testing.assert_close((found[0][name] + found[1][name]) / 2, expected, msg=name)
