"""The extractors of noun phrases."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest

from segvoc.data.captions.phrases import SpacyPhrases, phrase_extractor
from segvoc.errors import UsageError
from tests.images import one_line_error


def test_an_unknown_extractor_is_named():
    with one_line_error(UsageError, "'nltk'", "rules, spacy"):
        phrase_extractor("nltk")


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
    assert list(extractor(["one", "two"])) == [["a brown horse"]] * 2
    assert extractor.identity == "spacy en_core_web_sm 3.8.0"


def test_without_spacy_or_its_model_it_says_what_to_install(spacy, monkeypatch):
    with one_line_error(UsageError, "'en_core_web_xl' is not installed", "'rules'"):
        SpacyPhrases.load("en_core_web_xl")
    monkeypatch.setitem(sys.modules, "spacy", None)
    with one_line_error(UsageError, "spaCy is not installed", "spacy download en_core_web_sm", "'rules'"):
        phrase_extractor("spacy")
