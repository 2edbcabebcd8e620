"""Resuming: which items of some work are done, kept so that a kill at any moment costs at most the items in the making.

Everything that goes on where an earlier call was stopped uses this: folders of images, tiles, videos, batches,
evaluation, preparation, reproduction, ablations. Four words describe it:

    key     all settings that the results depend on, as plain values under readable names. Results under another key
            don't count, and `DoneItems.require_key` refuses to go on among them, in a line that says what differs.
    item    the name of one result: an image, a row of tiles, a piece of a video, a shard.
    stamp   the files that an item was made from and those that it was written to, by size and time (`stamp_of`). An
            item whose stamp is another one now is not done.
    done    an entry with an item, its stamp and a small value. It is written once all files of the item are whole on
            the disk, so a kill leaves an item with its entry, or one that is made again into the same files.

`ResumableWork` keeps the entries in a journal (`segvoc.storage.journal`), of which each process has one of its own and
holds it locked. `StepwiseWork` is for items that build on each other. A batch, whose results may be in a bucket,
where nothing can be appended to a file, writes a manifest anew every few seconds (`segvoc.batch.results`).
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
from segvoc.storage.files import digest_of
from segvoc.storage.journal import Journal, read_journal, warn_of_damage
from segvoc.storage.json_files import strict_json

RESUME_FOLDER = ".segvoc"
"""The folder of the journals among the results, for work whose results are in a folder."""

RESUME_FORMAT = 1
"""Version of the entries; those of other versions are ignored."""

Key = Mapping[str, object]
"""All settings that the results depend on, as plain values under readable names."""

Stamp = tuple[int, int] | None
"""Size [bytes] and time of the last change [ns] of a file; None if it isn't there."""

Value = TypeVar("Value")


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """The stamp of a file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def key_entry(key: Key) -> dict[str, object]:
    """The entry that says which settings a key stands for."""
    return {"key": _digest(key), "settings": key}


def done_entry(key: Key, item: str, stamp: object = None, value: object = None) -> dict[str, object]:
    """The entry that says that an item is done."""
    return {"key": _digest(key), "item": item, "stamp": stamp, "value": value}


def difference(before: Mapping[str, Any], key: Key) -> str:
    """How the settings of an earlier call, as read from JSON, differ from those of this one; empty if they don't."""
    return "; ".join(_differences(before, json.loads(strict_json(key))))


class DoneItems(Generic[Value]):
    """The items that are done under a key, as they were when this was made.

    Args:
        entries: those of `key_entry` and `done_entry`, as read from JSON; others are ignored.
        key: of this call.
        decode: makes the value of an item from that of its entry; an entry for which it raises `KeyError`, `TypeError`
            or `ValueError` is damaged, which is reported as a `DamagedJournalWarning`, and the item isn't done.
    """

    def __init__(
        self, entries: Iterable[Mapping[str, Any]], key: Key, decode: Callable[[Any], Value] = lambda value: value
    ) -> None:
        self.key = key
        self._found: dict[str, dict[str, Value]] = {}
        self._others: Mapping[str, Any] | None = None
        own, has_own = _digest(key), False
        for entry in entries:
            if entry.get("key") != own:
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
        """Refuse to go on among results of other settings alone.

        Args:
            where: the folder of the results.
            fix: what to do about it.

        Raises:
            UsageError: there are none of this call's key, but some of another; the message names the differences.
        """
        if self._others is not None and (told := difference(self._others, self.key)):
            raise UsageError(f"{os.fspath(where)!r} has results of another call ({told}); {fix}")

    def has(self, item: str, stamp: object = None) -> bool:
        """Whether an item is done, with the stamp that it has now."""
        return item in self._found and strict_json(stamp) in self._found[item]

    def get(self, item: str, stamp: object = None) -> Value | None:
        """The value of an item, or None if it isn't done."""
        return self._found.get(item, {}).get(strict_json(stamp))

    def __iter__(self) -> Iterator[tuple[str, Any, Value]]:
        """Item, stamp and value of each entry; an item that was made several times may come with several stamps."""
        for item, by_stamp in self._found.items():
            for stamp, value in by_stamp.items():
                yield item, json.loads(stamp), value


