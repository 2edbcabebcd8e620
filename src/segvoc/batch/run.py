"""`BatchRun`: labels a source into a folder of results, and goes on where an earlier run stopped."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from segvoc.batch.results import DoneShards, Record, Sink, parquet_schema
from segvoc.batch.sources import BatchSource, Task, find_source
from segvoc.batch.storage import Folder, folder_at
from segvoc.batch.work import Batch, ModelFacts, Workers
from segvoc.errors import UsageError, missing_extra
from segvoc.imaging.result_paths import InputImage, plan_results
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER


class Engine(Protocol):
    """What does the work: Ray, or in tests a loop."""

    def facts(self, batch: Batch) -> ModelFacts:
        """See `find_facts`; done by a worker."""
        ...

    def run(
        self, batch: Batch, source: BatchSource, tasks: Sequence[Task], facts: ModelFacts
    ) -> Iterator[Record | str]:
        """Read, label and write; yields each shard that is done, in any order, or why a task couldn't be read.

        Raises:
            OutputError: results can't be written.
            ProcessError: the workers can't go on.
        """
        ...


class BatchRun:
    """Labels a source on Ray while it is iterated; make it again after any interruption, and it goes on.

    Images that can't be read are results with an error. Shards are written as a whole, and their names follow from
    their content, so after a kill of workers, nodes or the run nothing is lost and nothing there twice.

    Iterating yields each shard as it is done, and one line for what couldn't be read; it raises `OutputError` if
    results can't be written, and `ProcessError` if the workers can't go on.

    Args:
        batch: what is labeled, how, and where the results go.
        engine: what does the work (default: Ray).

    Raises:
        UsageError: the source, the words or the options don't fit together, the results are of other settings, or Ray
            isn't installed.
        OutputError: results can't be written.
        UnavailableError: a storage doesn't answer.
        ProcessError: the workers can't go on.
    """

    def __init__(self, batch: Batch, engine: Engine | None = None) -> None:
        if batch.sink == "parquet":
            parquet_schema(parts=False)  # names the extra if it is missing
        out, place = folder_at(batch.out), folder_at(batch.source)
        if place.root.startswith(out.root):
            raise UsageError(f"the results would go into the source's own folder, {batch.out!r}; give another --out")
        self.batch = batch
        self.source = find_source(batch.source, kind=batch.kind, column=batch.image_column, skip=out.root)
        stems = _stems(self.source, out, batch.sink) if self.source.kind == "images" else ()
        self._engine = _ray(batch.workers) if engine is None else engine
        self._facts = self._engine.facts(batch)
        self._lock: Any = lock_folder(f"{out.path}/{RESUME_FOLDER}") if out.is_local else None
        settings = {
            "source": place.root,
            "source kind": self.source.kind,
            "image column": self.source.column,
            "results": batch.sink,
            "shards": f"{batch.shard_images} images",
            **self._facts.settings,
        }
        done = DoneShards(out, batch.sink, settings)
        self._tasks = done.left(self.source, stems, batch.shard_images, retry_failed=batch.retry_failed)
        self.records = done.records
        """The shards that are done, of this run and those before, by their keys."""
        self.before = self.images
        """Images that were done before."""
        self.total = self.before + sum(len(task.units) for task in self._tasks) if stems else None
        """Images of the source and those that are gone, where that is known."""
        self.warnings = self._facts.warnings
        """About the words."""
        self.problems: list[str] = []
        """What couldn't be read, and may be another time: the same call tries again."""

    def __iter__(self) -> Iterator[Record | str]:
        if self._tasks:
            for outcome in self._engine.run(self.batch, self.source, self._tasks, self._facts):
                if isinstance(outcome, Record):
                    self.records[outcome.key] = outcome
                else:
                    self.problems.append(outcome)
                yield outcome
        self._lock = None

    @property
    def images(self) -> int:
        """Images with results or an error, of this run and those before."""
        return sum(record.images for record in self.records.values())

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Sources and problems of the images that couldn't be labeled, of all runs."""
        return [failure for record in self.records.values() for failure in record.failed]


def _stems(source: BatchSource, out: Folder, sink: Sink) -> list[str]:
    """The names of the results of a folder's images: without suffix, unless two would have one name."""
    paths = [path for path, _, _ in source.units]
    if sink == "parquet":
        return paths
    plain = [PurePosixPath(path).with_suffix("").as_posix() for path in paths]
    images = [
        InputImage(path=Path(source.folder.root, path), stem=stem) for path, stem in zip(paths, plain, strict=True)
    ]
    return [plan.stem for plan in plan_results(images, out.root) if plan is not None]


def _ray(workers: Workers) -> Engine:
    try:
        from segvoc.batch.engine import RayEngine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("ray", "pandas", "pyarrow"):
            raise missing_extra("Ray", "batch") from None
        raise
    return RayEngine(workers)
