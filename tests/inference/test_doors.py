"""Every door decides alike: one photograph, labeled by the shipped model in every way there is, with every rule."""

import functools
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.errors import UsageError
from segvoc.exporting import export as exporting
from segvoc.imaging.label_maps import read_label_map
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.big_images import label_big_image
from segvoc.labeling.task import Labeling
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.vocabulary import Vocabulary
from tests.inference.kept_programs import KeptPrograms
from tests.labeling.batch.runs import label
from tests.serving.services import in_process

SAMPLES = Path(__file__).parents[2] / "samples"
OTHER = np.asarray(Image.open(SAMPLES / "chelsea.jpg").convert("RGB").reduce(4))


@functools.cache
def photo() -> Path:
    """A photograph, smaller than it is shipped."""
    path = Path(tempfile.mkdtemp()) / "dogs.png"
    Image.open(SAMPLES / "dogs.jpg").convert("RGB").reduce(2).save(path)
    return path


RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("dog, person, sofa, wall, floor, table, cup, cat, bird, tree", {}),
    "one word": ("dog", {}),
    "few": ("dog, ball", {}),
    "surfaces and colors": ("brown dog, black puppy, lawn, wall, cup, sofa, cat, bird, horse, sheep, cow", {}),
    "parts": ("hat, shirt", {}),
    "whole": ("hat, man, dog", {}),
    "background": ("dog, cat", {"background": "auto"}),
    "named": ("dog, cat", {"background": "other"}),
    "threshold": ("dog, cat, grass", {"threshold": 0.6}),
    "keep": ("dog, cat, grass, ball", {"keep_classes": 3}),
    "objects": ("dog, grass", {"objects": True}),
}
"""Words and options, by the rule that decides them."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a door gives."""

    labels: np.ndarray
    quality: float | None
    confidence: np.ndarray | None = None
    hints: tuple[str, ...] | None = None


def found(result: Any) -> Found:
    hints = tuple(map(str, result.hints))
    return Found(labels=result.labels, quality=result.quality, confidence=result.confidence, hints=hints)


Door = Callable[[Segmenter, str, dict[str, Any], Path], Found]


def segment(model: Segmenter, words: str, options: dict[str, Any], folder: Path) -> Found:
    return found(model.segment(photo(), words, **options))


def listed(model: Segmenter, words: str, options: dict[str, Any], folder: Path) -> Found:
    return found(model.segment([OTHER, photo()], words, **options)[1])


def streamed(model: Segmenter, words: str, options: dict[str, Any], folder: Path) -> Found:
    prepared = model.encode(words, background=options.get("background"))
    return found(list(model.segment_many([OTHER, np.asarray(Image.open(photo()))], prepared, **options))[1])


def encoded(model: Segmenter, words: str, options: dict[str, Any], folder: Path) -> Found:
    return found(model.segment(_encoded(model), words, **options))


def tiled(model: Segmenter, words: str, options: dict[str, Any], folder: Path) -> Found:
    return found(model.segment(photo(), words, tile=1024, **options))


def big(model: Segmenter, words: str, options: dict[str, Any], folder: Path) -> Found:
    how = Labeling(out=folder, options=LabelOptions(tile=1024, **options))
    result = label_big_image(model, photo(), words, how)
    labels = read_label_map(result.paths.label_map)
    return Found(labels=labels, quality=result.report()["quality"])


def served(model: Segmenter, words: str, options: dict[str, Any], folder: Path) -> Found:
    fields = {"words": words, **{name: str(value) for name, value in options.items()}}
    with in_process(model) as client:
        answer = client.post(
            "/v1/segment",
            files={"image": ("photo.png", photo().read_bytes())},
            data=fields,
            headers={"Accept": "application/zip"},
        )
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    return read(folder / "labels.png", folder / "result.json")


def batched(model: Segmenter, words: str, options: dict[str, Any], folder: Path) -> Found:
    (folder / "in").mkdir()
    shutil.copy(photo(), folder / "in")
    asked = {"words": Vocabulary(words), "options": LabelOptions(**options), "sink": "files"}
    label(folder / "in", folder / "out", load=lambda: model, **asked)
    return read(folder / "out/dogs.png", folder / "out/dogs.json")


