"""Trainings on the encoders of timm: killed and resumed, they end as others do, to the last bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from segvoc.networks.base import SegmentationNetwork
from tests.timm_clips import ALL, small_network_on
from tests.training.runs import drawn_images, losses, open_run

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


class Killed(Exception):
    """Stands for the death of the process."""


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=pytest.mark.slow if place else ()) for place, family in enumerate(ALL)]
)
def test_a_resumed_training_ends_as_an_uninterrupted_one(family: str, tmp_path: Path) -> None:
    images = drawn_images(tmp_path / "data", 3)

    def trained(name: str, *, resume: bool = False, killed_in: int = 0) -> SegmentationNetwork:
        network = small_network_on(family)
        training = open_run(images, tmp_path / name, network=network, resume=resume, **OPTIONS)
        note = training.folder.note

        def killed(file: str, entry: Any) -> None:
            if entry["step"] == killed_in:
                raise Killed
            note(file, entry)

        training.folder.note = killed
        training.run()
        return network

    whole, before = trained("whole").state_dict(), small_network_on(family)
    with pytest.raises(Killed):
        trained("run", killed_in=2)
    resumed = trained("run", resume=True).state_dict()
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, whole[name])}
    tuned = {f"image_encoder.{name}" for name in before.image_encoder.fine_tuned_parameters()}
    assert {name for name in changed if name.startswith("image_encoder.")} == tuned
