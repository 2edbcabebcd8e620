"""Class selection as callers ask for it: `keep_classes`."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from segvoc.inference.protocols import Protocols, Sliding, Window
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.windows import merged
from segvoc.layers.selection import AUTO_SELECTION, ClassSelection, KeepClasses
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.small_network import COMMON_WINDOWS, small_protocols, small_segmenter, views

WORDS = tuple(f"word {number}" for number in range(40))
GRID = 16 * 16  # cells of the small network's answer to a square


def _protocols() -> Protocols:
    """The small network's, with small sliding windows."""
    protocols = small_protocols()
    sliding = Sliding(canvas=100, window=64, stride=36)
    return {**protocols, "official": replace(protocols["official"], sliding=sliding)}


def _segmenter(protocols: Protocols | None = None, **rest: Any) -> NetworkSegmenter:
    return small_segmenter(protocols=protocols or _protocols(), **rest)


small = pytest.fixture(scope="module")(_segmenter)


def _segment(segmenter: NetworkSegmenter, keep: KeepClasses | None, *, words: Any = WORDS, **way: Any) -> Segmentation:
    way.setdefault("return_probabilities", True)
    return segmenter.segment(way.pop("image", squares()), words, keep_classes=keep, **way)


def _identical(first: Segmentation, second: Segmentation) -> None:
    for name in ("labels", "confidence", "selected", "probabilities"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def _probabilities(segmenter: NetworkSegmenter, keep: int, window: Window) -> Tensor:
    """(K H W) the plain way: logits of all words, with -100 where a view dropped one."""
    protocol = segmenter.protocols[window]
    text, seen = segmenter.encode_words(Vocabulary(WORDS)), views(squares(), protocol)
    with torch.no_grad():
        logits = segmenter.network(seen, text, pooling=protocol.pooling, selection=ClassSelection(keep=keep))
    full = F.interpolate(merged(logits, protocol)[None], size=(90, 120), mode="bilinear")[0]
    return full if protocol.sigmoid_first else full.sigmoid()


@pytest.mark.parametrize(("window", "number"), [*((window, 40) for window in COMMON_WINDOWS), ("auto", 10**30)])
def test_as_many_as_there_are_is_all(small: NetworkSegmenter, window: Window, number: int) -> None:
    everyone = _segment(small, "all", window=window)
    _identical(_segment(small, number, window=window), everyone)
    _identical(_segment(small, None, window=window), everyone)  # the small network's own rule
    assert everyone.selected.all()


@pytest.mark.parametrize(
    ("window", "number"), [*((window, 6) for window in COMMON_WINDOWS), ("auto", 1), ("official", 39)]
)
def test_dropped_words_have_no_pixels_and_the_others_what_the_network_says(small, window, number):
    result, expected = _segment(small, number, window=window), _probabilities(small, number, window)
    assert result.selected[np.unique(result.labels)].all()
    assert (result.probabilities[~result.selected] == 0).all()
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(result.confidence, expected.amax(0), atol=1e-6)
    two = expected.topk(2, dim=0).values
    clear = (two[0] - two[1] > 1e-5).numpy()
    assert np.array_equal(result.labels[clear], expected.argmax(0).numpy()[clear])


@pytest.mark.parametrize(("window", "keep"), [*((window, "auto") for window in COMMON_WINDOWS), ("auto", None)])
def test_batches_equal_one_by_one(small: NetworkSegmenter, window: Window, keep: KeepClasses | None) -> None:
    flat = np.full((90, 120, 3), 99, np.uint8)
    images = [flat, squares(90, 120, 1), squares(64, 64, 2), flat, squares(50, 200, 3)]
    together = _segmenter(batch=5).segment(images, WORDS, window=window, keep_classes=keep)
    for image, result in zip(images, together, strict=True):
        alone = small.segment(image, WORDS, window=window, keep_classes=keep)
        assert np.array_equal(result.selected, alone.selected)
        np.testing.assert_allclose(result.confidence, alone.confidence, atol=1e-5)
        assert (result.labels != alone.labels).mean() < 0.002


def test_auto_keeps_what_the_votes_tell_and_a_network_may_have_a_rule_of_its_own(small: NetworkSegmenter) -> None:
    text, seen = small.encode_words(Vocabulary(WORDS)), views(squares(), small.protocols["auto"])
    with torch.no_grad():
        kept = small.network.selected_logits(seen, text, selection=AUTO_SELECTION)[1]
    result = _segment(small, "auto")
    assert np.flatnonzero(result.selected).tolist() == kept[0].tolist()
    assert 16 <= result.selected.sum() < 40
    quarter = ClassSelection(fraction=0.25, keep=100)
    own = _segmenter({name: replace(protocol, selection=quarter) for name, protocol in _protocols().items()})
    assert _segment(own, None).selected.sum() == 10
    assert _segment(own, None, words=WORDS[:37], background="word 5").selected.sum() == 9 + 1
    _identical(_segment(own, "all"), _segment(small, None))
    assert _segment(own, 7).selected.sum() == _segment(own, np.int64(7)).selected.sum() == 7


def test_background_is_always_selected_and_never_votes(small: NetworkSegmenter) -> None:
    named = _segment(small, 4, background="word 2", threshold=0.6)
    added = _segment(small, 4, words=[word for word in WORDS if word != "word 2"], background="rest", threshold=0.6)
    for result, place in ((named, 2), (added, 39)):
        assert result.selected.sum() == 5 and result.selected[[place, *np.unique(result.labels)]].all()
        best = np.delete(result.probabilities, place, axis=0).max(0)
        np.testing.assert_allclose(result.probabilities[place], 1 - best, atol=1e-5)
    assert [named.words[i] for i in np.flatnonzero(named.selected) if i != 2] == [
        added.words[i] for i in np.flatnonzero(added.selected) if i != 39
    ]


class _LargestTensor(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [one for one in (made if isinstance(made, tuple | list) else [made]) if isinstance(one, Tensor)]
        self.elements = max(self.elements, *(tensor.numel() for tensor in tensors), 0)
        return made


@pytest.mark.slow
def test_ten_thousand_words_never_have_maps_of_their_own() -> None:
    segmenter, words = small_segmenter(), Vocabulary([f"word {number}" for number in range(10_000)])
    segmenter.encode_words(words)
    with _LargestTensor() as kept:
        result = segmenter.segment(squares(), words, keep_classes=32)
    assert result.selected.sum() == 32 and len(np.unique(result.labels)) > 3
    assert kept.elements < 10_000 * GRID / 2 and result.probabilities is None
    with _LargestTensor() as everyone:  # the measure sees such maps
        small_segmenter().segment(squares(), words.words[:200], keep_classes="all")
    assert everyone.elements >= 200 * GRID
