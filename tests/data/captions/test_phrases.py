"""Noun phrases: of spaCy's noun chunks, and which of them an image keeps."""

import sys

import pytest

from segvoc.data.captions.phrases import CleaningRules, phrase_extractor, without_determiners
from segvoc.errors import UsageError
from tests.images import one_line_error


def test_of_spacys_chunks_those_with_a_common_noun_count():
    extractor = phrase_extractor()
    assert list(extractor.phrases(["She is on a brown horse", "It is here"])) == [["a brown horse"], ["here"]]
    assert extractor.identity == "spacy en_core_web_sm 3.8.0"


def test_missing_spacy_and_missing_models_are_an_error_that_says_how_to_install_them(monkeypatch):
    with one_line_error(UsageError, "'en_core_web_xl' is not installed", "spacy download en_core_web_xl"):
        phrase_extractor("en_core_web_xl")
    monkeypatch.setitem(sys.modules, "spacy", None)
    with one_line_error(UsageError, "is not installed", "pip install spacy; python -m spacy download en_core_web_sm"):
        phrase_extractor()


@pytest.mark.parametrize(
    ("phrase", "plain"),
    [
        ("A Dog", "dog"),
        ("his two  old dogs", "old dogs"),
        ("the", ""),
        ("12 eggs", "eggs"),
        ("12,000 people", "people"),
        ("twenty sheep", "sheep"),
        ("a man’s hat", "man's hat"),
        ("anteater", "anteater"),
        ("A clean, dry towel", "clean dry towel"),
    ],
)
def test_determiners_and_capitals_go(phrase, plain):
    assert without_determiners(phrase) == plain


NAMED = [["a dog", "a ball"], ["The dog", "the dog", "grass"], ["dog", "grass", "a cat"]]
WHOLE_WORDS = [["a laptop", "the background", "two pictures", "a front door", "a chair repair", "a dog"]]


@pytest.mark.parametrize(
    ("rules", "captions", "kept"),
    [
        ({"determiners": True}, [["A red  Hat", "the", "two men"], ["a red hat"]], ("a red hat", "two men")),
        ({"match": "substring"}, [["a laptop", "a chair repair", "a dog"]], ("dog",)),
        ({}, WHOLE_WORDS, ("laptop", "chair repair", "dog")),
        # each once, the most named first
        ({}, NAMED, ("dog", "grass", "ball", "cat")),
        ({"max_phrases": 2}, NAMED, ("dog", "grass")),
    ],
)
def test_which_phrases_an_image_keeps(rules, captions, kept):
    assert CleaningRules(**rules).clean(captions) == kept


def test_an_unknown_rule_is_a_wrong_call(as_users_call):
    with pytest.raises(UsageError, match="match='letters' is unknown"):
        CleaningRules(match="letters")
