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

from segvoc.errors import UsageError, naming_extra
from segvoc.labeling.batch.sources import BatchSource, Folder, find_source, folder_at
from segvoc.labeling.batch.work import Batch, Record
from segvoc.storage.files import strict_json
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER, RunSettings, difference

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
        self.batch, self._out = batch, out
        self.source = source = find_source(batch.source, column=batch.image_column, skip=out.root)
        self._engine = _ray(batch)
        self._facts = self._engine.facts()
        self._settings: RunSettings = {
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
            self._records = self._finished()
            self._shards = self._left()
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
                if isinstance(outcome, str):
                    self.problems.append(outcome)
                else:
                    self._records[outcome.key] = outcome
                    if time.monotonic() > self._due:
                        self._save()
                yield outcome
        finally:
            self._save()

    @property
    def images(self) -> int:
        """Number of images with results or an error, of this and earlier runs."""
        return sum(record.images for record in self._records.values())

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Sources and problems of failed images, of all runs."""
        return [failure for record in self._records.values() for failure in record.failed]

    def _finished(self) -> dict[str, Record]:
        """The shards by key that the output folder's manifest says are finished, and whose files are whole."""
        out, sizes = self._out, {path: size for path, size, _ in self._out.files()}
        tables = [path for path in sizes if self.batch.sink == "parquet" and path.lower().endswith(".parquet")]
        records = list[Record]()
        if BATCH_MANIFEST in sizes:
            before, records = _read(out) or (None, [])
            changes = "a manifest that can't be read" if before is None else difference(before, self._settings)
            if changes:
                raise UsageError(f"{out.address!r} has results of another call ({changes}); give another --out")
        elif tables:
            raise UsageError(
                f"{out.address!r} has files that aren't of segvoc batch ({tables[0]!r}); give another --out"
            )
        whole = [record for record in records if all(sizes.get(name) == size for name, size in record.files)]
        # files that a killed run has written for shards missing from the manifest
        for path in {*tables} - {name for record in whole for name, _ in record.files}:
            if path.startswith("part-"):
                out.delete(path)
        return {record.key: record for record in whole}

    def _left(self) -> list[BatchSource]:
        """The remaining shards of the source; those with changed files, or with failed images on request, are again."""
        now, retry = {unit[0]: unit for unit in self.source.units}, self.batch.retry_failed
        again = [
            record
            for record in self._records.values()
            if any(now.get(unit[0], unit) != unit for unit in record.units) or (retry and record.failed)
        ]
        for record in again:
            del self._records[record.key]
        self._save()
        for record in again:
            for name, _ in record.files:
                self._out.delete(name)
        done = {unit for record in self._records.values() for unit in record.units}
        return list(self.source.shards(done, self.batch.shard_images))

    def _save(self) -> None:
        """Write the manifest; the next one is due in seconds."""
        start = time.monotonic()
        content = {"settings": self._settings, "shards": [asdict(record) for record in self._records.values()]}
        self._out.write(BATCH_MANIFEST, strict_json(content).encode())
        self._due = time.monotonic() + max(2.0, 20 * (time.monotonic() - start))


def _read(out: Folder) -> tuple[RunSettings, list[Record]] | None:
    """The settings and shards of the manifest; None if it is damaged."""
    try:
        content = json.loads(out.read(BATCH_MANIFEST))
        shards = [Record(**{**entry, "units": tuple(map(tuple, entry["units"]))}) for entry in content["shards"]]
        return (content["settings"], shards) if isinstance(content["settings"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ray(batch: Batch) -> Any:
    """The engine; tests replace it with a loop."""
    with naming_extra("Ray", "batch", ("ray", "pandas", "pyarrow")):
        from segvoc.labeling.batch.engine import RayEngine
    return RayEngine(batch)
