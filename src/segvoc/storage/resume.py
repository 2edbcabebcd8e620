"""Resuming: records the finished items of some work, so that a kill costs at most the items in progress.

All resumable work uses this: folders of images, tiles, videos, batches, evaluation, preparation, reproduction,
ablations. The terms:

    key     all settings that the results depend on, as plain values under readable names. Results under another key
            don't count; `DoneItems.require_key` raises an error that names the differences.
    item    the name of a result: an image, a row of tiles, a chunk of a video, a shard.
    stamp   the source and result files of an item, by size and time (`stamp_of`). An item whose stamp has changed is
            not done.
    done    an entry with an item, its stamp and a small value, written after all files of the item are complete on
            disk. So after a kill, an item either has its entry, or is redone into the same files.

`ResumableWork` keeps the entries in a locked journal (`segvoc.storage.journal`) per process. `StepwiseWork` is for
items that build on each other. A batch, whose results may be in object storage, which can't append to files, writes log
files that never change (`segvoc.labeling.batch.done`).
"""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from segvoc.errors import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import digest_of, strict_json
from segvoc.storage.journal import Journal, read_journal, warn_of_damage
from segvoc.storage.records import flattened

RESUME_FOLDER = ".segvoc"
"""The folder of the journals, in the output folder."""

RESUME_FORMAT = 1
"""Version of the entries; other versions are ignored."""

RunSettings = Mapping[str, object]
"""All settings that the results depend on, as plain values under readable names."""

Stamp = tuple[int, int] | None
"""Size [bytes] and modification time [ns] of a source or result file; None if it doesn't exist."""

Value = TypeVar("Value")


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """The stamp of a file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def difference(before: Mapping[str, Any], key: RunSettings) -> str:
    """The differences between an earlier call's settings, read from JSON, and this call's; empty if equal."""
    then, now = flattened(before), flattened(json.loads(strict_json(key)))
    pairs = ((name, then.get(name), now.get(name)) for name in then | now)
    return "; ".join(f"{name}: {_shown(old)}, now {_shown(new)}" for name, old, new in pairs if old != new)


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


class DoneItems(Generic[Value]):
    """A snapshot of the finished items under a key; an item whose stamp has changed is not done.

    `entries` are those of a journal: the settings of a key, or an item; others are ignored. If `decode` of an entry's
    value raises `KeyError`, `TypeError` or `ValueError`, the entry is damaged (reported as a
    `DamagedJournalWarning`), and the item isn't done.
    """

    def __init__(
        self,
        entries: Iterable[Mapping[str, Any]],
        key: RunSettings,
        decode: Callable[[Any], Value] = lambda value: value,
    ) -> None:
        self.key = key
        self._found: dict[str, dict[str, Value]] = {}
        self._others: Mapping[str, Any] | None = None
        digest, has_own = _digest(key), False
        for entry in entries:
            if entry.get("key") != digest:
                if isinstance(entry.get("settings"), dict):
                    self._others = entry["settings"]
                continue
            has_own = True
            if isinstance(item := entry.get("item"), str):
                try:
                    self._found.setdefault(item, {})[strict_json(entry["stamp"])] = decode(entry["value"])
                except (KeyError, TypeError, ValueError):
                    warn_of_damage(f"the entry of {item!r} is damaged and ignored")
        if has_own:
            self._others = None

    def require_key(self, where: str | os.PathLike[str], fix: str = "give another --out") -> None:
        """Raise a `UsageError` that names the differences and the fix if all results in `where` have other keys."""
        if self._others is not None and (changes := difference(self._others, self.key)):
            raise UsageError(f"{os.fspath(where)!r} has results of another call ({changes}); {fix}")

    def has(self, item: str, stamp: object = None) -> bool:
        """Whether an item is done with its current stamp."""
        return item in self._found and strict_json(stamp) in self._found[item]

    def get(self, item: str, stamp: object = None) -> Value | None:
        """The value of an item, or None if it isn't done."""
        return self._found.get(item, {}).get(strict_json(stamp))

    def __iter__(self) -> Iterator[tuple[str, Any, Value]]:
        """Item, stamp and value of each entry; a redone item may have several stamps."""
        for item, by_stamp in self._found.items():
            for stamp, value in by_stamp.items():
                yield item, json.loads(stamp), value


