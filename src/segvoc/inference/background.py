"""The background of a call: what becomes of pixels that show none of the words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from segvoc.encoders.word_encoder import WordEncoder
from segvoc.encoders.word_kinds import WordKinds
from segvoc.runtime.arrays import Array, array_namespace, normalized
from segvoc.vocabulary import Vocabulary, folded

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
class Whole:
    """A thing, and words for its parts; see `Rivals`."""

    name: str
    parts: tuple[str, ...]
    """Words for its parts and for what it wears, in lower case and singular."""
    other_names: tuple[str, ...] = ()
    """Words that leave no part of it without a word, as "skin" does beside clothes."""


WHOLES = (
    Whole(
        name="person",
        other_names=("skin", "face", "body"),
        parts=(
            "apron", "arm", "beard", "belt", "blazer", "blouse", "bodysuit", "boots", "bra", "bracelet", "cap", "cape",
            "cardigan", "clogs", "coat", "dress", "ear", "earrings", "eye", "eyes", "finger", "flats", "foot",
            "glasses", "glove", "gloves", "hair", "hand", "hat", "heels", "helmet", "hoodie", "jacket", "jeans",
            "jersey", "jumper", "knee", "leg", "leggings", "life jacket", "loafers", "mitten", "mouth", "mustache",
            "neck", "necklace", "nose", "panties", "pants", "pumps", "romper", "sandals", "scarf", "shirt", "shoes",
            "shorts", "shoulder", "skirt", "sneakers", "socks", "space suit", "stockings", "suit", "sunglasses",
            "sweater", "sweatshirt", "swimwear", "t-shirt", "tights", "uniform", "vest", "wedges", "wet suit",
        ),
    ),
    Whole(
        name="car",
        parts=(
            "wheel", "tire", "windshield", "windscreen", "bumper", "front bumper", "back bumper", "headlight",
            "taillight", "tail light", "hood", "bonnet", "license plate", "number plate", "grille", "fender",
            "tailgate", "side mirror", "hubcap", "wiper", "front glass", "back glass", "car door", "front left door",
            "front right door", "back left door", "back right door", "left mirror", "right mirror", "front left light",
            "front right light", "back left light", "back right light",
        ),
    ),
)  # fmt: skip
"""Wholes that compete with their parts and what they wear."""


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
    """Score [sigmoid of the logit] below which a pixel is background even if no stand-in wins, in calls without a
    threshold of their own. It is lower than without stand-ins: they catch most of the background, and false background
    hurts small objects most."""

    margin: float = 0.0
    """Minimum lead of a word over the stand-ins [logits], which cover only some of the surroundings."""

    common: tuple[tuple[str, ...], ...] = ()
    """Words for surroundings in groups of much the same, of which the first competes in calls that fill the image; see
    `Rivals`."""

    most_open: int = 0
    """Words up to which a list may leave out what surrounds its things; a longer one is taken as complete."""

    wholes: tuple[Whole, ...] = ()
    """Things that compete with their parts; see `Rivals`."""

    lead: float = 0.0
    """How far a whole must be ahead of a part of it [logits], whose pixels are its own, too; and surroundings of all
    words, which nobody asked for."""

    @property
    def part_kinds(self) -> WordKinds:
        """The wholes by words for their parts: "leather jacket" is of a person."""
        return _part_kinds(self.wholes)

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

    def rivals(self, requested: Vocabulary, kinds: WordKinds) -> "Rivals":
        """The requested words that name surroundings, parts and wholes, and the words that compete beside them.

        Words are what their kind is: "lawn" is grass, and names surroundings.
        """
        names = [folded(word) for word in requested.first_names]
        of_words = [kinds.of(name) or name for name in names]
        surroundings = tuple(at for at, kind in enumerate(of_words) if kind in self.words)
        unasked = [group for group in self.common if group[0] not in of_words]
        alike = tuple(group[0] for group in unasked if set(group) & set(of_words))
        others = tuple(group[0] for group in unasked if group[0] not in alike)
        wholes = {whole.name for whole in self.wholes}
        whole_of = [
            None if kind in wholes else self.part_kinds.of(name) for name, kind in zip(names, of_words, strict=True)
        ]
        parts = {at: whole for at, whole in enumerate(whole_of) if whole is not None}
        named, absent = list[int](), list[str]()
        for whole in self.wholes:
            if whole.name in parts.values():
                own = [at for at, kind in enumerate(of_words) if kind == whole.name and at not in parts]
                named += own
                absent += [] if own or set(names) & set(whole.other_names) else [whole.name]
        is_open = len(names) <= self.most_open or bool(absent)
        compete = is_open or 0 < len(surroundings) < len(names)
        return Rivals(
            surroundings=surroundings if compete and unasked else (),
            alike=alike if compete else (),
            others=others if compete else (),
            is_open=is_open,
            parts=tuple(parts),
            wholes=tuple(sorted(named)),
            unnamed_wholes=tuple(absent),
        )


@cache
def _part_kinds(wholes: tuple[Whole, ...]) -> WordKinds:
    return WordKinds({whole.name: whole.parts for whole in wholes})


@dataclass(frozen=True)
class Rivals:
    """Words of a call that compete by rules of their own, and words that compete though nobody asked for them.

    - If nobody names the water around a rock, "boat" may win it: it is more like a boat than like a rock. So where
      other surroundings are likelier than all words, a pixel gets the likeliest word for surroundings.
    - If nobody names the sky behind a bird, no word is right there. So where surroundings that are unlike all of a
      short list are far ahead of its words, and of what is much like those, a pixel stays unlabeled.
    - A pixel of a shirt is one of a man, too. So a part takes it from its whole, unless that is far ahead.
    - If only "glasses" are asked for, they would take the face. So a pixel of a part stays unlabeled where a whole is
      far ahead.
    """

    surroundings: tuple[int, ...] = ()
    """Requested words for surroundings, as indices."""
    alike: tuple[str, ...] = ()
    """Other words for much the same surroundings."""
    others: tuple[str, ...] = ()
    """Other surroundings."""
    is_open: bool = False
    """Whether pixels of those may stay unlabeled."""
    parts: tuple[int, ...] = ()
    """Requested words for parts, as indices."""
    wholes: tuple[int, ...] = ()
    """Requested words for their wholes, as indices."""
    unnamed_wholes: tuple[str, ...] = ()
    """Wholes that weren't asked for, whose pixels get no part."""

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """All words that compete though nobody asked for them."""
        return (*self.alike, *self.others, *self.unnamed_wholes)


