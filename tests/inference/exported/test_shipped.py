"""`tiny` without PyTorch gives what its network gives, also with taught words; it is loaded once, copied, pickled."""

import copy
import gc
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import onnxruntime
import pytest

import segvoc
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference import onnx_program
from segvoc.inference.exported.manifest import MANIFEST, ExportManifest, add_taught
from segvoc.inference.exported.segmenter import ExportedSegmenter, selection_inputs
from segvoc.inference.onnx_program import OnnxProgram
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.layers.selection import ClassSelection
from segvoc.models.digests import model_record
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.shipped import TINY_MANIFEST, copy_tiny, is_tiny, open_tiny
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.small_network import assert_same_results
from tests.inference.taught.drawn_examples import drawn_examples

SAMPLES = Path(__file__).parents[3] / "samples"
WORDS = ["cat", "person", "sky", "rocket", "cup", "spoon", "table", "flag", "wall", "tree", "flame", "tower"]

exported = pytest.fixture(scope="module")(open_tiny)


def _assert_alike(one: Segmentation, other: Segmentation) -> None:
    assert (one.labels == other.labels).mean() > 0.9999
    assert np.quantile(np.abs(one.confidence - other.confidence), 0.9999) < 1e-4
    assert np.array_equal(one.selected, other.selected)


@pytest.mark.usefixtures("as_users_call")
def test_what_needs_the_network_says_so(tmp_path: Path) -> None:
    pytest.importorskip("segvoc.exporting.export", exc_type=ImportError)
    (tmp_path / "copy").mkdir()
    copy_tiny(tmp_path / "copy")
    model = segvoc.load(tmp_path / "copy")
    for verb, function in (("save", segvoc.save), ("export", segvoc.export)):
        said = rf"without its network; to {verb} it, load .* segvoc.load_network\('tiny'\)"
        with pytest.raises(UsageError, match=said):
            function(model, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_the_shipped_model_is_saved_with_its_words_from_programs_too(taught, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = segvoc.load("tiny").with_taught(taught)
    segvoc.save(model, tmp_path / "model.safetensors")
    again = segvoc.load(tmp_path / "model.safetensors", device="cpu")
    assert again.own_words == model.own_words and set(taught.words) <= set(again.own_words)
    assert again.name.endswith("model.safetensors")


@pytest.mark.parametrize(("photo", "window", "more"), [("rocket.jpg", "single", 0), ("coffee.jpg", "auto", 30)])
def test_photographs(tiny_network, exported, photo: str, window: str, more: int) -> None:
    words = [*WORDS, *(f"thing {number}" for number in range(more))]
    one, other = (model.segment(SAMPLES / photo, words, window=window) for model in (tiny_network, exported))
    _assert_alike(one, other)
    assert one.selected.all() != bool(more)  # of many words, few are refined


def test_listed_words_are_refined_as_if_the_program_had_selected_them(tiny_network, exported):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 3, 448, 448)).astype(np.float32)
    for model in (tiny_network, exported):
        text, single = model.encode_words(Vocabulary(WORDS)), model.protocols["single"]
        features = model.encode_views(pixels)
        first = {name: maps[:1] for name, maps in features.items()}
        chosen, kept = model.compare(first, text, replace(single, selection=ClassSelection(keep=5)))
        classes = tuple(np.asarray(kept)[0].tolist())
        listed, same = model.compare(features, text, replace(single, selection=ClassSelection(classes=classes)))
        assert np.asarray(same).tolist() == [list(classes)] * 2
        np.testing.assert_allclose(np.asarray(listed)[0], np.asarray(chosen)[0], atol=1e-4)


def test_a_copy_is_an_exported_folder_with_the_same_results(exported: ExportedSegmenter, tmp_path: Path) -> None:
    copy_tiny(tmp_path)
    one, other = (model.segment(SAMPLES / "chelsea.jpg", WORDS) for model in (exported, segvoc.load(tmp_path)))
    assert np.array_equal(one.labels, other.labels)
    (tmp_path / "words.onnx").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"words\.onnx.* is not what was exported"):
        segvoc.load(tmp_path)


def test_only_the_model_that_ships_is_taken_for_it(tiny_network: NetworkSegmenter) -> None:
    assert is_tiny(tiny_network.origin)
    assert not is_tiny(tiny_network.origin | {"training": {"steps": 1}})
    assert not is_tiny(segvoc.load("tiny", weights="random", options={"pad_classes": 8}).origin)


