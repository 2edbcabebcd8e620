"""What models depend on, and the words that they keep on disk."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.exported.segmenter import ExportedWordEncoder
from segvoc.exported.shipped import open_tiny
from segvoc.inference.segmenter import Segmenter
from segvoc.models import opening
from segvoc.models.digests import keep_words, model_record
from segvoc.networks.part_words import PartWordEncoder
from tests.inference.small_network import small_segmenter

WORDS = [f"thing number {number}" for number in range(64)]


def test_equal_models_have_equal_records() -> None:
    one, other = small_segmenter(), small_segmenter()
    assert model_record(one) == model_record(other)
    next(other.network.image_encoder.parameters()).data.add_(1)
    assert {name for name, value in model_record(one).items() if model_record(other)[name] != value} == {"weights"}


def test_engines_are_told_apart() -> None:
    record = model_record(open_tiny())
    assert record["engine"].startswith("onnxruntime ")
    assert record["model"] == "tiny"
    assert model_record(small_segmenter())["engine"].startswith("torch ")


def test_loaded_network_keeps_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path))
    first = segvoc.load("tiny", device="cpu", dtype="float32").encode(WORDS).query(None)[1]
    again = segvoc.load("tiny", device="cpu", dtype="float32")

    def refuse(*_: object) -> None:
        raise AssertionError("words were encoded again")

    monkeypatch.setattr(type(again.encode_words), "embed", refuse)
    assert again.encode(WORDS).query(None)[1].equal(first)  # type: ignore[attr-defined]


def test_model_without_pytorch_keeps_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path))
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    first = segvoc.load("tiny").encode(WORDS).query(None)[1]

    def refuse(*_: object) -> None:
        raise AssertionError("words were encoded again")

    monkeypatch.setattr(ExportedWordEncoder, "embed", refuse)
    assert np.array_equal(segvoc.load("tiny").encode(WORDS).query(None)[1], first)  # type: ignore[arg-type]


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


def test_names_inside_an_encoder_of_parts_are_kept() -> None:
    model = small_segmenter()
    inner = model.encode_words
    model.encode_words = PartWordEncoder(inner)  # type: ignore[arg-type]
    keep_words(model)
    assert inner.digest() == inner.digest()  # type: ignore[attr-defined]
