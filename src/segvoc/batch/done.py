"""What a folder of results knows of its runs: their settings, and a record of every shard that is done.

Both are entries of `segvoc.storage.resume`, each in a file of its own, since nothing can be appended to a file in a
bucket. A shard's stamp is the source's files with size and time, so a changed image is labeled again, and a new one
once.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from segvoc.batch.places import Location
from segvoc.batch.results import PART, ResultFile, Sink
from segvoc.batch.shards import Container, Shard, ShardLimits, Unit, in_groups
from segvoc.batch.sources import STORAGE_THREADS
from segvoc.errors import UsageError
from segvoc.storage.json_files import strict_json
from segvoc.storage.resume import RESUME_FOLDER, DoneItems, Key, done_entry, key_entry

BATCH_MANIFEST = f"{RESUME_FOLDER}/batch.json"
"""The file with the settings."""

RECORDS = f"{RESUME_FOLDER}/shards"
"""The folder of the records."""

_FOREIGN = {"parquet": (".parquet", ".pq"), "webdataset": (".tar", ".tar.gz", ".tgz"), "files": ()}


@dataclass(frozen=True, kw_only=True)
class Record:
    """A shard that is done."""

    key: str
    units: tuple[Unit, ...]
    """The files of the source that it is of."""
    row_group: int | None
    """Of a Parquet file."""
    number: int
    last: bool
    """Whether it is the last one in there."""
    images: int
    """How many images it has, readable or not."""
    failed: tuple[tuple[str, str], ...]
    """Sources and problems of those that couldn't be labeled."""
    files: tuple[tuple[str, int, str], ...]
    """The files of its results: name, bytes, digest."""

    @classmethod
    def of(cls, shard: Shard, failed: Iterable[tuple[str, str]], files: Sequence[ResultFile]) -> "Record":
        """The record of a shard that was labeled."""
        return cls(
            key=shard.key,
            units=shard.container.units,
            row_group=shard.container.row_group,
            number=shard.number,
            last=shard.last,
            images=len(shard.images),
            failed=tuple(failed),
            files=tuple((name, len(content), _digest(content)) for name, content in files),
        )

    def to_json(self, settings: Key) -> bytes:
        """Its file."""
        fields = dict(self.__dict__)
        return _file(done_entry(settings, fields.pop("key"), fields.pop("units"), fields))


def write_shard(out: Location, settings: Key, record: Record, files: Sequence[ResultFile]) -> None:
    """Write the files of a shard, and then its record.

    Raises:
        OutputError: one can't be written.
    """
    for name, content in files:
        (out / name).write(content)
    (out / RECORDS / f"{record.key}.json").write(record.to_json(settings))


