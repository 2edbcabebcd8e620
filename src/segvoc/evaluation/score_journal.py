"""The journals of an evaluation: the score of each image is kept as soon as it is known.

Each process writes a journal of its own (`segvoc.storage.journal`). Its first entry holds the fingerprint of the
evaluation, and a call with another fingerprint is refused.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.evaluation.metrics.image_score import ImageScore
from segvoc.storage.journal import Journal, read_journal, warn_of_damage
from segvoc.storage.json_files import strict_json

SCORE_JOURNAL_FORMAT = 3
"""Version of the entries; a journal of another version is refused."""

Fingerprint = Mapping[str, object]
"""Everything about an evaluation that may change a score, as plain values under readable names."""


class ScoreJournal:
    """The journal of one process, open for appending; use it in a `with` block.

    Args:
        report: the folder of the report.
        fingerprint: of the evaluation.
        rank: number of this process.

    Raises:
        UsageError: the folder holds another evaluation, or another process is writing this journal.
        OutputError: the system refused to write.
    """

    def __init__(self, report: Path, fingerprint: Fingerprint, rank: int = 0) -> None:
        for path in _journals(report):
            _refuse_other_evaluations(report, path, fingerprint)
        self._journal = Journal(_folder(report) / f"rank-{rank}.jsonl", exclusive=True)
        if self._journal.is_empty:
            self._journal.append({"format": SCORE_JOURNAL_FORMAT, "fingerprint": fingerprint})

    def __enter__(self) -> "ScoreJournal":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def append(self, score: ImageScore) -> None:
        """Keep the score of an image.

        Raises:
            OutputError: the system refused, for example because the disk is full.
        """
        self._journal.append(score.to_json())


def read_scores(report: Path) -> Iterator[ImageScore]:
    """All scores that any process kept; an image may come several times, and then the last one counts."""
    for path in _journals(report):
        for entry in read_journal(path):
            if "stem" not in entry:
                continue
            try:
                score = ImageScore.from_json(entry)
            except (KeyError, TypeError, ValueError):
                warn_of_damage(f"an entry of {str(path)!r} is damaged and ignored")
                continue
            yield score


def _folder(report: Path) -> Path:
    return report / "journal"


def _journals(report: Path) -> list[Path]:
    return sorted(_folder(report).glob("rank-*.jsonl"))


def _refuse_other_evaluations(report: Path, path: Path, fingerprint: Fingerprint) -> None:
    header = next(read_journal(path, on_damage=lambda message: None), None)
    if header is None:
        return  # killed before its first line was complete
    if header.get("format") != SCORE_JOURNAL_FORMAT or not isinstance(header.get("fingerprint"), dict):
        raise UsageError(
            f"{str(path)!r} was written by another version of segvoc; give another --out, or delete {str(report)!r}"
        )
    # through JSON, where tuples are lists
    before, now = header["fingerprint"], json.loads(strict_json(fingerprint))
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            raise UsageError(
                f"{str(report)!r} holds an evaluation with {name} {before.get(name)}, and this call has "
                f"{now.get(name)}; give another --out, or delete that folder"
            )
