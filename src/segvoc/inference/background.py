"""The background of a call: what becomes of pixels that show none of the words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from segvoc.encoders.word_encoder import WordEncoder
from segvoc.runtime.arrays import Array, array_namespace, normalized
from segvoc.vocabulary import Vocabulary

AUTO = "auto"
"""As `LabelOptions.background`: pixels where no word is likely enough are unlabeled."""

DEFAULT_THRESHOLD = 0.5
"""Default probability below which a pixel is background."""

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

    def distinct_from(self, requested: Vocabulary, parts: Sequence[str], encode: WordEncoder) -> tuple[str, ...]:
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


@dataclass(frozen=True, kw_only=True)
class Background:
    """What becomes of pixels that show none of the words."""

    kind: Literal["fill", "unlabeled", "class", "learned"]
    """"fill": every pixel gets its most likely word. "unlabeled": unlikely pixels have no label. "class": they get the
    class `name`, which isn't compared with the image. "learned": the network predicts a map of its own for them."""
    name: str | None = None
    """Its class in the result; None where such pixels have no label."""
    threshold: float | None = None
    """Probability in [0, 1] below which a pixel is unlikely; None: only a map of the network's, or no rule, decides."""
    stand_ins: BackgroundWords | None = None
    """Words that compete on its behalf; None: the threshold alone decides."""

    @classmethod
    def of(
        cls,
        requested: str | None,
        threshold: float | None,
        *,
        is_single_word: bool,
        learned: bool,
        stand_ins: BackgroundWords | None,
    ) -> "Background":
        """The background of a call by its options of the same names, the words and what the model can do.

        A single word would fill the image, so it leaves unlikely pixels unlabeled, unless there is a threshold. A
        network that `learned` a map for "none of the words" uses it, unless there is a threshold.
        """
        if requested is None and (threshold is not None or not is_single_word):
            return cls(kind="fill") if threshold is None else cls(kind="unlabeled", threshold=threshold)
        name = None if requested == AUTO else requested
        if learned and threshold is None:
            return cls(kind="learned", name=name)
        if threshold is None:
            threshold = DEFAULT_THRESHOLD if stand_ins is None else stand_ins.threshold
        return cls(kind="unlabeled" if name is None else "class", name=name, threshold=threshold, stand_ins=stand_ins)

    @property
    def margin(self) -> float:
        """Minimum lead of a word over the words or the map that compete for the background [logits]."""
        return 0.0 if self.stand_ins is None else self.stand_ins.margin
