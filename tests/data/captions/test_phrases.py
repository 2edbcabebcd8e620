"""Noun phrases: by rules and by spaCy, and which of them an image keeps."""

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segvoc.data.captions.phrases import (
    LONGEST,
    CleaningRules,
    noun_chunks,
    phrase_extractor,
    spacy_extractor,
    without_determiners,
)
from segvoc.errors import UsageError
from tests.images import one_line_error


class Chunk(list):
    """Words with their tags."""

    @property
    def text(self):
        return " ".join(token.text for token in self)


def chunk(**tags: str) -> Chunk:
    return Chunk(SimpleNamespace(text=text, pos_=tag) for text, tag in tags.items())


CHUNKS = [chunk(She="PRON"), chunk(a="DET", brown="ADJ", horse="NOUN"), chunk(Paris="PROPN")]
"""What spaCy makes of "She rides a brown horse to Paris": three chunks, one of which has a common noun."""


class Language:
    meta: ClassVar = {"lang": "en", "name": "core_web_sm", "version": "3.8.0"}

    def pipe(self, captions):
        return (SimpleNamespace(noun_chunks=CHUNKS) for _ in captions)


@pytest.fixture
def spacy(monkeypatch):
    """Stands for the module: it knows no model but the one, which needs tagger and parser."""

    def load(name, *, exclude):
        if name != "en_core_web_sm":
            raise OSError(f"[E050] Can't find model '{name}'.")
        assert "parser" not in exclude and "tagger" not in exclude
        return Language()

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=load))


def test_of_spacys_chunks_those_with_a_common_noun_count(spacy):
    extractor = phrase_extractor("spacy")
    assert list(extractor.phrases(["one", "two"])) == [["a brown horse"]] * 2
    assert extractor.identity == "spacy en_core_web_sm 3.8.0"


def test_unknown_and_missing_extractors_are_named(spacy, monkeypatch):
    with one_line_error(UsageError, "'nltk'", "rules, spacy"):
        phrase_extractor("nltk")
    with one_line_error(UsageError, "'en_core_web_xl' is not installed", "'rules'"):
        spacy_extractor("en_core_web_xl")
    monkeypatch.setitem(sys.modules, "spacy", None)
    with one_line_error(UsageError, "spaCy is not installed", "spacy download en_core_web_sm", "'rules'"):
        phrase_extractor("spacy")


WRITTEN = Path(__file__).parent
"""Captions that were written for this test, and their noun phrases: in COCO's style, and as web pages have them."""


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("A man riding a wave on top of a surfboard.", "A man|a wave|a surfboard"),
        ("A man carries a bag, a dog catches a ball", "A man|a bag|a dog|a ball"),
        ("A train passes a town. A dog goes home, a cat plays", "A train|a town|A dog|home|a cat"),
        ("a couple of dogs", "dogs"),
        ("A baseball player swings a bat.", "A baseball player|a bat"),
        ("Knives and forks are on two plates", "Knives|forks|two plates"),
        ("A red and white bus, a dog", "A red and white bus|a dog"),
        ("A clean, spacious room", "A clean spacious room"),
        ("a person's reflection in the girl's mirror", "a person's reflection|the girl's mirror"),
        ("A man with a red hat rides a bike", "A man|a red hat|a bike"),
        ("a man that is sitting near some old cars", "a man|some old cars"),
        ("The dog is ready to run and it looks very happy.", "The dog"),
        ("a bathroom with a walk-in closet and a shower", "a bathroom|a walk-in closet|a shower"),
        ("dining tables and cooking utensils", "dining tables|cooking utensils"),
        ("A woman cooking food for people eating cake", "A woman|food|people|cake"),
        ("diamond patterned walls", "diamond patterned walls"),
        ("people walk past Burger King", "people"),
        ("A CITY ROAD WITH TAXIS", "A CITY ROAD|TAXIS"),
        ("a 4x4 beside 3 mp3 players in the 1920s, 12,000 years old", "a 4x4|3 mp3 players|the 1920s|12,000 years"),
        ("An orange on a white table", "An orange|a white table"),
        ("3 female peacocks together", "3 female peacocks"),
        ("A dog. 2 cats! A bird; the end.", "A dog|2 cats|A bird|the end"),
        ("<PERSON> waves from <PERSON>'s red car #car @garage http://x.y/z.jpg", "PERSON|PERSON's red car"),
        ("A farmers' market by the boys’ school", "A farmers' market|the boys’ school"),
        ("A Boeing 747 taking off", ""),
        ("It is what he does here.", ""),
        ("", ""),
    ],
)
def test_what_a_caption_names(caption, phrases):
    assert "|".join(noun_chunks(caption)) == phrases


def shared(expected, found):
    """Precision and recall of lists of strings, caption by caption."""
    hits = sum((Counter(a) & Counter(b)).total() for a, b in zip(expected, found, strict=True))
    return hits / sum(map(len, found)), hits / sum(map(len, expected))


@pytest.mark.parametrize(("name", "captions"), [("noun_phrases", 60), ("alt_texts", 24)])
def test_nearly_all_phrases_and_nouns_are_found_and_few_that_are_none(name, captions):
    written = json.loads((WRITTEN / f"{name}.json").read_text())
    found = [[without_determiners(phrase) for phrase in phrases] for phrases in phrase_extractor().phrases(written)]
    assert len(written) == len(found) == captions
    assert min(shared(written.values(), found)) >= 0.96
    nouns = [[[phrase.split()[-1] for phrase in own] for own in side] for side in (written.values(), found)]
    assert min(shared(*nouns)) >= 0.96


@given(st.text(alphabet=st.sampled_from("ab the and , . 's’-ing ed of\n\t1_ß猫🐈 that to is"), max_size=60))
def test_no_text_breaks_the_rules(text):
    for phrase in noun_chunks(text):
        assert phrase.strip() and len(phrase.split()) <= LONGEST


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
        ({"most": 2}, NAMED, ("dog", "grass")),
    ],
)
def test_which_phrases_an_image_keeps(rules, captions, kept):
    assert CleaningRules(**rules).clean(captions) == kept


@pytest.mark.parametrize("wrong", [{"match": "letters"}, {"most": 0}])
def test_unknown_rules_are_wrong_calls(wrong, as_users_call):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        CleaningRules(**wrong)
