"""Embeddings on disk: encoded once, the same to the bit, and only for the text encoder that computed them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segvoc.encoders import word_encoder
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.vocabulary import Vocabulary
from tests.inference.small_network import Letters

WORDS = Vocabulary([f"word {number}" for number in range(100)])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tower() -> Letters:
    torch.manual_seed(0)
    return Letters()


def _encoder(
    tower: Letters, digest: str = "weights", templates: tuple[str, ...] = ("{}",), *, average: bool = False
) -> VocabularyEncoder:
    encoder = VocabularyEncoder(tower, templates, average=average)
    encoder.digest = lambda _: digest
    return encoder


def _files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.sqlite"))


@pytest.mark.parametrize("average", [False, True])
def test_words_are_encoded_once(tower: Letters, cache: Path, average: bool) -> None:
    templates = ("{}", "a {}", "the {}")
    first = _encoder(tower, templates=templates, average=average)(WORDS)
    assert torch.equal(first, VocabularyEncoder(tower, templates, average=average)(WORDS))
    tower.calls.clear()
    more = Vocabulary(["dog", *WORDS.words])
    again = _encoder(tower, templates=templates, average=average)(more)
    assert len(tower.calls) <= 3  # "dog", in a batch for each length
    assert torch.equal(again[1:], first)
    assert len(_files(cache)) == 1


def test_a_list_that_is_stopped_halfway_goes_on(tower: Letters, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_encoder, "PROMPTS_AT_ONCE", 32)
    encoder, plain = _encoder(tower), VocabularyEncoder.embed

    def stopped(self: VocabularyEncoder, tokens: np.ndarray) -> torch.Tensor:
        if len(tower.calls) == 5:
            raise KeyboardInterrupt
        return plain(self, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(VocabularyEncoder, "embed", stopped)
        with pytest.raises(KeyboardInterrupt):
            encoder(WORDS)
    tower.calls.clear()
    assert torch.equal(_encoder(tower)(WORDS), VocabularyEncoder(tower, ("{}",))(WORDS))
    assert 0 < len(tower.calls) - 7 < 7  # seven batches are those of the second encoder


def test_what_changes_embeddings_is_told_apart(tower: Letters, cache: Path) -> None:
    _encoder(tower)(WORDS)
    with torch.no_grad():
        tower.table.weight.add_(0.5)
    for encoder in (
        _encoder(tower, "other weights"),
        _encoder(tower, "other weights", ("a {}",)),
        _encoder(tower, "other weights", ("{}", "a {}")),
        _encoder(tower, "other weights", ("{}", "a {}"), average=True),
    ):
        fresh = VocabularyEncoder(tower, encoder.templates, average=encoder.average)
        assert torch.equal(encoder(WORDS), fresh(WORDS))
    synonyms = [f"{word}, thing" for word in WORDS.words]
    for how in ("first", "average"):
        vocabulary = Vocabulary(synonyms, synonyms=how)  # type: ignore[arg-type]
        assert torch.equal(_encoder(tower, "other weights")(vocabulary), VocabularyEncoder(tower, ("{}",))(vocabulary))


def test_weights_that_were_changed_after_loading_are_not_kept(tower: Letters, cache: Path) -> None:
    encoder = _encoder(tower)
    encoder(WORDS)
    with torch.no_grad():
        tower.table.weight.add_(0.5)
    assert torch.equal(encoder(WORDS), VocabularyEncoder(tower, ("{}",))(WORDS))
    assert encoder.digest is None
    tower.calls.clear()
    VocabularyEncoder(tower, ("{}",))(WORDS)
    assert tower.calls


@pytest.mark.parametrize("setting", ["off", None])
def test_nothing_is_kept_unless_it_may_be(tower, cache, monkeypatch, setting):
    encoder = _encoder(tower)
    if setting is None:
        encoder.digest = None
    else:
        monkeypatch.setenv("SEGVOC_CACHE", setting)
    encoder(WORDS)
    assert not cache.exists()
