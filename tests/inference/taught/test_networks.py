"""Words taught to every kind of network: by classifiers, and by regions in its costs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import segvoc
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.errors import CheckpointError, UsageError
from segvoc.inference.protocols import Protocol, Protocols
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.layers.precision import reduce_precision
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.choices import build_aggregation
from segvoc.networks.pca_seg import PCA_SEG
from tests.images import one_line_error
from tests.inference.small_network import COMMON_WINDOWS
from tests.inference.taught.drawn_examples import drawn_examples
from tests.inference.taught.test_teaching import right
from tests.networks.aggregation_contract import SMALL, VIT, small, small_syn_seg, text_tower
from tests.networks.test_err_seg import small as small_err_seg

SIDE = 96
"""Side of the views [px]."""


def clip_alone() -> SegmentationNetwork:
    """A CLIP without an aggregation, read as NACLIP does."""
    tower = OpenAIClipImageEncoder(VIT, dense="naclip")
    aggregation = build_aggregation(replace(CAT_SEG, **(SMALL | {"kind": "none"})), tower)
    return SegmentationNetwork(tower, text_tower("qv"), aggregation, average_prompts=True)


NETWORKS: dict[str, Callable[[], SegmentationNetwork]] = {
    "clip": clip_alone,
    "cat-seg": lambda: small(CAT_SEG, eva=False),
    "pca-seg": lambda: small(PCA_SEG),
    "err-seg": small_err_seg,
    "syn-seg": small_syn_seg,
}


def small_model(kind: str, seed: int = 3) -> NetworkSegmenter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORKS[kind]()
    templates = ("a {}", "one {}") if kind in ("clip", "syn-seg") else ("a {}",)
    pooling = (1, 1) if kind in ("clip", "err-seg", "syn-seg") else (2, 2)
    view = Protocol(size=SIDE, pooling=pooling)
    protocols: Protocols = dict.fromkeys(COMMON_WINDOWS, view)
    network.requires_grad_(False)
    return NetworkSegmenter(name=kind, network=network, protocols=protocols, templates=templates)


WORDS = ["grass", "sky", "brick"]


# test_teaching.py has a PCA-Seg
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "clip")) for kind in NETWORKS]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> NetworkSegmenter:
    return small_model(request.param)


@pytest.fixture(scope="module")
def taught(model: NetworkSegmenter) -> TaughtWords:
    return segvoc.teach(model, drawn_examples(4), keep_worse=True)


def with_share(taught: TaughtWords, share: float, channels: int = 32) -> TaughtWords:
    """The words with regions in random directions."""
    drawn = np.random.default_rng(0).standard_normal((len(taught.words), channels))
    toward = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)
    return replace(taught, record=replace(taught.record, share=share), toward=toward if share else None)


def without_classifiers(taught: TaughtWords) -> TaughtWords:
    return replace(taught, weights=np.zeros_like(taught.weights), bias=np.zeros_like(taught.bias))


def test_examples_bring_labels_closer_to_the_truth(model, taught):
    unseen = drawn_examples(7)
    assert right(model.with_taught(taught), unseen) > right(model, unseen) + 0.15


def test_regions_enter_where_text_does(model, taught):
    image = drawn_examples(1).images[0]
    by_text, *by_regions = (
        model.with_taught(without_classifiers(with_share(taught, share)))
        .segment(image, [*WORDS, "cup"], return_probabilities=True)
        .probabilities
        for share in (0.0, 0.25, 0.5)
    )
    a_little, more = (np.abs(one[:3] - by_text[:3]).mean() for one in by_regions)
    assert more > a_little > 0


def test_words_of_another_network_are_refused(model, taught):
    other = small_model(model.name, seed=4)
    with one_line_error(CheckpointError, "has other weights; teach them to it again"):
        other.with_taught(taught)


def test_weights_of_low_precision():
    model = small_model("cat-seg")
    reduce_precision(model.network, torch.bfloat16)
    taught = with_share(segvoc.teach(model, drawn_examples(3), keep_worse=True), 0.25)
    assert right(model.with_taught(taught), drawn_examples(3)) > right(model, drawn_examples(3))


def test_a_network_of_parts_is_refused():
    model = small_model("clip")
    model.traits = replace(model.traits, has_parts=True)
    with pytest.raises(UsageError, match="a network of objects and parts; teach one without"):
        segvoc.teach(model, drawn_examples(3))
