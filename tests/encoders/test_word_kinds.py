"""Kinds of words, and the embeddings of words that have one."""

import numpy as np
import pytest

from segvoc.encoders.word_kinds import NO_KINDS
from segvoc.inference.exported.segmenter import open_tiny
from segvoc.networks.tiny import tiny_kinds
from segvoc.vocabulary import Vocabulary

KINDS = {
    "skier": "person",
    "Woman": "person",
    "woman in a red coat": "person",
    "people": "person",
    "red onion": "onion",
    "cherry tomatoes": "tomato",
    "slice of pizza": "pizza",
    "pair of the skis": "skis",
    "police cars": "car",
    "buses": "bus",
    "ladies": "person",
    "loaves": "bread",
    "old brick house": "house",
    "person": None,
    "hot dog": None,
    "sheep": None,
    "rocket": None,
    "dog's head": None,
    "": None,
    "of": None,
}


@pytest.mark.parametrize("word", KINDS)
def test_a_phrase_is_a_kind_of_its_noun(word: str) -> None:
    assert tiny_kinds().of(word) == KINDS[word] and NO_KINDS.of(word) is None


def test_every_kind_is_a_trained_word_and_no_name_has_two() -> None:
    kinds = tiny_kinds().by_kind
    names = [name for others in kinds.values() for name in others]
    assert len(names) == len(set(names)) and not set(names) & kinds.keys()
    assert all(name == name.lower().strip() for name in (*names, *kinds))


def test_a_word_has_the_mean_of_its_embedding_and_that_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = open_tiny().encode_words
    both, (kind,) = np.asarray(encode(Vocabulary(["person", "skier"]))), encode(Vocabulary(["person"]))
    monkeypatch.setattr(encode, "kinds", NO_KINDS)
    (alone,) = np.asarray(encode(Vocabulary(["skier"])))
    mean = alone + kind
    np.testing.assert_allclose(both[1], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_array_equal(both[0], kind)
