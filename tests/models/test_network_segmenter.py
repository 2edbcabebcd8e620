"""The PyTorch engine: batches that don't fit into memory; copied, pickled, converted, freed; words kept on disk."""

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

import segvoc
from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import UsageError
from segvoc.inference.decision import FILL, PLAIN_DECISION, Rules
from segvoc.inference.segmenter import Segmenter
from segvoc.models.digests import model_record
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.shipped import open_tiny
from segvoc.models.weightless import weightless
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.small_network import assert_same_results, small_segmenter

WORDS = ["cat", "sofa", "wall", "sky"]
RULES = Rules(background=FILL, decision=PLAIN_DECISION)


def test_views_that_do_not_fit_into_memory_run_in_smaller_batches(monkeypatch):
    model, photos = small_segmenter(batch=8), [squares(70, 90, seed) for seed in range(8)]
    expected, sizes = model.segment(photos, WORDS), []
    forward = model.network.encoded

    def limited(image, **how):
        sizes.append(len(image))
        if len(image) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(image, **how)

    monkeypatch.setattr(model.network, "encoded", limited)
    for ours, theirs in zip(model.segment(photos, WORDS), expected, strict=True):
        assert (ours.labels == theirs.labels).mean() > 0.999
    assert sizes == [8, 4, 2, 2, 2, 2]
    sizes.clear()
    model.segment(photos, WORDS)
    assert sizes == [2, 2, 2, 2]  # what fits is remembered
    monkeypatch.setattr(model.network, "encoded", Mock(side_effect=torch.cuda.OutOfMemoryError("CUDA")))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        model.segment(photos, WORDS)


def test_streams_that_start_batches_ahead_give_the_same_results_in_order(monkeypatch, tmp_path):
    model, photos = small_segmenter(batch=2), [squares(70, 90, seed) for seed in range(5)]
    images = [*photos[:3], tmp_path / "missing.png", *photos[3:]]
    expected = list(model.segment_many(images, WORDS, yield_errors=True))
    monkeypatch.setattr(type(model), "batches_ahead", 1)
    found = list(model.segment_many(images, WORDS, yield_errors=True))
    assert [type(one) for one in found] == [type(one) for one in expected] and "missing.png" in str(found[3])
    for ours, theirs in zip(found[:3] + found[4:], expected[:3] + expected[4:], strict=True):
        assert_same_results(ours, theirs)


IMAGE = squares(60, 90, 0)


def _same(model: NetworkSegmenter, other: NetworkSegmenter) -> bool:
    return np.array_equal(model.segment(IMAGE, WORDS).confidence, other.segment(IMAGE, WORDS).confidence)


@pytest.mark.parametrize("duplicate", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy])
def test_a_copy_labels_alike_and_has_weights_of_its_own(duplicate: Callable[..., NetworkSegmenter]) -> None:
    model = small_segmenter()
    before = model.segment(IMAGE, WORDS)
    other = duplicate(model)
    assert _same(model, other)
    with torch.no_grad():
        other.network.text_encoder.get_parameter("table.weight").mul_(torch.linspace(-1, 1, 12))
        other.network.image_encoder.get_parameter("project.bias").add_(0.5)
    assert not _same(model, other)
    np.testing.assert_array_equal(model.segment(IMAGE, WORDS).confidence, before.confidence)


def test_a_network_without_weights_is_refused_in_one_line() -> None:
    model = small_segmenter()
    model.network.to("meta")
    for call in (lambda: model.segment(IMAGE, WORDS), lambda: model.encode(WORDS)):
        with pytest.raises(UsageError, match="has no weights"):
            call()


def test_modules_take_no_memory_and_draw_no_numbers() -> None:
    before = torch.get_rng_state()
    with weightless():
        modules = nn.ModuleList((nn.Linear(3, 4), nn.Conv2d(3, 4, 1), nn.Embedding(5, 6), nn.MultiheadAttention(8, 2)))
        drawn = nn.init.normal_(tensor=torch.empty(2, 3), std=0.1), torch.randn(2, 3, generator=torch.Generator())
    assert all(one.is_meta for one in (*modules.parameters(), *drawn)) and drawn[0].shape == drawn[1].shape == (2, 3)
    assert torch.equal(torch.get_rng_state(), before)


THINGS = [f"thing number {number}" for number in range(64)]


def test_equal_models_have_equal_records() -> None:
    one, other = small_segmenter(), small_segmenter()
    assert model_record(one) == model_record(other)
    next(other.network.image_encoder.parameters()).data.add_(1)
    assert {name for name, value in model_record(one).items() if model_record(other)[name] != value} == {"weights"}


def test_loaded_network_keeps_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path))
    first = segvoc.load_network("tiny", device="cpu", dtype="float32").encode(THINGS).query(RULES)[1]
    again = segvoc.load_network("tiny", device="cpu", dtype="float32")

    def refuse(*_: object) -> None:
        raise AssertionError("words were encoded again")

    monkeypatch.setattr(type(again.encode_words), "embed", refuse)
    assert again.encode(THINGS).query(RULES)[1].equal(first)  # type: ignore[attr-defined]


@pytest.mark.parametrize("load", [lambda: segvoc.load("tiny", weights="random", device="cpu"), open_tiny])
def test_a_model_is_freed_with_its_last_reference(load: Callable[[], Segmenter]) -> None:
    """Not whenever Python looks for cycles the next time: networks take gigabytes."""
    gc.disable()
    try:
        model = load()
        model.encode(["cat"])
        freed = weakref.ref(model)
        del model
        assert freed() is None
    finally:
        gc.enable()


def test_equal_weights_with_another_activation_have_other_words(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path))
    found = []
    for text in (openai_text(512), openai_text(512, quick_gelu=False)):
        torch.manual_seed(0)
        tower = ClipTextEncoder(replace(text, layers=1, width=64, heads=1))
        encode = VocabularyEncoder(tower, ("{}",))
        encode.on_disk = True
        found.append(encode(Vocabulary(THINGS)))
        assert torch.equal(found[-1], VocabularyEncoder(tower, ("{}",))(Vocabulary(THINGS)))
    assert not torch.equal(*found)
