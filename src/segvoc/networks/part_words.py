"""Words as PartCATSeg sees them: objects, parts whoever has them, and parts of one object."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from segvoc.encoders.base import TextEncoder
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.vocabulary import Vocabulary

POSSESSIVE = "'s "
"""What stands between an object and its part in a published name."""


def split_name(word: str) -> tuple[str, str] | None:
    """Object and part of a word such as "dog's head" (of its first synonym); None: it is no part of an object."""
    owner, possessive, part = (piece.strip() for piece in word.split(", ")[0].partition(POSSESSIVE))
    return (owner, part) if owner and part and possessive else None


@dataclass(frozen=True)
class PartNames:
    """What a list of words is made of, as PartCATSeg sorts it.

    specific: the words that are parts of an object ("dog's head"), in their order. parts, objects: what they are parts
    ("head") and whose ("dog"), each once, sorted; every other word is an object too. part_of, object_of: of each
    specific part, its place in these. places: of each word, its place among the objects, or, beyond them, among the
    specific parts; of the word for none of them, None.
    """

    specific: tuple[str, ...]
    parts: tuple[str, ...]
    objects: tuple[str, ...]
    part_of: tuple[int, ...]
    object_of: tuple[int, ...]
    places: tuple[int | None, ...]

    @classmethod
    def of(cls, words: Iterable[str], none: str | None = None) -> "PartNames":
        """Sort words; `none`: the one that stands for none of the others."""
        words = tuple(words)
        pairs = {word: pair for word in words if word != none and (pair := split_name(word))}
        plain = [word for word in words if word not in pairs and word != none]
        parts = sorted({part for _, part in pairs.values()})
        whole = {word.split(", ")[0]: word for word in plain}  # "sofa, couch" has the parts of a sofa
        pairs = {word: (whole.get(owner, owner), part) for word, (owner, part) in pairs.items()}
        objects = sorted({*(owner for owner, _ in pairs.values()), *plain})
        specific = tuple(pairs)
        at_part, at_object = ({name: at for at, name in enumerate(names)} for names in (parts, objects))
        place = {name: at_object[name] for name in plain}
        place |= {name: len(objects) + at for at, name in enumerate(specific)}
        return cls(
            specific=specific,
            parts=tuple(parts),
            objects=tuple(objects),
            part_of=tuple(at_part[part] for _, part in pairs.values()),
            object_of=tuple(at_object[owner] for owner, _ in pairs.values()),
            places=tuple(place.get(word) for word in words),
        )


@dataclass(frozen=True, eq=False)
class PartWords:
    """Prompt embeddings of both levels of a list of words.

    general: of all parts, then of all objects. specific: of the parts of objects. part_of, object_of: of each of these,
    its place among the general ones. places: of each word its answer among objects and specific parts; -1: none. parts:
    how many general parts there are. names_objects: whether a word is an object itself.
    """

    general: Float[Tensor, "G N C"]
    specific: Float[Tensor, "S N C"]
    part_of: Int[Tensor, " S"]
    object_of: Int[Tensor, " S"]
    places: Int[Tensor, " T"]
    parts: int
    names_objects: bool

    def __len__(self) -> int:
        """How many words."""
        return len(self.places)

    def __getitem__(self, chosen: Int[Tensor, " N"] | slice) -> "PartWords":
        """The same, answering for some of its words."""
        return replace(self, places=self.places[chosen])

    def to(self, where: torch.dtype | torch.device, /) -> "PartWords":
        """The same in another type or on another device; indices keep their type."""
        indices = ("part_of", "object_of", "places")
        moved = {name: getattr(self, name).to(where) for name in ("general", "specific")}
        if isinstance(where, torch.device):
            moved |= {name: getattr(self, name).to(where) for name in indices}
        return replace(self, **moved)


class PartWordEncoder:
    """From words to embeddings of all that a list of them is made of."""

    def __init__(self, encode: VocabularyEncoder) -> None:
        self.encode = encode

    @property
    def templates(self) -> Sequence[str]:
        """Prompts, `{}` stands for the word."""
        return self.encode.templates

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> PartWords:
        """Embed the words; `none`: the one that stands for none of the others, which no text describes."""
        names = PartNames.of(vocabulary.words, none)
        device = next(self.encode.text_encoder.parameters()).device
        return PartWords(
            general=self._embedded((*names.parts, *names.objects), vocabulary),
            specific=self._embedded(names.specific, vocabulary),
            part_of=torch.tensor(names.part_of, dtype=torch.long, device=device),
            object_of=torch.tensor([len(names.parts) + at for at in names.object_of], dtype=torch.long, device=device),
            places=torch.tensor([-1 if at is None else at for at in names.places], device=device),
            parts=len(names.parts),
            names_objects=any(at is not None and at < len(names.objects) for at in names.places),
        )

    def _embedded(self, names: Sequence[str], vocabulary: Vocabulary) -> Float[Tensor, "T N C"]:
        # parts and objects may share a name ("bag", the part of a bag), which a vocabulary may not
        unique = {name: at for at, name in enumerate(dict.fromkeys(names))}
        if not unique:
            encoder = self.encode.text_encoder
            like = next(encoder.parameters())
            return like.new_empty(0, len(self.templates), cast(TextEncoder, encoder).channels)
        found = self.encode(Vocabulary(unique, synonyms=vocabulary.synonyms))
        return found[[unique[name] for name in names]]
