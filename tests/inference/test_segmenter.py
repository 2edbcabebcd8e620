"""From images and words to label maps: options, encoded words, streams; what confidence and selected mean."""

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.encoders.base import ImageFeatures
from segvoc.errors import InputError, UsageError
from segvoc.inference.label_options import LabelKeywords, LabelOptions
from segvoc.inference.protocols import Protocol, Window
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.tile_grid import DEFAULT_TILE
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from segvoc.storage.files import strict_json
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.small_network import COMMON_WINDOWS, Letters, assert_same_results, small_segmenter
from tests.inference.test_windows import tiles_and_strides
from tests.networks.test_part_cat_seg import small as small_part_network


def test_keyword_arguments_are_the_fields() -> None:
    assert get_type_hints(LabelKeywords) == get_type_hints(LabelOptions)


FLAGS = ("wrap", "edges", "return_probabilities")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keep_classes": 0}, "keep_classes=0 is invalid; give a number of classes from 1"),
        ({"background": "  "}, "the background's name '  ' is empty"),
        ({"threshold": 1.5}, "threshold=1.5 is not a probability; give a number from 0 to 1"),
        *(
            ({"threshold": value}, f"threshold must be a number or none, not {value!r}")
            for value in (float("nan"), float("inf"), True, "1")
        ),
        ({"tile": 256.5}, "tile must be a whole number or none, not 256.5"),
        ({"stretch": 5}, "stretch must be a text or none, not 5"),
        *(({name: "no"}, f"{name} must be true or false.*, not 'no'") for name in FLAGS),
        *(({"smooth": value}, "smooth must be a number, not ") for value in (None, "0.5", True)),
        ({"tile": 8}, "tile=8 is too small"),
        ({"tile": 10**9}, "tile=1000000000 is too large; give a side of at most 65535 pixels"),
        ({"overlap": DEFAULT_TILE}, f"overlap={DEFAULT_TILE} doesn't fit tiles of {DEFAULT_TILE} pixels"),
        ({"smooth": 1.0}, "smooth=1.0 is out of range; give the weight of earlier frames"),
        *(({"stretch": value}, "is not a stretch") for value in ("", "5")),
        ({"tile": 64, "smooth": 0.5}, "tiles don't support smoothing"),
        ({"wrap": True, "return_probabilities": True}, "tiles don't support probabilities"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelOptions(**values)


def test_equal_options_have_equal_records() -> None:
    asked: dict[str, Any] = {"keep_classes": np.int64(3), "threshold": np.float64(0.5), "background": " other "}
    plain = LabelOptions(keep_classes=3, threshold=0.5, background="other", tile=800)
    numpy = LabelOptions(**asked, tile=800, overlap=100)
    assert plain.record() == numpy.record()
    assert json.loads(strict_json(plain.record())) == plain.record()


def test_every_option_that_changes_labels_is_in_the_record() -> None:
    selected = {"window": "single", "keep_classes": 3, "background": "other", "threshold": 0.5, "edges": True}
    found = {"objects": True, "least_object": 5, "track": True, "track_gap": 2}
    changed = LabelOptions(**selected, **found, tile=800, overlap=200, wrap=True, stretch="0,4095")  # type: ignore[arg-type]
    before, after = LabelOptions().record(), changed.record()
    assert {name for name in before if before[name] != after[name]} == set(before) - {"smooth"}
    assert LabelOptions(smooth=0.5).record()["smooth"] == 0.5
    assert set(before) == set(get_type_hints(LabelOptions)) - {"return_probabilities"}
    assert LabelOptions(return_probabilities=True).record() == before
    assert [LabelOptions(background=given).background_name for given in (None, " auto ", "x")] == [None, None, "x"]


WORDS = ("cat", "sofa", "wall", "rocket", "cup")
PARTS = {"cat": ["head", "leg"], "*": ["edge"]}

small = pytest.fixture(scope="module")(small_segmenter)


def _image(seed: int = 0, height: int = 60, width: int = 90) -> np.ndarray:
    return squares(height, width, seed)


@pytest.mark.parametrize(
    ("parts", "background", "threshold"),
    [(None, None, None), (None, "wall", 0.52), (PARTS, None, 0.52), (PARTS, "wall", None), (PARTS, "nothing", 0.52)],
)
def test_prepared_words_give_what_words_give_and_cost_no_more(small, parts, background, threshold, monkeypatch):
    prepared = small.encode(WORDS, parts=parts, background=background)
    expected = small.segment(_image(), WORDS, parts=parts, background=background, threshold=threshold)
    assert prepared.words == expected.words
    assert len(prepared) == len(expected.words)
    monkeypatch.setattr(Letters, "forward", lambda *_: pytest.fail("the words were encoded again"))
    assert_same_results(small.segment(_image(), prepared, threshold=threshold), expected)


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_prepared_words_of_a_network_of_parts(threshold: float | None) -> None:
    model, words = part_network(), ["dog", "dog's head", "cat's tail", "sofa"]
    prepared = model.encode(Vocabulary(words), background="ground")
    expected = model.segment(_image(), words, background="ground", threshold=threshold)
    assert_same_results(model.segment(_image(), prepared, threshold=threshold), expected)


def test_prepared_words_of_another_model_or_with_more_are_refused(small: NetworkSegmenter) -> None:
    prepared = small.encode(WORDS)
    with pytest.raises(UsageError, match="another model"):
        small_segmenter().segment(_image(), prepared)
    for more in ({"parts": PARTS}, {"background": "wall"}):
        with pytest.raises(UsageError, match="encode"):
            small.segment(_image(), prepared, **more)
    with pytest.raises(UsageError, match="no words"):
        small.encode([])


def test_a_stream_reads_no_more_than_two_batches_ahead() -> None:
    read: list[int] = []

    def images() -> Iterator[np.ndarray]:
        for number in range(100):
            read.append(number)
            yield _image(number)

    stream = small_segmenter(batch=2).segment_many(images(), WORDS)
    assert read == []
    for number in range(1, 6):
        next(stream)
        assert len(read) <= number + 6
    stream.close()
    assert list(small_segmenter().segment_many([], WORDS)) == []


def test_a_stream_goes_on_behind_an_image_that_cannot_be_read(small: NetworkSegmenter, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    images = [_image(0), tmp_path / "bad.jpg", _image(1)]
    for batch in (1, 2, 3):
        *found, second = small_segmenter(batch=batch).segment_many([*images[::2], images[1]], WORDS, yield_errors=True)
        first, error, third = small_segmenter(batch=batch).segment_many(iter(images), WORDS, yield_errors=True)
        assert isinstance(error, InputError) and str(error) == str(second) and "bad.jpg" in str(error)
        for ours, also, image in zip((first, third), found, images[::2], strict=True):
            for one in (ours, also):  # neighbors in a batch may change the last bits
                np.testing.assert_allclose(one.confidence, small.segment(image, WORDS).confidence, atol=1e-6)
    with pytest.raises(InputError, match=r"bad\.jpg"):
        list(small.segment_many(images, WORDS))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_output_that_is_not_finite_is_named(tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = small_segmenter(batch=3), tmp_path / "dark.png"
    Image.fromarray(np.zeros_like(_image())).save(path)
    plain = model.network.encoded

    def broken(pixels: torch.Tensor, *, complete: bool = True) -> ImageFeatures:
        features = plain(pixels, complete=complete)
        features.maps[0][pixels.amax((1, 2, 3)) == 0] = value
        return features

    monkeypatch.setattr(model.network, "encoded", broken)
    with pytest.raises(InputError, match=r"dark\.png.*not finite"):
        model.segment(path, WORDS)
    with pytest.raises(InputError, match=r"image 2 of 3.*not finite"):
        model.segment([_image(0), np.zeros_like(_image()), _image(1)], WORDS)
    with pytest.raises(InputError, match=r"image 2.*not finite"):
        model.start([_image(0), np.zeros_like(_image())], WORDS)()
    results = list(model.segment_many([_image(0), path, _image(1)], WORDS, yield_errors=True))
    assert [isinstance(result, Segmentation) for result in results] == [True, False, True]
    assert "dark.png" in str(results[1])


UNLABELED = 65_535


@pytest.mark.parametrize("window", COMMON_WINDOWS)
@pytest.mark.parametrize("size", [(90, 120), (1, 1), (200, 10)])
def test_result_is_as_the_contract_says(small: NetworkSegmenter, window: Window, size: tuple[int, int]) -> None:
    image = squares(*size)
    result = small.segment(image, WORDS, window=window, return_probabilities=True)
    arrays = (result.labels, result.confidence, result.probabilities, result.selected)
    shapes = ((size, np.uint16), (size, np.float32), ((5, *size), np.float32), ((5,), bool))
    assert tuple((one.shape, one.dtype) for one in arrays) == shapes
    assert (result.words, result.model, result.source) == (WORDS, "small", None)
    assert result.labels.max() < len(WORDS) and result.selected.all() and result.seconds > 0
    assert 0 <= result.probabilities.min() and result.probabilities.max() <= 1
    assert np.array_equal(result.image, image)
    np.testing.assert_allclose(result.confidence, result.probabilities.max(0), atol=1e-5)
    assert (result.probabilities.argmax(0) == result.labels).mean() > 0.999
    assert len(np.unique(result.labels)) > 1 or size != (90, 120)


def test_words_are_literal(small: NetworkSegmenter) -> None:
    result = small.segment(squares(), ["background", "other", "{}", "50%"])
    assert result.words == ("background", "other", "{}", "50%")
    assert result.labels.max() < 4


def test_a_model_is_called(small: NetworkSegmenter) -> None:
    """tests/test_natural_names.py has the names of other libraries."""
    assert_same_results(small(squares(), WORDS), small.segment(squares(), WORDS))
    assert not hasattr(small, "_ipython_display_")


@pytest.mark.usefixtures("as_users_call")
def test_a_single_image_is_no_stream_and_a_wrong_call_is_told_before_the_first_image(small: NetworkSegmenter) -> None:
    for images in ("photo.jpg", b"GIF89a", Path("photo.jpg")):
        with pytest.raises(UsageError, match="must be an iterable of images"):
            small.segment_many(images, WORDS)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="window"):
        small.segment_many([_image()], WORDS, window="none")  # type: ignore[call-overload]


def test_wrong_words_are_refused_before_images_are_read(small: NetworkSegmenter) -> None:
    with pytest.raises(UsageError, match="'cat' is given twice"):
        small.segment("missing.jpg", ["cat", "cat "])


@pytest.mark.parametrize("window", ["auto", "official"])
@pytest.mark.parametrize(
    ("words", "background"),
    [(WORDS, None), *((words, " none ") for words in (WORDS, ("none", *WORDS), (*WORDS[:2], "none", *WORDS[2:])))],
)
def test_what_no_word_reaches_is_the_background_or_unlabeled(small, window, words, background):
    plain = small.segment(squares(), WORDS, window=window)
    threshold = float(np.quantile(plain.confidence, 0.4))
    result = small.segment(squares(), words, window=window, background=background, threshold=threshold)
    assert result.words == (words if background is None or "none" in words else (*words, "none"))
    below = plain.confidence < threshold
    assert below.any() and not below.all()
    nothing = UNLABELED if background is None else result.words.index("none")
    places = np.array([result.words.index(word) for word in WORDS])
    assert np.array_equal(result.labels, np.where(below, nothing, places[plain.labels]))
    is_background = below if background else np.zeros_like(below)
    likely = np.where(is_background, 1 - plain.confidence, plain.confidence)
    np.testing.assert_allclose(result.confidence, likely)
    assert result.report()["unlabeled"] == (0 if background else below.sum())


def test_impossible_background_is_refused(small):
    with pytest.raises(UsageError, match="only word"):
        small.segment(squares(), ["cat"], background="cat")
    with pytest.raises(UsageError, match="one word too many"):
        small.segment(squares(), [f"word {number}" for number in range(65_535)], background="none")


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("window", ["sliding", "", None, "tcl", ["a"], np.array(["auto", "b"])])
def test_unknown_window_is_refused_with_those_that_there_are(small: NetworkSegmenter, window: Any) -> None:
    with pytest.raises(
        UsageError, match=r"^window=.* is unknown to small; it is one of auto, single, official,"
    ) as error:
        small.segment(squares(), WORDS, window=window)
    assert str(error.value).startswith(f"window={window!r} is")


def test_options_are_one_value_or_keywords_or_both(small: NetworkSegmenter) -> None:
    options = LabelOptions(window="single", threshold=0.9)
    for one, other in (
        ({"options": options}, {"window": "single", "threshold": 0.9}),
        ({"options": options, "threshold": None}, {"window": "single"}),
    ):
        assert_same_results(small.segment(squares(), WORDS, **one), small.segment(squares(), WORDS, **other))
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
    assert results[2].save(tmp_path / "out").label_map == tmp_path / "out" / "segmentation.png"


@pytest.mark.parametrize("window", COMMON_WINDOWS)
def test_it_is_the_most_probable_word_of_the_group(small, window: Window):
    groups = ((1, 3, 4), (2,), (0, 1, 2, 3, 4))
    options = LabelOptions(window=window, return_probabilities=True)
    (result,) = small.start([squares()], WORDS, options=options, groups=groups)()
    assert result.group_labels.shape == (3, 90, 120)
    for group, labels in zip(groups, result.group_labels, strict=True):
        best = result.probabilities[list(group)].argmax(0)
        # interpolated in tiles and as a whole: the last bit may differ where two words all but tie
        assert (labels == np.array(group)[best]).mean() > 0.999
    assert (result.group_labels[1] == 2).all()
    assert (result.group_labels[2] == result.labels).all()
    assert len(np.unique(result.group_labels[0])) > 1


def test_words_that_were_dropped_leave_the_group_to_the_others_and_a_group_of_none_is_refused(small):
    options, groups = LabelOptions(keep_classes=1), [(0, 1, 2, 3, 4), (1, 2)]
    (result,) = small.start([squares()], WORDS, options=options, groups=groups)()
    (kept,) = np.flatnonzero(result.selected)
    assert (result.group_labels[0] == kept).all()
    assert (result.group_labels[1] == (kept if kept in (1, 2) else 1)).all()
    for group in ((), (5,), (-1, 2)):
        with pytest.raises(UsageError, match="has no valid words"):
            small.start([squares()], WORDS, groups=[group])


def part_network() -> NetworkSegmenter:
    protocols = {"auto": Protocol(size=64), "official": Protocol(size=64, sigmoid_first=True)}
    network = small_part_network(PART_CAT_SEG)
    return small_segmenter(network=network, protocols=protocols, templates=("a {}", "{}"))


KINDS = [
    *((small_segmenter, window) for window in ("auto", "single", "official", "official-single")),
    *((tiles_and_strides, window) for window in ("official", "tcl")),
    *((part_network, window) for window in ("auto", "official")),
]


@pytest.mark.parametrize(("build", "window"), KINDS)
@pytest.mark.parametrize("options", [{"threshold": 0.5}, {"background": "nothing", "threshold": 0.5}])
def test_confidence_is_the_probability_of_the_class(build, window, options):
    result = build().segment(_image(), WORDS, window=window, return_probabilities=True, **options)  # type: ignore[call-overload]
    assert 0 <= result.confidence.min() and result.confidence.max() <= 1
    labeled = result.labels < len(result.words)
    rows, columns = labeled.nonzero()
    chosen = result.probabilities[result.labels[labeled], rows, columns]
    np.testing.assert_allclose(result.confidence[labeled], chosen, atol=1e-5)
    words = result.probabilities[: len(WORDS)].max(0)
    np.testing.assert_allclose(result.confidence[~labeled], words[~labeled], atol=1e-5)
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
    with pytest.raises(UsageError, match="got int"):
        results.extend(model.segment_many(source(7), words))
    assert len(results) == given


@pytest.mark.usefixtures("as_users_call")
def test_words_are_a_list_a_line_or_names_by_id(small: NetworkSegmenter) -> None:
    image, words = _image(), ["cat", "sofa", "wall"]
    expected = small.segment(image, words)
    for given in ("cat, sofa, wall", {"2": "wall", "1": "sofa", "0": "cat"}, Vocabulary(words), iter(words)):
        assert_same_results(small.segment(image, given), expected)  # type: ignore[call-overload]
    first = small.segment(image, ["cat, kitten", "sofa"])
    assert first.words == ("cat, kitten", "sofa")
    assert_same_results(first, replace(small.segment(image, ["cat", "sofa"]), words=first.words))
    for call in (small.segment, small.encode):
        with pytest.raises(UsageError, match="the words are a set, which has no order"):
            call(*([image] if call == small.segment else []), set(words))  # type: ignore[operator,arg-type]


def test_a_network_in_training_mode_is_refused_and_left_as_it_is() -> None:
    model = small_segmenter()
    model.network.train()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    for call in (lambda: model.segment(squares(), WORDS), lambda: model.encode(WORDS)):
        with pytest.raises(UsageError, match=r"in training mode; call its eval\(\) first"):
            call()
    assert model.network.training
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
