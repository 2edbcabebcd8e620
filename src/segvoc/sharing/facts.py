"""What the card of a shared model says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segvoc.teaching.taught_words import TaughtWords, TeachingRecord

CURVES = "curves.png"
"""Name of the image of a run's curves on the card."""

TINY = "the network `tiny` of segvoc (EfficientNet-Lite2 and MiniLM)"
"""What `tiny` is, as `CardFacts.network`."""

SHIPPED_WEIGHTS = "the weights of `tiny`, which ship with segvoc"
"""What they are among `CardFacts.licenses`."""


@dataclass(frozen=True, kw_only=True)
class WordScore:
    """How well a word is found."""

    name: str
    """The word."""
    images: int | None = None
    """Images that show it, of those that were learned from."""
    before: float | None = None
    """IoU before [%]; None: not measured."""
    after: float | None = None
    """IoU of this model [%]."""


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores on images that weren't learned from."""

    title: str
    """What was measured, as a sentence without its period."""
    data: str
    """Name of the images."""
    miou: float | None
    """Mean IoU [%]."""
    miou_before: float | None = None
    """The same before [%]; None: not measured."""
    accuracy: float | None = None
    """Share of pixels that are right [%]."""
    accuracy_before: float | None = None
    """The same before [%]."""
    words: tuple[WordScore, ...] = ()
    """The words."""
    columns: tuple[str, str] = ("before", "this model")
    """What the two scores of a word are."""


@dataclass(frozen=True, kw_only=True)
class CardImage:
    """An image of the card."""

    path: Path
    """The file."""
    name: str
    """Its name beside the card."""
    caption: str
    """What it shows."""


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What is known of a model."""

    base: str
    """The preset."""
    network: str
    """What the preset is, after "It is", as Markdown."""
    made: str = ""
    """How the model was made from it, such as "fine-tuned on 24 labeled images"; empty if it wasn't changed."""
    words: tuple[str, ...] = ()
    """What it was trained on or taught."""
    background: str | None = None
    """The word among them that means "none of the others"."""
    license: str | None = None
    """SPDX identifier that its author gives it; None: the author has stated none."""
    licenses: Mapping[str, str] = field(default_factory=dict)
    """Licenses of what it is made from, by what that is."""
    source: str | None = None
    """Where the images that were learned from come from, in its author's words."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Rows about these images."""
    scores: tuple[ScoreTable, ...] = ()
    """Scores, the most telling first."""
    training: Mapping[str, str] = field(default_factory=dict)
    """Rows about how it was made."""
    shown: tuple[CardImage, ...] = ()
    """Images to look at."""


def taught_scores(record: TeachingRecord, data: str = "the images it was taught by") -> ScoreTable | None:
    """The scores that taught words have on images that were held out; None if there are none.

    Args:
        record: what was learned.
        data: name of the images.
    """
    if record.miou is None:
        return None
    return ScoreTable(
        title="Measured on images that were held out while it learned from the others",
        data=data,
        miou=record.miou,
        miou_before=record.miou_before,
        accuracy=record.accuracy,
        accuracy_before=record.accuracy_before,
        words=tuple(
            WordScore(
                name=word.name,
                images=word.images,
                before=word.before,
                after=word.before if word.keeps_text else word.after,
            )
            for word in record.words
        ),
        columns=("by text alone", "this model"),
    )


def taught_facts(base: str, network: str, taught: Sequence[TaughtWords], *, licenses: Mapping[str, str]) -> CardFacts:
    """The facts of a model that was taught words, from what their files record.

    Args:
        base: the preset.
        network: what the preset is (`CardFacts.network`).
        taught: the words, none or several files of them.
        licenses: licenses of what the model is made from.
    """
    records = [one.record for one in taught]
    words = dict.fromkeys(word.name for record in records for word in record.words)
    images = sum(record.images for record in records)
    made, rows = "", dict[str, str]()
    if records:
        tuned = any(record.pyramid_channels for record in records)
        shown = f"{images} labeled image{'' if images == 1 else 's'}"
        made = f"fine-tuned on {shown}" if tuned else f"taught {len(words)} words by {shown}, without training it"
        pixels = sum(word.pixels for record in records for word in record.words)
        rows = {"images": f"{images}", "words": ", ".join(words), "labeled pixels": f"{pixels:,}"}
    return CardFacts(
        base=base,
        network=network,
        made=made,
        words=tuple(words),
        licenses=licenses,
        data=rows,
        scores=tuple(table for record in records if (table := taught_scores(record)) is not None),
        training={"made with": f"segvoc {records[-1].segvoc}"} if records else {},
    )
