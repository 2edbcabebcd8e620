"""What is done: a log of finished tables, whose files are written once each and never changed.

An entry has the range of names of its source files, and a mark of `MARK` bytes for each. Entries of a log file are
sorted, and its first line, the head, has the first name, so that a resumed run reads the heads, and each file when the
listing of the source gets there.
"""

import base64
import hashlib
import heapq
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from segvoc.errors import UsageError
from segvoc.labeling.batch.storages import Folder, Unit
from segvoc.storage.files import strict_json
from segvoc.storage.resume import RESUME_FOLDER

LOG = f"{RESUME_FOLDER}/done/"

NAME_BYTES, MARK = 6, 10
"""Bytes of a mark that tell the name, and all, with those of size and time.

Marks are compared within an entry's range: a new file among 100,000 others is taken for one of them, and then for a
changed one, with a probability of 4e-10.
"""

MOST_PENDING = 1_000_000
"""Bytes of entries after which they are written."""

MOST_REPLACED = 256
"""Maximum number of entries that a head replaces."""

FLUSH_EVERY = 5.0
"""Time after which entries are written [s]; a kill costs no work, since finished tables are found."""

HEAD_BYTES = 65_536
"""More than a head has."""


def mark_of(unit: Unit) -> bytes:
    """The mark of a source file."""
    name = hashlib.blake2b(unit[0].encode("utf-8", "surrogateescape"), digest_size=NAME_BYTES).digest()
    return name + zlib.crc32(struct.pack("<qq", unit[1], unit[2])).to_bytes(MARK - NAME_BYTES, "little")