def test_the_programs_halves_give_what_the_whole_gives(exported: ExportedSegmenter) -> None:
    threads = 3
    halved = ExportedSegmenter(exported.folder, manifest=TINY_MANIFEST, threads=threads)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 3, 128, 160)).astype(np.float32)
    features, text = halved.encode_views(pixels), halved.encode_words(Vocabulary(WORDS))
    (words,) = halved.manifest.words
    assert words.apart is not None
    inputs = {**features, "words": text, **selection_inputs(ClassSelection(keep=5), len(WORDS))}
    whole = OnnxProgram(exported.folder / words.program, threads)(inputs)
    logits, kept = halved.compare(features, text, replace(halved.protocols["single"], selection=ClassSelection(keep=5)))
    assert kept is not None and np.array_equal(kept, whole["kept"])
    np.testing.assert_allclose(logits, whole["logits"], atol=1e-5)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that ONNX Runtime loads."""
    loads = list[str]()
    plain = onnxruntime.InferenceSession

    def noted(file: str, *options: Any, **more: Any) -> onnxruntime.InferenceSession:
        loads.append(Path(file).name)
        return plain(file, *options, **more)

    monkeypatch.setattr(onnx_program.onnxruntime, "InferenceSession", noted)
    return loads


def test_all_models_share_the_programs_that_ship(loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_program, "_shipped", {})
    image, start = squares(60, 90, 0), Barrier(2)

    def label(model: segvoc.Segmenter) -> np.ndarray:
        start.wait()
        return model.segment(image, ["cat", "wall"]).labels

    with ThreadPoolExecutor(2) as threads:
        assert np.array_equal(*threads.map(label, [open_tiny(), open_tiny()]))
    assert "tiny_image.onnx" in loads and len(loads) == len(set(loads))


def test_programs_of_a_folder_are_freed_with_their_model(tmp_path: Path, loads: list[str]) -> None:
    copy_tiny(tmp_path)
    model = segvoc.load(tmp_path)
    model.encode(["cat"])
    gc.collect()  # those of other tests
    alive = len(onnx_program._alive)
    del model
    gc.collect()
    assert len(loads) == 1 and len(onnx_program._alive) == alive - 1


def test_an_exported_model_is_pickled_and_copied() -> None:
    model, image = open_tiny(), squares(60, 90, 0)
    expected = model.segment(image, ["cat", "wall"])
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same_results(other.segment(image, ["cat", "wall"]), expected)


DRAWN_WORDS = ["grass", "sky", "brick", "cat"]
IMAGE = drawn_examples(3).images[2]
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


def test_a_folder_applies_its_words_by_itself(exported, whole, opened, taught):
    expected = exported.with_taught(taught).segment(IMAGE, DRAWN_WORDS)
    assert [one.digest for one in opened.taught] == [taught.digest]
    assert np.array_equal(opened.segment(IMAGE, DRAWN_WORDS).labels, expected.labels)
    assert (exported.segment(IMAGE, DRAWN_WORDS).labels != expected.labels).mean() > 0.01
    about = json.loads((whole / MANIFEST).read_text())
    assert about["taught"] == [FIRST]
    assert len(about["files"][FIRST]["sha256"]) == 64


def test_more_words_add_to_those_of_the_folder(exported, opened, taught):
    other = replace(taught, weights=taught.weights[::-1], bias=taught.bias[::-1])  # colors are swapped
    model = opened.with_taught(other)
    assert [one.digest for one in model.taught] == [taught.digest, other.digest]
    last = exported.with_taught(other).segment(IMAGE, DRAWN_WORDS).labels
    assert np.array_equal(model.segment(IMAGE, DRAWN_WORDS).labels, last)
    assert not np.array_equal(opened.segment(IMAGE, DRAWN_WORDS).labels, last)
    assert model_record(model)["taught"] != model_record(opened)["taught"]


def test_without_words_those_of_training_and_of_examples_are_asked_for(opened):
    model = copy.copy(opened)
    examples = model.own_words
    model.known_words, model.known_background = ("road", examples[0].title(), "none"), "none"
    result = model.segment(IMAGE)
    assert result.words == ("road", examples[0].title(), "none", *examples[1:])
    assert result.background == "none" and len(examples) > 1


def test_damaged_and_foreign_files_and_words_of_another_model_are_refused(folder, taught):
    content = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(content[:-4])
    ExportManifest.read(folder / MANIFEST).write(folder)  # fits the files, as somebody may make it who changes one
    with pytest.raises(CheckpointError, match=rf"{FIRST}' are cut off or damaged"):
        ExportedSegmenter(folder)
    manifest = ExportManifest.read(folder / MANIFEST)
    (folder / MANIFEST).write_text(replace(manifest, taught=("../a.words.safetensors",)).to_json(), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"names '\.\./a\.words\.safetensors', a file outside of it"):
        ExportedSegmenter(folder)
    replace(taught, probe=taught.probe + 1, record=replace(taught.record, model="theirs")).save(folder / FIRST)
    manifest.write(folder)
    with pytest.raises(CheckpointError, match="were taught to 'theirs', and 'tiny' has other weights"):
        ExportedSegmenter(folder)
