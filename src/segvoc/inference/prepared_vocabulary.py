"""Words that a network has encoded once, for any number of images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from segvoc.encoders.vocabulary_encoder import EncodedWords, WordEncoder
from segvoc.errors import UsageError
from segvoc.inference.part_labels import AskedParts, words_with_objects
from segvoc.vocabulary import PartVocabulary, Vocabulary

Parts = Mapping[str, Sequence[str]] | PartVocabulary
"""Objects and the names of their parts."""

DEFAULT_THRESHOLD = 0.5
"""Probability below which a pixel is background, where no threshold is given."""


@dataclass(frozen=True)
class ClassQuery:
    """Which words a network is asked, and which class stands for "none of the others"."""

    words: tuple[str, ...]
    """All classes of the result."""
    asked: Vocabulary
    """Those that the network is asked for: all but a background that a threshold decides."""
    background: int | None
    """Index of the class that a threshold decides."""
    parts: PartVocabulary | None
    """The parts asked for beside the words."""
    asked_parts: AskedParts | None
    """How they are asked."""
    none: str | None = None
    """The background's name, for a network that learnt "none of the words"; it is asked for like a word."""

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, parts: PartVocabulary | None, background: str | None, *, learnt: bool
    ) -> "ClassQuery":
        """Sort out what to ask.

        Args:
            vocabulary: the words, the background among them.
            parts: the parts of objects among the words.
            background: name of the class for "none of the others".
            learnt: whether the network decides about the background, not a threshold.

        Raises:
            UsageError: words and parts don't fit together.
        """
        index, asked, none = None, vocabulary, None
        if background is not None and learnt:
            none = background
        elif background is not None:
            index, asked = vocabulary.words.index(background), vocabulary.without(background)
        asked_parts = None if parts is None else AskedParts.beside(asked, parts, none)
        return cls(vocabulary.words, asked, index, parts, asked_parts, none)

    @property
    def asked_indices(self) -> list[int]:
        """Index among the classes of each word that is asked for."""
        return [index for index in range(len(self.words)) if index != self.background]

    def threshold(self, given: float | None) -> float | None:
        """The threshold that counts: the one given, else 0.5 where it decides about the background."""
        return DEFAULT_THRESHOLD if given is None and self.background is not None else given

    def encoded(self, encode: WordEncoder) -> EncodedWords:
        """Encode all that is asked, parts included."""
        return encode(self.asked if self.asked_parts is None else self.asked_parts.asked, self.none)


class PreparedVocabulary:
    """Words, parts and background that a model has encoded; `Segmenter.encode` makes it.

    It takes the place of words in `segment` and `segment_many` of the same model. It is a snapshot: when the text
    tower's weights change, it keeps the old embeddings; encode again.
    """

    def __init__(
        self,
        encode: WordEncoder,
        words: Iterable[str] | Vocabulary | None,
        parts: Parts | None,
        background: str | None,
        *,
        learns_background: bool,
    ) -> None:
        given = PartVocabulary(parts) if parts is not None and not isinstance(parts, PartVocabulary) else parts
        vocabulary = words_with_objects(words, given)
        if background is not None:
            name = background.strip() if isinstance(background, str) else ""
            if not name:
                raise UsageError(
                    f"the background's name {background!r} is no word; give it one, for example 'background'"
                )
            if name not in vocabulary.words:
                vocabulary = Vocabulary((*vocabulary.words, name), synonyms=vocabulary.synonyms)
            if vocabulary.words == (name,):
                raise UsageError(f"{name!r} is the background and the only word; give at least one other")
            background = name
        self.encode, self.vocabulary, self.parts, self.background = encode, vocabulary, given, background
        self._learns_background = learns_background and background is not None
        self._encoded: dict[bool, tuple[ClassQuery, EncodedWords]] = {}

    def encode_all(self) -> "PreparedVocabulary":
        """Encode now what any threshold needs."""
        for threshold in (None, 0.0) if self._learns_background else (None,):
            self.query(threshold)
        return self

    def query(self, threshold: float | None) -> tuple[ClassQuery, EncodedWords]:
        """What to ask and its encoding, with the background learnt or, where a threshold is given, decided by it."""
        learnt = self._learns_background and threshold is None
        if learnt not in self._encoded:
            query = ClassQuery.of(self.vocabulary, self.parts, self.background, learnt=learnt)
            self._encoded[learnt] = query, query.encoded(self.encode)
        return self._encoded[learnt]

    @property
    def words(self) -> tuple[str, ...]:
        """All classes: the words, objects that only the parts name, and the background."""
        return self.vocabulary.words

    def __len__(self) -> int:
        """How many classes."""
        return len(self.vocabulary)
