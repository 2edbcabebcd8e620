"""The configuration in headers: as it is written, and as the options of files from before 0.9 said it."""

import json

import pytest

from segvoc.checkpoints.files import WeightsFile
from segvoc.errors import CheckpointError
from segvoc.models.headers import configuration_of, configuration_record
from segvoc.models.presets import PRESETS
from segvoc.networks.tiny import TWO_BLOCKS, TinyConfig, TinyPartsConfig, TinySynergyConfig
from tests.built import configured
from tests.images import one_line_error


def file_of(preset: str, **record: object) -> WeightsFile:
    """A file whose header holds this, as JSON gives it."""
    return WeightsFile(path="w.safetensors", tensors={}, preset=preset, record=json.loads(json.dumps(record)))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_brings_the_whole_configuration(preset):
    configuration = PRESETS[preset].configuration
    assert configuration_of(file_of(preset, **configuration_record(configuration)), PRESETS[preset]) == configuration


@pytest.mark.parametrize("preset", PRESETS)
def test_files_without_an_entry_are_the_presets(preset):
    assert configuration_of(file_of(preset), PRESETS[preset]) == PRESETS[preset].configuration


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("cat-seg-b", {"order": "parallel", "blocks": 4, "fusion": "experts"}),
        ("cat-seg-b", {"aggregation": "none"}),
        ("cat-seg-l", {"aggregation": "features", "decoder": "bilinear"}),
        ("pca-seg-b", {"dense": "qq", "class_attention": "softmax", "pad_classes": 0, "skip": "sum"}),
        ("err-seg-b", {"side": 512, "ssr": 1, "csr": 4, "top": 5, "decay": 0.25, "streams": "class", "mlp": "vanilla"}),
        ("err-seg-l", {"maps": "single", "stage_4_gradient": "stride_32", "aggregation": "none"}),
        ("part-cat-seg-b", {"order": "parallel", "fusion": "experts", "experts": 2, "aggregation": "parts"}),
        ("syn-seg-b", {"film": "mlp", "head": "refined", "pooled": "visual", "prompts": "tcl"}),
    ],
)
def test_old_options_are_the_settings_of_the_same_names(preset, options):
    found = configuration_of(file_of(preset, options=options), PRESETS[preset])
    assert found == configured(preset, **options) != PRESETS[preset].configuration


@pytest.mark.parametrize(
    ("options", "aggregation"),
    [
        ({"aggregation": "cost"}, TWO_BLOCKS),
        ({"fusion": "average", "blocks": 1}, None),
        ({"aggregation": "parts"}, TinyPartsConfig()),
        ({"aggregation": "synergy", "film": "mlp"}, TinySynergyConfig(film="mlp")),
    ],
)
def test_old_options_of_tiny_stood_for_its_second_aggregation(options, aggregation):
    found = configuration_of(file_of("tiny", options=options), PRESETS["tiny"])
    if aggregation is None:
        assert (found.aggregation.dim, found.aggregation.fusion, found.aggregation.blocks) == (64, "average", 1)
    else:
        assert found == TinyConfig(aggregation=aggregation)


def test_old_experts_implied_a_fusion_by_experts():
    found = configuration_of(file_of("cat-seg-b", options={"experts": 3}), PRESETS["cat-seg-b"])
    assert (found.aggregation.fusion, found.aggregation.experts) == ("experts", 3)


@pytest.mark.parametrize(
    "record",
    [
        {"options": 3},
        {"options": {"blocks": 10**9}},
        {"options": {"gate": "soft"}},
        {"configuration": {"kind": "clip", "aggregation": {"kind": "new"}}},
        {"configuration": {"kind": "err-seg"}},
        {"configuration": {"aggregation": {"dim": 10**12}}},
        {"configuration": 3},
    ],
)
def test_a_header_that_asks_for_something_unknown_is_one_line(record):
    with one_line_error(CheckpointError, match=r"'w.safetensors' was made with what this segvoc doesn't know"):
        configuration_of(file_of("cat-seg-b", **record), PRESETS["cat-seg-b"])


def test_towers_alone_serve_another_preset_with_its_own_aggregation():
    towers = file_of("pca-seg-b", parts=["image_encoder", "text_encoder"], options={"dense": "qq"})
    found = configuration_of(towers, PRESETS["cat-seg-eva-b"])
    assert found == configured("cat-seg-eva-b", dense="qq")
    assert configuration_of(towers, PRESETS["cat-seg-b"]) == PRESETS["cat-seg-b"].configuration
