"""Words taught to tiny's network work in its programs, which run without PyTorch, and give the same labels."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.errors import CheckpointError
from segvoc.exported.manifest import MANIFEST, ExportManifest, add_taught, described_files
from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.exported.shipped import copy_tiny, open_tiny
from segvoc.models.digests import model_record
from segvoc.teaching.taught_words import TaughtWords
from tests.teaching.drawn_examples import DrawnExamples, drawn_examples
from tests.teaching.test_networks import with_share

WORDS = ["grass", "sky", "brick", "cat"]
IMAGE = drawn_examples(3).images[2]
FIRST = "taught_1.words.safetensors"


@pytest.fixture(scope="module")
def taught() -> TaughtWords:
    return open_tiny().teach(drawn_examples(2))


@pytest.fixture(scope="module")
def other() -> TaughtWords:
    """Words by other examples, in which their colors are swapped."""
    examples = drawn_examples(2)
    return open_tiny().teach(DrawnExamples(examples.images, [2 - one for one in examples.labels], examples.vocabulary))


@pytest.fixture
def folder(taught: TaughtWords, tmp_path: Path) -> Path:
    """`tiny` as an exported folder with taught words."""
    out = tmp_path / "model"
    out.mkdir()
    copy_tiny(out)
    add_taught(out, [taught])
    return out


def describe_again(folder: Path) -> None:
    """Make the description fit the files, as somebody may who changes one."""
    files = described_files(folder)
    del files[MANIFEST]
    manifest = replace(ExportManifest.read(folder / MANIFEST), files=files)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_network_and_programs_agree(share):
    network, programs = segvoc.load("tiny", device="cpu", dtype="float32"), open_tiny()
    found = network.teach(drawn_examples(2), keep_worse=True)
    mixed = with_share(found, share, channels=384)
    one, other = (model.with_taught(mixed).segment(IMAGE, WORDS) for model in (network, programs))
    assert (one.labels == other.labels).mean() > 0.999
    assert np.abs(one.confidence - other.confidence).max() < 0.01


def test_a_folder_applies_its_words_by_itself(folder, taught):
    expected = open_tiny().with_taught(taught).segment(IMAGE, WORDS)
    model = segvoc.load_exported(folder)
    assert [one.digest for one in model.taught] == [taught.digest]
    assert np.array_equal(model.segment(IMAGE, WORDS).labels, expected.labels)
    assert (open_tiny().segment(IMAGE, WORDS).labels != expected.labels).mean() > 0.01
    about = json.loads((folder / MANIFEST).read_text())
    assert about["taught"] == [FIRST]
    assert len(about["files"][FIRST]["sha256"]) == 64


def test_more_words_add_to_those_of_the_folder(folder, taught, other):
    model = segvoc.load_exported(folder).with_taught(other)
    assert [one.digest for one in model.taught] == [taught.digest, other.digest]
    last = open_tiny().with_taught(other).segment(IMAGE, WORDS).labels
    assert np.array_equal(model.segment(IMAGE, WORDS).labels, last)
    assert not np.array_equal(segvoc.load_exported(folder).segment(IMAGE, WORDS).labels, last)


def test_several_files_keep_their_order(tmp_path, taught, other):
    copy_tiny(tmp_path)
    add_taught(tmp_path, [other, taught])
    assert [one.digest for one in segvoc.load_exported(tmp_path).taught] == [other.digest, taught.digest]


def test_another_export_with_other_words_is_another_model(folder, tmp_path, other):
    (tmp_path / "other").mkdir()
    copy_tiny(tmp_path / "other")
    plain = model_record(segvoc.load_exported(tmp_path / "other"))
    add_taught(tmp_path / "other", [other])
    records = [model_record(segvoc.load_exported(one)) for one in (folder, tmp_path / "other")]
    assert records[0]["taught"] != records[1]["taught"] and records[0]["weights"] != records[1]["weights"]
    assert "taught" not in plain


def test_missing_and_damaged_files_are_named(folder):
    content = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(content[:-4] + bytes(4))
    with pytest.raises(CheckpointError, match=rf"{FIRST}' is not what was exported; export the model again"):
        segvoc.load_exported(folder)
    (folder / FIRST).write_bytes(content[:-4])
    describe_again(folder)
    with pytest.raises(CheckpointError, match=rf"{FIRST}' are cut off or damaged"):
        segvoc.load_exported(folder)
    (folder / FIRST).unlink()
    with pytest.raises(CheckpointError, match=rf"{FIRST}' is missing; export the model again"):
        segvoc.load_exported(folder)
    describe_again(folder)
    with pytest.raises(CheckpointError, match=rf"{FIRST}' can't be read"):
        segvoc.load_exported(folder)


def test_files_of_other_folders_are_refused(folder):
    manifest = ExportManifest.read(folder / MANIFEST)
    (folder / MANIFEST).write_text(replace(manifest, taught=("../a.words.safetensors",)).to_json(), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"names '\.\./a\.words\.safetensors', a file outside of it"):
        segvoc.load_exported(folder)


def test_words_of_another_model_are_refused(folder, taught):
    replace(taught, probe=taught.probe + 1, record=replace(taught.record, model="theirs")).save(folder / FIRST)
    describe_again(folder)
    with pytest.raises(CheckpointError, match="were taught to 'theirs', and 'tiny' has other weights"):
        segvoc.load_exported(folder)
    assert ExportedSegmenter(folder).taught  # opening alone runs nothing
