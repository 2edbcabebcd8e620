"""`encode_image`: an image is encoded once, and compared with any words."""

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import InputError, LabelingWarning, UsageError
from segvoc.inference.protocols import Protocol, Window
from segvoc.inference.segmenter import Segmenter
from segvoc.models.shipped import open_tiny
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
    with pytest.warns(LabelingWarning, match="what none of your words names is unlabeled"):
        for words in ["dog, cat", "cup, cat"] * 2:
            model.segment(PHOTO, words)
    assert runs == [1] * 4


def test_parts_edges_and_taught_words_use_the_same_image(monkeypatch, taught) -> None:
    model, image = open_tiny(), squares(60, 90)
    calls: list[dict[str, Any]] = [{"threshold": 0.4}, {"parts": {"cat": ["head"]}}, {"edges": False}]
    whole = [model.segment(image, WORDS[0], **options) for options in calls]
    better = model.with_taught(taught)
    learned = better.segment(image, taught.words)
    runs = image_runs(model, monkeypatch)
    encoded = model.encode_image(image)
    for options, expected in zip(calls, whole, strict=True):
        assert_same_results(model.segment(encoded, WORDS[0], **options), expected)
    assert_same_results(better.segment(encoded, taught.words), learned)
    assert runs == [1]


def trained_further() -> Segmenter:
    model = small_segmenter()
    next(model.network.image_encoder.parameters()).mul_(1.01)
    return model


@pytest.mark.parametrize("name", ["tiny", "pca-seg"])
def test_copies_serve_the_model_and_its_equals(name: str) -> None:
    model = ENGINES[name]()
    expected, encoded = model.segment(PHOTO, WORDS[0]), model.encode_image(PHOTO)
    assert model.segment(encoded, WORDS[0]).source == str(PHOTO) and encoded.nbytes > encoded.width * encoded.height * 3
    assert "coffee.jpg" in repr(encoded) and "auto" in repr(encoded)
    for copied in (copy.copy(encoded), copy.deepcopy(encoded), pickle.loads(pickle.dumps(encoded))):
        for other in (model, ENGINES[name]()):
            assert_same_results(other.segment(copied, WORDS[0]), expected)
    assert_same_results(ENGINES[name]().segment(encoded, WORDS[0]), expected)


@pytest.mark.usefixtures("as_users_call")
def test_copies_of_an_engine_of_your_own_are_known_where_they_were_made() -> None:
    model = NumpySegmenter()
    encoded = model.encode_image(PHOTO)
    assert_same_results(model.segment(copy.deepcopy(encoded), WORDS[0]), model.segment(PHOTO, WORDS[0]))
    with pytest.raises(
        UsageError, match=r"another model than 'numpy' \(or in another process: its weights have no dig"
    ):
        model.segment(pickle.loads(pickle.dumps(encoded)), WORDS[0])


def test_an_identity_does_not_keep_weights_in_memory() -> None:
    model = small_segmenter()
    encoded, network = model.encode_image(squares(60, 90)), weakref.ref(model.network)
    del model
    gc.collect()
    assert network() is None and encoded.encoder.digest is None


@pytest.mark.parametrize("batch", [1, 3])
def test_each_encoded_image_counts_with_its_own_window(batch: int, tmp_path: Path) -> None:
    model = small_segmenter(batch=batch)
    own: list[Window | None] = [None, "official", "single", None, "official", "auto", "single", None]
    images = [squares(60, 90, seed) for seed in range(len(own))]
    given = [
        image if window is None else model.encode_image(image, window=window)
        for image, window in zip(images, own, strict=True)
    ]
    expected = [
        model.segment(image, WORDS[0], window=window or "auto") for image, window in zip(images, own, strict=True)
    ]
    assert (expected[1].labels != model.segment(images[1], WORDS[0]).labels).any(), "windows have labels of their own"
    missing = [*given[:4], tmp_path / "missing.png", *given[4:]]
    found = list(model.segment_many(missing, WORDS[0], yield_errors=True))
    assert isinstance(found.pop(4), InputError)
    for results in (found, model.segment(given, WORDS[0]), model.start(given, WORDS[0])()):
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_array_equal(ours.image, theirs.image)
            np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-6)


@pytest.mark.usefixtures("as_users_call")
def test_a_stretch_is_that_of_the_encoded_image() -> None:
    model, measured = NumpySegmenter(), Image.fromarray(np.linspace(0, 65535, 4800).reshape(60, 80).astype(np.uint16))
    expected = model.segment(measured, WORDS[0], stretch="0,10000")
    encoded = model.encode_image(measured, stretch="0,10000")
    for options in ({}, {"stretch": "0,10000"}, {"stretch": " 0, 1e4"}):
        assert_same_results(model.segment(encoded, WORDS[0], **options), expected)
    for other in (encoded, model.encode_image(measured)):
        with pytest.raises(UsageError, match="encoded with another stretch; give the stretch to encode_image"):
            model.segment([other], WORDS[0], stretch="0,20000")


@pytest.mark.usefixtures("as_users_call")
def test_images_of_another_model_or_window_are_refused(tmp_path: Path) -> None:
    model = small_segmenter()
    encoded = model.encode_image(squares(60, 90), window="official")
    with pytest.raises(UsageError, match="encoded with window='official'; give the same window"):
        model.segment(encoded, WORDS[0], window="single")
    with pytest.raises(UsageError, match="encoded with window='official'"):
        list(model.segment_many([encoded], WORDS[0], smooth=0.5))
    for other in (trained_further(), NumpySegmenter()):
        for image in (encoded, pickle.loads(pickle.dumps(encoded))):
            with pytest.raises(UsageError, match=f"encoded by another model than '{other.name}'; encode it with this"):
                other.segment(image, WORDS[0])
    fine = open_tiny().encode_image(squares(60, 90), window="fine")
    with pytest.raises(UsageError, match="encoded by another model"):  # which doesn't have the window
        model.segment(fine, WORDS[0])
    with pytest.raises(UsageError, match="window is 'none'; give 'auto' or"):
        model.encode_image(squares(60, 90), window="none")
    with pytest.raises(InputError, match=r"missing\.jpg"):
        model.encode_image(tmp_path / "missing.jpg")
    tiny = open_tiny()
    assert_same_results(  # equal views of two windows
        tiny.segment(tiny.encode_image(PHOTO, window="official"), WORDS[1], window="single"),
        tiny.segment(PHOTO, WORDS[1], window="single"),
    )
