"""What becomes of a pixel: which words compete for it, which one it gets, and how likely that is right.

A model's `Decision` says by which rules. `competition` finds the groups of a call's words that rules are about, and
`decide` applies the rules to the strongest word of each group. Both are functions of arrays, which exported folders
also have as programs, so that every door decides the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any, Literal, NamedTuple

from jaxtyping import Bool, Float, Float32, Int

from segvoc.encoders.lexicon import Lexicon
from segvoc.inference.confidence import ConfidenceModel
from segvoc.inference.part_labels import PartsAgainst
from segvoc.inference.protocols import Window
from segvoc.runtime.arrays import Array, array_namespace, normalized, sigmoid
from segvoc.vocabulary.names import folded

AUTO = "auto"
"""As `LabelOptions.background`: pixels where no word is likely enough are unlabeled."""

DEFAULT_THRESHOLD = 0.5
"""Default probability below which a pixel is background."""


@dataclass(frozen=True, kw_only=True)
class StandIns:
    """Words that stand for the background: pixels where one of them is likelier than all requested words.

    A threshold alone ignores how likely everything else is. Competing with typical surroundings is common practice for
    PASCAL VOC's background (Cha, Mun, Roh: TCL, CVPR 2023, and its successors).
    """

    words: tuple[str, ...]
    similarity: float
    """Maximum cosine similarity to a requested word or part; more similar words count as synonyms and are dropped."""
    threshold: float
    """Score [sigmoid of the logit] below which a pixel is background even if no stand-in wins, in calls without a
    threshold of their own. It is lower than without stand-ins: they catch most of the background, and false background
    hurts small objects most."""
    margin: float = 0.0
    """Minimum lead of a word over the stand-ins [logits], which cover only some of the surroundings."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The rules by which a model's pixels get their words, and the probability that these are right.

    - If nobody names the water around a rock, "boat" may win it: it is more like a boat than like a rock. So where
      other surroundings are likelier than all words, a pixel gets the likeliest word for surroundings.
    - If nobody names the sky behind a bird, no word is right there. So where surroundings that are unlike all of a
      short list are far ahead of its words, and of what is much like those, a pixel stays unlabeled.
    - A pixel of a shirt is one of a man, too. So a part takes it from its whole, unless that is far ahead.
    - If only "glasses" are asked for, they would take the face. So a pixel of a part stays unlabeled where a whole is
      far ahead.
    """

    stand_ins: StandIns | None = None
    """Words that stand for the background; None: only a threshold decides it."""
    common: tuple[tuple[str, ...], ...] = ()
    """Words for surroundings in groups of much the same, of which the first competes in calls that fill the image."""
    most_open: int = 0
    """Words up to which a list may leave out what surrounds its things; a longer one is taken as complete."""
    wholes: tuple[str, ...] = ()
    """Wholes of the lexicon that compete with their parts."""
    lead: float = 0.0
    """How far a whole must be ahead of a part of it [logits], whose pixels are its own, too; and surroundings of all
    words, which nobody asked for."""
    parts_against: PartsAgainst = "object"
    """The rule by which a pixel of an object gets one of its parts."""
    confidence: ConfidenceModel | None = None
    """How likely labels are right; None: the confidence is the sigmoid of a label's score."""
    better: str | None = None
    """The network that labels an image better than this one, and what it costs, for hints; None: none is known."""
    compares_colors: bool = False
    """Whether pixels decide between words for one kind of thing in several colors; see `word_colors`."""
    unsure_below: float = 0.22
    """Expected share of right pixels below which perhaps none of the words is in an image."""
    windows: tuple[Window, ...] = ()
    """Windows that `confidence` was fitted for."""
    weights: str | None = None
    """Digest of the weights that all of this was fitted to (SHA-256 of their file); None: of any published weights."""

    @property
    def unasked(self) -> tuple[str, ...]:
        """All words that may compete though nobody asked for them."""
        stand_ins = () if self.stand_ins is None else self.stand_ins.words
        return tuple(dict.fromkeys((*stand_ins, *(group[0] for group in self.common), *self.wholes)))

    @property
    def margin(self) -> float:
        """Minimum lead of a word over the words or the map that compete for the background [logits]."""
        return 0.0 if self.stand_ins is None else self.stand_ins.margin

    def of_other_weights(self) -> "Decision":
        """The decision of the same network with other weights, to which nothing was fitted: scores alone decide."""
        return Decision(parts_against=self.parts_against)


