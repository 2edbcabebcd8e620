"""Parts in an image: they lie inside their objects, whatever else is asked for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import segvoc
from segvoc.encoders.base import ImageFeatures
from segvoc.errors import UsageError
from segvoc.inference.decision import Decision
from segvoc.inference.part_labels import FOUND_SHARE, PartsAgainst
from segvoc.inference.protocols import Protocol, Window
from segvoc.inference.segmentation import Segmentation
from segvoc.layers.class_selection import kept_classes
from segvoc.layers.selection import ClassSelection
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from segvoc.vocabulary import parts_by_object
from tests.images import one_line_error, squares
from tests.inference.small_network import COMMON_WINDOWS, Letters, assert_same_results, small_segmenter
from tests.networks.test_part_cat_seg import small as small_part_network

NO_PART = 65_535
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
WORDS = ("sofa", "wall")
PARTS = {"cat": ["head", "leg", "tail"], "sofa": ["leg", "cushion"], "*": ["edge"]}
IMAGE = squares()

small = pytest.fixture(scope="module")(small_segmenter)


class Noise(SegmentationNetwork):
    """A network whose logits are random: for each view and class their own, the same in every call."""

    def __init__(self, seed: int) -> None:
        super().__init__(nn.Identity(), Letters(), nn.Identity())
        self.seed = seed
        self.asked: list[int] = []

    def encoded(self, image: torch.Tensor, *, complete: bool = True) -> ImageFeatures:
        return ImageFeatures(maps=(image,), taps=())

    def compared(self, features: ImageFeatures, text: Any, *, selection: Any = None, **_: Any) -> Any:
        self.asked.append(len(text))
        seeds = [self.seed + int(view.double().mean() * 1000) for view in features.maps[0]]
        noise = [torch.randn(400, 9, 7, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        logits = torch.stack(noise)[:, : len(text)]
        kept = kept_classes(selection, logits[:, None])
        return (logits if kept is None else logits.take_along_dim(kept[..., None, None], dim=1)), kept


def noise_segmenter(seed: int, against: PartsAgainst = "object") -> NetworkSegmenter:
    return small_segmenter(name="noise", network=Noise(seed), decision=Decision(parts_against=against))


def check_nesting(result: Segmentation) -> None:
    """Every part lies in pixels of its object, and has a probability there."""
    assert result.part_labels.shape == result.part_confidence.shape == result.labels.shape
    assert (result.part_labels.dtype, result.part_confidence.dtype) == (np.uint16, np.float32)
    allowed = [{index for index, _ in of_word} for of_word in parts_by_object(result.words, result.parts)]
    pairs = np.unique(np.stack((result.labels, result.part_labels)).reshape(2, -1), axis=1).T
    for label, part in pairs.tolist():
        assert part == NO_PART or (label < len(result.words) and part in allowed[label])
    some = result.part_labels != NO_PART
    assert (result.part_confidence[~some] == 0).all()
    assert result.part_confidence.max() <= 1


@pytest.mark.parametrize("window", COMMON_WINDOWS)
def test_result_has_both_maps(small: NetworkSegmenter, window: Window) -> None:
    result = small.segment(IMAGE, WORDS, parts=PARTS, window=window)
    check_nesting(result)
    assert result.words == ("sofa", "wall", "cat")  # objects that only the parts name come last
    names = ["cat's head", "cat's leg", "cat's tail", "sofa's leg", "sofa's cushion", "edge"]
    assert [part.name for part in result.parts] == names
    assert result.selected.tolist() == [True] * 3 and result.labels.max() <= 2 < len(np.unique(result.part_labels))


@pytest.mark.parametrize(
    ("window", "against"),
    [("single", "object"), ("single", "half"), ("official-single", "half"), ("official", "object")],
)
def test_part_is_the_likeliest_of_its_object_where_the_rule_lets_it(window: Window, against: PartsAgainst) -> None:
    segmenter = noise_segmenter(7, against)
    result = segmenter.segment(IMAGE, ["cat", "sofa"], parts=PARTS, window=window)
    # what the parts are asked as, asked as words
    words = [*result.words, *(f"cat's {part}" for part in ("head", "leg", "tail", "edge"))]
    words += [f"sofa's {part}" for part in ("leg", "cushion", "edge")]
    probabilities = segmenter.segment(IMAGE, words, window=window, return_probabilities=True).probabilities
    assert np.array_equal(result.labels, probabilities[:2].argmax(0))
    for label, (asked, indices) in enumerate((([2, 3, 4, 5], [0, 1, 2, 5]), ([6, 7, 8], [3, 4, 5]))):
        here = result.labels == label
        best, value = np.array(indices)[probabilities[asked].argmax(0)], probabilities[asked].max(0)
        some = value > (probabilities[label] if against == "object" else 0.5)
        assert (result.part_labels == np.where(some, best, NO_PART))[here].mean() > 0.999
        assert 0.1 < some[here].mean() < 0.99
        there = here & (result.part_labels != NO_PART)
        np.testing.assert_allclose(result.part_confidence[there], value[there], atol=1e-5)


@given(
    seed=st.integers(0, 2**31),
    objects=st.integers(1, 4),
    numbers=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    of_any=st.integers(0, 2),
    against=st.sampled_from(["object", "contrast", "half"]),
    asked=st.fixed_dictionaries(
        {
            "window": st.sampled_from(COMMON_WINDOWS),
            "keep_classes": st.sampled_from([None, 1, 2, "auto", "all"]),
            "background": st.sampled_from([None, "rest", "object 0"]),
            "threshold": st.sampled_from([None, 0.0, 0.6, 1.0]),
        }
    ),
    size=st.sampled_from([(1, 1), (13, 40), (31, 5)]),
)
@settings(max_examples=10, deadline=None)
def test_parts_nest_inside_objects_whatever_a_network_says(seed, objects, numbers, of_any, against, size, asked):
    words = [f"object {number}" for number in range(objects + 1)]
    parts = {word: [f"part {n}" for n in range(number)] for word, number in zip(words[1:], numbers, strict=False)}
    parts["*"] = ["part 0", "edge"][:of_any]
    if not any(parts.values()):
        parts["*"] = ["edge"]
    result = noise_segmenter(seed, against).segment(np.zeros((*size, 3), np.uint8), words, parts=parts, **asked)
    check_nesting(result)
    report = result.report()
    found = {entry["name"]: entry["pixels"] for entry in report["classes"]}
    for word in words:
        assert sum(entry["pixels"] for entry in report["parts"] if entry["object"] == word) <= found[word]
    assert sum(entry["pixels"] for entry in report["parts"]) == (result.part_labels != NO_PART).sum()


def contrast_segmenter(offsets: Sequence[float], spread: float = 1.0) -> NetworkSegmenter:
    """A segmenter of random logits around an offset for each class, by the rule "contrast"."""
    segmenter = noise_segmenter(11, "contrast")
    plain = segmenter.network.compared

    def offset(features: ImageFeatures, text: Any, **way: Any) -> Any:
        logits, kept = plain(features, text, **way)
        return spread * logits + torch.tensor(offsets)[:, None, None], kept

    segmenter.network.compared = offset
    return segmenter


def logits_of(segmenter: NetworkSegmenter, words: Sequence[str]) -> np.ndarray:
    """The logits of words at every pixel, as `segment` interpolates them."""
    p = segmenter.segment(IMAGE, words, window="single", return_probabilities=True).probabilities.astype(np.float64)
    return np.log(p / (1 - p))


@pytest.mark.parametrize("offset", [-6.0, -9.0])
def test_unlikely_parts_share_out_their_object_by_contrast(offset: float) -> None:
    segmenter = contrast_segmenter([2, 1, offset, offset + 1, offset - 1])
    result = segmenter.segment(IMAGE, ["cat", "sofa"], parts={"cat": ["head", "leg", "tail"]}, window="single")
    check_nesting(result)
    logits = logits_of(segmenter, ["cat", "sofa", "cat's head", "cat's leg", "cat's tail"])
    here = result.labels == 0
    rise = logits - logits[:, here].mean(1)[:, None, None]
    best = rise[2:].argmax(0)
    some = rise[2:].max(0) > rise[0]
    assert (result.part_labels == np.where(some, best, NO_PART))[here].mean() > 0.995
    for part in range(3):
        assert 0.1 < (result.part_labels == part)[here].mean() < 0.6
    there = here & (result.part_labels != NO_PART)
    chosen = logits[2:][result.part_labels[there], there.nonzero()[0], there.nonzero()[1]]
    np.testing.assert_allclose(result.part_confidence[there], 1 / (1 + np.exp(-chosen)), atol=1e-5)  # unlifted
    segmenter.traits = replace(segmenter.traits, decision=Decision(parts_against="object"))
    before = segmenter.segment(IMAGE, ["cat", "sofa"], parts={"cat": ["head", "leg", "tail"]}, window="single")
    assert (before.part_labels == NO_PART).all()


def test_shipped_model_finds_the_head_of_the_shipped_cat() -> None:
    model = segvoc.load("tiny", device="cpu")
    for parts in (["head", "ear", "body"], ["head"]):
        result = model.segment(SAMPLES / "chelsea.jpg", ["cat", "wall", "blanket"], parts={"cat": parts})
        check_nesting(result)
        head, cat = result.part_labels == 0, result.labels == 0
        assert FOUND_SHARE < head.sum() / cat.sum() < 0.9
        assert (head.nonzero()[0] < len(head) * 2 / 3).mean() > 0.5


@pytest.mark.parametrize(("window", "keep"), [("auto", 1), ("auto", 4), ("auto", "auto"), ("official", 2)])
def test_parts_neither_push_objects_out_nor_are_counted(window: Window, keep: Any) -> None:
    words = [f"word {number}" for number in range(30)]
    parts = {word: [f"part {number}" for number in range(4)] for word in words[::3]}
    segmenter = noise_segmenter(4, "half")
    plain = segmenter.segment(IMAGE, words, window=window, keep_classes=keep)
    result = segmenter.segment(IMAGE, words, parts=parts, window=window, keep_classes=keep)
    check_nesting(result)
    assert np.array_equal(result.labels, plain.labels)
    assert result.selected.tolist() == plain.selected.tolist()
    assert result.selected.sum() < 30
    for label in np.unique(result.labels):  # the parts of a word that was kept have gone on
        some = result.part_labels[result.labels == label] != NO_PART
        assert some.mean() > 0.5 if label % 3 == 0 else not some.any()


def test_parts_of_what_any_view_keeps_go_on_in_all_views() -> None:
    cost = torch.full((2, 1, 7, 2, 2), 0.0)
    cost[0, :, 0], cost[1, :, 2] = 1, 1
    cost[:, :, 3:] = 5  # parts, which don't vote
    selection = ClassSelection(keep=1, by="similarity", owners=((0,), (1,), (2,), (1, 2)))
    assert kept_classes(selection, cost).tolist() == [[0, 3, 5, 6], [2, 3, 5, 6]]
    assert kept_classes(replace(selection, keep=3), cost) is None


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("words", "parts", "way", "said"),
    [
        (None, None, {}, "there are no words"),
        (None, {"*": ["head"]}, {}, "'head' is a part of any object, but no object is named; give words too"),
        (["cat"], {"cat": []}, {}, "there are no parts"),
        (["cat", "cat's head"], {"cat": ["head"]}, {}, '"cat\'s head" is both a word and a part'),
        (["cat", "wall's edge", "wall"], {"*": ["edge"]}, {}, '"wall\'s edge" is both a word and a part'),
        (["cat"], {"wall": ["edge"]}, {"background": "wall"}, "'wall' is the background, which has no parts"),
        (list(map(str, range(999))), {"*": list(map(str, range(99)))}, {}, "more than 65535 together; give fewer"),
    ],
)
def test_wrong_call_is_refused_before_images_are_read(small, words, parts, way, said):
    with one_line_error(UsageError, said):
        small.segment("missing.jpg", words, parts=parts, **way)


def test_parts_of_an_object_in_another_spelling_are_those_of_the_word(small: NetworkSegmenter) -> None:
    result = small.segment(IMAGE, ["Dog", "wall"], parts={"dog": ["head"]})
    assert result.words == ("Dog", "wall") and [part.name for part in result.parts] == ["Dog's head"]
    check_nesting(result)
    assert_same_results(result, small.segment(IMAGE, ["Dog", "wall"], parts={"Dog": ["head"]}))


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_a_network_of_parts_takes_any_word_for_a_word(threshold: float | None) -> None:
    model = small_segmenter(
        network=small_part_network(PART_CAT_SEG), protocols={"auto": Protocol(size=64)}, templates=("a {}", "{}")
    )
    result = model.segment(IMAGE, ["Background", "wall"], background="auto", threshold=threshold)
    assert result.words == ("Background", "wall") and result.background is None