def read_done(
    paths: Iterable[Path], key: RunSettings, decode: Callable[[Any], Value] = lambda value: value
) -> DoneItems[Value]:
    """Read the journals of all processes, which may be writing them, the newest last; see `DoneItems`."""
    ordered = sorted(paths, key=lambda path: (stamp_of(path) or (0, 0))[1])
    return DoneItems(chain.from_iterable(map(read_journal, ordered)), key, decode)


class ResumableWork(Generic[Value]):
    """Work with a journal of finished items for this process; use it in a `with` block or close it.

    The journal is locked while open, and removed on close if empty. `done` has the items of earlier calls and other
    processes, whose journals match the pattern `writers` in the same folder (None: this journal). `decode` is that of
    `DoneItems`, `busy` the message of the `UsageError` if another process has the journal open.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        key: RunSettings,
        *,
        writers: str | None = None,
        decode: Callable[[Any], Value] = lambda value: value,
        busy: str | None = None,
    ) -> None:
        self.path, self.key = Path(path), key
        self._journal, self._has_key, self._lock = Journal(path, exclusive=True, busy=busy), False, threading.Lock()
        paths = [self.path] if writers is None else self.path.parent.glob(writers)
        self.done: DoneItems[Value] = read_done(paths, key, decode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finish(self, item: str, stamp: object = None, value: object = None) -> None:
        """Record a finished item, whose files are on disk; thread-safe.

        The stamp is of its source files (taken before reading) and of the written files; the value is plain, for
        `DoneItems.get`.
        """
        with self._lock:
            if not self._has_key:
                self._journal.append({"key": _digest(self.key), "settings": self.key})
                self._has_key = True
            self._journal.append({"key": _digest(self.key), "item": item, "stamp": stamp, "value": value})

    def close(self) -> None:
        """Flush the journal to the disk and release it."""
        with suppress(OSError, ValueError):  # already closed
            if self._journal.is_empty:
                self.path.unlink()
                self.path.parent.rmdir()
        self._journal.close()


class StepwiseWork(ResumableWork[Any]):
    """Work in steps that build on each other, with a folder for their files until the results are written.

    Rows of tiles and chunks of a video are steps; subclasses define them (`replay_step`, `usable`). Only a single
    process can use the folder. Use it in a `with` block, and call `remove` at the end of the block.

    All steps start over unless `resume`, or if the `stamp` of the source has changed. `out` is the output folder, for
    errors: `UsageError` if another process uses the folder, or an earlier call left steps with other settings.
    """

    def __init__(
        self, folder: Path, key: RunSettings, stamp: object, *, out: str | os.PathLike[str], resume: bool
    ) -> None:
        super().__init__(folder / "steps.jsonl", key)
        self.folder, self._stamp, self._count = folder, stamp, 0
        try:
            earlier = self._earlier(out) if resume else []
            if not earlier:
                self._begin_anew()
            for value in earlier:
                self._count += 1
                self.replay_step(value)
        except BaseException:
            self.close()
            raise

    def replay_step(self, value: Any) -> None:
        """Process the value (as given to `add`) of the next finished step, of this or an earlier call."""
        raise NotImplementedError

    def usable(self, values: list[Any]) -> list[Any]:
        """The finished steps to resume after: those whose files exist."""
        raise NotImplementedError

    def add(self, value: object) -> None:
        """Record the next finished step, whose files are on disk."""
        self.finish(str(self._count), self._stamp, value)
        self._journal.sync()
        self._count += 1
        self.replay_step(value)

    def remove(self) -> None:
        """Remove the folder, and its parent if empty."""
        with writing(self.folder):
            shutil.rmtree(self.folder)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _earlier(self, out: str | os.PathLike[str]) -> list[Any]:
        values = list[Any]()
        self.done.require_key(out, "leave out --resume to replace them, or give another --out")
        while self.done.has(str(len(values)), self._stamp):
            values.append(self.done.get(str(len(values)), self._stamp))
        return self.usable(values)

    def _begin_anew(self) -> None:
        """Remove all files but the journal, which is locked."""
        self._journal.clear()
        with writing(self.folder):
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path != self.path:
                    path.unlink()


def _digest(key: RunSettings) -> str:
    return digest_of(RESUME_FORMAT, strict_json(key, sort_keys=True))[:16]
