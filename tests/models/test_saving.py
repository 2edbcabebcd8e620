"""`segvoc.save`: what it writes, `segvoc.load` reads, the same to the bit; the configuration in headers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

import segvoc
from segvoc.checkpoints.files import WeightsFile
from segvoc.errors import CheckpointError
from segvoc.layers.aggregation import cost_volume
from segvoc.models.headers import configuration_of, configuration_record
from segvoc.models.presets import PRESETS
from tests.built import configured
from tests.images import one_line_error

pytestmark = pytest.mark.usefixtures("small_in_the_table")

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
WORDS = ["cat", "wall"]


class ScaledCost(nn.Module):
    """The mean cost of each word, scaled: the smallest aggregation."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(
        self, maps: list[Float[Tensor, "B C H W"]], text: Float[Tensor, "B T P D"], guidance: object, context: object
    ) -> tuple[Float[Tensor, "B T H W"], None]:
        costs = torch.cat([cost_volume(features, text) for features in maps], dim=1)
        return self.scale * costs.mean(dim=1), None


def with_scaled_cost() -> segvoc.NetworkSegmenter:
    model = segvoc.load("small", weights="random", device="cpu")
    model.network.aggregation = ScaledCost()
    return model


def assert_same(first: segvoc.NetworkSegmenter, second: segvoc.NetworkSegmenter) -> None:
    results = [model.segment(PHOTO, WORDS) for model in (first, second)]
    assert np.array_equal(results[0].labels, results[1].labels)
    assert np.array_equal(results[0].confidence, results[1].confidence)


def test_options_come_back(tmp_path: Path) -> None:
    model = segvoc.load("small", weights="random", options={"aggregation": "none"}, device="cpu")
    with torch.no_grad():
        next(model.network.aggregation.parameters()).mul_(0.5)
    segvoc.save(model, tmp_path / "half.safetensors", origin="a test", license="none")
    again = segvoc.load(tmp_path / "half.safetensors", device="cpu")
    assert again.network.aggregation.__class__ is model.network.aggregation.__class__
    assert_same(model, again)


def test_rounded_weights_are_not_saved(tmp_path: Path) -> None:
    model = segvoc.load("small", weights="random", device="cpu", dtype="bfloat16")
    with pytest.raises(segvoc.UsageError, match="were rounded to bfloat16; save it loaded with dtype='float32'"):
        segvoc.save(model, tmp_path / "rounded.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_network_of_ones_own_must_be_given_and_is_filled(tmp_path: Path) -> None:
    custom = with_scaled_cost()
    with torch.no_grad():
        custom.network.aggregation.scale.fill_(7)
    segvoc.save(custom, tmp_path / "mine.safetensors")
    again = segvoc.load(tmp_path / "mine.safetensors", network=with_scaled_cost().network, device="cpu")
    assert float(again.network.aggregation.scale) == 7
    assert_same(custom, again)
    with pytest.raises(segvoc.CheckpointError, match=r"load it with network="):
        segvoc.load(tmp_path / "mine.safetensors")


def test_a_model_that_load_did_not_make_is_refused(tmp_path: Path) -> None:
    custom = with_scaled_cost()
    model = segvoc.NetworkSegmenter(name="mine", network=custom.network, protocols=custom.protocols, templates=["{}"])
    with pytest.raises(segvoc.UsageError, match="the preset of 'mine' is unknown"):
        segvoc.save(model, tmp_path / "mine.safetensors")


def file_of(preset: str, **record: object) -> WeightsFile:
    """A file whose header holds this, as JSON gives it."""
    return WeightsFile(path="w.safetensors", tensors={}, preset=preset, record=json.loads(json.dumps(record)))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_brings_the_whole_configuration(preset):
    configuration = PRESETS[preset].configuration
    assert configuration_of(file_of(preset, **configuration_record(configuration)), PRESETS[preset]) == configuration


@pytest.mark.parametrize(
    "record",
    [
        {"configuration": {"kind": "clip", "aggregation": {"kind": "new"}}},
        {"configuration": {"kind": "err-seg"}},
        {"configuration": {"aggregation": {"dim": 10**12}}},
        {"configuration": 3},
    ],
)
def test_a_header_that_asks_for_something_unknown_is_one_line(record):
    with one_line_error(CheckpointError, match=r"'w.safetensors' needs a newer segvoc"):
        configuration_of(file_of("cat-seg-b", **record), PRESETS["cat-seg-b"])


def test_towers_alone_serve_another_preset_with_its_own_aggregation():
    record = configuration_record(configured("pca-seg-b", dense="qq"))
    towers = file_of("pca-seg-b", parts=["image_encoder", "text_encoder"], **record)
    found = configuration_of(towers, PRESETS["cat-seg-eva-b"])
    assert found == configured("cat-seg-eva-b", dense="qq")
    assert configuration_of(towers, PRESETS["cat-seg-b"]) == PRESETS["cat-seg-b"].configuration
