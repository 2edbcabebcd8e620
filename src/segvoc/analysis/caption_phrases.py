"""What a set of captions gives to learn from: phrases, how often, and what was left out and why."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from segvoc.data.captions.cleaning import CleaningRules, without_determiners
from segvoc.data.captions.images import CaptionedImages
from segvoc.data.captions.phrases import PhraseExtractor, PicturePhrases, picture_phrases
from segvoc.storage.atomic_writes import write_atomically

COLUMNS = ("image", "caption", "phrase", "cleaned", "result")


@dataclass(kw_only=True)
class PhraseCounts:
    """Counts over pictures.

    pictures, captions: how many. without: pictures of which no phrase is left. per_picture: how many pictures keep so
    many phrases. kept: in how many pictures a phrase is kept. dropped: in how many it is dropped, by reason and phrase.
    """

    pictures: int = 0
    captions: int = 0
    without: int = 0
    per_picture: Counter[int] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, picture: PicturePhrases) -> None:
        """Count one picture more."""
        self.pictures += 1
        self.captions += len(picture.captions)
        self.without += not picture.cleaned.phrases
        self.per_picture[len(picture.cleaned.phrases)] += 1
        self.kept.update(picture.cleaned.phrases)
        self.dropped.update((_kind(reason), phrase) for phrase, reason in picture.cleaned.dropped)

    def reasons(self) -> list[tuple[str, int, list[str]]]:
        """Why phrases were dropped, the most frequent first: how often, and the three phrases that it hit most."""
        totals: Counter[str] = Counter()
        for (reason, _), count in self.dropped.items():
            totals[reason] += count
        return [
            (reason, total, [phrase for (own, phrase), _ in self.dropped.most_common() if own == reason][:3])
            for reason, total in totals.most_common()
        ]


def counted(
    images: CaptionedImages,
    extractor: PhraseExtractor,
    rules: CleaningRules,
    *,
    csv_path: str | os.PathLike[str] | None = None,
) -> PhraseCounts:
    """Count the phrases of a set, and write each of them to a table.

    Args:
        images: the pictures; only their captions are read.
        extractor: of the phrases.
        rules: which of them are kept.
        csv_path: the table to write (`COLUMNS`), a line for each phrase of each caption; none if not given.

    Raises: OutputError: the table can't be written.
    """
    counts = PhraseCounts()

    def pictures() -> Iterator[PicturePhrases]:
        for picture in picture_phrases(images, extractor, rules):
            counts.add(picture)
            yield picture

    if csv_path is None:
        for _ in pictures():
            pass
        return counts

    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for picture in pictures():
            writer.writerows(_lines(images.images[picture.picture].stem, picture))
        text.detach()

    write_atomically(Path(csv_path), write)
    return counts


def _kind(reason: str) -> str:
    """A reason without the phrase that it names."""
    return reason.partition(" as ")[0]


def _lines(stem: str, picture: PicturePhrases) -> Iterator[tuple[str, str, str, str, str]]:
    reasons = dict(picture.cleaned.dropped)
    for caption, phrases in zip(picture.captions, picture.found, strict=True):
        for phrase in phrases:
            plain = without_determiners(phrase)
            yield stem, caption, phrase, plain, reasons.get(plain, "kept") if plain else "only a determiner"