PLAIN_DECISION = Decision()
"""The scores alone decide."""


@dataclass(frozen=True, kw_only=True)
class Background:
    """What becomes of pixels that show none of the words."""

    kind: Literal["fill", "unlabeled", "class", "learned"]
    """"fill": every pixel gets its most likely word; see `Decision`. "unlabeled": unlikely pixels have no label.
    "class": they get the class `name`, which isn't compared with the image. "learned": the network, or taught words,
    learned a map of their own for them."""
    name: str | None = None
    """Its class in the result; None where such pixels have no label."""
    threshold: float | None = None
    """Confidence in [0, 1] below which a pixel is unlikely; None: the stand-ins, a learned map, or no rule decides."""


FILL = Background(kind="fill")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides the pixels of a call: its background, and what holds in it of the model's decision."""

    background: Background
    decision: Decision

    @classmethod
    def of(
        cls,
        decision: Decision,
        requested: str | None,
        threshold: float | None,
        *,
        window: Window,
        is_single_word: bool,
        is_taught: bool = False,
        learned_background: bool = False,
    ) -> "Rules":
        """The rules of a call.

        A single word would fill the image, so it leaves unlikely pixels unlabeled, unless there is a threshold. A model
        that learned a map for "none of the words" uses it, unless there is a threshold. Taught words learned what is
        beside them and have a calibration of their own: nothing that was fitted to the model holds for them, and
        stand-ins only compete with them for a background that the call asks for.

        Args:
            decision: the model's.
            requested: `LabelOptions.background`.
            threshold: `LabelOptions.threshold`.
            window: the call's window.
            is_single_word: whether a single word is asked for, without a background.
            is_taught: whether any of the words was taught to the model.
            learned_background: whether the network, or its taught words, learned a map for "none of the words".
        """
        # taught words learned their colors from examples
        known = replace(decision, confidence=None, compares_colors=False) if is_taught else decision
        fitted = known if window in decision.windows else replace(known, confidence=None)
        only_stand_ins = replace(fitted, common=(), wholes=(), most_open=0)
        neither = replace(only_stand_ins, stand_ins=None)
        if requested is None and threshold is None and not is_single_word:
            return cls(background=FILL, decision=neither if is_taught else replace(fitted, stand_ins=None))
        if requested is None and threshold is not None:
            return cls(background=Background(kind="unlabeled", threshold=threshold), decision=neither)
        name = None if requested == AUTO else requested
        if learned_background and threshold is None:
            return cls(background=Background(kind="learned", name=name), decision=neither)
        holds = neither if is_taught and requested is None else only_stand_ins
        if threshold is None and holds.stand_ins is None:
            threshold = DEFAULT_THRESHOLD
        kind: Literal["unlabeled", "class"] = "unlabeled" if name is None else "class"
        return cls(background=Background(kind=kind, name=name, threshold=threshold), decision=holds)


# ---- the words of a call

GroupName = Literal["asked", "surfaces", "parts", "wholes", "stand-ins", "similar", "others", "unnamed wholes"]
"""Groups of words that rules are about: all that were asked for, and of these the ones for surfaces, for parts and for
their wholes; and words that nobody asked for: for the background, for surroundings that are much like those of the
words, for other surroundings, and for wholes."""


