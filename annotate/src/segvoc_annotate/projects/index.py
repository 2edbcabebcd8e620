"""The index of a project: one SQLite file of what changes often, rebuilt from the other files if it is lost."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from segvoc import OutputError, SegvocError, UsageError
from segvoc.errors import DiskFullError
from segvoc.imaging.result_paths import folded
from segvoc.storage.atomic_writes import put_in_place, writing
from segvoc.storage.files import strict_json
from segvoc.storage.records import from_json, to_json
from segvoc_annotate.projects.images import ImageFiles, stem_of
from segvoc_annotate.projects.records import (
    Change,
    ChangeKind,
    DamagedProjectError,
    ImageState,
    damaged_file,
    next_number,
    now,
)

INDEX_FILE = "index.sqlite"

_VERSION = 2
_BUSY_SECONDS = 10.0
"""Wait for readers in other processes, without a write-ahead log [s]."""
_COUNTING_SECONDS = 1.0
"""The same of who only counts."""

MOST_CHANGES = 10_000
"""Max changes in an answer."""

_SCHEMA = f"""
CREATE TABLE images (
    name TEXT PRIMARY KEY, stem TEXT NOT NULL, id TEXT, state TEXT, problem TEXT,
    image_file TEXT NOT NULL, work_file TEXT NOT NULL, label_file TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX stems ON images (stem);
CREATE INDEX ids ON images (id);
CREATE INDEX problems ON images (problem) WHERE problem IS NOT NULL;
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, by TEXT NOT NULL, what TEXT NOT NULL, image TEXT,
    revision INTEGER NOT NULL, change TEXT, image_id TEXT
);
CREATE UNIQUE INDEX change_ids ON changes (change) WHERE change IS NOT NULL;
CREATE TABLE trash (id INTEGER PRIMARY KEY AUTOINCREMENT, image TEXT NOT NULL, image_id TEXT, moving TEXT);
CREATE INDEX trash_images ON trash (image);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
"""`stem` is folded: images that share it would share a label map. The `_file` columns are `stamp_of` the files."""

STATES = ("unlabeled", "labeled", "sent back", "done", "accepted")
"""An image is in one of them; one that is done isn't accepted yet."""

_STATES_QUERY = """
SELECT CASE
    WHEN json_extract(state, '$.revision') = 0 THEN 'unlabeled'
    WHEN json_extract(state, '$.done') AND json_extract(state, '$.review.verdict') = 'accepted' THEN 'accepted'
    WHEN json_extract(state, '$.done') THEN 'done'
    WHEN json_extract(state, '$.review.verdict') = 'sent back' THEN 'sent back'
    ELSE 'labeled'
END AS kind, count(*) FROM images WHERE state IS NOT NULL GROUP BY kind
"""


_ACTIONS = """
SELECT by, one, image, count(*), coalesce(sum(gap) FILTER (WHERE gap BETWEEN 0 AND ?), 0), max(seq) FROM (
    SELECT by, one, image, seq, time - lag(time) OVER (PARTITION BY by ORDER BY seq) AS gap FROM (
        SELECT by, coalesce(image_id, image) AS one, image, seq, strftime('%s', at) AS time FROM changes
        WHERE what IN ('labels', 'done', 'reopened', 'accepted', 'sent back')
            AND image IS NOT NULL AND change IS NOT NULL
    )
) GROUP BY by, one
"""
"""A change of the page has an id; merges of words and imports have none."""


def stamp_of(path: Path) -> str:
    """A text that changes when a file is replaced or written; empty if it doesn't exist."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


class Stamps(NamedTuple):
    """The files of an image as they were when its row was written."""

    image: str
    work: str
    labels: str

    @classmethod
    def of(cls, image: Path, files: ImageFiles) -> "Stamps":
        """The stamps now."""
        return cls(stamp_of(image), stamp_of(files.work), stamp_of(files.labels))


NO_FILES = Stamps("", "", "")
"""Of an image that can't be used whatever is in its files."""

UNWRITTEN = Stamps("?", "?", "?")
"""Of an image whose files couldn't be written: unlike all files, so that they are written as soon as that works."""


