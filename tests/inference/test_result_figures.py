"""`confidence`, `selected` and `seconds` mean what they say, for every kind of network and window."""

import time

import numpy as np
import pytest

from segvoc.inference.protocols import Protocol
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from tests.images import squares
from tests.inference.small_network import small_segmenter
from tests.inference.test_tiles_and_strides import tiles_and_strides
from tests.networks.test_part_cat_seg import small as small_part_network

WORDS = ["cat", "sofa", "wall", "rocket", "cup"]


def _part_network() -> NetworkSegmenter:
    protocols = {"auto": Protocol(size=64), "official": Protocol(size=64, sigmoid_first=True)}
    network = small_part_network(PART_CAT_SEG)
    return small_segmenter(network=network, protocols=protocols, templates=("a {}", "{}"))


CASES = [
    *((small_segmenter, window) for window in ("auto", "single", "official", "official-single")),
    *((tiles_and_strides, window) for window in ("official", "tcl")),
    *((_part_network, window) for window in ("auto", "official")),
]


def _image(seed: int = 0) -> np.ndarray:
    return squares(75, 105, seed)


@pytest.mark.parametrize(("build", "window"), CASES)
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