class WordTable(NamedTuple):
    """What a decision's rules need to know of K words, beside G groups of common surroundings and W wholes."""

    first: Bool[Array, "K G"]
    """Whether a word is the first of a group."""
    member: Bool[Array, "K G"]
    """Whether it is any of the group."""
    part: Bool[Array, "K W"]
    """Whether it belongs to a whole."""
    whole: Bool[Array, "K W"]
    """Whether it names a whole."""
    spares: Bool[Array, "K W"]
    """Whether, beside it, no part of a whole is without a word."""
    surface: Bool[Array, " K"]
    """Whether it names a surface."""

    @classmethod
    def of(cls, words: Sequence[str], lexicon: Lexicon, decision: Decision, xp: Any) -> "WordTable":
        """The table of words, by the lexicon, as arrays of a library."""
        facts, kinds = [lexicon.of(word) for word in words], [lexicon.kind_of(word) for word in words]
        by_name = {whole.name: whole for whole in lexicon.wholes}
        wholes, count = [by_name[name] for name in decision.wholes], len(words)

        def table(rows: list[list[bool]], columns: int) -> Bool[Array, "K _"]:
            return xp.reshape(xp.asarray(rows, dtype=xp.bool), (count, columns))

        groups = len(decision.common)
        return cls(
            first=table([[kind == group[0] for group in decision.common] for kind in kinds], groups),
            member=table([[kind in group for group in decision.common] for kind in kinds], groups),
            part=table([[fact.whole == whole.name for whole in wholes] for fact in facts], len(wholes)),
            whole=table([[kind == whole.name for whole in wholes] for kind in kinds], len(wholes)),
            spares=table([[folded(word) in whole.other_names for whole in wholes] for word in words], len(wholes)),
            surface=xp.asarray([fact.is_surface for fact in facts], dtype=xp.bool),
        )


class Competition(NamedTuple):
    """Which words compete in a call that fills the image, by `WordTable`."""

    surfaces: Bool[Array, " K"]
    """Asked words that get what other surroundings win."""
    parts: Bool[Array, " K"]
    wholes: Bool[Array, " K"]
    """Asked words for wholes of the parts."""
    similar: Bool[Array, " G"]
    """Groups whose first word competes, and that are much like an asked word."""
    others: Bool[Array, " G"]
    """The other groups whose first word competes."""
    unnamed: Bool[Array, " W"]
    """Wholes that compete though nobody asked for them: their pixels get no part."""
    is_open: Bool[Array, ""]
    """Whether pixels of `others` may stay unlabeled."""


def competition(table: WordTable, most_open: int) -> Competition:
    """Find the words that compete by the rules of `Decision`, among those of a call and beside them."""
    xp = array_namespace(table.surface)
    unasked = ~xp.any(table.first, axis=0)
    parts = xp.any(table.part, axis=1)
    needed = xp.any(table.part, axis=0)
    wholes = table.whole & needed[None, :] & ~parts[:, None]
    unnamed = needed & ~xp.any(wholes, axis=0) & ~xp.any(table.spares, axis=0)
    surfaces = xp.sum(xp.astype(table.surface, xp.int64))
    count = xp.sum(xp.ones_like(table.surface, dtype=xp.int64))
    is_open = (count <= most_open) | xp.any(unnamed)
    competes = unasked & (is_open | ((surfaces > 0) & (surfaces < count)))
    alike = xp.any(table.member, axis=0)
    return Competition(
        surfaces=table.surface & xp.any(competes),
        parts=parts,
        wholes=xp.any(wholes, axis=1),
        similar=competes & alike,
        others=competes & ~alike,
        unnamed=unnamed,
        is_open=is_open,
    )


def differ(requested: Float[Array, "T P C"], others: Float[Array, "S P C"], similarity: float) -> Bool[Array, " S"]:
    """Which of some words aren't synonyms of requested ones, by the embeddings of their P prompts."""
    xp = array_namespace(requested)
    theirs, ours = (normalized(xp.mean(xp.astype(each, xp.float32), axis=1)) for each in (requested, others))
    return xp.max(ours @ theirs.T, axis=1) <= similarity


# ---- the label of a pixel


