"""Classes in chunks whose inner values are computed twice: the same losses, gradients and statistics as all at once."""

import pytest
import torch

from segvoc.training.objectives import (
    SEGMENTATION_LOSSES,
    Objective,
    competing_segmentation_loss,
    cross_entropy_segmentation_loss,
    masked_segmentation_loss,
    released_segmentation_loss,
)
from tests.inference.small_network import small_network
from tests.networks.test_err_seg import small as small_err_seg
from tests.training.runs import RECIPE


def computed(network, **changes):
    """Losses, gradients and buffers of a step."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (2, 3, 64, 64), generator=generator).double()
    labels = torch.randint(6, (2, 48, 48), generator=generator)
    labels[:, :5] = 65535
    recipe = RECIPE.with_settings(resize_crop_to=64, **changes)
    objective = Objective(network.double().requires_grad_(True).train(), recipe)
    words = torch.randn(5, 1, network.image_encoder.channels, generator=generator)
    torch.manual_seed(5)
    losses = objective(images, labels, torch.nn.functional.normalize(words, dim=-1).double())
    losses["loss"].backward()
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    return losses, gradients, dict(network.named_buffers())


def err_seg():
    """With a drop path, whose draws must be the same the second time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return small_err_seg(drop_path=0.3)


def assert_same(ours, others):
    for mine, theirs in zip(ours, others, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            torch.testing.assert_close(
                value, theirs[name], rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}"
            )


def test_drop_paths_are_drawn_for_all_classes_at_once():
    changes = {"fod_weight": 0.0, "num_kept_classes": 4}
    expected = computed(err_seg(), class_chunk_size=0, activation_checkpointing=False, **changes)
    for size, recompute in ((1, False), (3, True)):
        assert_same(computed(err_seg(), class_chunk_size=size, activation_checkpointing=recompute, **changes), expected)


def test_a_learning_text_tower_is_computed_twice_with_the_same_result(monkeypatch):
    monkeypatch.setattr("segvoc.training.objectives.PROMPTS", 2)
    tokens = torch.randint(256, (5, 1, 7), generator=torch.Generator().manual_seed(0))
    gradients = []
    for recompute in (False, True):
        network = small_network(1).double().requires_grad_(True).train()
        objective = Objective(network, RECIPE.with_settings(resize_crop_to=64, activation_checkpointing=recompute))
        images, labels = torch.full((1, 3, 64, 64), 9.0).double(), torch.zeros(1, 8, 8, dtype=torch.int64)
        objective(images, labels, tokens)["loss"].backward()
        gradients.append({name: value.grad for name, value in network.text_encoder.named_parameters()})
    assert gradients[0]["table.weight"].abs().max() > 0
    assert_same(gradients[:1], gradients[1:])


@pytest.mark.parametrize("loss", SEGMENTATION_LOSSES.values())
def test_a_loss_in_chunks_is_the_loss(loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 6, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(6, (2, 13, 11), generator=generator)
    labels[labels == 4] = 255
    results = []
    for chunk in (None, 1, 2, 5, 9):
        leaf = logits.clone().requires_grad_(True)
        value = loss(leaf, labels, 255, chunk)
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
    torch.testing.assert_close(released_segmentation_loss(logits, labels), (known + unknown) / 4)
    torch.testing.assert_close(masked_segmentation_loss(logits, labels), known / 2)
    none = masked_segmentation_loss(logits, torch.full_like(labels, 255))
    assert none == 0


def test_classes_compete_with_each_other_and_with_none_of_them():
    logits = torch.randn(1, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[2, 0, 3, 255]]])
    with_none = torch.cat([logits, torch.zeros(1, 1, 1, 4)], dim=1)
    expected = torch.nn.functional.cross_entropy(with_none, labels, ignore_index=255)
    torch.testing.assert_close(competing_segmentation_loss(logits, labels), expected)
    assert competing_segmentation_loss(logits, torch.full_like(labels, 255)) == 0


@pytest.mark.parametrize("name", ["masked", "competing", "cross-entropy"])
def test_a_batch_without_labels_has_no_loss_and_a_single_label_a_whole_one(name):
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    loss, nothing = SEGMENTATION_LOSSES[name], torch.full((2, 4, 4), 255)
    value = loss(logits, nothing)
    value.backward()
    assert value == 0 and (logits.grad == 0).all()
    single = nothing.clone()
    single[0, 1, 2] = 1
    alone = loss(logits[:1, :, 1:2, 2:3], single[:1, 1:2, 2:3], pixels=torch.ones(()))
    assert alone > 0
    torch.testing.assert_close(loss(logits, single), alone)


def test_cross_entropy_is_pytorchs_and_leaves_out_what_is_no_class():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 9, 8), generator=torch.Generator().manual_seed(1))
    labels[:, :2], labels[:, 2] = 65535, 3  # unlabeled, and the background's
    scores = torch.nn.functional.interpolate(logits, size=(9, 8), mode="bilinear")
    expected = torch.nn.functional.cross_entropy(scores, labels.where(labels < 3, -100))
    torch.testing.assert_close(cross_entropy_segmentation_loss(logits, labels, 65535, 2), expected)