@dataclass(frozen=True, kw_only=True)
class IndexedImage:
    """A row: the state of an image, why it can't be used, or both (the last known state)."""

    state: ImageState | None
    problem: str | None
    stamps: Stamps


@dataclass(frozen=True, kw_only=True)
class RemovedImage:
    """An image in the trash."""

    id: int
    """Its files are in `trash/ID/`."""
    image: str
    image_id: str | None
    """See `ImageState.id`."""
    moving: Literal["out", "back"] | None
    """Whether its files are being moved to the trash or back; None: they are in the trash."""


class Index:
    """An open index. All methods are safe in threads; they raise the errors of `_failure`."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path, self._database = path, database
        self._mutex, self._depth = threading.RLock(), 0
        self.seq = 0
        """Number of the last change, known without reading."""
        self._read_seq()

    @classmethod
    def create(cls, path: Path, history: Iterable[Change] = ()) -> None:
        """Create an index without images, atomically."""
        made = path.with_name(f".segvoc-{path.name}.tmp")
        with writing(made):
            made.unlink(missing_ok=True)
            made.touch()
        with _errors(made), closing(_connected(made)) as database:
            database.executescript(f"PRAGMA journal_mode=OFF; {_SCHEMA}")
            database.execute("BEGIN")
            database.executemany("INSERT OR IGNORE INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_values, history))
            database.execute("COMMIT")
        with writing(path):
            with made.open("r+b") as file:
                os.fsync(file.fileno())
            put_in_place(made, path)

    @classmethod
    def open(cls, path: Path) -> "Index":
        """Open an existing index for writing; `DamagedProjectError` if it is damaged."""
        with _errors(path):
            database = _connected(path)
            try:
                with suppress(sqlite3.OperationalError):  # a network disk has no memory that processes share
                    database.execute("PRAGMA journal_mode=WAL")
                database.executescript("PRAGMA synchronous=FULL; BEGIN IMMEDIATE; COMMIT")
                _check(path, database)
                return cls(path, database)
            except BaseException:
                database.close()
                raise

    @classmethod
    def copy(cls, path: Path) -> "Index":
        """A private copy in memory, as it is now; empty if there is no index, or it is damaged."""
        address = f"file:{quote(os.fsencode(path))}"
        # a disk without write access has no write-ahead log, whose index SQLite would write
        for options in ("mode=ro", "mode=ro&immutable=1") if path.is_file() else ():
            memory = _in_memory()
            with suppress(sqlite3.Error, DamagedProjectError):
                with closing(sqlite3.connect(f"{address}?{options}", uri=True, timeout=_BUSY_SECONDS)) as database:
                    database.backup(memory)
                _check(path, memory)
                return cls(path, memory)
        memory = _in_memory()
        memory.executescript(_SCHEMA)
        return cls(path, memory)

    def close(self) -> None:
        """Close the file."""
        with self._mutex, suppress(sqlite3.Error):
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes of a `with` block at its end, or none of them; blocks may be nested."""
        with self._mutex, _errors(self.path):
            if self._depth == 0:
                self._database.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._database.execute("COMMIT")
            except BaseException:
                if self._depth == 1 and self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._read_seq()

    def _read_seq(self) -> None:
        self.seq = self._rows("SELECT max(seq) FROM changes")[0][0] or 0

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._mutex, _errors(self.path):
            return self._database.execute(query, values).fetchall()

    # ---- images

    def image(self, name: str) -> IndexedImage | None:
        """The row of an image."""
        query = "SELECT state, problem, image_file, work_file, label_file FROM images WHERE name = ?"
        for state, problem, *stamps in self._rows(query, name):
            return IndexedImage(state=state and parsed_state(state), problem=problem, stamps=Stamps(*stamps))
        return None

    def put(self, name: str, stamps: Stamps, state: ImageState | None, problem: str | None = None) -> None:
        """Add or replace the row of an image."""
        text = None if state is None else strict_json(to_json(state))
        known = None if state is None else state.id
        values = name, _stem(name), known, text, problem, *stamps
        self._rows("REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)

    def name_of(self, id_: str) -> str | None:
        """The name of the image with an id."""
        return next((name for (name,) in self._rows("SELECT name FROM images WHERE id = ?", id_)), None)

    def drop(self, name: str) -> None:
        """Remove the row of an image, and those that couldn't be used because of it."""
        self._rows("DELETE FROM images WHERE name = ? OR (stem = ? AND state IS NULL)", name, _stem(name))

    def names(self, *, unusable: bool = False) -> list[str]:
        """The images with a state, in order; or all."""
        which = "" if unusable else " WHERE state IS NOT NULL"
        return [name for (name,) in self._rows(f"SELECT name FROM images{which} ORDER BY name")]

    def stamps(self, *, problems: bool = False) -> dict[str, Stamps]:
        """The files of all rows, or of those with a problem, in order."""
        which = " WHERE problem IS NOT NULL" if problems else ""
        rows = self._rows(f"SELECT name, image_file, work_file, label_file FROM images{which} ORDER BY name")
        return {name: Stamps(*stamps) for name, *stamps in rows}

    def owner(self, name: str) -> str | None:
        """The image with a state that has, or would have, the same label map as this one."""
        query = "SELECT name FROM images WHERE stem = ? AND state IS NOT NULL"
        return next((other for (other,) in self._rows(query, _stem(name))), None)

    def states(self) -> list[str]:
        """The states of all images in order, as JSON."""
        return [state for (state,) in self._rows("SELECT state FROM images WHERE state IS NOT NULL ORDER BY name")]

    def with_word(self, word: int) -> list[str]:
        """The images that have pixels of a word."""
        query = "SELECT name FROM images WHERE json_extract(state, ?) > 0 ORDER BY name"
        return [name for (name,) in self._rows(query, f'$.pixels."{word}"')]

    def problems(self) -> list[str]:
        """Why images can't be used, in order."""
        return [line for (line,) in self._rows("SELECT problem FROM images WHERE problem IS NOT NULL ORDER BY name")]

    # ---- history

    def log(
        self, what: ChangeKind, *, by: str, revision: int, image: str | None = None, change: str | None = None
    ) -> None:
        """Add a change to the history."""
        ((last,),) = self._rows("SELECT max(seq) FROM changes")
        ids = self._rows("SELECT id FROM images WHERE name = ?", image)
        values = next_number(last or 0), now(), by, what, image, revision, change, ids[0][0] if ids else None
        self._rows("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)

    def has(self, change: str | None, image: str | None = None) -> bool:
        """Whether a change was made already to an image, by its id or name (None: to the project).

        A caller that lost the answer repeats it. None has no id. `UsageError` if the id is that of a change of
        something else.
        """
        made = self._rows("SELECT image, image_id FROM changes WHERE change = ?", change)
        if made and image not in (made[0] if image is not None else made[0][:1]):
            raise UsageError(f"the change {str(change)[:64]!r} was made to something else; give each its own id")
        return bool(made)

    def knows(self, seq: int) -> bool:
        """Whether the history has a change of a number; 0 is before all."""
        return not seq or bool(self._rows("SELECT 1 FROM changes WHERE seq = ?", seq))

    def changes(self, after: int, most: int = MOST_CHANGES) -> list[Change]:
        """The changes after that of a number, in order; 0: all."""
        rows = self._rows("SELECT * FROM changes WHERE seq > ? ORDER BY seq LIMIT ?", after, most)
        return [Change(**dict(zip(Change.__dataclass_fields__, row, strict=True))) for row in rows]

    def history(self) -> Iterator[Change]:
        """All changes, read in pieces."""
        last = 0
        while found := self.changes(last):
            yield from found
            last = found[-1].seq

    def labelers(self) -> dict[str, str]:
        """Who labeled each image, by its id: who changed its labels, or marked it as done, last."""
        query = "SELECT image_id, by, max(seq) FROM changes WHERE what IN ('labels', 'done') GROUP BY image_id"
        return {image: by for image, by, _ in self._rows(query)}

    def actions(self, pause: int) -> dict[tuple[str, str], tuple[str, int, int]]:
        """What people did on the page, by name and image's id: its last name, number of actions, seconds of work.

        An action is a saved change of an image's labels, or of what was said of them. The time since the same person's
        last one is work on the later one's image, but for gaps of more than `pause` [s].
        """
        rows = self._rows(_ACTIONS, pause)
        return {(by, id_): (image, actions, seconds) for by, id_, image, actions, seconds, _ in rows}

    # ---- the trash

    def removed(self, name: str | None = None) -> list[RemovedImage]:
        """The images in the trash, or those of a name (or an id); the last one first."""
        query = "SELECT id, image, image_id, moving FROM trash WHERE ? IN (image, image_id) ORDER BY id DESC"
        rows = self._rows(query if name is not None else query.replace("? IN (image, image_id)", "? IS NULL"), name)
        return [RemovedImage(**dict(zip(RemovedImage.__dataclass_fields__, row, strict=True))) for row in rows]

    def put_removed(
        self, name: str, image_id: str | None, moving: str | None = None, number: int | None = None
    ) -> RemovedImage:
        """Add an image to the trash, or change whether it is moving."""
        query = "REPLACE INTO trash (id, image, image_id, moving) VALUES (?, ?, ?, ?) RETURNING id"
        ((number,),) = self._rows(query, number, name, image_id, moving)
        return next(one for one in self.removed(name) if one.id == number)

    def drop_removed(self, number: int) -> None:
        """Take an image out of the trash."""
        self._rows("DELETE FROM trash WHERE id = ?", number)

    # ---- facts

    def fact(self, name: str) -> Any:
        """A value by its name; None without one."""
        return next(
            (json.loads(value) for (value,) in self._rows("SELECT value FROM facts WHERE name = ?", name)), None
        )

    def put_fact(self, name: str, value: Mapping[str, object] | list[Any] | int | str | None) -> None:
        """Set a value, or remove it (None)."""
        self._rows("DELETE FROM facts WHERE name = ?", name)
        if value is not None:
            self._rows("INSERT INTO facts VALUES (?, ?)", name, strict_json(value))


def read_counts(path: Path, after: int) -> tuple[Mapping[str, int], list[tuple[ChangeKind, int, int]]]:
    """The images in each of `STATES`; and for each kind of change after a number, how many and the last one's number.

    It waits for no change that is being made. Raises the errors of `_failure`.
    """
    changes = "SELECT what, count(*), max(seq) FROM changes WHERE seq > ? GROUP BY what"
    address = f"file:{quote(os.fsencode(path))}?mode=ro"
    with _errors(path), closing(sqlite3.connect(address, uri=True, timeout=_COUNTING_SECONDS)) as database:
        images: dict[str, int] = {**dict.fromkeys(STATES, 0), **dict(database.execute(_STATES_QUERY).fetchall())}
        return images, database.execute(changes, [after]).fetchall()


def _connected(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(os.fsencode(path))}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)


def _check(path: Path, database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise UsageError(f"{str(path)!r} is of version {version}, made by a newer segvoc; update segvoc")
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if version != _VERSION or found != "ok":
        raise damaged_file(path, "it is not an index" if version != _VERSION else str(found))


def parsed_state(text: str) -> ImageState:
    """The record of a state's JSON."""
    return from_json(ImageState, json.loads(text))


def _stem(name: str) -> str:
    return folded(stem_of(name))


def _values(change: Change) -> tuple[object, ...]:
    return tuple(to_json(change).values())


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into errors of one line."""
    try:
        yield
    except sqlite3.Error as error:
        raise _failure(path, error) from error


def _failure(path: Path, error: sqlite3.Error) -> SegvocError:
    name, code = repr(str(path)), getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(f"{name} can't be written: the disk is full; free some space")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return UsageError(
            f"{name} can't be locked ({error}): another program has it open, or its disk has no locks; "
            "close that program, or move the project to a local disk"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedProjectError(f"{name} is damaged: {error}; open the project again, which rebuilds it")
    return OutputError(f"{name} can't be written: {error}; check the folder and the disk")
