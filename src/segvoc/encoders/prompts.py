"""Prompts: of parts, and the 80 that OpenAI's CLIP classifies ImageNet with (Radford et al., arXiv:2103.00020).

`segvoc.models.presets` says which templates each preset uses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float

from segvoc.arrays import Array
from segvoc.encoders.word_encoder import PromptedWordEncoder
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


def embed_names(encode: PromptedWordEncoder, names: Sequence[str], vocabulary: Vocabulary) -> Float[Array, "T P C"]:
    """Embed T names, at least one, which may repeat, as a part and an object may ("bag", the part of a bag).

    The vocabulary that the names are from defines how synonyms are read.
    """
    unique = {name: at for at, name in enumerate(dict.fromkeys(names))}
    found = encode(Vocabulary(unique, synonyms=vocabulary.synonyms))
    return found[[unique[name] for name in names]]


IMAGENET_TEMPLATES = tuple(Path(__file__).with_name("imagenet_templates.txt").read_text(encoding="utf-8").splitlines())
"""In their published order, which released weights rely on; `{}` stands for the word."""
