"""The journals in a folder of results: which images are done, and with which words, model and options.

Each process writes a journal of its own (`segvoc.storage.journal`), so any number of them may share a folder. Its first
entry holds the settings; the others are the images that are done, with size and time of the files that were read and
written. An image counts as done as long as all of these files are still the same.
"""

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from segvoc.errors import UsageError
from segvoc.imaging.result_paths import ResultFiles
from segvoc.storage.digests import digest_of
from segvoc.storage.journal import Journal, read_journal
from segvoc.storage.json_files import strict_json

JOURNAL_FOLDER = ".segvoc"
"""The folder of the journals, among the results."""

RESULT_JOURNAL_FORMAT = 1
"""Version of the entries; journals of other versions are ignored."""

Settings = Mapping[str, object]
"""Everything but the images that results depend on, as plain values under readable names."""

_Files = TypeVar("_Files", bound=ResultFiles)

Planned = tuple[Path, ResultFiles]
"""An image, and where its results go."""

Stamp = tuple[int, int] | None
"""Size [bytes] and time of the last change [ns] of a file; None if it isn't there."""


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


class ResultJournal:
    """The journal of this process, for its threads; use it in a `with` block. Without entries, there is no file.

    Args:
        out: the folder of the results.
        settings: of this run.
    """

    def __init__(self, out: str | os.PathLike[str], settings: Settings) -> None:
        self.path = Path(out, JOURNAL_FOLDER, f"{_prefix(settings)}{secrets.token_hex(6)}.jsonl")
        self.settings = settings
        self._journal: Journal | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "ResultJournal":
        return self

    def __exit__(self, *_: object) -> None:
        if self._journal is not None:
            self._journal.close()

    def append(self, path: Path, read: Stamp, results: ResultFiles) -> None:
        """Keep that an image is done.

        Args:
            path: the image.
            read: its stamp, from before it was read.
            results: the files that were written.

        Raises:
            OutputError: the system refused.
        """
        with self._lock:
            if self._journal is None:
                self._journal = Journal(self.path)
                self._journal.append({"format": RESULT_JOURNAL_FORMAT, "settings": self.settings})
            self._journal.append(_entry(path, read, results))


def finished(out: str | os.PathLike[str], settings: Settings, planned: Iterable[Planned]) -> set[str]:
    """The images that need no more work, by the stems of their results.

    Args:
        out: the folder of the results.
        settings: of this run.
        planned: its images.

    Raises:
        UsageError: the folder only has results of other settings, which the message names.
    """
    journals = sorted(Path(out, JOURNAL_FOLDER).glob("segment-*.jsonl"), key=_changed)
    own = [journal for journal in journals if journal.name.startswith(_prefix(settings))]
    if journals and not own:
        refuse_other_settings(out, settings, journals[-1])
    known = _known(own)
    done = set()
    for path, results in planned:
        if results.stem in known and _plain(_entry(path, stamp_of(path), results)) in known[results.stem]:
            done.add(results.stem)
    return done


def written(
    out: str | os.PathLike[str], settings: Settings, files_of: Callable[[str, str], _Files]
) -> Iterator[_Files]:
    """The results in a folder that calls with these settings have written, whichever images they were called with.

    Args:
        out: the folder of the results.
        settings: of the calls.
        files_of: the files of an image, by their stem and the image's file name.
    """
    known = _known(sorted(Path(out, JOURNAL_FOLDER).glob(f"{_prefix(settings)}*.jsonl")))
    for stem, entries in known.items():
        for name, stamps in {(entry["image"], json.dumps(entry["written"])) for entry in entries}:
            files = files_of(stem, name)
            if json.loads(stamps) == _plain([stamp_of(file) for file in files]):
                yield files
                break


def _known(journals: Iterable[Path]) -> dict[str, list[dict[str, Any]]]:
    """The entries of journals by stem."""
    known: dict[str, list[dict[str, Any]]] = {}
    for journal in journals:
        for entry in read_journal(journal):
            if {"stem", "image", "written"} <= entry.keys() and all(
                isinstance(entry[name], str) for name in ("stem", "image")
            ):
                known.setdefault(entry["stem"], []).append(entry)
    return known


def _entry(path: Path, read: Stamp, results: ResultFiles) -> dict[str, object]:
    return {"stem": results.stem, "image": path.name, "read": read, "written": [stamp_of(file) for file in results]}


def _prefix(settings: Settings) -> str:
    return f"segment-{digest_of(RESULT_JOURNAL_FORMAT, strict_json(settings, sort_keys=True))[:16]}-"


def _plain(value: object) -> object:
    """A value as it comes back from JSON, where tuples are lists."""
    return json.loads(strict_json(value))


def _changed(path: Path) -> int:
    stamp = stamp_of(path)
    return 0 if stamp is None else stamp[1]


def refuse_other_settings(out: str | os.PathLike[str], settings: Settings, journal: Path) -> None:
    """Say how the settings of a journal differ from those of this run.

    Raises:
        UsageError: always.
    """
    header = next(read_journal(journal, on_damage=lambda message: None), {})
    told = difference(header.get("settings", {}), settings)
    raise UsageError(
        f"{os.fspath(out)!r} has results of another call ({told}); "
        "leave out --resume to replace them, or give another --out"
    )


def difference(before: Mapping[str, Any], settings: Settings) -> str:
    """How the settings of an earlier call, as read from JSON, differ from those of this one; empty if they don't."""
    now = _plain(settings)
    assert isinstance(now, dict)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name}: {_told(before.get(name))}, now {_told(now.get(name))}" for name in names)


def _told(value: object) -> str:
    return "none" if value is None else str(value)