def read_done(
    paths: Iterable[Path], key: Key, decode: Callable[[Any], Value] = lambda value: value
) -> DoneItems[Value]:
    """What the journals of all processes hold; the newest is read last.

    Args:
        paths: the journals; other processes may be writing them.
        key: of this call.
        decode: as for `DoneItems`.
    """
    ordered = sorted(paths, key=lambda path: (stamp_of(path) or (0, 0))[1])
    return DoneItems(chain.from_iterable(map(read_journal, ordered)), key, decode)


class ResumableWork(Generic[Value]):
    """Work whose finished items are kept in a journal of this process; use it in a `with` block or close it.

    The journal is locked as long as this is open, and removed in the end if it holds nothing. `done` says what earlier
    calls, and other processes, have done.

    Args:
        path: the journal of this process.
        key: all settings that the results depend on.
        writers: pattern of the journals of all processes that share the work, in the same folder; None: this one.
        decode: as for `DoneItems`.
        busy: the error if another process has the journal open.

    Raises:
        UsageError: another process has it open.
        OutputError: it can't be opened for writing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        key: Key,
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
        """Keep that an item is done, whose files are on the disk; from any thread.

        Args:
            item: its name.
            stamp: of all files that it was made from, before they were read, and that were written.
            value: what is kept of it, for `DoneItems.get`; anything that JSON has a form for.

        Raises:
            OutputError: the system refused, for example because the disk is full.
        """
        with self._lock:
            if not self._has_key:
                self._journal.append(key_entry(self.key))
                self._has_key = True
            self._journal.append(done_entry(self.key, item, stamp, value))

    def restart(self) -> None:
        """Take everything in the journal for not done."""
        self._journal.clear()
        self._has_key, self.done = False, DoneItems((), self.key)

    def close(self) -> None:
        """Flush the journal to the disk and let other processes have it.

        Raises:
            OutputError: the system refused.
        """
        with suppress(OSError, ValueError):  # closed before
            if self._journal.is_empty:
                self.path.unlink()
                self.path.parent.rmdir()
        self._journal.close()


class StepwiseWork(ResumableWork[Any]):
    """Work of steps that build on each other, in a folder with their files that goes once the results are written.

    Rows of tiles and pieces of a video are such steps: subclasses say what they are (`take`, `usable`). At most one
    process works in the folder. Use it in a `with` block, and `remove` it there in the end.

    Args:
        folder: the folder.
        key: all settings that the results depend on.
        stamp: what the steps are made from; with another one, all of them begin anew.
        out: the folder of the results, for errors.
        resume: go on after the steps of an earlier call; otherwise begin anew.

    Raises:
        UsageError: another process works there, or an earlier call has left steps of other settings.
        OutputError: the system refused.
    """

    def __init__(self, folder: Path, key: Key, stamp: object, *, out: str | os.PathLike[str], resume: bool) -> None:
        super().__init__(folder / "steps.jsonl", key)
        self.folder, self._stamp, self._count = folder, stamp, 0
        try:
            earlier = self._earlier(out) if resume else []
            self.done = DoneItems((), key)
            if not earlier:
                self._begin_anew()
            for value in earlier:
                self._count += 1
                self.take(value)
        except BaseException:
            self.close()
            raise

    def take(self, value: Any) -> None:
        """Count in the next step that is done, in this call or an earlier one: its value, as given to `add`."""
        raise NotImplementedError

    def usable(self, values: list[Any]) -> list[Any]:
        """The steps that can be gone on after, of all that are done: those whose files are there."""
        raise NotImplementedError

    def add(self, value: object) -> None:
        """Keep that the next step is done, whose files are on the disk.

        Raises:
            OutputError: the system refused.
        """
        self.finish(str(self._count), self._stamp, value)
        self._journal.sync()
        self._count += 1
        self.take(value)

    def remove(self) -> None:
        """Remove the folder, and the one around it if nothing else is there.

        Raises:
            OutputError: the system refused.
        """
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
        self.restart()
        with writing(self.folder):
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path != self.path:
                    path.unlink()


def _digest(key: Key) -> str:
    return digest_of(RESUME_FORMAT, strict_json(key, sort_keys=True))[:16]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in {**before, **now}:
        then, value = before.get(name), now.get(name)
        if then == value:
            continue
        if isinstance(then, Mapping) and isinstance(value, Mapping):
            yield from _differences(then, value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}: {_told(then)}, now {_told(value)}"


def _told(value: object) -> str:
    return "none" if value is None else str(value)
