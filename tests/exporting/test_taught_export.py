"""Exporting a model with taught words."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.errors import CheckpointError, UsageError
from segvoc.exporting import export as exporting
from segvoc.exporting.export import compare_with_export, export
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.vocabulary import Vocabulary
from tests.exporting.small_export import small_cat_seg
from tests.inference.taught.drawn_examples import drawn_examples

WORDS = ["grass", "sky", "brick", "cat"]
UNSEEN = drawn_examples(3).images[2]


def test_a_model_tuned_with_the_network_of_tiny_has_the_programs_that_ship(tiny_network, taught, tmp_path, monkeypatch):
    tuned = copy.copy(tiny_network)
    tuned.origin = {**tiny_network.origin, "training": {"steps": 1}}
    monkeypatch.setattr(exporting, "SIZES", ((96, 128),))
    monkeypatch.setattr(exporting, "_write_programs", None)
    assert export(tuned, tmp_path / "out", taught=[taught]).equal_labels > 0.999
    assert tuned.taught == ()
    exported = ExportedSegmenter(tmp_path / "out")
    assert exported.origin["training"] == {"steps": 1}
    assert [one.digest for one in exported.taught] == [taught.digest]
    one, other = (model.segment(UNSEEN, WORDS) for model in (tiny_network.with_taught(taught), exported))
    assert (one.labels == other.labels).mean() > 0.999


def test_the_comparison_is_about_taught_words_too(model, folder, monkeypatch):
    monkeypatch.setattr(exporting, "SIZES", ((96, 128),))
    taught, words = segvoc.teach(model, drawn_examples(4)), Vocabulary(["cat", "grass", "wall"])
    exported, better = ExportedSegmenter(folder), model.with_taught(taught)
    assert compare_with_export(better, exported.with_taught(taught), "float32", words).agrees
    changed = replace(taught, bias=taught.bias + np.float32(0.1))
    assert not compare_with_export(better, exported.with_taught(changed), "float32", words).agrees


def test_programs_for_other_weights_are_refused(taught, tmp_path):
    with pytest.raises(CheckpointError, match="were taught to 'tiny', and 'small' has other weights"):
        export(small_cat_seg(), tmp_path / "out", taught=[taught])
    assert not list(tmp_path.iterdir())


def test_triton_alone_cannot_apply_them(tiny_network, taught, tmp_path):
    with pytest.raises(UsageError, match=r"nothing of taught words; export without them, .* --model OUT --taught FILE"):
        export(tiny_network, tmp_path / "out", format="triton", taught=[taught])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_programs_have_them(model, tmp_path, untyped):
    taught = segvoc.teach(model, drawn_examples(4))
    words = Vocabulary(["grass", "brick", "cat"])  # "sky" isn't asked for
    found = export(model, tmp_path / "out", vocabulary=words, taught=[taught])
    assert found.agrees and found.equal_labels > 0.999
    exported = ExportedSegmenter(tmp_path / "out")
    one, other = (each.segment(UNSEEN, words.words) for each in (model.with_taught(taught), exported))
    assert (one.labels == other.labels).mean() > 0.999
    assert len(list(Path(tmp_path / "out").glob("*.words.safetensors"))) == 1
