"""Vocabularies encoded once and reused for any number of images, and words for the background."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from segvoc.encoders.word_encoder import EncodedWords, WordEncoder
from segvoc.errors import UsageError
from segvoc.inference.label_options import AUTO, checked_background
from segvoc.inference.part_labels import Candidate, beside_parts, words_with_objects
from segvoc.inference.protocols import Protocol
from segvoc.layers.selection_rules import WithParts
from segvoc.runtime.arrays import Array, array_namespace, normalized
from segvoc.storage.files import digest_of
from segvoc.vocabulary import PartVocabulary, Vocabulary, folded

STUFF = (
    "banner", "bridge", "counter", "curtain", "door", "wood floor", "gravel", "house", "mirror", "net", "platform",
    "playing field", "railroad", "river", "road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent",
    "brick wall", "stone wall", "tile wall", "wood wall", "water", "window blind", "window", "tree", "fence",
    "ceiling", "sky", "cabinet", "floor", "pavement", "mountain", "grass", "dirt", "building", "rock", "wall", "rug",
)  # fmt: skip
"""Surfaces and surroundings: the stuff classes of COCO panoptic (Kirillov et al., CVPR 2019), except those that are
often used as things, such as food and flowers."""


@dataclass(frozen=True, kw_only=True)
class BackgroundWords:
    """Words that stand for the background: pixels where one of them is likelier than all requested words.

    A threshold alone ignores how likely everything else is. Competing with typical surroundings is common practice for
    PASCAL VOC's background (Cha, Mun, Roh: TCL, CVPR 2023, and its successors).
    """

    words: tuple[str, ...] = STUFF
    similarity: float = 0.6
    """Maximum cosine similarity to a requested word or part; more similar words count as synonyms and are dropped."""

    threshold: float = 0.3
    """Default probability below which a pixel is background even if no stand-in wins. It is lower than without
    stand-ins: they catch most of the background, and false background hurts small objects most."""

    margin: float = 0.0
    """Minimum lead of a word over the stand-ins [logits], which cover only some of the surroundings."""

    def beside(self, requested: Vocabulary, parts: Sequence[str], encode: WordEncoder) -> tuple[str, ...]:
        """The background words that differ from all requested words and parts."""
        taken = {name.casefold() for name in (*requested.words, *parts)}
        others = [word for word in self.words if word.casefold() not in taken]
        if not others:
            return ()
        # unit vectors of words: the mean of the embeddings (T P C) of their prompts
        encoded = [cast(Array, encode(vocabulary)) for vocabulary in (requested, Vocabulary(others))]
        xp = array_namespace(encoded[0])
        theirs, ours = (normalized(xp.mean(xp.astype(prompts, xp.float32), axis=1)) for prompts in encoded)
        nearest = xp.max(ours @ theirs.T, axis=1)
        return tuple(word for word, similar in zip(others, nearest.tolist(), strict=True) if similar <= self.similarity)


Parts = str | Mapping[str, Sequence[str]] | PartVocabulary

DEFAULT_THRESHOLD = 0.5
"""Default probability below which a pixel is background."""


@dataclass(frozen=True, kw_only=True)
class ClassQuery:
    """The words queried from a network, and the mapping of its logits to the classes of a result."""

    words: tuple[str, ...]
    """All classes of the result."""
    asked: Vocabulary
    """All queried words: the classes (without a thresholded background), its `stand_ins`, and the words of parts
    ("dog's head")."""
    named: int
    """Number of queried words that aren't parts."""
    background: int | None
    """Index of the thresholded background class, if any."""
    parts: PartVocabulary | None
    candidates: tuple[Candidate, ...]
    none: str | None
    """Name of the background, if the network was trained with "none of the words"; it is queried like a word."""
    rejects: bool
    """Whether pixels where no word is likely enough get the background, or no label without one."""
    stand_ins: tuple[str, ...]
    """Words queried on behalf of "none of the words"."""
    margin: float
    """Minimum lead of a word over the stand-ins [logits]."""
    default_threshold: float | None
    """Probability below which a word is not likely enough, unless the call has one; None: only stand-ins decide."""

    @property
    def asked_indices(self) -> list[int]:
        """Class indices of the queried words, without the background's stand-ins."""
        return [index for index in range(len(self.words)) if index != self.background]

    @property
    def background_name(self) -> str | None:
        """Name of the background, learned or thresholded."""
        return self.none if self.background is None else self.words[self.background]

    def threshold(self, requested: float | None) -> float | None:
        """The threshold in effect: as requested, or the default if words may be rejected."""
        return self.default_threshold if requested is None and self.rejects else requested

    def adapted(self, protocol: Protocol) -> Protocol:
        """Restrict the protocol's class selection to the requested words; selected objects keep their parts."""
        if self.parts is None or protocol.selection is None:
            return protocol
        owners: list[list[int]] = [[] for _ in range(len(self.asked) - self.named)]
        for candidate in self.candidates:
            owners[candidate.place - self.named].append(candidate.owner)
        return replace(protocol, selection=WithParts(protocol.selection, self.named, tuple(map(tuple, owners))))


