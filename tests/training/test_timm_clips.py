"""Trainings on the encoders of timm."""

from pathlib import Path

import pytest
import torch

from tests.timm_clips import ALL, small_network_on
from tests.training.runs import drawn_images, open_run


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=pytest.mark.slow if place else ()) for place, family in enumerate(ALL)]
)
def test_what_is_published_as_fine_tuned_learns_and_nothing_else_of_an_encoder(family: str, tmp_path: Path) -> None:
    network, before = small_network_on(family), small_network_on(family).state_dict()
    images, changes = drawn_images(tmp_path / "data", 3), {"steps": 2, "batch_size": 2, "fod_weight": 0.0}
    changes |= {"crop_size": 64, "short_sides": (64,), "trainable": "published", "trainable_encoders": "both"}
    open_run(images, tmp_path / "run", network=network, **changes).run()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    tuned = {f"image_encoder.{name}" for name in network.image_encoder.fine_tuned_parameters()}
    assert {name for name in changed if name.startswith("image_encoder.")} == tuned
