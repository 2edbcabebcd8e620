"""`BatchRun`: labels a source into a folder of results, and goes on where an earlier run stopped."""

from collections.abc import Iterator
from typing import Any

from segvoc.batch.results import Manifest, Record
from segvoc.batch.sources import find_source
from segvoc.batch.storage import folder_at
from segvoc.batch.work import Batch, ModelFacts
from segvoc.errors import UsageError, missing_extra
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER


class BatchRun:
    """Labels a source on Ray while it is iterated; make it again after any interruption, and it goes on.

    Images that can't be read are results with an error. Shards are written as a whole, and their names follow from
    their content, so after a kill of workers, nodes or the run nothing is lost and nothing there twice.

    Iterating yields each shard as it is done, and one line for what couldn't be read; it raises `OutputError` if
    results can't be written, and `ProcessError` if the workers can't go on.

    Args:
        batch: what is labeled, how, and where the results go.

    Raises:
        UsageError: the source, the words or the options don't fit together, the results are of other settings, or Ray
            isn't installed.
        OutputError: results can't be written.
        UnavailableError: a storage doesn't answer.
        ProcessError: the workers can't go on.
    """

    def __init__(self, batch: Batch) -> None:
        out, place = folder_at(batch.out), folder_at(batch.source)
        if place.root.startswith(out.root):
            raise UsageError(f"the results would go into the source's own folder, {batch.out!r}; give another --out")
        self.batch = batch
        self.source = find_source(batch.source, column=batch.image_column, skip=out.root)
        self._engine = _ray(batch)
        self._facts: ModelFacts = self._engine.facts()
        self._lock: Any = lock_folder(f"{out.path}/{RESUME_FOLDER}") if out.is_local else None
        settings = {
            "source": place.root,
            "source kind": self.source.kind,
            "image column": self.source.column,
            "results": batch.sink,
            "shards": f"{batch.shard_images} images",
            **self._facts.settings,
        }
        self._manifest = Manifest(out, batch.sink, settings)
        self._shards = self._manifest.left(self.source, batch.shard_images, retry_failed=batch.retry_failed)
        self.before = self.images
        """Images that were done before."""
        self.total: int | None = None
        """Images of the source and those that are gone, where that is known."""
        if self.source.kind == "images":
            self.total = self.before + sum(len(shard.units) for shard in self._shards)
        self.warnings = self._facts.warnings
        """About the words."""
        self.problems: list[str] = []
        """What couldn't be read, and may be another time: the same call tries again."""

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
            self._lock = None

    @property
    def images(self) -> int:
        """Images with results or an error, of this run and those before."""
        return sum(record.images for record in self._manifest.records.values())

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Sources and problems of the images that couldn't be labeled, of all runs."""
        return [failure for record in self._manifest.records.values() for failure in record.failed]


def _ray(batch: Batch) -> Any:
    """What does the work: in tests a loop."""
    try:
        from segvoc.batch.engine import RayEngine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("ray", "pandas", "pyarrow"):
            raise missing_extra("Ray", "batch") from None
        raise
    return RayEngine(batch)