class Strongest(NamedTuple):
    """The strongest word of a group at each pixel."""

    score: Float[Array, "..."]
    """Its logit or, in windows that average probabilities, its probability; -inf where the group has none."""
    word: Int[Array, "..."]
    """Its index among the queried words."""


Strengths = Mapping[GroupName, Strongest]
"""Those of the groups that a call has; "asked" is always there."""


class CallFacts(NamedTuple):
    """What the decision of a call's pixels takes beside their scores."""

    surface: Bool[Array, " K"]
    """Which of the asked words are `Competition.surfaces`."""
    part: Bool[Array, " K"]
    """Which of them are parts."""
    whole: Bool[Array, " K"]
    """Which of them are wholes of these parts."""
    is_open: bool | Bool[Array, ""] = False
    """See `Competition`."""
    threshold: float | Float[Array, ""] | None = None
    """Confidence below which a pixel shows none of the words."""
    least: float | Float[Array, ""] | None = None
    """Score [sigmoid of the logit] below which it does."""


class Verdict(NamedTuple):
    """What a pixel shows."""

    word: Int[Array, "..."]
    """The index of its word among the asked ones."""
    is_none: Bool[Array, "..."] | None
    """Whether it shows none of them: it is background, or unlabeled; None: no pixel does."""
    confidence: Float32[Array, "..."]
    """How likely the word is right."""


def decide(
    strengths: Strengths,
    facts: CallFacts,
    decision: Decision,
    offsets: Float[Array, " K"] | None = None,
    *,
    are_probabilities: bool = False,
) -> Verdict:
    """Decide what pixels show.

    Args:
        strengths: the strongest word of each group.
        facts: what is the same for all pixels.
        decision: the rules.
        offsets: those of the words in the image (`ConfidenceModel.offsets`); None: the confidence is the score.
        are_probabilities: whether scores are probabilities rather than logits.
    """
    found, none = _winners(strengths, facts, decision.lead)

    def probability(scores: Float[Array, "..."]) -> Float[Array, "..."]:
        return scores if are_probabilities else sigmoid(scores)

    if offsets is None or decision.confidence is None:
        confidence = probability(found.score)
    else:
        confidence = decision.confidence.probability(found.score, offsets[found.word])
    conditions = [] if none is None else [none]
    if facts.threshold is not None:
        conditions.append(confidence < facts.threshold)
    if "stand-ins" in strengths:
        conditions.append(strengths["stand-ins"].score + decision.margin > found.score)
    if facts.least is not None:
        conditions.append(probability(found.score) < facts.least)
    return Verdict(found.word, reduce(or_, conditions) if conditions else None, confidence)


def _winners(strengths: Strengths, facts: CallFacts, lead: float) -> tuple[Strongest, Bool[Array, "..."] | None]:
    """The word of each pixel, and which pixels get none, by the rules for calls that fill the image."""
    scores, words = strengths["asked"]
    xp, none = array_namespace(scores), list[Array]()

    def given(group: GroupName, wins: Bool[Array, "..."]) -> tuple[Array, Array]:
        score, word = strengths[group]
        return xp.where(wins, score, scores), xp.where(wins, word, words)

    def best(*groups: GroupName) -> Float[Array, "..."]:
        return reduce(xp.maximum, (strengths[group].score for group in groups if group in strengths))

    if "others" in strengths:  # what is much like the words holds others off
        none.append((strengths["others"].score > best("asked", "similar") + lead) & facts.is_open)
    if "surfaces" in strengths:
        behind = (best("similar", "others") > scores) & (strengths["surfaces"].score > -xp.inf)
        scores, words = given("surfaces", behind & ~facts.surface[words])
    if "parts" in strengths:
        scores, words = given("parts", (strengths["parts"].score + lead > scores) & facts.whole[words])
    if "unnamed wholes" in strengths:
        none.append((strengths["unnamed wholes"].score > scores + lead) & facts.part[words])
    return Strongest(scores, words), reduce(or_, none) if none else None
