"""The history of a project: a line for each change, by which other tabs and processes learn of it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.projects.records import Change, What, now
from segvoc.records import from_json, to_json
from segvoc.storage.journal import Journal

HISTORY_FILE = "history.jsonl"

_BLOCK = 65_536


class History:
    """The file `history.jsonl` of a project.

    Args:
        folder: the project's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / HISTORY_FILE

    def append(self, what: What, *, by: str, revision: int, image: str | None = None) -> Change:
        """Add a change; the caller has locked the project.

        Raises:
            OutputError: the system refused; the history stays as it was.
        """
        change = Change(seq=self.last() + 1, at=now(), by=by, what=what, image=image, revision=revision)
        with Journal(self.path) as journal:
            journal.append(to_json(change))
        return change

    def last(self) -> int:
        """The number of the last change; 0 before the first."""
        return next((change.seq for change in self._backwards()), 0)

    def after(self, seq: int) -> list[Change]:
        """The changes after one, in order.

        Args:
            seq: its number; 0: all.
        """
        found = []
        for change in self._backwards():
            if change.seq <= seq:
                break
            found.append(change)
        return found[::-1]

    def size(self) -> int:
        """Bytes of the file, which grow with each change."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _backwards(self) -> Iterator[Change]:
        """The changes from the last one on; damaged lines are skipped."""
        for line in _lines_backwards(self.path):
            try:
                yield from_json(Change, json.loads(line))
            except (UsageError, ValueError, RecursionError):
                continue


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file from the last one that is complete."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        end, rest = file.seek(0, os.SEEK_END), b""
        is_last = True
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            first, *lines = (file.read(end - start) + rest).split(b"\n")
            if is_last and lines:
                lines.pop()  # what follows the last line's end: nothing, or a line that is being written
                is_last = False
            yield from reversed(lines)
            rest, end = first, start
        if not is_last:
            yield rest