class DoneShards:
    """What is done in a folder of results; at most one run at a time may work there.

    Raises:
        UsageError: it has results of other settings, or of another program.
        UnavailableError: the storage doesn't answer.
    """

    def __init__(self, out: Location, sink: Sink, settings: Key) -> None:
        self.out = out
        entries = {entry.path: entry.size for entry in out.files()}
        names = [path for path in entries if path.startswith(f"{RECORDS}/")]
        if BATCH_MANIFEST in entries:
            manifest = _entry(out / BATCH_MANIFEST)
            if not isinstance(manifest.get("settings"), dict):
                raise UsageError(
                    f"{(out / BATCH_MANIFEST).address!r} can't be read: what the results are isn't known; "
                    "give another --out"
                )
            DoneItems([manifest], settings).require_key(out.address)
        elif foreign := [path for path in entries if path.lower().endswith(_FOREIGN[sink])]:
            raise UsageError(
                f"{out.address!r} has files that aren't of segvoc batch ({foreign[0]!r}); give another --out"
            )
        else:
            (out / BATCH_MANIFEST).write(_file(key_entry(settings)))
        with ThreadPoolExecutor(STORAGE_THREADS) as pool:
            done = DoneItems(pool.map(lambda name: _entry(out / name), names), settings, _record)
        records = [replace(record, key=key, units=_tuples(units)) for key, units, record in done]
        whole = [one for one in records if all(entries.get(name) == size for name, size, _ in one.files)]
        self.records = {record.key: record for record in whole}
        known = {f"{RECORDS}/{key}.json" for key in self.records}
        self._remove([name for name in names if name not in known])
        if sink in PART:  # files that a killed run had written of shards without a record
            first, _, end = PART[sink].partition("{}")
            own = {name for record in whole for name, _, _ in record.files}
            made = [path for path in entries if path.startswith(first) and path.endswith(end)]
            self._remove([path for path in made if path not in own])

    def groups(
        self, units: Sequence[Unit], stems: Sequence[str], limits: ShardLimits, *, retry_failed: bool = False
    ) -> Iterator[Container]:
        """The containers of a folder's images that are left to do; what was of other files is forgotten.

        Args:
            units: the images.
            stems: the names of their results.
            limits: of shards.
            retry_failed: whether shards with images that failed are left to do.
        """
        self._forget_changed(units, retry_failed)
        done = {unit for record in self.records.values() for unit in record.units}
        left = [(unit, stem) for unit, stem in zip(units, stems, strict=True) if unit not in done]
        yield from in_groups([unit for unit, _ in left], [stem for _, stem in left], limits)

    def rest(self, containers: Collection[Container], *, retry_failed: bool = False) -> Iterator[Container]:
        """The same for tars and row groups."""
        self._forget_changed([unit for container in containers for unit in container.units], retry_failed)
        by_place: dict[tuple[Unit, int | None], dict[int, Record]] = defaultdict(dict)
        for record in self.records.values():
            by_place[record.units[0], record.row_group][record.number] = record
        for container in containers:
            own = by_place.get((container.units[0], container.row_group), {})
            last = next((number for number, record in own.items() if record.last), None)
            if last is None or len(own) <= last:
                left = container.images
                left = None if left is None else left - sum(record.images for record in own.values())
                yield replace(container, skip=frozenset(own), images=left)

    def _forget_changed(self, units: Iterable[Unit], retry_failed: bool) -> None:
        """Take shards of changed files for not done: their records go, and then their files."""
        now = {unit[0]: unit for unit in units}
        changed = [
            record
            for record in self.records.values()
            if any(now.get(unit[0], unit) != unit for unit in record.units) or (retry_failed and record.failed)
        ]
        self._remove([f"{RECORDS}/{record.key}.json" for record in changed])
        self._remove([name for record in changed for name, _, _ in record.files])
        for record in changed:
            del self.records[record.key]

    def _remove(self, names: Sequence[str]) -> None:
        with ThreadPoolExecutor(STORAGE_THREADS) as pool:
            list(pool.map(lambda name: (self.out / name).delete(), names))


def problems_of(out: Location, records: Iterable[Record]) -> list[str]:
    """What is wrong with the results of done shards, by reading all of them: files that are gone or changed."""

    def problem(name: str, digest: str) -> str | None:
        try:
            content = (out / name).read()
        except OSError as error:
            return f"{name}: {error}"
        return None if _digest(content) == digest else f"{name} isn't as it was written"

    return [
        found for record in records for name, _, digest in record.files if (found := problem(name, digest)) is not None
    ]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _file(entry: Mapping[str, object]) -> bytes:
    return (strict_json(entry) + "\n").encode()


def _entry(place: Location) -> dict[str, Any]:
    """The entry in a file; an empty one if it is damaged or can't be read."""
    try:
        content = json.loads(place.read())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _record(fields: Mapping[str, Any]) -> Record:
    """A record from the value of its entry."""
    lists = {name: _tuples(fields[name]) for name in ("failed", "files")}
    return Record(key="", units=(), **{**fields, **lists})


def _tuples(entries: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(tuple(entry) for entry in entries)
