"""The windows of published protocols see the numbers in a file, as their loaders do; others see converted colors."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import EvaluationSettings
from segvoc.imaging.label_maps import labels_of
from segvoc.inference.protocols import Window
from segvoc.inference.segmentation import Segmentation
from segvoc.models.presets import PRESETS
from tests.evaluation.drawn_sets import draw_set, scores_of, task_of
from tests.images import squares
from tests.imaging.test_color_profiles import rgb_profile, tagged
from tests.inference.numpy_engine import NumpySegmenter
from tests.inference.small_network import small_segmenter
from tests.serving.services import in_process
from tests.serving.test_segment import segment as post

WORDS = ["cat", "sofa", "wall"]
SWAPPED = rgb_profile("swapped")
WINDOWS: tuple[tuple[Window, bool], ...] = (("official", False), ("auto", True))
"""Windows, and whether a profile changes what they see."""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose red is blue by its profile."""
    return tagged(Image.fromarray(squares()), SWAPPED, tmp_path_factory.mktemp("photo") / "photo.png")


def opened(photo: Path) -> Image.Image:
    with Image.open(photo) as image:
        image.load()
    return image


DOORS: dict[str, Callable[[NumpySegmenter, Path, Window], Iterable[Segmentation]]] = {
    "path": lambda model, photo, window: [model.segment(photo, WORDS, window=window)],
    "PIL": lambda model, photo, window: [model.segment(opened(photo), WORDS, window=window)],
    "list": lambda model, photo, window: model.segment([photo, opened(photo)], WORDS, window=window),
    "stream": lambda model, photo, window: model.segment_many([photo], WORDS, window=window),
    "encoded": lambda model, photo, window: [model.segment(model.encode_image(photo, window=window), WORDS)],
    "tiles": lambda model, photo, window: [model.segment(photo, WORDS, window=window, tile=2048)],
}


@pytest.mark.parametrize("door", DOORS)
def test_official_windows_see_the_numbers_of_the_file(photo: Path, door: str) -> None:
    model, numbers = NumpySegmenter(), squares()
    for result in DOORS[door](model, photo, "official"):
        np.testing.assert_array_equal(result.image, numbers)
        np.testing.assert_array_equal(result.labels, model.segment(numbers, WORDS, window="official").labels)
    converted = NumpySegmenter().segment(photo, WORDS).image
    assert (
        np.abs(converted - numbers[..., ::-1].astype(int)).mean() < 60 < np.abs(converted - numbers.astype(int)).max()
    )
    for result in DOORS[door](model, photo, "auto"):
        np.testing.assert_array_equal(result.image, converted)
        np.testing.assert_array_equal(result.labels, model.segment(converted, WORDS).labels)


@pytest.mark.parametrize("limits", [{}, {"max_pixels": 5000}], ids=["whole", "in tiles"])
def test_the_service_reads_by_the_window(photo: Path, limits: dict[str, Any]) -> None:
    plain = io.BytesIO()
    Image.fromarray(squares()).save(plain, "PNG")
    with in_process(NumpySegmenter(), **limits) as client:
        for window, changes in (*WINDOWS, *WINDOWS):
            maps = []
            for content in (photo.read_bytes(), plain.getvalue()):
                answer = post(client, "image/png", image=content, words=WORDS, window=window)
                assert answer.status_code == 200, answer.text
                maps.append(labels_of(Image.open(io.BytesIO(answer.content)), ""))
            assert np.array_equal(*maps) != changes


def test_evaluations_read_by_the_window(tmp_path: Path) -> None:
    """The examples of the report, too."""
    model, sets = small_segmenter(), [draw_set(tmp_path / name / "set", 2) for name in ("plain", "tagged")]
    for path in (sets[1] / "images").iterdir():
        tagged(Image.open(path), SWAPPED, path)
    for window, changes in WINDOWS:
        settings = EvaluationSettings(options={"window": window})
        reports = [evaluate(model, task_of(one), one.parent / window, settings) for one in sets]
        assert (scores_of(reports[0]) == scores_of(reports[1])) != changes
        examples = [(one.parent / window / "images/worst-1-photograph.jpg").read_bytes() for one in sets]
        assert (examples[0] == examples[1]) != changes
        assert reports[0]["protocol"]["colors"] == ("srgb" if changes else "stored")


def test_the_windows_with_a_published_loader_are_read_as_it_reads() -> None:
    own = {"tiny": set(), "syn-seg-b": {"official", "tcl"}, "clip-b": {"official"}, "pe-core-b": {"official"}}
    for name in (*own, "cat-seg-b", "pca-seg-b", "err-seg-b", "part-cat-seg-b", "clipseg"):
        stored = {window for window, protocol in PRESETS[name].protocols.items() if protocol.colors == "stored"}
        assert stored == own.get(name, {"official", "official-single"}), name
