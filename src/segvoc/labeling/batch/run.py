"""`BatchRun`: labels a source into an output folder, and resumes earlier runs by the folder's manifest.

The manifest has the settings and every finished shard, with the size and time of its source files, so that changed
images are labeled again, and new images once.
"""

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from typing import Any

from segvoc.errors import UsageError, missing_extra
from segvoc.labeling.batch.sources import BatchSource, Folder, find_source, folder_at
from segvoc.labeling.batch.work import Batch, Record, Sink
from segvoc.storage.files import strict_json
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER, Key, difference

BATCH_MANIFEST = f"{RESUME_FOLDER}/batch.json"


class BatchRun(AbstractContextManager["BatchRun"]):
    """Labels a source on Ray while it is iterated, in a `with` block; to resume after an interruption, create it again.

    Images that can't be read get a result with an error. Shards are written atomically, with names derived from their
    content, so killing workers, nodes or the run loses and duplicates nothing.

    Iterating yields each finished shard, and one line per unreadable shard; it raises `OutputError` if results can't be
    written, and `ProcessError` if the workers fail.

    Raises:
        UsageError: the source, words or options conflict, the results are of other settings, or Ray isn't installed.
        OutputError: results can't be written.
        UnavailableError: a storage doesn't respond.
        ProcessError: the workers failed.
    """

    def __init__(self, batch: Batch) -> None:
        out, place = folder_at(batch.out), folder_at(batch.source)
        if place.root.startswith(out.root):
            raise UsageError(f"the results would go into the source folder {batch.out!r}; give another --out")
        self.batch = batch
        self.source = source = find_source(batch.source, column=batch.image_column, skip=out.root)
        self._engine = _ray(batch)
        self._facts = self._engine.facts()
        settings = {
            "source": place.root,
            "source kind": source.kind,
            "image column": source.column,
            "results": batch.sink,
            "shards": f"{batch.shard_images} images",
            **self._facts.settings,
        }
        with ExitStack() as stack:
            if out.is_local:
                stack.enter_context(lock_folder(f"{out.path}/{RESUME_FOLDER}"))
            self._manifest = _Manifest(out, batch.sink, settings)
            self._shards = self._manifest.left(source, batch.shard_images, retry_failed=batch.retry_failed)
            self._lock = stack.pop_all()
        self.before = self.images
        """Images done by earlier runs."""
        self.total = self.before + sum(len(shard.units) for shard in self._shards) if source.kind == "images" else None
        """Number of images, including removed images; None if unknown."""
        self.warnings = self._facts.warnings
        """About the words."""
        self.problems: list[str] = []
        """Read failures that may be temporary; the same call retries them."""

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def __iter__(self) -> Iterator[Record | str]:
        try:
            for outcome in self._engine.run(self._shards, self._facts) if self._shards else ():
                if isinstance(outcome, Record):
                    self._manifest.add(outcome)
                else:
                    self.problems.append(outcome)
                yield outcome
        finally:
            self._manifest.save()

    @property
    def images(self) -> int:
        """Number of images with results or an error, of this and earlier runs."""
        return sum(record.images for record in self._manifest.records.values())

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Sources and problems of failed images, of all runs."""
        return [failure for record in self._manifest.records.values() for failure in record.failed]


class _Manifest:
    """The finished work in an output folder; only a single run may use it at a time."""

    def __init__(self, out: Folder, sink: Sink, settings: Key) -> None:
        self._out, self._settings = out, settings
        self._due = 0.0
        entries = {path: size for path, size, _ in out.files()}
        tables = [path for path in entries if sink == "parquet" and path.lower().endswith(".parquet")]
        records = list[Record]()
        if BATCH_MANIFEST in entries:
            before, records = _read(out) or (None, [])
            changes = "a manifest that can't be read" if before is None else difference(before, settings)
            if changes:
                raise UsageError(f"{out.address!r} has results of another call ({changes}); give another --out")
        elif tables:
            raise UsageError(
                f"{out.address!r} has files that aren't of segvoc batch ({tables[0]!r}); give another --out"
            )
        whole = [record for record in records if all(entries.get(name) == size for name, size in record.files)]
        self.records = {record.key: record for record in whole}
        """The finished shards, by key."""
        # files that a killed run has written for shards missing from the manifest
        for path in {*tables} - {name for record in whole for name, _ in record.files}:
            if path.startswith("part-"):
                out.delete(path)

    def left(self, source: BatchSource, shard_images: int, *, retry_failed: bool = False) -> list[BatchSource]:
        """The remaining shards of a source, also those with changed files, or with failed images if `retry_failed`."""
        now = {unit[0]: unit for unit in source.units}
        again = [
            record
            for record in self.records.values()
            if any(now.get(unit[0], unit) != unit for unit in record.units) or (retry_failed and record.failed)
        ]
        for record in again:
            del self.records[record.key]
        self.save()
        for record in again:
            for name, _ in record.files:
                self._out.delete(name)
        done = {unit for record in self.records.values() for unit in record.units}
        return list(source.shards(done, shard_images))

    def add(self, record: Record) -> None:
        """Add a finished shard; it is saved within seconds."""
        self.records[record.key] = record
        if time.monotonic() > self._due:
            self.save()

    def save(self) -> None:
        """Write the manifest."""
        start = time.monotonic()
        content = {"settings": self._settings, "shards": [asdict(record) for record in self.records.values()]}
        self._out.write(BATCH_MANIFEST, strict_json(content).encode())
        self._due = time.monotonic() + max(2.0, 20 * (time.monotonic() - start))


def _read(out: Folder) -> tuple[Key, list[Record]] | None:
    """The settings and shards of the manifest; None if it is damaged."""
    try:
        content = json.loads(out.read(BATCH_MANIFEST))
        shards = [Record(**{**entry, "units": tuple(map(tuple, entry["units"]))}) for entry in content["shards"]]
        return (content["settings"], shards) if isinstance(content["settings"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ray(batch: Batch) -> Any:
    """The engine; tests replace it with a loop."""
    try:
        from segvoc.labeling.batch.engine import RayEngine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("ray", "pandas", "pyarrow"):
            raise missing_extra("Ray", "batch") from None
        raise
    return RayEngine(batch)
