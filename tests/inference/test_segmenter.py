"""From images and words to label maps, and what confidence, selected and seconds mean for every kind of network."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import segvoc
from segvoc.errors import UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Protocol, Window
from segvoc.inference.segmentation import Segmentation
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.small_network import COMMON_WINDOWS, small_segmenter
from tests.inference.test_prepared_vocabulary import _same
from tests.inference.test_windows import tiles_and_strides
from tests.networks.test_part_cat_seg import small as small_part_network

WORDS = ("cat", "sofa", "wall", "rocket", "cup")
UNLABELED = 65_535

small = pytest.fixture(scope="module")(small_segmenter)


@pytest.mark.parametrize("window", COMMON_WINDOWS)
@pytest.mark.parametrize("size", [(90, 120), (1, 1), (1, 20), (20, 1), (200, 10)])
def test_result_is_as_the_contract_says(small: NetworkSegmenter, window: Window, size: tuple[int, int]) -> None:
    image = squares(*size)
    result = small.segment(image, WORDS, window=window, return_probabilities=True)
    assert (result.labels.shape, result.labels.dtype) == (size, np.uint16)
    assert (result.confidence.shape, result.confidence.dtype) == (size, np.float32)
    assert (result.probabilities.shape, result.probabilities.dtype) == ((5, *size), np.float32)
    assert (result.selected.shape, result.selected.dtype, result.selected.all()) == ((5,), bool, True)
    assert result.words == WORDS
    assert (result.model, result.source) == ("small", None)
    assert result.labels.max() < len(WORDS)
    assert result.probabilities.min() >= 0
    assert result.probabilities.max() <= 1
    assert result.seconds > 0
    assert np.array_equal(result.image, image)
    np.testing.assert_allclose(result.confidence, result.probabilities.max(0), atol=1e-5)
    assert (result.probabilities.argmax(0) == result.labels).mean() > 0.999
    assert len(np.unique(result.labels)) > 1 or size != (90, 120)


def test_order_of_the_words_only_renames_labels(small: NetworkSegmenter) -> None:
    plain = small.segment(squares(), WORDS, return_probabilities=True)
    order = [3, 0, 4, 2, 1]
    mixed = small.segment(squares(), [WORDS[index] for index in order], return_probabilities=True)
    np.testing.assert_allclose(mixed.probabilities, plain.probabilities[order], atol=1e-5)
    assert (np.array(order)[mixed.labels] == plain.labels).mean() > 0.998


def test_words_are_literal() -> None:
    result = segvoc.load("tiny", device="cpu").segment(squares(), ["background", "other", "{}", "50%"])
    assert result.words == ("background", "other", "{}", "50%")
    assert result.labels.max() < 4


def test_a_model_is_called_and_names_what_other_libraries_call_otherwise(small: NetworkSegmenter) -> None:
    _same(small(squares(), WORDS), small.segment(squares(), WORDS))
    for name, meant in {"predict": "model.segment", "to": "segvoc.load", "segmant": "did you mean segment"}.items():
        with pytest.raises(AttributeError, match=meant):
            getattr(small, name)
    assert not hasattr(small, "_ipython_display_")


def test_words_may_be_a_vocabulary(small: NetworkSegmenter) -> None:
    _same(small.segment(squares(), Vocabulary(WORDS)), small.segment(squares(), iter(WORDS)))
    averaged = small.segment(squares(), Vocabulary(["cat, kitten", "sofa"], synonyms="average"))
    first = small.segment(squares(), ["cat, kitten", "sofa"])
    assert averaged.words == first.words == ("cat, kitten", "sofa")
    assert np.abs(averaged.confidence - first.confidence).max() > 1e-3
    _same(first, Segmentation(**{**vars(small.segment(squares(), ["cat", "sofa"])), "words": first.words}))


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("images", ["photo.jpg", b"GIF89a", Path("photo.jpg")])
def test_a_single_image_is_no_stream(small: NetworkSegmenter, images: Any) -> None:
    with pytest.raises(UsageError, match="must be an iterable of images"):
        small.segment_many(images, WORDS)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("words", [{"cat", "sofa"}, "cat,, sofa", [], [""], ["cat", "cat "], ["cat", 3], None])
def test_wrong_words_are_refused_before_images_are_read(small: NetworkSegmenter, words: object) -> None:
    with pytest.raises(UsageError) as refusal:
        small.segment("missing.jpg", words)  # type: ignore[call-overload]
    assert "missing.jpg" not in str(refusal.value)


def _plain(small: NetworkSegmenter, window: Window = "auto") -> tuple[np.ndarray, np.ndarray]:
    result = small.segment(squares(), WORDS, window=window)
    return result.labels, result.confidence


@pytest.mark.parametrize("window", ["auto", "official"])
def test_pixels_below_the_threshold_are_unlabeled(small: NetworkSegmenter, window: Window) -> None:
    labels, confidence = _plain(small, window)
    threshold = float(np.quantile(confidence, 0.6))
    result = small.segment(squares(), WORDS, window=window, threshold=threshold)
    assert 0.3 < (result.labels == UNLABELED).mean() < 0.9
    assert np.array_equal(result.labels, np.where(confidence < threshold, UNLABELED, labels))
    assert np.array_equal(result.confidence, confidence)
    assert result.report()["unlabeled"] == (confidence < threshold).sum()


@pytest.mark.parametrize("words", [WORDS, ("none", *WORDS), (*WORDS[:2], "none", *WORDS[2:])])
@pytest.mark.parametrize("window", ["auto", "official"])
def test_background_takes_what_no_other_word_reaches(small, window, words):
    labels, confidence = _plain(small, window)
    threshold = float(np.quantile(confidence, 0.4))
    result = small.segment(squares(), words, window=window, background=" none ", threshold=threshold)
    assert result.words == (words if "none" in words else (*words, "none"))
    named = np.array(result.words)[result.labels]
    below = confidence < threshold
    assert np.array_equal(named, np.where(below, "none", np.array(WORDS)[labels]))
    np.testing.assert_allclose(result.confidence, np.where(below, 1 - confidence, confidence))
    assert below.any()
    assert not below.all()


def test_background_is_more_probable_than_every_word_by_default() -> None:
    small = small_segmenter()
    small.network.aggregation.decoder.head.bias.sub_(1)  # else no word is less probable than one half
    result = small.segment(squares(), ("none", *WORDS), background="none", return_probabilities=True)
    best_other = result.probabilities[1:].max(0)
    np.testing.assert_allclose(result.probabilities[0], 1 - best_other, atol=1e-5)
    clear = np.abs(best_other - 0.5) > 1e-6
    assert np.array_equal((result.labels == 0)[clear], (best_other < 0.5)[clear])
    assert 0 < (result.labels == 0).mean() < 1
    chosen = np.take_along_axis(result.probabilities, result.labels[None].astype(int), 0)[0]
    np.testing.assert_allclose(chosen, result.confidence, atol=1e-5)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("words", "background", "said"),
    [
        (["cat"], "cat", "only word"),
        (["cat"], " ", "is empty"),
        (["cat"], True, "is not a name"),
        ([f"word {number}" for number in range(65_535)], "none", "one word too many"),
    ],
)
def test_impossible_background_is_refused(small, words, background, said):
    with pytest.raises(UsageError, match=said):
        small.segment(squares(), words, background=background)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("window", ["sliding", "", None, "tcl", ["a"]])
def test_unknown_window_is_refused_with_those_that_there_are(small: NetworkSegmenter, window: Any) -> None:
    with pytest.raises(UsageError, match="is unknown to small; it is one of auto, single, official,") as error:
        small.segment(squares(), WORDS, window=window)
    assert str(error.value).startswith(f"window={window!r} is")


def test_options_are_one_value_or_keywords_or_both(small: NetworkSegmenter) -> None:
    options = LabelOptions(window="single", threshold=0.9)
    for one, other in (
        ({"options": options}, {"window": "single", "threshold": 0.9}),
        ({"options": options, "threshold": None}, {"window": "single"}),
    ):
        _same(small.segment(squares(), WORDS, **one), small.segment(squares(), WORDS, **other))


def test_frames_of_a_video_are_no_images(small: NetworkSegmenter) -> None:
    with pytest.raises(UsageError, match="smooth is for the frames of a video"):
        small.segment(squares(), WORDS, smooth=0.5)


def test_every_kind_of_image_gives_the_same_labels(small: NetworkSegmenter, tmp_path: Path) -> None:
    array = squares()
    path = tmp_path / "photo.png"
    Image.fromarray(array).save(path)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.fromarray(array), array, tensor]
    results = small.segment(sources, WORDS)
    assert len(results) == len(sources)
    assert all(np.array_equal(result.labels, results[0].labels) for result in results)
    assert [result.source for result in results] == [str(path)] * 2 + [None] * 5
    alone = [small.segment(source, WORDS) for source in sources]
    assert all(np.array_equal(result.labels, results[0].labels) for result in alone)
    assert alone[2].save(tmp_path / "out").label_map == tmp_path / "out" / "segmentation.png"


def test_no_more_views_go_through_a_network_together_than_it_takes(small: NetworkSegmenter, monkeypatch) -> None:
    """Five views of an image by the published protocol; where each keeps its own number of words, all together."""
    sizes, run = [], small.network.encoded
    monkeypatch.setattr(small.network, "encoded", lambda image: sizes.append(len(image)) or run(image))
    image = squares()
    alone = small.segment(image, WORDS, window="official", return_probabilities=True)
    assert sizes == [1] * 5
    several = small_segmenter(batch=3)
    several.network.load_state_dict(small.network.state_dict())
    together = several.segment(image, WORDS, window="official", return_probabilities=True)
    np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-5)
    sizes.clear()
    small.segment(image, WORDS, window="official", keep_classes="auto")
    assert sizes == [5]


@pytest.mark.parametrize("window", COMMON_WINDOWS)
def test_it_is_the_most_probable_word_of_the_group(small, window: Window):
    groups = ((1, 3, 4), (2,), (0, 1, 2, 3, 4))
    result = small.segment(squares(), WORDS, window=window, groups=groups, return_probabilities=True)
    assert result.group_labels.shape == (3, 90, 120)
    for group, labels in zip(groups, result.group_labels, strict=True):
        best = result.probabilities[list(group)].argmax(0)
        # interpolated in tiles and as a whole: the last bit may differ where two words all but tie
        assert (labels == np.array(group)[best]).mean() > 0.999
    assert (result.group_labels[1] == 2).all()
    assert (result.group_labels[2] == result.labels).all()
    assert len(np.unique(result.group_labels[0])) > 1


def test_words_that_were_dropped_leave_the_group_to_the_others(small):
    result = small.segment(squares(), WORDS, keep_classes=1, groups=[(0, 1, 2, 3, 4), (1, 2)])
    (kept,) = np.flatnonzero(result.selected)
    assert (result.group_labels[0] == kept).all()
    assert (result.group_labels[1] == (kept if kept in (1, 2) else 1)).all()


@pytest.mark.parametrize("group", [(), (5,), (-1, 2)])
def test_a_group_of_no_words_is_refused(small, group):
    with pytest.raises(UsageError, match="has no valid words"):
        small.segment(squares(), WORDS, groups=[group])


def _part_network() -> NetworkSegmenter:
    protocols = {"auto": Protocol(size=64), "official": Protocol(size=64, sigmoid_first=True)}
    network = small_part_network(PART_CAT_SEG)
    return small_segmenter(network=network, protocols=protocols, templates=("a {}", "{}"))


KINDS = [
    *((small_segmenter, window) for window in ("auto", "single", "official", "official-single")),
    *((tiles_and_strides, window) for window in ("official", "tcl")),
    *((_part_network, window) for window in ("auto", "official")),
]


def _image(seed: int = 0) -> np.ndarray:
    return squares(75, 105, seed)


@pytest.mark.parametrize(("build", "window"), KINDS)
@pytest.mark.parametrize("options", [{}, {"threshold": 0.5}, {"background": "nothing", "threshold": 0.5}])
def test_confidence_is_the_probability_of_the_class(build, window, options):
    result = build().segment(_image(), WORDS, window=window, return_probabilities=True, **options)  # type: ignore[call-overload]
    assert result.confidence.min() >= 0
    assert result.confidence.max() <= 1
    labeled = result.labels < len(result.words)
    rows, columns = labeled.nonzero()
    chosen = result.probabilities[result.labels[labeled], rows, columns]
    np.testing.assert_allclose(result.confidence[labeled], chosen, atol=1e-5)
    words = result.probabilities[: len(WORDS)].max(0)
    np.testing.assert_allclose(result.confidence[~labeled], words[~labeled], atol=1e-5)
    if "threshold" in options:
        assert (words[~labeled] < 0.5 + 1e-5).all()
    if "background" in options:
        assert labeled.all()
        background = result.labels == len(WORDS)
        np.testing.assert_allclose(result.confidence[background], 1 - words[background], atol=1e-5)
    assert result.selected.all()


def test_seconds_are_the_share_of_each_image() -> None:
    model = small_segmenter(batch=4)
    images = [_image(seed) for seed in range(8)]
    words, start = model.encode(WORDS), time.perf_counter()
    results = model.segment(images, words)
    passed = time.perf_counter() - start
    assert all(result.seconds > 0 for result in results)
    assert sum(result.seconds for result in results) < passed
    assert all(result.seconds > 0 for result in model.segment_many(images, words))


@pytest.mark.parametrize(("given", "batch"), [(0, 1), (0, 4), (5, 1), (3, 4), (4, 4), (9, 4)])
def test_a_source_that_fails_loses_no_image_before_it(given: int, batch: int, as_users_call: None) -> None:
    def source(last: object) -> Iterator[Any]:
        yield from map(_image, range(given))
        if isinstance(last, Exception):
            raise last
        yield last
        yield _image(given)

    model, results = small_segmenter(batch=batch), list[Any]()
    words = model.encode(WORDS)
    with pytest.raises(OSError, match="the camera went away"):
        results.extend(model.segment_many(source(OSError("the camera went away")), words))
    assert len(results) == given
    results.clear()
    with pytest.raises(UsageError, match="not int"):
        results.extend(model.segment_many(source(7), words))
    assert len(results) == given


@pytest.mark.usefixtures("as_users_call")
def test_words_are_a_list_a_line_or_names_by_id(small: NetworkSegmenter) -> None:
    image, words = _image(), ["cat", "sofa", "wall"]
    expected = small.segment(image, words)
    for given in ("cat, sofa, wall", {0: "cat", 1: "sofa", 2: "wall"}, {"2": "wall", "1": "sofa", "0": "cat"}):
        result = small.segment(image, given)  # type: ignore[call-overload]
        assert result.words == expected.words
        np.testing.assert_array_equal(result.labels, expected.labels)
        assert next(iter(small.segment_many([image], given))).words == expected.words  # type: ignore[call-overload]
    for call in (small.segment, small.encode):
        with pytest.raises(UsageError, match="the words are a set, which has no order"):
            call(*([image] if call == small.segment else []), set(words))  # type: ignore[operator,arg-type]
