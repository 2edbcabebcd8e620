"""The words as PartCATSeg groups them: objects, generic parts, and parts of a specific object."""

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
"""Separates an object from its part in the published names."""


def split_name(word: str) -> tuple[str, str] | None:
    """Split a word such as "dog's head" (its first synonym) into object and part; None if it isn't a part."""
    owner, possessive, part = (piece.strip() for piece in word.split(", ")[0].partition(POSSESSIVE))
    return (owner, part) if owner and part and possessive else None


@dataclass(frozen=True)
class PartNames:
    """The objects and parts in a list of words, grouped as in PartCATSeg."""

    specific: tuple[str, ...]
    """Words that are parts of an object ("dog's head"), in their order."""
    parts: tuple[str, ...]
    """Names of these parts ("head"), unique and sorted."""
    objects: tuple[str, ...]
    """Names of their objects ("dog") and all words that aren't parts, unique and sorted."""
    part_of: tuple[int, ...]
    """For each specific part, its index in `parts`."""
    object_of: tuple[int, ...]
    """For each specific part, the index of its object in `objects`."""
    places: tuple[int | None, ...]
    """For each word, its index in the objects followed by the specific parts; None for the word for "none of them"."""

    @classmethod
    def of(cls, words: Iterable[str], none: str | None = None) -> "PartNames":
        """Group the words; `none` is the word that stands for "none of the others"."""
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
    """Prompt embeddings of a list of words, for both levels."""

    general: Float[Tensor, "G N C"]
    """Embeddings of all generic parts, followed by all objects."""
    specific: Float[Tensor, "S N C"]
    """Embeddings of the parts of objects."""
    part_of: Int[Tensor, " S"]
    """For each specific part, the index of its part in `general`."""
    object_of: Int[Tensor, " S"]
    """For each specific part, the index of its object in `general`."""
    places: Int[Tensor, " T"]
    """For each word, the index of its logits in the objects followed by the specific parts; -1 for "none"."""
    parts: int
    """Number of generic parts."""
    names_objects: bool
    """Whether any of the words is an object."""

    def __len__(self) -> int:
        """Number of words."""
        return len(self.places)

    def __getitem__(self, chosen: Int[Tensor, " N"] | slice) -> "PartWords":
        """A copy that is restricted to some of the words."""
        return replace(self, places=self.places[chosen])

    def to(self, where: torch.dtype | torch.device, /) -> "PartWords":
        """A copy with another dtype or on another device; indices keep their dtype."""
        indices = ("part_of", "object_of", "places")
        moved = {name: getattr(self, name).to(where) for name in ("general", "specific")}
        if isinstance(where, torch.device):
            moved |= {name: getattr(self, name).to(where) for name in indices}
        return replace(self, **moved)


class PartWordEncoder:
    """Computes the embeddings of the objects and parts in a list of words."""

    def __init__(self, encode: VocabularyEncoder) -> None:
        self.encode = encode

    @property
    def templates(self) -> Sequence[str]:
        """Prompt templates; `{}` stands for the word."""
        return self.encode.templates

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> PartWords:
        """Embed the words; `none` is the word for "none of the others", which gets no text embedding."""
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
        # parts and objects may share a name ("bag", the part of a bag), but names in a vocabulary are unique
        unique = {name: at for at, name in enumerate(dict.fromkeys(names))}
        if not unique:
            encoder = self.encode.text_encoder
            like = next(encoder.parameters())
            return like.new_empty(0, len(self.templates), cast(TextEncoder, encoder).channels)
        found = self.encode(Vocabulary(unique, synonyms=vocabulary.synonyms))
        return found[[unique[name] for name in names]]
