"""Trainings on the encoders of timm: killed and resumed, they end as others do, to the last bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segvoc.training.loop import Training
from tests.timm_clips import ALL, small_network_on
from tests.training.runs import drawn_images, kill, losses, open_run

OPTIONS: dict[str, Any] = {
    "steps": 3,
    "save_every": 1,
    "batch_size": 2,
    "crop_size": 64,
    "short_sides": (64,),
    "fod_weight": 0.0,
    "trainable": "published",
    "trainable_encoders": "both",
}


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=pytest.mark.slow if place else ()) for place, family in enumerate(ALL)]
)
def test_a_resumed_training_ends_as_an_uninterrupted_one(family: str, tmp_path: Path) -> None:
    images = drawn_images(tmp_path / "data", 3)

    def opened(name: str, *, resume: bool = False) -> Training:
        return open_run(images, tmp_path / name, network=small_network_on(family), resume=resume, **OPTIONS)

    def trained(name: str, *, resume: bool = False) -> dict[str, Tensor]:
        training = opened(name, resume=resume)
        training.run()
        return training.network.state_dict()

    whole, before = trained("whole"), small_network_on(family)
    kill(opened("run"), 2)
    resumed = trained("run", resume=True)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, whole[name])}
    tuned = {f"image_encoder.{name}" for name in before.image_encoder.fine_tuned_parameters()}
    assert {name for name in changed if name.startswith("image_encoder.")} == tuned
