"""Words that compete with the requested ones on behalf of the background."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from jaxtyping import Float

from segvoc.arrays import Array, array_namespace, normalized
from segvoc.encoders.word_encoder import WordEncoder
from segvoc.vocabulary import Vocabulary

STUFF = (
    "banner", "bridge", "counter", "curtain", "door", "wood floor", "gravel", "house", "mirror", "net", "platform",
    "playing field", "railroad", "river", "road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent",
    "brick wall", "stone wall", "tile wall", "wood wall", "water", "window blind", "window", "tree", "fence",
    "ceiling", "sky", "cabinet", "floor", "pavement", "mountain", "grass", "dirt", "building", "rock", "wall", "rug",
)  # fmt: skip
"""Surfaces and surroundings: the stuff of COCO's panoptic annotations (Kirillov et al., CVPR 2019), without kinds that
are often asked for as things, such as food and flowers."""


@dataclass(frozen=True, kw_only=True)
class BackgroundWords:
    """Words that stand for the background: where one of them is likelier than all requested words, it is background.

    A threshold alone asks whether a word is likely, however unlikely everything else is. Comparing it with what usually
    surrounds things is common practice for PASCAL VOC's background (Cha, Mun, Roh: TCL, CVPR 2023, and its successors).
    """

    words: tuple[str, ...] = STUFF
    similarity: float = 0.6
    """Largest cosine similarity to a requested word or part; words that are more similar to one mean the same."""

    threshold: float = 0.3
    """Default probability below which a pixel is background although no such word wins: less than without them, since
    they catch most of it, and a false background costs a small object more than its surroundings."""

    def beside(self, requested: Vocabulary, parts: Sequence[str], encode: WordEncoder) -> tuple[str, ...]:
        """The words that differ from everything that is requested."""
        taken = {name.casefold() for name in (*requested.words, *parts)}
        others = [word for word in self.words if word.casefold() not in taken]
        if not others:
            return ()
        theirs, ours = (_directions(encode(vocabulary)) for vocabulary in (requested, Vocabulary(others)))
        nearest = array_namespace(ours).max(ours @ theirs.T, axis=1)
        return tuple(word for word, similar in zip(others, nearest.tolist(), strict=True) if similar <= self.similarity)


def _directions(encoded: object) -> Float[Array, "T C"]:
    """Unit vectors of words: the mean of the embeddings (T P C) of their prompts."""
    prompts = cast(Array, encoded)
    xp = array_namespace(prompts)
    return normalized(xp.mean(xp.astype(prompts, xp.float32), axis=1))