class PreparedVocabulary:
    """Words, parts and background encoded by a model; created by `Segmenter.encode`.

    Pass it in place of words to `segment` and `segment_many` of the same model. It is a snapshot: if the text encoder's
    weights change, encode the words again.
    """

    def __init__(
        self,
        encode: WordEncoder,
        words: str | Iterable[str] | Mapping[int, str] | Vocabulary | None,
        parts: Parts | None,
        background: str | None,
        *,
        learns_background: bool,
        background_words: BackgroundWords | None = None,
    ) -> None:
        given = PartVocabulary(parts) if parts is not None and not isinstance(parts, PartVocabulary) else parts
        vocabulary = words_with_objects(words, given)
        unlabels = isinstance(background, str) and background.strip() == AUTO
        if background is not None and not unlabels:
            name = checked_background(background)
            name = next((word for word in vocabulary.words if folded(word) == folded(name)), name)
            if name not in vocabulary.words:
                vocabulary = Vocabulary((*vocabulary.words, name))
            if vocabulary.words == (name,):
                raise UsageError(f"{name!r} is the background and the only word; give at least one other")
            background = name
        self.encode, self.vocabulary, self.parts = encode, vocabulary, given
        self.background = None if unlabels else background
        self._unlabels = unlabels
        self._is_single = background is None and given is None and len(vocabulary) == 1
        self._learns_background = learns_background
        self._background_words = background_words
        self._encoded: dict[tuple[bool, bool], tuple[ClassQuery, EncodedWords]] = {}

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
        ours = AUTO if self._unlabels else self.background or ""
        other = background is not None and folded(background.strip()) != folded(ours)
        if parts is not None or other:
            raise UsageError("encoded words include parts and background; give both to `encode`")
        return self

    def query(self, threshold: float | None) -> tuple[ClassQuery, EncodedWords]:
        """The query and its encoded words; a network trained with a background predicts it unless a threshold does."""
        # a single word would fill the image, so it may be rejected unless the call has a threshold
        rejects = self.background is not None or self._unlabels or (self._is_single and threshold is None)
        learned = self._learns_background and rejects and threshold is None
        if (rejects, learned) not in self._encoded:
            query = self._query(rejects, learned)
            self._encoded[rejects, learned] = query, self.encode(query.asked, query.none)
        return self._encoded[rejects, learned]

    def _query(self, rejects: bool, learned: bool) -> ClassQuery:
        """The query, where words are rejected for a map that the network learned, or by stand-ins and a threshold."""
        asked, index, none, stand_ins = self.vocabulary, None, None, ()
        if learned:
            none = self.background or _unused_name(asked)
            stand_ins = () if self.background else (none,)
        elif rejects:
            stand_ins = self._stand_ins()
            if self.background is not None:
                index, asked = asked.words.index(self.background), asked.without(self.background)
        asked = Vocabulary((*asked.words, *stand_ins))
        named, candidates = len(asked), ()
        if self.parts is not None:
            asked, candidates = beside_parts(asked, self.parts, none, stand_ins)
        words = self._background_words
        return ClassQuery(
            words=self.vocabulary.words,
            asked=asked,
            named=named,
            background=index,
            parts=self.parts,
            candidates=candidates,
            none=none,
            rejects=rejects and not (learned and self.background),
            stand_ins=stand_ins,
            margin=0.0 if words is None or learned else words.margin,
            default_threshold=None if learned else DEFAULT_THRESHOLD if words is None else words.threshold,
        )

    def _stand_ins(self) -> tuple[str, ...]:
        if self._background_words is None:
            return ()
        parts = () if self.parts is None else tuple(part.part for part in self.parts.parts)
        words = self.vocabulary if self.background is None else self.vocabulary.without(self.background)
        return self._background_words.beside(words, parts, self.encode)

    def record(self) -> dict[str, object]:
        """The data that results depend on, for resumable calls: digests, and the background's name."""
        return {
            "words": digest_of(self.vocabulary),
            "parts": None if self.parts is None else digest_of(self.parts),
            "background": AUTO if self._unlabels else self.background,
        }

    @property
    def words(self) -> tuple[str, ...]:
        """All classes: the words, objects that only the parts mention, and the background."""
        return self.vocabulary.words

    def __len__(self) -> int:
        return len(self.vocabulary)


def _unused_name(vocabulary: Vocabulary) -> str:
    """A name for "none of the words" that is no word."""
    name = "background"
    while name in vocabulary.words:
        name += "'"
    return name
