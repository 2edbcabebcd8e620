"""The configuration in headers, as it is written and read."""

import json

import pytest

from segvoc.checkpoints.files import WeightsFile
from segvoc.errors import CheckpointError
from segvoc.models.headers import configuration_of, configuration_record
from segvoc.models.presets import PRESETS
from tests.built import configured
from tests.images import one_line_error


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
