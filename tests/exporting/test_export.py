"""Exporting a small network, also with taught words, and what the exported folder gives."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Tokenizer

import segvoc
from segvoc.data.labeled_images import class_names
from segvoc.encoders.clip_text import clip_tokenizer
from segvoc.errors import CheckpointError, UsageError
from segvoc.exporting import export as exporting
from segvoc.exporting import onnx_files
from segvoc.exporting.export import Comparison, compare_with_export, export
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.shipped import copy_tiny
from segvoc.vocabulary import Vocabulary
from tests.exporting.conftest import IMAGES, WORDS, assert_alike, small_cat_seg, small_timm_clip
from tests.inference.taught.drawn_examples import drawn_examples
from tests.timm_clips import ALL
from tools.doc_examples import ROOT


@pytest.mark.parametrize(
    ("count", "options"),
    [
        (40, {"window": "auto"}),
        (1, {"window": "single"}),
        (40, {"keep_classes": 7}),
        (40, {"keep_classes": "auto"}),
        (12, {"keep_classes": 5, "parts": {"thing 1": ["head", "leg"], "*": ["edge"]}}),
    ],
)
def test_labels_are_the_networks(model: NetworkSegmenter, folder: Path, count: int, options: dict) -> None:
    assert_alike(model, segvoc.load(folder), WORDS[:count], **options)


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL)
def test_so_are_those_of_timms_encoders(family: str, tmp_path: Path, untyped: None) -> None:
    model = small_timm_clip(family)
    found = export(model, tmp_path / "small")
    assert found.difference < 1e-4 and found.equal_labels > 0.999
    assert_alike(model, segvoc.load(tmp_path / "small"), ["A Cat!", "dog", "the sky"], window="auto")


@pytest.mark.slow
def test_published_windows_have_another_pooling(tmp_path: Path, untyped: None) -> None:
    model = small_cat_seg()
    steps: list[str] = []
    export(model, tmp_path / "out", say=steps.append)
    assert any("words_1x1.onnx" in step for step in steps)
    exported = segvoc.load(tmp_path / "out")
    one, other = (
        one.segment(IMAGES[0], WORDS[:5], window="official", return_probabilities=True) for one in (model, exported)
    )
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_the_pipeline_of_the_documentation_gives_the_labels_that_it_says(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    copy_tiny(tmp_path / "model")
    page = (ROOT / "docs/how_to/export.md").read_text("utf-8")
    (pipeline,) = (
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "InferenceSession" in block
    )
    (call,) = re.findall(r"`segvoc\.load\(\"model/\"\)\.(segment\(.*?\))`", page)
    for photo, unlabeled in (("chelsea.jpg", False), ("rocket.jpg", True)):
        shutil.copy(ROOT / "samples" / photo, "photo.jpg")
        exec(pipeline, found := {})
        model, words = segvoc.load("model/"), found["words"]
        result = eval(f"model.{call}", {"model": model, "words": words})
        assert (result.labels == found["labels"]).mean() > 0.999
        # as the page says, a model with a decision leaves what nobody named unlabeled
        assert (model.segment("photo.jpg", words).labels == UNLABELED).all() == unlabeled


def test_the_folder_says_what_it_is(folder: Path) -> None:
    about = json.loads((folder / "segvoc.json").read_text())
    assert about["name"] == "small" and about["dtype"] == "float32"
    assert set(about["files"]) == {path.name for path in folder.iterdir()} - {"segvoc.json"}
    assert not any(b"site-packages" in path.read_bytes() for path in folder.glob("*.onnx"))
    weights = (folder / "weights.safetensors").stat().st_size
    assert sum(path.stat().st_size for path in folder.glob("*.onnx")) < weights / 4


def test_damaged_files_are_named(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for name in ("words.onnx", "weights.safetensors"):
        whole = (copy / name).read_bytes()
        content = bytearray(whole)
        content[len(content) // 2] ^= 255
        (copy / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name}' is not what was exported; export the model again"):
            segvoc.load(copy)
        (copy / name).unlink()
        with pytest.raises(CheckpointError, match=rf"{name}' is missing"):
            segvoc.load(copy)
        (copy / name).write_bytes(whole)
    about = json.loads((copy / "segvoc.json").read_text())
    del about["selects"]  # the default is not that of every model
    for text in ("", "[]", '{"format": 1}', '{"format": 2}', json.dumps(about)):
        (copy / "segvoc.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"segvoc\.json"):
            segvoc.load(copy)


def test_an_exported_model_has_its_own_weights_and_settings(folder: Path) -> None:
    for said, setting in (
        ("leave out weights", {"weights": "other.safetensors"}),
        ("runs on the CPU", {"device": "cuda"}),
        ("was exported in float32; leave out dtype", {"dtype": "bfloat16"}),
    ):
        with pytest.raises(UsageError, match=said):
            segvoc.load(folder, **setting)


class TestWithoutTracing:
    """What happens around the programs, with programs that are written at once."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def write(program: object, path: Path, weights: list[Path]) -> None:
            path.write_bytes(b"program")

        monkeypatch.setattr(onnx_files, "write_onnx", write)
        for name in ("image_program", "word_program", "text_program"):
            monkeypatch.setattr(exporting, name, lambda *_: None)
        same = Comparison(difference=0.0, tolerance=1.0, equal_labels=1.0)
        monkeypatch.setattr(exporting, "compare_with_export", lambda *_: same)

    def test_programs_that_differ_are_not_exported(self, model, tmp_path, monkeypatch):
        other = Comparison(difference=0.5, tolerance=1e-4, equal_labels=0.9)
        monkeypatch.setattr(exporting, "compare_with_export", lambda *_: other)
        with pytest.raises(UsageError, match=r"by 0\.5 of the largest logit \(0\.0001 allowed\)"):
            export(model, tmp_path / "out")
        assert not list(tmp_path.iterdir())

    def test_an_interrupted_export_leaves_nothing_and_keeps_the_last_one(self, model, tmp_path, monkeypatch):
        export(model, tmp_path / "out")
        before = (tmp_path / "out" / "segvoc.json").read_text()

        def interrupted(*_: object) -> Comparison:
            raise KeyboardInterrupt

        monkeypatch.setattr(exporting, "compare_with_export", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(model, tmp_path / "out", dtype="int8")
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert (tmp_path / "out" / "segvoc.json").read_text() == before

    def test_words_can_be_fixed(self, model: NetworkSegmenter, tmp_path: Path) -> None:
        export(model, tmp_path / "out", vocabulary=Vocabulary(["cat", "sofa", "wall"]))
        exported = ExportedSegmenter(tmp_path / "out")
        assert not (tmp_path / "out" / "text.onnx").exists()
        found = exported.encode_words(Vocabulary(["wall", "cat"]))
        np.testing.assert_allclose(found, model.encode_words(Vocabulary(["wall", "cat"])).numpy(), atol=1e-6)
        np.testing.assert_array_equal(exported.encode_words(Vocabulary(["WALL", "Cat"])), found)
        with pytest.raises(UsageError, match="'dog' is not one of the 3 words"):
            exported.encode_words(Vocabulary(["dog"]))

    # words stay in float32, and most weights of this network are those of its tokens
    @pytest.mark.parametrize(("dtype", "share"), [("float16", 0.99), ("int8", 0.4)])
    def test_the_network_keeps_its_weights(self, model, tmp_path, dtype, share):
        before = {name: value.clone() for name, value in model.network.state_dict().items()}
        export(model, tmp_path / "out", dtype=dtype)  # type: ignore[arg-type]
        after = model.network.state_dict()
        assert all(value.equal(after[name]) and value.dtype == after[name].dtype for name, value in before.items())
        size = (tmp_path / "out" / "weights.safetensors").stat().st_size
        assert size < share * 4 * sum(map(torch.numel, before.values()))


ODD = (
    "fire-hydrant", "café", "naïve", "it's a dog's head", "St. John's 3rd", "traffic light (red)", "猫", "Straße",
    "ÉCLAIR", "  two   spaces ", "don't", "100%", "emoji 😀 face", "\u212bngstr\u00f6m", "İstanbul", "ﬁsh", "½ cup",
    "\u201cquoted\u201d", "dog\u2019s", "a\u00a0b", "кошка", "",
)  # fmt: skip


def test_tokens_are_open_clips() -> None:
    ours, theirs = Tokenizer.from_str(clip_tokenizer().to_str()), SimpleTokenizer()
    for text in (*ODD, *class_names("ade847"), *class_names("pc459")):
        expected = [theirs.sot_token_id, *theirs.encode(text), theirs.eot_token_id]
        assert ours.encode(text).ids == expected, text


def test_the_comparison_is_about_taught_words_too(model, folder, monkeypatch):
    monkeypatch.setattr(exporting, "SIZES", ((96, 128),))
    taught, words = segvoc.teach(model, drawn_examples(4)), Vocabulary(["cat", "grass", "wall"])
    exported, better = ExportedSegmenter(folder), model.with_taught(taught)
    assert compare_with_export(better, exported.with_taught(taught), "float32", words).agrees
    changed = replace(taught, bias=taught.bias + np.float32(0.1))
    assert not compare_with_export(better, exported.with_taught(changed), "float32", words).agrees


def test_taught_words_of_other_weights_or_for_triton_are_refused(tiny_network, taught, tmp_path):
    with pytest.raises(CheckpointError, match="were taught to 'tiny', and 'small' has other weights"):
        small_cat_seg().with_taught(taught)
    with pytest.raises(UsageError, match=r"nothing of taught words; export without them, .* --model OUT --taught FILE"):
        export(tiny_network.with_taught(taught), tmp_path / "out", format="triton")
    assert not list(tmp_path.iterdir())
