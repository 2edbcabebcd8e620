"""Extractors of the noun phrases of captions."""

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any, Literal, Protocol, runtime_checkable

from segvoc.data.captions.noun_chunks import RulePhrases
from segvoc.errors import UsageError

MODEL = "en_core_web_sm"


class SpacyPhrases:
    """Extracts noun chunks that contain a common noun, since names and pronouns alone describe nothing visible."""

    def __init__(self, language: Any) -> None:
        """Wrap a pipeline.

        Args:
            language: a spaCy pipeline with tagger and parser.
        """
        self.language = language

    @classmethod
    def load(cls, model: str = MODEL) -> "SpacyPhrases":
        """Load an installed model.

        Raises:
            UsageError: spaCy or the model is not installed.
        """
        fix = f"install both (pip install spacy; python -m spacy download {model}), or choose the extractor 'rules'"
        try:
            import spacy  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise UsageError(f"spaCy is not installed; {fix}") from None
        try:
            # noun chunks don't depend on entities and lemmas, which take time
            return cls(spacy.load(model, exclude=["ner", "lemmatizer"]))
        except OSError:
            raise UsageError(f"spaCy's model {model!r} is not installed; {fix}") from None

    @property
    def identity(self) -> str:
        """Name and version of the model."""
        return "spacy {lang}_{name} {version}".format_map(self.language.meta)

    def __call__(self, captions: Iterable[str]) -> Iterator[list[str]]:
        """See `PhraseExtractor`."""
        for document in self.language.pipe(captions):
            yield chunks_with_nouns(document)


def chunks_with_nouns(document: Any) -> list[str]:
    """The noun chunks of a parsed spaCy `Doc` in which at least one token has the coarse tag NOUN."""
    return [chunk.text for chunk in document.noun_chunks if any(token.pos_ == "NOUN" for token in chunk)]


Extractor = Literal["rules", "spacy"]
"""Names of the extractors: `spacy` needs spaCy and its model en_core_web_sm, `rules` has no dependencies."""


@runtime_checkable
class PhraseExtractor(Protocol):
    """Finds the noun phrases of captions; takes an iterable, since parsers are faster in batches."""

    @property
    def identity(self) -> str:
        """Name and version. It changes whenever the extracted phrases may change."""
        ...

    def __call__(self, captions: Iterable[str]) -> Iterator[list[str]]:
        """The noun phrases of each caption, as written and in order."""
        ...


def _spacy() -> PhraseExtractor:
    return SpacyPhrases.load()


EXTRACTORS: dict[str, Callable[[], PhraseExtractor]] = {"rules": RulePhrases, "spacy": _spacy}
"""All extractors by name; see `Extractor`."""


def resolve_extractor(name: str) -> Extractor:
    """Resolve an extractor's name: `auto` is `spacy` where spaCy and its model are installed, else `rules`.

    Raises:
        UsageError: the name is unknown.
    """
    if name == "auto":
        return "spacy" if find_spec("spacy") and find_spec("en_core_web_sm") else "rules"
    if name not in EXTRACTORS:
        raise UsageError(f"the phrase extractor {name!r} is unknown; it is one of auto, {', '.join(EXTRACTORS)}")
    return name  # pyright: ignore[reportReturnType]


def phrase_extractor(name: str = "rules") -> PhraseExtractor:
    """Load an extractor by name.

    Raises:
        UsageError: the name is unknown, or a package that the extractor needs is not installed.
    """
    return EXTRACTORS[resolve_extractor(name)]()
