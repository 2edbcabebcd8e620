"""Vocabularies encoded once and reused for any number of images, and the words that a call compares with an image."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from segvoc.encoders.word_encoder import EncodedWords, WordEncoder, kinds_of
from segvoc.errors import UsageError
from segvoc.inference.background import AUTO, NO_RIVALS, Background, Rivals
from segvoc.inference.label_options import checked_background
from segvoc.inference.part_labels import Candidate, with_part_words, words_with_objects
from segvoc.inference.protocols import Protocol
from segvoc.storage.files import digest_of
from segvoc.vocabulary import PartVocabulary, Vocabulary, folded

Parts = str | Mapping[str, Sequence[str]] | PartVocabulary


@dataclass(frozen=True, kw_only=True)
class ClassQuery:
    """The words that a call compares with an image, and the mapping of their logits to the classes of a result."""

    words: tuple[str, ...]
    """All classes of the result."""
    queried: Vocabulary
    """All words compared with the image: the classes (without a background class), the `stand_ins`, and the words of
    parts ("dog's head")."""
    num_words: int
    """Number of queried words that aren't parts."""
    background: Background
    stand_ins: tuple[str, ...]
    """Words queried though nobody asked for them, after the classes."""
    rivals: Rivals = NO_RIVALS
    """Words that compete by rules of their own, in a call that fills the image; stand-ins are theirs then."""
    parts: PartVocabulary | None
    candidates: tuple[Candidate, ...]

    @property
    def background_index(self) -> int | None:
        """Index of the background class, which isn't queried; None without one."""
        return self.words.index(self.background.name) if self.background.kind == "class" else None

    @property
    def class_indices(self) -> list[int]:
        """Class indices of the queried words, without the background's stand-ins."""
        return [index for index in range(len(self.words)) if index != self.background_index]

    @property
    def none_word(self) -> str | None:
        """The queried word for "none of the words", of a network that learned one."""
        if self.background.kind != "learned":
            return None
        return self.background.name or self.stand_ins[0]

    def adapted(self, protocol: Protocol) -> Protocol:
        """Restrict the protocol's class selection to the requested words; selected objects keep their parts."""
        if self.parts is None or protocol.selection is None:
            return protocol
        owners: list[list[int]] = [[] for _ in range(len(self.queried) - self.num_words)]
        for candidate in self.candidates:
            owners[candidate.place - self.num_words].append(candidate.owner)
        return replace(protocol, selection=replace(protocol.selection, owners=tuple(map(tuple, owners))))


class PreparedVocabulary:
    """Words and parts encoded by a model; created by `Segmenter.encode`.

    Pass it in place of words to `segment` and `segment_many` of the same model. It is a snapshot: if the text encoder's
    weights change, encode the words again.
    """

    def __init__(
        self,
        encode: WordEncoder,
        words: str | Iterable[str] | Mapping[int, str] | Vocabulary | None,
        parts: Parts | None,
        background: str | None,
    ) -> None:
        given = PartVocabulary(parts) if parts is not None and not isinstance(parts, PartVocabulary) else parts
        vocabulary = words_with_objects(words, given)
        if background is not None and (background := checked_background(background)) != AUTO:
            background = next((word for word in vocabulary.words if folded(word) == folded(background)), background)
            if background not in vocabulary.words:
                vocabulary = vocabulary.with_words(background)
            if vocabulary.words == (background,):
                raise UsageError(f"{background!r} is the background and the only word; give at least one other")
        self.encode, self.vocabulary = encode, vocabulary
        self.parts = None if given is None else given.spelled_as(vocabulary.words)
        self.background = background
        """The class that stands for "none of the others", or "auto"; see `LabelOptions.background`."""
        self._queries: dict[Background, tuple[ClassQuery, EncodedWords]] = {}

    def __repr__(self) -> str:
        return f"<PreparedVocabulary of {len(self.vocabulary)}: {', '.join(self.vocabulary.words[:5])}>"

    def __getstate__(self) -> dict[str, object]:
        """Pickle without the encoder: other processes attach their model's encoder with `for_encoder`."""
        return {**self.__dict__, "encode": None}

    def for_encoder(self, encode: WordEncoder) -> "PreparedVocabulary":
        """Attach another copy of the encoder to the words and embeddings, after unpickling."""
        copied = copy.copy(self)
        copied.encode = encode
        return copied

    def reused(self, encode: WordEncoder, parts: Parts | None, background: str | None) -> "PreparedVocabulary":
        """Check that another call can use the words: `UsageError` if another model encoded them, or parts are named."""
        if self.encode is not encode:
            raise UsageError("these words were encoded by another model; encode them with this one")
        other = background is not None and folded(checked_background(background)) != folded(self.background or "")
        if parts is not None or other:
            raise UsageError("encoded words include parts and background; give both to `encode`")
        return self

    @property
    def is_single_word(self) -> bool:
        """Whether there is one word, and neither parts nor a background."""
        return self.background is None and self.parts is None and len(self.vocabulary) == 1

    def query(self, background: Background) -> tuple[ClassQuery, EncodedWords]:
        """The words to compare with an image by this background, and their embeddings, which are computed once."""
        by_kind = replace(background, threshold=None)
        if by_kind not in self._queries:
            query = self._query(by_kind)
            self._queries[by_kind] = query, self.encode(query.queried, query.none_word)
        query, text = self._queries[by_kind]
        return replace(query, background=background), text

    def _query(self, background: Background) -> ClassQuery:
        words, stand_ins, rivals = self.vocabulary, tuple[str, ...](), NO_RIVALS
        if background.kind == "class" and background.name is not None:
            words = words.without(background.name)
        if background.kind == "learned" and background.name is None:
            stand_ins = (_unused_name(words),)
        elif background.kind == "fill" and background.stand_ins is not None and self.parts is None:
            rivals = background.stand_ins.rivals(words, kinds_of(self.encode))
            stand_ins = rivals.stand_ins
        elif background.kind != "fill" and background.stand_ins is not None:
            parts = () if self.parts is None else tuple(part.part for part in self.parts.parts)
            stand_ins = background.stand_ins.distinct_from(words, parts, self.encode)
        queried = words.with_words(*stand_ins)
        query = ClassQuery(
            words=self.vocabulary.words,
            queried=queried,
            num_words=len(queried),
            background=background,
            stand_ins=stand_ins,
            rivals=rivals,
            parts=self.parts,
            candidates=(),
        )
        if self.parts is None:
            return query
        queried, candidates = with_part_words(queried, self.parts, query.none_word, stand_ins)
        return replace(query, queried=queried, candidates=candidates)

    def record(self) -> dict[str, object]:
        """The data that results depend on, for resumable calls: digests, and the background's name."""
        return {
            "words": digest_of(self.vocabulary),
            "parts": None if self.parts is None else digest_of(self.parts),
            "background": self.background,
        }

    @property
    def words(self) -> tuple[str, ...]:
        """All classes: the words, objects that only the parts mention, and the background."""
        return self.vocabulary.words

    def __len__(self) -> int:
        return len(self.vocabulary)


def _unused_name(vocabulary: Vocabulary) -> str:
    """A name for "none of the words" that is no word."""
    name, words = "background", set(map(folded, vocabulary.words))
    while name in words:
        name += "'"
    return name
