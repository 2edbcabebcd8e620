"""Images with the noun phrases of their captions: an index on disk, built once, and a data set that reads it.

    FOLDER/captions-<digest>.json     one chunk of the set (a tar, or 1,024 images): locations and noun phrases
    FOLDER/index-<digest>.sqlite      the whole set after cleaning, which `CaptionDataset` reads

The digest of a chunk covers its content (for a tar: name, size, modification time) and spaCy's model; that of the index
covers its chunks and the cleaning rules. So whatever has not changed is reused, and after a kill only unfinished chunks
are scanned again. Both kinds of file are written atomically.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from segvoc.data.captions.phrases import CleaningRules, phrase_extractor
from segvoc.data.captions.sources import CaptionChunk, CaptionSource, ImageLocation, OnProblem
from segvoc.errors import InputError, OutputError, ProcessError, UsageError, one_line
from segvoc.runtime.process_settings import map_in_processes
from segvoc.runtime.progress import Progress
from segvoc.storage.atomic_writes import write_bytes, write_path_atomically
from segvoc.storage.files import digest_of

INDEX_FORMAT = 1
"""Version of both files; files of other versions are rebuilt."""

PROBLEMS_KEPT = 20
"""Max problems of a chunk, and of a set, that are recorded verbatim; others are only counted."""

_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE files (id INTEGER PRIMARY KEY, path BLOB);
CREATE TABLE images (
    id INTEGER PRIMARY KEY, name BLOB, file INTEGER, member BLOB, offset INTEGER, size INTEGER, phrases TEXT
);
CREATE TABLE phrases (id INTEGER PRIMARY KEY, phrase TEXT);
"""


def build_index(
    source: CaptionSource,
    folder: Path,
    rules: CleaningRules,
    *,
    workers: int = 0,
    on_problem: OnProblem = lambda message: None,
    silent: bool = False,
) -> Path:
    """Scan a set and extract its phrases, unless the folder has an index of the same content; returns its path.

    Memory use: one chunk, and all distinct phrases.

    Several sets may share the `folder`. `workers` processes scan and extract (0: this process). `on_problem` receives
    a line per skipped caption or image, also if the index is reused. `UsageError` if no image has a phrase, or spaCy or
    its model is not installed.
    """
    identity = phrase_extractor().identity
    paths = tuple(
        folder / f"captions-{digest_of(INDEX_FORMAT, chunk.digest(), identity)[:24]}.json" for chunk in source.chunks
    )
    tars = [chunk.tar for chunk in source.chunks]
    cleaning = [getattr(rules, field.name) for field in fields(CleaningRules)]
    digest = digest_of(INDEX_FORMAT, source.name, [path.name for path in paths], tars, cleaning)
    index = folder / f"index-{digest[:24]}.sqlite"
    try:
        with closing(open_index(index)) as connection:
            facts = {name: json.loads(value) for name, value in connection.execute("SELECT name, value FROM facts")}
    except (sqlite3.Error, ValueError):  # missing or damaged
        _extract(source.chunks, paths, workers, silent=silent)
        facts = _merge(source, paths, rules, index, silent=silent)
    for problem in facts["problems"]:
        on_problem(problem)
    if more := facts["skipped"] - len(facts["problems"]):
        on_problem(f"{more} more captions or images were skipped")
    return index


def open_index(path: Path) -> sqlite3.Connection:
    """Open an index for reading; `sqlite3.Error` if it is missing or damaged."""
    # nothing writes to it, so it needs no locks, which network file systems lack
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def _extract(chunks: Sequence[CaptionChunk], paths: Sequence[Path], workers: int, *, silent: bool) -> None:
    missing = [(chunk, path) for chunk, path in zip(chunks, paths, strict=True) if not path.exists()]
    total = sum(map(_size, chunks))
    done = total - sum(_size(chunk) for chunk, _ in missing)
    unit = "tar" if chunks[0].tar else "image"
    killed = ProcessError(
        "a process that extracts noun phrases was killed, probably because memory ran out; run the same call again, "
        "with fewer workers if it happens again"
    )
    with Progress("extracting noun phrases", total=total, unit=unit, done=done, silent=silent) as progress:
        written = map_in_processes(_write_chunk, missing, workers, killed)
        for (chunk, _), _ in zip(missing, written, strict=True):
            progress.update(_size(chunk))


def _size(chunk: CaptionChunk) -> int:
    return len(chunk.images) or 1


def _write_chunk(item: tuple[CaptionChunk, Path]) -> None:
    chunk, path = item
    problems: list[str] = []
    skipped = 0

    def note(problem: str) -> None:
        nonlocal skipped
        skipped += 1
        if len(problems) < PROBLEMS_KEPT:
            problems.append(problem)

    images = list(chunk.read(note))
    found = phrase_extractor().phrases(caption for image in images for caption in image.captions)
    entries = []
    for image in images:
        phrases = [next(found) for _ in image.captions]
        # the tar may move before the next read
        file = "" if chunk.tar else image.location.file
        entries.append((image.name, file, *image.location[1:], phrases))
    content = json.dumps({"images": entries, "problems": problems, "skipped": skipped}).encode()
    write_bytes(path, content)


def _bytes(text: str) -> bytes:
    """A name as SQLite can store it; names of files may hold bytes that are not UTF-8, as surrogates."""
    return text.encode(errors="surrogatepass")


