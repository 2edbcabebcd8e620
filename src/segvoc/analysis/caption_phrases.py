"""The noun phrases of a caption set: which ones are kept, how often, and why the others are dropped."""

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
from segvoc.progress import Progress
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
    """Number of images by the number of phrases they keep."""
    kept: Counter[str] = field(default_factory=Counter)
    """Number of images that keep each phrase."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of images that drop a phrase, by (reason, phrase)."""

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
        """(reason, count, its three most frequent phrases) for each reason to drop a phrase, most frequent first."""
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
    silent: bool = False,
) -> PhraseCounts:
    """Count the phrases of a set and optionally write them to a table.

    Args:
        source: the captioned images; the images themselves are not read.
        extractor: finds the noun phrases of captions.
        rules: which phrases are kept.
        csv_path: the table to write, with the columns `COLUMNS` and one row per phrase and caption.
        on_problem: receives one line for each member of a tar that is skipped.
        silent: show no progress.

    Raises:
        UsageError: no image has a caption.
        OutputError: the table can't be written.
    """
    counts = PhraseCounts()

    def counted() -> Iterator[ImagePhrases]:
        # how many images a tar has is known only once it has been scanned, so tars are counted instead
        tars = any(chunk.tar for chunk in source.chunks)
        unit, total = ("tar", len(source.chunks)) if tars else ("image", sum(len(own.images) for own in source.chunks))
        with Progress("extracting noun phrases", total=total, unit=unit, silent=silent) as progress:
            images = source.images(on_problem, on_chunk=lambda chunk: progress.update(int(tars)))
            for phrases in image_phrases(images, extractor, rules):
                counts.add(phrases)
                yield phrases
                if tars:
                    progress.update(0, note=f"{counts.images} images")
                else:
                    progress.update()

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
    """A reason without the phrase that it mentions, so that equal reasons are counted together."""
    return reason.partition(" as ")[0]


def _table_rows(phrases: ImagePhrases) -> Iterator[tuple[str, str, str, str, str]]:
    reasons = dict(phrases.cleaned.dropped)
    for caption, found in zip(phrases.image.captions, phrases.found, strict=True):
        for phrase in found:
            plain = without_determiners(phrase)
            result = reasons.get(plain, "kept") if plain else "only a determiner"
            yield phrases.image.name, caption, phrase, plain, result
