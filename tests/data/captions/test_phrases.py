"""The extractors of noun phrases."""

import sys
from dataclasses import dataclass
from typing import ClassVar

from segvoc.data.captions.phrases import SpacyPhrases, phrase_extractor
from segvoc.errors import UsageError
from tests.images import one_line_error


def test_an_unknown_extractor_is_named():
    with one_line_error(UsageError, "'nltk'", "rules, spacy"):
        phrase_extractor("nltk")


def test_without_spacy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with one_line_error(UsageError, "spaCy is not installed", "spacy download en_core_web_sm", "'rules'"):
        phrase_extractor("spacy")


@dataclass
class Token:
    text: str
    pos_: str


class Chunk(list):
    @property
    def text(self):
        return " ".join(token.text for token in self)


@dataclass
class Document:
    noun_chunks: list


def document():
    """What spaCy makes of "She rides a brown horse to Paris": three chunks, one of which has a common noun."""
    return Document(
        [
            Chunk([Token("She", "PRON")]),
            Chunk([Token("a", "DET"), Token("brown", "ADJ"), Token("horse", "NOUN")]),
            Chunk([Token("Paris", "PROPN")]),
        ]
    )


class Language:
    meta: ClassVar = {
        "lang": "en",
        "name": "core_web_sm",
        "version": "3.8.0",
        "pipeline": ["tok2vec", "tagger", "parser"],
    }

    def pipe(self, captions):
        return (document() for _ in captions)


def test_of_spacys_chunks_those_with_a_common_noun_count():
    assert list(SpacyPhrases(Language())(["one", "two"])) == [["a brown horse"]] * 2


class Installed:
    """Stands for the module: `load` knows no model but the one."""

    @staticmethod
    def load(name, *, exclude):
        if name != "en_core_web_sm":
            raise OSError(f"[E050] Can't find model '{name}'.")
        assert "parser" not in exclude and "tagger" not in exclude
        return Language()


def test_the_model_is_loaded_when_it_is_chosen_and_its_absence_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", Installed)
    extractor = phrase_extractor("spacy")
    assert list(extractor(["She rides"])) == [["a brown horse"]]
    assert extractor.identity == "spacy en_core_web_sm 3.8.0"
    with one_line_error(UsageError, "'en_core_web_xl' is not installed", "'rules'"):
        SpacyPhrases.load("en_core_web_xl")