def _merge(
    source: CaptionSource, paths: Sequence[Path], rules: CleaningRules, index: Path, *, silent: bool
) -> dict[str, Any]:
    """Write the index of chunks; returns its facts about the whole set."""
    counts = Counter[str]()
    files, phrases, problems = dict[str, int](), dict[str, int](), list[str]()
    digest, facts = hashlib.blake2b(digest_size=16), dict[str, Any]()

    def image_rows() -> Iterator[tuple[int, bytes, int, bytes, int, int, str]]:
        """The row of each image that keeps a phrase, numbered as the chunks are read in turn."""
        with Progress("indexing captions", total=len(paths), unit="file", silent=silent) as progress:
            for chunk, path in progress.over(zip(source.chunks, paths, strict=True)):
                try:
                    content = json.loads(path.read_bytes())
                except (OSError, ValueError) as error:
                    path.unlink(missing_ok=True)
                    damage = f"{str(path)!r} is damaged ({one_line(error)}); run the same command again"
                    raise OutputError(damage) from None
                counts["skipped"] += content["skipped"]
                problems.extend(content["problems"][: PROBLEMS_KEPT - len(problems)])
                for name, file, member, offset, size, found in content["images"]:
                    kept = rules.clean(found)
                    counts["images"] += 1
                    counts["captions"] += len(found)
                    if not kept:
                        continue
                    digest.update(repr((name, *kept)).encode(errors="surrogatepass"))
                    number = files.setdefault(chunk.tar or file, len(files))
                    own = json.dumps([phrases.setdefault(phrase, len(phrases)) for phrase in kept])
                    yield counts["with_phrases"], _bytes(name), number, _bytes(member), offset, size, own
                    counts["with_phrases"] += 1

    def write(temporary: Path) -> None:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            # an incomplete file is never renamed, so a journal would only cost time
            connection.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN; {_TABLES}")
            connection.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", image_rows())
            if not counts["images"]:
                raise source.empty()
            if not phrases:
                raise UsageError(
                    f"no caption of {source.name!r} has a noun phrase that is kept; change the cleaning rules, for "
                    "example with --set match=word"
                )
            facts.update({name: counts[name] for name in ("images", "captions", "with_phrases", "skipped")})
            facts.update(name=source.name, phrases=len(phrases), problems=problems, digest=digest.hexdigest())
            connection.executemany(
                "INSERT INTO files VALUES (?, ?)", ((at, _bytes(path)) for path, at in files.items())
            )
            connection.executemany("INSERT INTO phrases VALUES (?, ?)", ((at, text) for text, at in phrases.items()))
            values = ((name, json.dumps(value)) for name, value in facts.items())
            connection.executemany("INSERT INTO facts VALUES (?, ?)", values)
            connection.execute("COMMIT")

    try:
        write_path_atomically(index, write)
    except sqlite3.Error as error:
        raise OutputError(f"{str(index)!r} can't be written: {error}; check the folder and the disk") from error
    return facts


class CaptionEntry(NamedTuple):
    """An image of the set, not read yet."""

    name: str
    location: ImageLocation
    phrases: tuple[int, ...]
    """Its noun phrases, by their numbers in `CaptionDataset.phrase_texts`."""


class CaptionDataset:
    """The captioned images that have a phrase, read from an index made by `build_index`.

    Entries are read from the index on demand, so neither a process's memory nor the data copied to data loader
    workers grows with the set.
    """

    def __init__(self, index: Path) -> None:
        """Read the facts of the index that `build_index` returned; `InputError` if it is missing or damaged."""
        self.index = index
        rows = self._rows("SELECT name, value FROM facts")
        self.facts: dict[str, Any] = {name: json.loads(value) for name, value in rows}

    def __len__(self) -> int:
        """Number of images with a phrase."""
        return self.facts["with_phrases"]

    def entry(self, position: int) -> CaptionEntry:
        """Where an image is, and its phrases."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is outside of {len(self)} images")
        return next(self.entries(position, position + 1))

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[CaptionEntry]:
        """The entries at the positions from `start` to `stop` (exclusive; by default the end), in order."""
        query = (
            "SELECT name, path, member, offset, size, phrases FROM images JOIN files ON files.id = file "
            "WHERE images.id >= ? AND images.id < ? ORDER BY images.id"
        )
        for name, path, member, offset, size, phrases in self._rows(query, start, len(self) if stop is None else stop):
            location = ImageLocation(_text(path), _text(member), offset, size)
            yield CaptionEntry(_text(name), location, tuple(json.loads(phrases)))

    def phrases(self, entry: CaptionEntry) -> tuple[str, ...]:
        """The texts of an image's phrases."""
        return tuple(text for number in entry.phrases for text in self.phrase_texts(number, number + 1))

    def phrase_texts(self, start: int = 0, stop: int | None = None) -> Sequence[str]:
        """The distinct phrases of the set with the numbers from `start` to `stop` (exclusive; by default the end)."""
        query = "SELECT phrase FROM phrases WHERE id >= ? AND id < ? ORDER BY id"
        rows = self._rows(query, start, self.facts["phrases"] if stop is None else stop)
        return [phrase for (phrase,) in rows]

    def _rows(self, query: str, *values: int) -> Iterator[tuple[Any, ...]]:
        try:
            # opened anew, in a tenth of a millisecond: a connection must not be used in a process that was forked later
            with closing(open_index(self.index)) as connection:
                yield from connection.execute(query, values)
        except sqlite3.Error as error:
            path = str(self.index)
            raise InputError(f"{path!r} can't be read ({error}); delete it and run the same command again") from None


def _text(content: bytes) -> str:
    return content.decode(errors="surrogatepass")
