"""`encode_image`: an image is encoded once, and compared with any words."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segvoc.errors import InputError, LabelingWarning, UsageError
from segvoc.inference.exported.segmenter import open_tiny
from segvoc.inference.protocols import Protocol
from segvoc.inference.segmenter import Segmenter
from tests.images import squares
from tests.inference.numpy_engine import NumpySegmenter
from tests.inference.small_network import assert_same_results, small_segmenter
from tests.inference.test_segmenter import part_network
from tests.networks.test_err_seg import small as small_err_seg

PHOTO = Path(__file__).resolve().parents[2] / "samples" / "coffee.jpg"
WORDS = [["cat", "sofa", "wall"], ["cup", "table"], ["sky", "dog's head", "dog", "grass", "road"]]


def err_seg() -> Segmenter:
    protocols = {"auto": Protocol(size=64, multiple=32, max_aspect=2.0), "official": Protocol(size=64)}
    return small_segmenter(network=small_err_seg(), protocols=protocols)


def image_runs(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of views in each run of the image program from now on."""
    runs, run = list[int](), model.encode_views
    monkeypatch.setattr(model, "encode_views", lambda pixels, **how: runs.append(len(pixels)) or run(pixels, **how))
    return runs


ENGINES: dict[str, Callable[[], Any]] = {
    "tiny": open_tiny,
    "pca-seg": small_segmenter,
    "err-seg": err_seg,
    "parts": part_network,
    "numpy": NumpySegmenter,
}


@pytest.mark.parametrize(
    ("kind", "window"),
    # the official window of tiny is a single view, too
    [("tiny", "auto"), *((kind, window) for kind in ENGINES if kind != "tiny" for window in ("auto", "official"))],
)
def test_three_vocabularies_on_one_image_run_the_image_program_once(kind, window, monkeypatch) -> None:
    model, image = ENGINES[kind](), squares(60, 90)
    whole = [model.segment(image, words, window=window, return_probabilities=True) for words in WORDS]
    runs = image_runs(model, monkeypatch)
    encoded = model.encode_image(image, window=window)
    views = list(runs)
    for words, expected in zip(WORDS, whole, strict=True):
        result = model.segment(encoded, words, return_probabilities=True)
        assert_same_results(result, expected)
        np.testing.assert_array_equal(result.probabilities, expected.probabilities)
    assert runs == views and sum(views) == (1 if window == "auto" or (kind != "pca-seg" and kind != "numpy") else 5)


def test_calls_that_alternate_vocabularies_encode_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a hint looks at the surroundings of the words."""
    model = open_tiny()
    runs = image_runs(model, monkeypatch)
    long = "dog, tree, zebra, bus, train, horse, cow, sheep, bird"
    with pytest.warns(LabelingWarning, match="much of the image may not match any of your words"):
        for words in [long, "cup, cat"] * 2:
            model.segment(PHOTO, words)
    assert runs == [1] * 4


def test_background_threshold_selection_and_taught_words_use_the_same_image(monkeypatch, taught) -> None:
    model, image = open_tiny(), squares(60, 90)
    calls: list[dict[str, Any]] = [
        {"background": "rest"},
        {"background": "auto", "threshold": 0.4},
        {"keep_classes": 2},
        {"parts": {"cat": ["head"]}},
        {"edges": False},
    ]
    whole = [model.segment(image, WORDS[0], **options) for options in calls]
    better = model.with_taught(taught)
    learned = better.segment(image, taught.words)
    runs = image_runs(model, monkeypatch)
    encoded = model.encode_image(image)
    for options, expected in zip(calls, whole, strict=True):
        assert_same_results(model.segment(encoded, WORDS[0], **options), expected)
    assert_same_results(better.segment(encoded, taught.words), learned)
    assert runs == [1]


def test_encoded_images_stand_among_others_in_lists_and_streams() -> None:
    model, images = small_segmenter(batch=2), [squares(60, 90, seed) for seed in range(4)]
    expected = [model.segment(image, WORDS[0]) for image in images]
    mixed = [images[0], model.encode_image(images[1]), model.encode_image(images[2]), images[3]]
    streams = (
        model.segment(mixed, WORDS[0]),
        list(model.segment_many(mixed, WORDS[0])),
        model.start(mixed, WORDS[0])(),
    )
    for results in streams:
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-6)
    encoded = model.encode_image(PHOTO)
    assert model.segment(encoded, WORDS[0]).source == str(PHOTO) and encoded.nbytes > encoded.width * encoded.height * 3
    assert "coffee.jpg" in repr(encoded) and "auto" in repr(encoded)


@pytest.mark.usefixtures("as_users_call")
def test_images_of_another_model_or_window_are_refused(tmp_path: Path) -> None:
    model = small_segmenter()
    encoded = model.encode_image(squares(60, 90), window="official")
    with pytest.raises(UsageError, match="encoded with window='official'; give the same window"):
        model.segment(encoded, WORDS[0], window="single")
    with pytest.raises(UsageError, match="encoded with window='official'"):
        list(model.segment_many([encoded], WORDS[0]))
    with pytest.raises(UsageError, match="encoded by another model than 'small'"):
        small_segmenter().segment(encoded, WORDS[0])
    with pytest.raises(UsageError, match="another model"):
        model.segment(pickle.loads(pickle.dumps(encoded)), WORDS[0])
    with pytest.raises(UsageError, match="window is 'none'; give 'auto' or"):
        model.encode_image(squares(60, 90), window="none")
    with pytest.raises(InputError, match=r"missing\.jpg"):
        model.encode_image(tmp_path / "missing.jpg")
    tiny = open_tiny()
    assert_same_results(  # equal views of two windows
        tiny.segment(tiny.encode_image(PHOTO, window="official"), WORDS[1], window="single"),
        tiny.segment(PHOTO, WORDS[1], window="single"),
    )
