"""Streams that are watched without a loss on them."""

import json

import pytest
import torch

from segvoc.errors import UsageError
from segvoc.training.objectives.segmentation import Objective
from segvoc.training.recipe import Recipe
from tests.built import built
from tests.training.runs import drawn_images, open_run


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_they_are_noted_and_nothing_is_learned_from_them(tmp_path):
    images = drawn_images(tmp_path / "images")
    plain, watched = (
        open_run(images, tmp_path / name, fod_weight=0.0, steps=2, log_stream_similarity=watch)
        for name, watch in (("plain", False), ("watched", True))
    )
    plain.run()
    watched.run()
    for unseen, seen in zip(metrics(tmp_path / "plain"), metrics(tmp_path / "watched"), strict=True):
        assert 0 < seen["fod_1"] < 1
        assert 0 < seen["fod_2"] < 1
        # a mean square is at least the square of the mean
        assert all(0 < seen[f"cosine_{block}"] ** 2 <= seen[f"fod_{block}"] for block in (1, 2))
        assert "fod" not in seen
        assert not [name for name in unseen if name.startswith(("fod", "cosine"))]
        assert (seen["loss"], seen["gradient_norm"]) == (unseen["loss"], unseen["gradient_norm"])
    for (name, value), other in zip(
        plain.network.state_dict().items(), watched.network.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("setting", ["fod_weight=0.01", "log_stream_similarity=true"])
def test_blocks_without_two_streams_are_refused(setting):
    with torch.device("meta"):
        network = built("err-seg-b")
    with pytest.raises(UsageError, match="don't have two streams"):
        Objective(network, Recipe(model="err-seg-b").with_settings([setting]))
    assert Objective(network, Recipe(model="err-seg-b")).blocks == 0
