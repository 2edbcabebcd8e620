"""The words as PartCATSeg groups them: objects, generic parts, and parts of a specific object."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from segvoc.encoders.base import TextEncoder
from segvoc.encoders.part_names import PartNames, embed_names
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.vocabulary import Vocabulary


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
        if not names:
            encoder = self.encode.text_encoder
            like = next(encoder.parameters())
            return like.new_empty(0, len(self.templates), cast(TextEncoder, encoder).channels)
        return embed_names(self.encode, names, vocabulary)
