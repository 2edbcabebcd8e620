"""Noun phrases by spaCy, which is optional (SynSeg, appendix A1, Algorithm 1)."""

from collections.abc import Iterable, Iterator
from typing import Any

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
