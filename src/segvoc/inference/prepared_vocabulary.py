"""Vocabularies encoded once and reused for any number of images, and the words that a call compares with an image."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from typing import cast

import numpy as np

from segvoc.encoders.lexicon import WordFacts
from segvoc.encoders.word_encoder import EncodedWords, WordEncoder, lexicon_of
from segvoc.errors import UsageError
from segvoc.inference.decision import AUTO, Background, GroupName, Rules, WordTable, competition, differ
from segvoc.inference.label_options import checked_background
from segvoc.inference.part_labels import Candidate, with_part_words, words_with_objects
from segvoc.inference.protocols import Protocol
from segvoc.inference.word_colors import KEPT, ColoredWords, colored_words
from segvoc.runtime.arrays import Array
from segvoc.storage.files import digest_of
from segvoc.vocabulary import PartVocabulary, Vocabulary, parts_by_object
from segvoc.vocabulary.names import folded

Parts = str | Mapping[str, Sequence[str]] | PartVocabulary


@dataclass(frozen=True, kw_only=True)
class ClassQuery:
    """The words that a call compares with an image, and the mapping of their logits to the classes of a result."""

    words: tuple[str, ...]
    """All classes of the result."""
    queried: Vocabulary
    """All words compared with the image: the classes (without a background class), the `unasked` words, and the words
    of parts ("dog's head")."""
    num_words: int
    """Number of queried words that aren't parts."""
    rules: Rules
    groups: Mapping[GroupName, tuple[int, ...]]
    """The words that the rules are about: their indices among the queried ones, ascending; no group is empty."""
    is_open: bool
    """See `segvoc.inference.decision.Competition`."""
    facts: tuple[WordFacts, ...]
    """What the lexicon knows of the asked words."""
    colored: tuple[ColoredWords, ...]
    """Asked words between which colors decide."""
    parts: PartVocabulary | None
    candidates: tuple[Candidate, ...]

    @property
    def background(self) -> Background:
        """The call's background."""
        return self.rules.background

    @property
    def background_index(self) -> int | None:
        """Index of the background class, which isn't queried; None without one."""
        return self.words.index(self.background.name) if self.background.kind == "class" else None

    @property
    def class_indices(self) -> list[int]:
        """Class indices of the asked words."""
        return [index for index in range(len(self.words)) if index != self.background_index]

    @property
    def unasked(self) -> tuple[str, ...]:
        """Words queried though nobody asked for them."""
        return self.queried.words[len(self.class_indices) : self.num_words]

    @property
    def none_index(self) -> int | None:
        """Index of the queried word for "none of the words", of a model that learned one."""
        if self.background.kind != "learned":
            return None
        return self.words.index(self.background.name) if self.background.name else len(self.words)

    def group(self, name: GroupName) -> tuple[int, ...]:
        """Indices of the words of a group; none if the call has no such words."""
        return self.groups.get(name, ())

    def adapted(self, protocol: Protocol) -> Protocol:
        """Restrict the protocol's class selection to the asked words; selected objects keep their parts.

        Unasked words take no place of a number of words to keep, and compete as long as any asked word is left. Where
        votes decide the number, they vote too, and drop no words that colors decide between (up to `KEPT` words).
        """
        selection = protocol.selection
        if selection is None:
            return protocol
        if self.colored and selection.share is not None:
            selection = replace(selection, least=max(selection.least, min(self.num_words, KEPT)))
        asked = len(self.class_indices) if selection.share is None else self.num_words
        owners: list[list[int]] = [list(range(asked)) for _ in range(asked, self.num_words)]
        owners += [[] for _ in range(self.num_words, len(self.queried))]
        for candidate in self.candidates:
            owners[candidate.place - asked].append(candidate.owner)
        selection = replace(selection, owners=tuple(map(tuple, owners))) if owners else selection
        return replace(protocol, selection=selection)


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
        as_given = background or ""
        if background is not None and (background := checked_background(background)) != AUTO:
            background = next((word for word in vocabulary.words if folded(word) == folded(background)), background)
            if background not in vocabulary.words:
                if "," in as_given and "=" not in as_given:
                    fix = "name one class, and write its synonyms with '=': 'other = rest'"
                    raise UsageError(f"the background {as_given!r} may be several words; {fix}")
                vocabulary = vocabulary.with_words(background)
            if vocabulary.words == (background,):
                raise UsageError(f"{background!r} is the background and the only word; give at least one other")
        self.encode, self.vocabulary = encode, vocabulary
        self.parts = None if given is None else given.spelled_as(vocabulary.words)
        self.background = background
        """The class that stands for "none of the others", or "auto"; see `LabelOptions.background`."""
        self._queries: dict[Rules, tuple[ClassQuery, EncodedWords]] = {}

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
        """Whether there is one word, and no background."""
        return self.background is None and len(self.vocabulary) == 1

    def query(self, rules: Rules) -> tuple[ClassQuery, EncodedWords]:
        """The words to compare with an image by these rules, and their embeddings, which are computed once."""
        # a threshold changes no words
        known = replace(rules, background=replace(rules.background, threshold=None))
        if known not in self._queries:
            query = self._query(known)
            none = None if query.none_index is None else query.queried.words[query.none_index]
            self._queries[known] = query, self.encode(query.queried, none)
        query, text = self._queries[known]
        return replace(query, rules=rules), text

    def _query(self, rules: Rules) -> ClassQuery:
        words, lexicon, decision = self.vocabulary, lexicon_of(self.encode), rules.decision
        if rules.background.kind == "class" and rules.background.name is not None:
            words = words.without(rules.background.name)
        names = words.first_names
        table = WordTable.of(names, lexicon, decision, np)
        found, asked = competition(table, decision.most_open), range(len(words))
        firsts = [group[0] for group in decision.common]
        unasked: dict[GroupName, Sequence[str]] = {
            "stand-ins": self._stand_ins(words, rules),
            "similar": list(compress(firsts, found.similar)),
            "others": list(compress(firsts, found.others)),
            "unnamed wholes": list(compress(decision.wholes, found.unnamed)),
        }
        groups: dict[GroupName, tuple[int, ...]] = {
            "asked": tuple(asked),
            "surfaces": tuple(compress(asked, found.surfaces)),
            "parts": tuple(compress(asked, found.parts)),
            "wholes": tuple(compress(asked, found.wholes)),
        }
        queried = words.with_words(*(word for some in unasked.values() for word in some))
        numbers = iter(range(len(words), len(queried)))
        groups |= {name: tuple(islice(numbers, len(some))) for name, some in unasked.items()}
        facts = tuple(map(lexicon.of, names))
        query = ClassQuery(
            words=self.vocabulary.words,
            queried=queried,
            num_words=len(queried),
            rules=rules,
            groups={name: some for name, some in groups.items() if some},
            is_open=bool(found.is_open),
            facts=facts,
            colored=colored_words(facts) if decision.compares_colors else (),
            parts=self.parts,
            candidates=(),
        )
        if self.parts is None:
            return query
        none = None if query.none_index is None else queried.words[query.none_index]
        queried, candidates = with_part_words(queried, self.parts, none, query.unasked)
        return replace(query, queried=queried, candidates=candidates)

    def _stand_ins(self, words: Vocabulary, rules: Rules) -> tuple[str, ...]:
        """The words that compete for the background: those that differ from all requested words and parts."""
        stand_ins = rules.decision.stand_ins
        if rules.background.kind == "learned" and rules.background.name is None:
            return (_unused_name(words),)
        if stand_ins is None:
            return ()
        parts = () if self.parts is None else tuple(part.part for part in self.parts.parts)
        taken = {name.casefold() for name in (*words.words, *parts)}
        others = [word for word in stand_ins.words if word.casefold() not in taken]
        if not others:
            return ()
        encoded = [cast(Array, self.encode(vocabulary)) for vocabulary in (words, Vocabulary(others))]
        return tuple(compress(others, differ(encoded[0], encoded[1], stand_ins.similarity).tolist()))

    def record(self) -> dict[str, object]:
        """The data that results depend on, for resumable calls: digests, and the background's name."""
        return {
            "words": digest_of(self.vocabulary),
            "parts": None if self.parts is None else digest_of(self.parts),
            "background": self.background,
        }

    @property
    def names(self) -> tuple[str, ...]:
        """All that the image is compared with: the words, and those of their parts."""
        of_parts = () if self.parts is None else parts_by_object(self.words, self.parts.parts)
        of_objects = zip(self.words, of_parts, strict=False)
        return (*self.words, *(part.word(name) for name, some in of_objects for _, part in some))

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
