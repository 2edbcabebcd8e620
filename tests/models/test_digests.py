"""What models depend on, and the words that they keep on disk."""

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import segvoc
from segvoc.encoders.clip_text import ClipTextEncoder, open_clip_text, openai_text
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.exported.shipped import open_tiny
from segvoc.inference.segmenter import Segmenter
from segvoc.models.digests import keep_words, model_record
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.vocabulary import Vocabulary
from tests.inference.small_network import small_segmenter

WORDS = [f"thing number {number}" for number in range(64)]


def test_equal_models_have_equal_records() -> None:
    one, other = small_segmenter(), small_segmenter()
    assert model_record(one) == model_record(other)
    next(other.network.image_encoder.parameters()).data.add_(1)
    assert {name for name, value in model_record(one).items() if model_record(other)[name] != value} == {"weights"}


def test_loaded_network_keeps_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path))
    first = segvoc.load("tiny", device="cpu", dtype="float32").encode(WORDS).query(None)[1]
    again = segvoc.load("tiny", device="cpu", dtype="float32")

    def refuse(*_: object) -> None:
        raise AssertionError("words were encoded again")

    monkeypatch.setattr(type(again.encode_words), "embed", refuse)
    assert again.encode(WORDS).query(None)[1].equal(first)  # type: ignore[attr-defined]


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


def _words_of(model: NetworkSegmenter) -> torch.Tensor:
    """What its text encoder computes, without any cache."""
    return VocabularyEncoder(model.network.text_encoder, model.templates)(Vocabulary(WORDS))


@pytest.mark.parametrize("is_used", [False, True])
def test_a_copy_with_other_weights_has_their_words(tmp_path, monkeypatch, is_used):
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path))
    first = small_segmenter()
    keep_words(first)
    if is_used:
        first.encode(WORDS)
    second = copy.deepcopy(first)
    state = {name: value.flip(0) for name, value in second.network.text_encoder.state_dict().items()}
    second.network.text_encoder.load_state_dict(state)
    first.encode(WORDS)
    assert torch.equal(second.encode(WORDS).query(None)[1], _words_of(second))  # type: ignore[arg-type]
    assert torch.equal(first.encode(WORDS).query(None)[1], _words_of(first))  # type: ignore[arg-type]


def test_equal_weights_with_another_activation_have_other_words(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path))
    found = []
    for text in (openai_text(512), open_clip_text(512)):
        torch.manual_seed(0)
        tower = ClipTextEncoder(replace(text, layers=1, width=64, heads=1))
        encode = VocabularyEncoder(tower, ("{}",))
        model = small_segmenter()
        model.encode_words = encode
        keep_words(model)
        found.append(encode(Vocabulary(WORDS)))
        assert torch.equal(found[-1], VocabularyEncoder(tower, ("{}",))(Vocabulary(WORDS)))
    assert not torch.equal(*found)
