"""Prompts: of parts, and the 80 that OpenAI's CLIP classifies ImageNet with (Radford et al., arXiv:2103.00020).

`segvoc.models.presets` says which templates each preset uses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from array_api_compat import device
from jaxtyping import Float, Int

from segvoc.encoders.word_encoder import PromptedWordEncoder
from segvoc.runtime.arrays import Array, array_namespace
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
    """For each word, its index in the objects followed by the specific parts; None for "none of them"."""

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
    """Prompt embeddings of a list of words, for both levels of a part network, as arrays of the text encoder."""

    general: Float[Array, "G P C"]
    """Embeddings of all generic parts, followed by all objects."""
    specific: Float[Array, "S P C"]
    """Embeddings of the parts of objects."""
    part_of: Int[Array, " S"]
    """For each specific part, the index of its part in `general`."""
    object_of: Int[Array, " S"]
    """For each specific part, the index of its object in `general`."""
    places: Int[Array, " T"]
    """For each word, the index of its logits in the objects followed by the specific parts; -1 for "none"."""
    parts: int
    """Number of generic parts."""
    names_objects: bool
    """Whether any of the words is an object."""

    def __len__(self) -> int:
        """Number of words."""
        return len(self.places)

    def __getitem__(self, chosen: Int[Array, " N"] | slice) -> "PartWords":
        """A copy that is restricted to some of the words."""
        return replace(self, places=self.places[chosen])

    def to(self, where: Any, /) -> "PartWords":
        """A copy with another `torch.dtype`, which indices don't get, or on another `torch.device`."""
        indices = () if type(where).__name__ == "dtype" else ("part_of", "object_of", "places")
        return replace(self, **{name: getattr(self, name).to(where) for name in ("general", "specific", *indices)})


class PartWordEncoder:
    """Computes the embeddings of the objects and parts in a list of words."""

    def __init__(self, encode: PromptedWordEncoder) -> None:
        self.encode = encode

    @property
    def templates(self) -> Sequence[str]:
        """Prompt templates; `{}` stands for the word."""
        return self.encode.templates

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> PartWords:
        """Embed the words; `none` is the word for "none of the others", which gets no text embedding."""
        names = PartNames.of(vocabulary.words, none)
        general, specific = (*names.parts, *names.objects), names.specific
        # names may repeat, as a part and an object may ("bag", the part of a bag)
        unique = {name: at for at, name in enumerate(dict.fromkeys((*general, *specific)))}
        embeddings = self.encode(Vocabulary([*unique] or ["object"]))
        xp = array_namespace(embeddings)
        index = partial(xp.asarray, dtype=xp.int64, device=device(embeddings))
        return PartWords(
            general=embeddings[index([unique[name] for name in general])],
            specific=embeddings[index([unique[name] for name in specific])],
            part_of=index(names.part_of),
            object_of=index([len(names.parts) + at for at in names.object_of]),
            places=index([-1 if at is None else at for at in names.places]),
            parts=len(names.parts),
            names_objects=any(at is not None and at < len(names.objects) for at in names.places),
        )


IMAGENET_TEMPLATES = tuple(Path(__file__).with_name("imagenet_templates.txt").read_text(encoding="utf-8").splitlines())
"""In their published order, which released weights rely on; `{}` stands for the word."""

CLIP_TEMPLATE = "A photo of a {} in the scene"
"""Prompt template of the published networks."""