def read(label_map: Path, report: Path) -> Found:
    return Found(labels=read_label_map(label_map), quality=json.loads(report.read_text())["quality"])


@functools.cache
def _encoded(model: Segmenter) -> segvoc.EncodedImage:
    return model.encode_image(photo())


DOORS: dict[str, Door] = {door.__name__: door for door in (listed, streamed, encoded, tiled, big, served, batched)}


@functools.cache
def model() -> Segmenter:
    return KeptPrograms()


@functools.cache
def expected(rule: str) -> Found:
    words, options = RULES[rule]
    return segment(model(), words, options, Path())


def check(there: Found, here: Found, *, exactly: bool = True) -> None:
    if exactly:
        np.testing.assert_array_equal(there.labels, here.labels)
    assert (there.labels == here.labels).mean() > 0.999
    assert (there.quality is None) == (here.quality is None)
    if there.quality is not None:
        assert there.quality == pytest.approx(here.quality, abs=1e-4)
    if there.confidence is not None:
        assert here.confidence is not None
        equal = there.labels == here.labels
        different = np.abs(there.confidence[equal] - here.confidence[equal])
        # beside a tie, another word may have lost
        assert (different.max() if exactly else np.quantile(different, 0.9999)) < (1e-6 if exactly else 1e-3)
    if there.hints is not None:
        assert there.hints == here.hints


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_the_same(door: str, rule: str, tmp_path: Path) -> None:
    words, options = RULES[rule]
    if door == "big" and rule == "objects":
        with pytest.raises(UsageError, match="objects need an image that is labeled as a whole"):
            DOORS[door](model(), words, options, tmp_path)
        return
    check(DOORS[door](model(), words, options, tmp_path), expected(rule))


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory, tiny_network: NetworkSegmenter) -> ExportedSegmenter:
    """An export for the words of all rules; one for free words has the shipped programs, as they are."""
    folder = tmp_path_factory.mktemp("exports") / "fixed"
    words = Vocabulary(list(dict.fromkeys(word for words, _ in RULES.values() for word in Vocabulary(words))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "SIZES", ((96, 128),))
        exporting.export(tiny_network, folder, vocabulary=words)
    return ExportedSegmenter(folder)


@pytest.mark.parametrize("rule", RULES)
def test_an_export_decides_as_its_model(rule: str, fixed: ExportedSegmenter) -> None:
    words, options = RULES[rule]
    there = segment(fixed, words, options, Path())
    # a model whose words are fixed knows them, and says nothing of those that it wasn't taught
    check(replace(there, confidence=None, hints=None), expected(rule), exactly=False)


@pytest.mark.parametrize("rule", ["few", "whole", "one word"])
def test_the_network_decides_as_its_programs(rule: str, tiny_network: NetworkSegmenter) -> None:
    words, options = RULES[rule]
    check(segment(tiny_network, words, options, Path()), expected(rule), exactly=False)


@pytest.mark.parametrize("name", ["dogs", "mountains"])
def test_tiles_are_as_sure_as_the_whole_image(name: str) -> None:
    path, words = SAMPLES / f"{name}.jpg", "dog, grass, sky, mountain, tree, building, water"
    whole, tiles = model().segment(path, words), model().segment(path, words, tile=512)
    equal = whole.labels == tiles.labels
    assert whole.quality is not None and tiles.quality is not None
    assert abs(tiles.quality - whole.quality) < (0.03 if equal.mean() > 0.98 else 0.1)


def test_noise_beside_a_photograph_has_its_own_labels_confidence() -> None:
    """A piece of an image isn't judged by what another piece shows."""
    picture = np.asarray(Image.open(SAMPLES / "coffee.jpg").convert("RGB").resize((384, 384)))
    noise = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    words = "cup, table, spoon"
    pairs = (picture, noise), (noise, picture)
    beside = [model().segment(np.concatenate(both, axis=1), words, tile=384) for both in pairs]
    first, second = beside[0].confidence[:, :384], beside[1].confidence[:, 384:]
    assert abs(float(first.mean()) - float(second.mean())) < 0.05