NO_RIVALS = Rivals()


@dataclass(frozen=True, kw_only=True)
class Background:
    """What becomes of pixels that show none of the words."""

    kind: Literal["fill", "unlabeled", "class", "learned"]
    """"fill": every pixel gets its most likely word; see `Rivals`. "unlabeled": unlikely pixels have no label. "class":
    they get the class `name`, which isn't compared with the image. "learned": the network predicts a map of its own
    for them."""
    name: str | None = None
    """Its class in the result; None where such pixels have no label."""
    threshold: float | None = None
    """Confidence in [0, 1] below which a pixel is unlikely; None: the stand-ins, a map of the network's, or no rule
    decides."""
    stand_ins: BackgroundWords | None = None
    """Words that compete on its behalf, or on that of surroundings that fill an image; None: none compete."""

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
        if requested is None and threshold is None and not is_single_word:
            return cls(kind="fill", stand_ins=stand_ins)
        if requested is None and threshold is not None:
            return cls(kind="unlabeled", threshold=threshold)
        name = None if requested == AUTO else requested
        if learned and threshold is None:
            return cls(kind="learned", name=name)
        if threshold is None and stand_ins is None:
            threshold = DEFAULT_THRESHOLD
        return cls(kind="unlabeled" if name is None else "class", name=name, threshold=threshold, stand_ins=stand_ins)

    @property
    def margin(self) -> float:
        """Minimum lead of a word over the words or the map that compete for the background [logits]."""
        return 0.0 if self.stand_ins is None else self.stand_ins.margin
