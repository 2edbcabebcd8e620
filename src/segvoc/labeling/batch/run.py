"""`BatchRun`: labels a source into an output folder, and resumes earlier runs."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self

from segvoc.errors import UsageError, missing_extra
from segvoc.labeling.batch.results import BatchManifest, Record
from segvoc.labeling.batch.sources import find_source, folder_at
from segvoc.labeling.batch.work import Batch
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER


class BatchRun:
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
        self.source = find_source(batch.source, column=batch.image_column, skip=out.root)
        self._engine = _ray(batch)
        self._facts = self._engine.facts()
        settings = {
            "source": place.root,
            "source kind": self.source.kind,
            "image column": self.source.column,
            "results": batch.sink,
            "shards": f"{batch.shard_images} images",
            **self._facts.settings,
        }
        with ExitStack() as stack:
            if out.is_local:
                stack.enter_context(lock_folder(f"{out.path}/{RESUME_FOLDER}"))
            self._manifest = BatchManifest(out, batch.sink, settings)
            self._shards = self._manifest.left(self.source, batch.shard_images, retry_failed=batch.retry_failed)
            self._lock = stack.pop_all()
        self.before = self.images
        """Images done by earlier runs."""
        self.total: int | None = None
        """Number of images, including removed images; None if unknown."""
        if self.source.kind == "images":
            self.total = self.before + sum(len(shard.units) for shard in self._shards)
        self.warnings = self._facts.warnings
        """About the words."""
        self.problems: list[str] = []
        """Read failures that may be temporary; the same call retries them."""

    def __enter__(self) -> Self:
        return self

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


def _ray(batch: Batch) -> Any:
    """The engine; tests replace it with a loop."""
    try:
        from segvoc.labeling.batch.engine import RayEngine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("ray", "pandas", "pyarrow"):
            raise missing_extra("Ray", "batch") from None
        raise
    return RayEngine(batch)
