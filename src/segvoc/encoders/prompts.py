"""Prompts: of parts, and the 80 that OpenAI's CLIP classifies ImageNet with (Radford et al., arXiv:2103.00020).

`segvoc.models.presets` says which templates each preset uses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


def embed_names(encode: PromptedWordEncoder, names: Sequence[str], vocabulary: Vocabulary) -> Float[Array, "T P C"]:
    """Embed names of which some may be equal, as a part and an object may be ("bag", the part of a bag).

    Args:
        encode: embeds a vocabulary, whose names are unique.
        names: T names, at least one.
        vocabulary: the words that they belong to, which says how synonyms are read.
    """
    unique = {name: at for at, name in enumerate(dict.fromkeys(names))}
    found = encode(Vocabulary(unique, synonyms=vocabulary.synonyms))
    return found[[unique[name] for name in names]]


IMAGENET_TEMPLATES = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)
"""In their published order, by which released weights know them; `{}` stands for the word."""
