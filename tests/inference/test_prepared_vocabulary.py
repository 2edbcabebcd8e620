"""Words encoded once, streams of images, and networks that give no numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from segvoc.encoders import vocabulary_encoder
from segvoc.errors import InputError, UsageError
from segvoc.inference.protocols import Protocol
from segvoc.inference.segmentation import Segmentation
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.small_network import Letters, small_segmenter
from tests.networks.test_part_cat_seg import small as small_part_network

WORDS = ["cat", "sofa", "wall", "rocket", "cup"]
PARTS = {"cat": ["head", "leg"], "*": ["edge"]}


@pytest.fixture
def small() -> NetworkSegmenter:
    return small_segmenter()


def _image(seed: int = 0, height: int = 60, width: int = 90) -> np.ndarray:
    return squares(height, width, seed)


def _same(first: Segmentation, second: Segmentation) -> None:
    assert (first.words, first.parts) == (second.words, second.parts)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.confidence, second.confidence)
    if first.part_labels is not None:
        np.testing.assert_array_equal(first.part_labels, second.part_labels)


@pytest.mark.parametrize(
    ("parts", "background", "threshold"),
    [(None, None, None), (None, "wall", 0.52), (PARTS, None, 0.52), (PARTS, "wall", None), (PARTS, "nothing", 0.52)],
)
def test_prepared_words_give_what_words_give(small, parts, background, threshold):
    prepared = small.encode(WORDS, parts=parts, background=background)
    expected = small.segment(_image(), WORDS, parts=parts, background=background, threshold=threshold)
    assert prepared.words == expected.words
    assert len(prepared) == len(expected.words)
    _same(small.segment(_image(), prepared, threshold=threshold), expected)


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_prepared_words_of_a_network_of_parts(threshold: float | None) -> None:
    network, protocols = small_part_network(PART_CAT_SEG), {"auto": Protocol(size=64)}
    model = small_segmenter(network=network, protocols=protocols, templates=("{}", "a {}"))
    words = ["dog", "dog's head", "cat's tail", "sofa"]
    prepared = model.encode(Vocabulary(words), background="ground")
    expected = model.segment(_image(), words, background="ground", threshold=threshold)
    _same(model.segment(_image(), prepared, threshold=threshold), expected)


def test_prepared_words_cost_the_text_tower_nothing(small: NetworkSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = small.encode(WORDS, parts=PARTS, background="nothing")

    def refuse(*_: object) -> None:
        raise AssertionError("the text tower was looked at")

    monkeypatch.setattr(vocabulary_encoder, "_weights_of", refuse)
    monkeypatch.setattr(Letters, "forward", refuse)
    for options in ({}, {"threshold": 0.2}, {"keep_classes": 2}):
        small.segment(_image(), prepared, **options)


def test_prepared_words_of_another_model_or_with_more_are_refused(small: NetworkSegmenter) -> None:
    prepared = small.encode(WORDS)
    with pytest.raises(UsageError, match="another model"):
        small_segmenter().segment(_image(), prepared)
    for more in ({"parts": PARTS}, {"background": "wall"}):
        with pytest.raises(UsageError, match="encode"):
            small.segment(_image(), prepared, **more)
    with pytest.raises(UsageError, match="no words"):
        small.encode([])


def test_a_stream_gives_what_one_call_gives(small: NetworkSegmenter) -> None:
    images = [_image(seed, 60 + 15 * (seed % 3)) for seed in range(7)]
    for batch in (1, 3):
        model = small_segmenter(batch=batch)
        results = list(model.segment_many(iter(images), WORDS, threshold=0.5))
        for expected, result in zip(model.segment(images, WORDS, threshold=0.5), results, strict=True):
            _same(result, expected)


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
        first, second, third = small_segmenter(batch=batch).segment_many(images, WORDS, yield_errors=True)
        assert isinstance(first, Segmentation)
        assert isinstance(third, Segmentation)
        assert isinstance(second, InputError)
        assert "bad.jpg" in str(second)
        # neighbors in a batch may change the last bits
        np.testing.assert_allclose(third.confidence, small.segment(_image(1), WORDS).confidence, atol=1e-6)
    with pytest.raises(InputError, match=r"bad\.jpg"):
        list(small.segment_many(images, WORDS))


@pytest.mark.usefixtures("as_users_call")
def test_a_wrong_call_is_told_before_the_first_image(small: NetworkSegmenter) -> None:
    with pytest.raises(UsageError, match="window"):
        small.segment_many([_image()], WORDS, window="none")  # type: ignore[call-overload]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_output_that_is_not_finite_is_named(tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    model, path = small_segmenter(batch=3), tmp_path / "dark.png"
    Image.fromarray(np.zeros_like(_image())).save(path)
    plain = model.network.selected_logits

    def broken(pixels: torch.Tensor, *arguments: object, **options: object) -> tuple[torch.Tensor, object]:
        logits, kept = plain(pixels, *arguments, **options)  # type: ignore[arg-type]
        logits[pixels.amax((1, 2, 3)) == 0, 0, 0, 0] = value
        return logits, kept

    monkeypatch.setattr(model.network, "selected_logits", broken)
    with pytest.raises(InputError, match=r"dark\.png.*not finite"):
        model.segment(path, WORDS)
    with pytest.raises(InputError, match=r"image 2 of 3.*not finite"):
        model.segment([_image(0), np.zeros_like(_image()), _image(1)], WORDS)
    with pytest.raises(InputError, match=r"image 2.*not finite"):
        model.start([_image(0), np.zeros_like(_image())], WORDS)()
    results = list(model.segment_many([_image(0), path, _image(1)], WORDS, yield_errors=True))
    assert [isinstance(result, Segmentation) for result in results] == [True, False, True]
    assert "dark.png" in str(results[1])
