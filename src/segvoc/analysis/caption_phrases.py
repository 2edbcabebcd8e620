"""The noun phrases of a caption set: which ones, how often, and why the others were dropped."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from segvoc.data.captions.cleaning import CleaningRules, without_determiners
from segvoc.data.captions.images import OnProblem
from segvoc.data.captions.phrases import ImagePhrases, PhraseExtractor, image_phrases
from segvoc.data.captions.sources import CaptionSource
from segvoc.storage.atomic_writes import write_atomically

COLUMNS = ("image", "caption", "phrase", "cleaned", "result")


@dataclass(kw_only=True)
class PhraseCounts:
    """Counts over the images of a set."""

    images: int = 0
    captions: int = 0
    without: int = 0
    """Images that keep no phrase."""
    per_image: Counter[int] = field(default_factory=Counter)
    """How many images keep how many phrases."""
    kept: Counter[str] = field(default_factory=Counter)
    """How many images keep a phrase."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many images drop a phrase, by (reason, phrase)."""

    def add(self, phrases: ImagePhrases) -> None:
        """Count one more image."""
        kept = phrases.cleaned.phrases
        self.images += 1
        self.captions += len(phrases.image.captions)
        self.without += not kept
        self.per_image[len(kept)] += 1
        self.kept.update(kept)
        self.dropped.update((_category(reason), phrase) for phrase, reason in phrases.cleaned.dropped)

    def reasons(self) -> list[tuple[str, int, list[str]]]:
        """Why phrases were dropped, the most frequent reason first: reason, count, its three most frequent phrases."""
        totals: Counter[str] = Counter()
        for (reason, _), count in self.dropped.items():
            totals[reason] += count
        return [
            (reason, total, [phrase for (own, phrase), _ in self.dropped.most_common() if own == reason][:3])
            for reason, total in totals.most_common()
        ]


def count_phrases(
    source: CaptionSource,
    extractor: PhraseExtractor,
    rules: CleaningRules,
    *,
    csv_path: str | os.PathLike[str] | None = None,
    on_problem: OnProblem = lambda message: None,
) -> PhraseCounts:
    """Count the phrases of a set and, if asked to, write them to a table.

    Args:
        source: the captioned images; the images themselves are not read.
        extractor: of noun phrases.
        rules: which phrases are kept.
        csv_path: the table to write, with the columns `COLUMNS` and a row for each phrase of each caption.
        on_problem: receives one line for each member of a tar that is skipped.

    Raises:
        UsageError: no image has a caption.
        OutputError: the table can't be written.
    """
    counts = PhraseCounts()

    def counted() -> Iterator[ImagePhrases]:
        for phrases in image_phrases(source.images(on_problem), extractor, rules):
            counts.add(phrases)
            yield phrases

    if csv_path is None:
        for _ in counted():
            pass
        return counts

    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for phrases in counted():
            writer.writerows(_table_rows(phrases))
        text.detach()

    write_atomically(Path(csv_path), write)
    return counts


def _category(reason: str) -> str:
    """A reason without the phrase that it mentions."""
    return reason.partition(" as ")[0]


def _table_rows(phrases: ImagePhrases) -> Iterator[tuple[str, str, str, str, str]]:
    reasons = dict(phrases.cleaned.dropped)
    for caption, found in zip(phrases.image.captions, phrases.found, strict=True):
        for phrase in found:
            plain = without_determiners(phrase)
            result = reasons.get(plain, "kept") if plain else "only a determiner"
            yield phrases.image.name, caption, phrase, plain, result
