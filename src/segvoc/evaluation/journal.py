"""The journal of an evaluation: what is done stays done, whenever the process ends.

Each process appends to a file of its own, a line of JSON a picture, in one write: a kill leaves at most an unfinished
last line, which the next run cuts off. The first line binds the file to the call; another call is refused.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from segvoc.errors import OutputError, UsageError
from segvoc.evaluation.metrics.image_score import PictureScore

FOLDER = "journal"
"""Below the report's folder."""

FORMAT = 1
"""Of the lines."""

Binding = Mapping[str, object]
"""What a journal is bound to: everything of a call that may change a score, by names that people read."""


class Journal:
    """The journal of one process, open for appending; to be used in a `with` block.

    report: the report's folder. binding: the call. rank: number of this process.

    Raises:
        UsageError: the folder holds another call's journal, or another process is writing this one.
        OutputError: the system refused.
    """

    def __init__(self, report: Path, binding: Binding, rank: int = 0) -> None:
        self.folder = report / FOLDER
        self.path = self.folder / f"rank-{rank}.jsonl"
        for path in _files(self.folder):
            _refuse_another(report, path, binding)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # "a" writes at the end whatever else happens; it makes the file where there is none
            self._file: BinaryIO = self.path.open("ab")
        except OSError as error:
            raise OutputError(f"{str(self.path)!r} can't be written: {error.strerror}; choose another --out") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UsageError(f"another evaluation is writing to {str(report)!r}; wait, or give another --out") from None
        except OSError:
            pass  # a file system without locks
        self._file.truncate(_whole_lines(self.path))
        if self.path.stat().st_size == 0:
            self._write({"format": FORMAT, "binding": binding})

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, score: PictureScore) -> None:
        """Keep one picture's score.

        Raises: OutputError: the system refused, for example because the disk is full.
        """
        self._write(score.to_json())

    def _write(self, entry: Mapping[str, object]) -> None:
        try:
            self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{str(self.path)!r} can't be written: {error.strerror}; free some space") from None


def read_scores(report: Path) -> Iterator[PictureScore]:
    """All scores that any process kept; of one picture there may be several, of which the last counts."""
    for path in _files(report / FOLDER):
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if number and (entry := _parsed(line)):
                    yield PictureScore.from_json(entry)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("rank-*.jsonl"))


def _refuse_another(report: Path, path: Path, binding: Binding) -> None:
    with path.open("rb") as file:
        first = file.readline()
    if not first.endswith(b"\n"):
        return  # killed before its first line was whole
    header = _parsed(first)
    if header.get("format") != FORMAT:
        raise UsageError(f"{str(path)!r} is no journal of this segvoc; give another --out, or delete {str(report)!r}")
    # as JSON gives it back: tuples are lists there
    asked = json.loads(json.dumps(binding))
    for name in dict.fromkeys((*header["binding"], *asked)):
        before, now = header["binding"].get(name), asked.get(name)
        if before != now:
            raise UsageError(
                f"{str(report)!r} holds an evaluation with {name} {before}, and this call has {now}; "
                f"give another --out, or delete that folder"
            )


def _whole_lines(path: Path) -> int:
    """Length of the lines that are whole [bytes]."""
    size = os.path.getsize(path)
    with path.open("rb") as file:
        end = size
        while end:
            start = max(0, end - 65_536)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
    return 0


def _parsed(line: bytes) -> dict[str, Any]:
    """The entry of a line; empty for one that another process hasn't finished yet."""
    try:
        entry = json.loads(line) if line.endswith(b"\n") else {}
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