@dataclass(frozen=True, kw_only=True)
class DoneShard:
    """A finished table, or a shard whose results are in files."""

    key: str
    first: str
    last: str
    """The first and the last name of its source files."""
    marks: bytes
    """The marks of its source files, in the order of their names."""
    images: int
    """Number of images, readable or not."""
    failed: tuple[int, ...] = ()
    """The index of the source file of each image that failed."""
    size: int = 0
    """Size of the table [bytes]."""
    problems: tuple[tuple[str, str], ...] = ()
    """Results in files: sources and problems of failed images."""
    place: str = ""
    """Where it is in the log, once it is read."""

    def line(self) -> str:
        """The entry as a line of the log."""
        marks = base64.b64encode(self.marks).decode()
        content = {name: value for name, value in vars(self).items() if value != () and name != "place"}
        return strict_json(content | {"marks": marks})

    @classmethod
    def of_line(cls, line: str) -> "DoneShard":
        """Read a line of the log; raises `ValueError`, `KeyError` and `TypeError` if it is damaged."""
        content = json.loads(line)
        content["marks"] = base64.b64decode(content["marks"], validate=True)
        content["failed"] = tuple(content.get("failed", ()))
        content["problems"] = tuple(map(tuple, content.get("problems", ())))
        return cls(**content)

    def indices(self) -> dict[bytes, int]:
        """The index of each source file by the first part of its mark."""
        marks = self.marks
        return {marks[at : at + NAME_BYTES]: at // MARK for at in range(0, len(marks), MARK)}


class DoneLog:
    """The log in a folder of results: what earlier runs have done, and what this one adds."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        names = sorted(name for name, _, _ in folder.units(LOG))
        with ThreadPoolExecutor(16) as pool:
            heads = list(pool.map(self._head, names))
        self.images = sum(head["images"] for head in heads)
        """Number of images of all runs."""
        self.failed = sum(head["failed"] for head in heads)
        """Number of those that failed."""
        self.replaced = {key for head in heads for key in head["replaced"]}
        """Places of entries that no longer count."""
        self._unread = [(head["first"], name) for head, name in zip(heads, names, strict=True) if head["entries"]]
        heapq.heapify(self._unread)
        self._read: list[tuple[str, str, DoneShard]] = []
        self._number = int(names[-1].rpartition("/")[2].partition(".")[0]) + 1 if names else 0
        self._pending, self._removed, self._size = list[DoneShard](), list[tuple[str, int, int]](), 0
        self._after: list[Callable[[], object]] = []
        self._written = time.monotonic()

    def _head(self, name: str) -> dict[str, Any]:
        with self.folder.access(name), self.folder.open(name) as file:
            return self._loaded(name, json.loads, file.read(HEAD_BYTES).partition(b"\n")[0].decode())

    def _loaded(self, name: str, load: Callable[[str], Any], line: str) -> Any:
        try:
            return load(line)
        except (ValueError, KeyError, TypeError):
            place = self.folder.address_of(name)
            raise UsageError(f"{place!r} is damaged; delete it, and its images are labeled again") from None

    def entries_until(self, name: str | None) -> Iterator[DoneShard]:
        """Earlier entries not yet given whose first name is not beyond this one; all of them for None."""
        while self._unread or self._read:
            unread, read = self._unread[:1], self._read[:1]
            if unread and _is_reached(unread[0][0], name) and (not read or unread[0][0] <= read[0][0]):
                self._read_log(heapq.heappop(self._unread)[1])
            elif read and _is_reached(read[0][0], name):
                yield heapq.heappop(self._read)[2]
            else:
                return

    def _read_log(self, log: str) -> None:
        number = log.rpartition("/")[2].partition(".")[0]
        for index, line in enumerate(self.folder.read(log).decode().splitlines()[1:]):
            if (place := f"{number}:{index}") not in self.replaced:
                entry = replace(self._loaded(log, DoneShard.of_line, line), place=place)
                heapq.heappush(self._read, (entry.first, place, entry))

    def add(
        self, entry: DoneShard, *, instead_of: DoneShard | None = None, then: Callable[[], object] | None = None
    ) -> None:
        """Add an entry, in place of one of an earlier run; `then` is called once it is written."""
        self._pending.append(entry)
        self._size += len(entry.marks) * 4 // 3
        self.images += entry.images
        self.failed += len(entry.failed)
        self.drop(instead_of, then=then)

    def drop(self, entry: DoneShard | None, *, then: Callable[[], object] | None = None) -> None:
        """Take back an entry of an earlier run; `then` is called once that is written."""
        if entry is not None:
            self._removed.append((entry.place, entry.images, len(entry.failed)))
            self.images -= entry.images
            self.failed -= len(entry.failed)
        self._after += [] if then is None else [then]
        is_full = self._size >= MOST_PENDING or len(self._removed) >= MOST_REPLACED
        if is_full or time.monotonic() - self._written > FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what is pending; raises `OutputError`."""
        entries, removed, after = sorted(self._pending, key=lambda entry: entry.first), self._removed, self._after
        if entries or removed:
            head = {
                "first": entries[0].first if entries else "",
                "entries": len(entries),
                "images": sum(entry.images for entry in entries) - sum(images for _, images, _ in removed),
                "failed": sum(len(entry.failed) for entry in entries) - sum(failed for _, _, failed in removed),
                "replaced": [place for place, _, _ in removed],
            }
            content = "".join(f"{line}\n" for line in (strict_json(head), *(entry.line() for entry in entries)))
            self.folder.write(f"{LOG}{self._number:08}.jsonl", content.encode())
            self._number += 1
        self._pending, self._removed, self._after, self._size = [], [], [], 0
        for call in after:
            call()
        self._written = time.monotonic()


def _is_reached(first: str, name: str | None) -> bool:
    return name is None or first <= name


@dataclass(kw_only=True)
class _Active:
    """An entry in whose range the listing is."""

    entry: DoneShard
    indices: Mapping[bytes, int]
    failed: frozenset[int]
    """The files whose images failed, if they are to be labeled again."""
    changed: dict[int, str] = field(default_factory=dict)
    """By index, the names of source files that have to be labeled again."""

    def find(self, mark: bytes) -> tuple[int | None, bool]:
        """The index of a file with this name, and whether it is done."""
        index = self.indices.get(mark[:NAME_BYTES])
        if index is None:
            return None, False
        return index, self.entry.marks[index * MARK : (index + 1) * MARK] == mark and index not in self.failed


@dataclass(kw_only=True)
class Remaining:
    """The files of a listing that aren't done; the log is read along."""

    log: DoneLog
    is_whole: Callable[[DoneShard], bool]
    """Whether an entry counts."""
    retry_failed: bool
    """Whether files whose images failed are to be labeled again."""
    changed: Callable[[DoneShard, Mapping[int, str]], object] = lambda entry, names: None
    """Gets each entry with files that have changed since, or are retried, once the listing has passed it."""
    _active: list[_Active] = field(default_factory=list)

    def of(self, units: Iterable[Unit]) -> Iterator[tuple[Unit, bytes]]:
        """Yield the files that aren't done, with their marks."""
        for unit in units:
            mark = mark_of(unit)
            self._reach(unit[0])
            if not self._is_done(unit[0], mark):
                yield unit, mark
        self._reach(None)
        self._pass(None)

    def _reach(self, name: str | None) -> None:
        for entry in self.log.entries_until(name):
            if self.is_whole(entry):
                failed = frozenset(entry.failed) if self.retry_failed else frozenset()
                self._active.append(_Active(entry=entry, indices=entry.indices(), failed=failed))
        if self._active and name is not None:
            self._pass(name)

    def _pass(self, name: str | None) -> None:
        for one in [one for one in self._active if name is None or one.entry.last < name]:
            self._active.remove(one)
            if one.changed:
                self.changed(one.entry, one.changed)

    def _is_done(self, name: str, mark: bytes) -> bool:
        """Whether an entry has a file; others that have its name have to drop it."""
        done = False
        for one in self._active:
            index, is_same = one.find(mark)
            if index is not None and (done or not is_same):
                one.changed[index] = name
            done = done or is_same
        return done
