"""Words taught to tiny's network work in its programs, which run without PyTorch, and give the same labels."""

import copy
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from segvoc.errors import CheckpointError
from segvoc.inference.exported.manifest import MANIFEST, ExportManifest, add_taught
from segvoc.inference.exported.segmenter import ExportedSegmenter, copy_tiny, open_tiny
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.digests import model_record
from tests.inference.taught.drawn_examples import drawn_examples

WORDS = ["grass", "sky", "brick", "cat"]
IMAGE = drawn_examples(3).images[2]
plain = cache(open_tiny)
FIRST = "taught_1.words.safetensors"


@pytest.fixture(scope="module")
def whole(taught: TaughtWords, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model")
    copy_tiny(out)
    add_taught(out, [taught])
    return out


@pytest.fixture(scope="module")
def opened(whole: Path) -> ExportedSegmenter:
    return ExportedSegmenter(whole)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def test_a_folder_applies_its_words_by_itself(whole, opened, taught):
    expected = plain().with_taught(taught).segment(IMAGE, WORDS)
    assert [one.digest for one in opened.taught] == [taught.digest]
    assert np.array_equal(opened.segment(IMAGE, WORDS).labels, expected.labels)
    assert (plain().segment(IMAGE, WORDS).labels != expected.labels).mean() > 0.01
    about = json.loads((whole / MANIFEST).read_text())
    assert about["taught"] == [FIRST]
    assert len(about["files"][FIRST]["sha256"]) == 64


def test_more_words_add_to_those_of_the_folder(opened, taught):
    other = replace(taught, weights=taught.weights[::-1], bias=taught.bias[::-1])  # colors are swapped
    model = opened.with_taught(other)
    assert [one.digest for one in model.taught] == [taught.digest, other.digest]
    last = plain().with_taught(other).segment(IMAGE, WORDS).labels
    assert np.array_equal(model.segment(IMAGE, WORDS).labels, last)
    assert not np.array_equal(opened.segment(IMAGE, WORDS).labels, last)
    assert model_record(model)["taught"] != model_record(opened)["taught"]


def test_without_words_those_of_training_and_of_examples_are_asked_for(opened):
    model = copy.copy(opened)
    examples = model.own_words
    model.known_words, model.known_background = ("road", examples[0].title(), "none"), "none"
    result = model.segment(IMAGE)
    assert result.words == ("road", examples[0].title(), "none", *examples[1:])
    assert result.background == "none" and len(examples) > 1


def test_damaged_and_foreign_files_are_refused(folder):
    content = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(content[:-4])
    ExportManifest.read(folder / MANIFEST).write(folder)  # fits the files, as somebody may make it who changes one
    with pytest.raises(CheckpointError, match=rf"{FIRST}' are cut off or damaged"):
        ExportedSegmenter(folder)
    manifest = ExportManifest.read(folder / MANIFEST)
    (folder / MANIFEST).write_text(replace(manifest, taught=("../a.words.safetensors",)).to_json(), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"names '\.\./a\.words\.safetensors', a file outside of it"):
        ExportedSegmenter(folder)


def test_words_of_another_model_are_refused(folder, taught):
    replace(taught, probe=taught.probe + 1, record=replace(taught.record, model="theirs")).save(folder / FIRST)
    ExportManifest.read(folder / MANIFEST).write(folder)
    with pytest.raises(CheckpointError, match="were taught to 'theirs', and 'tiny' has other weights"):
        ExportedSegmenter(folder)
