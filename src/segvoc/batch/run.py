"""`run_batch`: labels a source into a folder of results, and goes on where an earlier run stopped."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from segvoc.batch.batch import Batch, Workers
from segvoc.batch.done import DoneShards, Record
from segvoc.batch.places import Location, place_of
from segvoc.batch.results import parquet_schema
from segvoc.batch.shards import Container
from segvoc.batch.sources import BatchSource, containers, find_source, result_stems
from segvoc.batch.work import Gone, ModelFacts
from segvoc.errors import InputError, OutputError, SegvocError, UsageError, missing_extra
from segvoc.labeling.labeling import Labeling
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER


@dataclass(frozen=True, kw_only=True)
class BatchSummary:
    """What a folder of results has after a run."""

    images: int
    """Images with results or an error, of this run and those before."""
    before: int
    """How many of them were done before."""
    failed: tuple[tuple[str, str], ...]
    """Sources and problems of the images that couldn't be labeled, of all runs."""
    problems: tuple[str, ...]
    """What couldn't be read, and may be another time: the same call tries again."""


class OnShard:
    """Is told of a run: of what is done before it, and of each shard. This one does nothing."""

    def start(self, total: int | None, before: int, warnings: tuple[str, ...]) -> None:
        """The run begins.

        Args:
            total: images of the source, where that is known.
            before: images that were done before.
            warnings: about the words.
        """

    def shard(self, outcome: Record | Gone) -> None:
        """A shard is done, or couldn't be."""


@runtime_checkable
class Engine(Protocol):
    """What does the work: Ray, or in tests a loop."""

    def facts(self, labeling: Labeling) -> ModelFacts:
        """The facts, found out on a worker.

        Raises:
            UsageError: model, words or options don't fit together.
        """
        ...

    def run(
        self, batch: Batch, source: BatchSource, tasks: list[Container], facts: ModelFacts
    ) -> Iterator[Record | Gone]:
        """Read, label and write; yields each shard that is done, in any order.

        Raises:
            ProcessError: the workers can't go on.
        """
        ...


def run_batch(batch: Batch, *, tell: OnShard | None = None, engine: Engine | None = None) -> BatchSummary:
    """Label a source on Ray; run it again after any interruption, and it goes on.

    Images that can't be read are results with an error. Shards are written as a whole, and their names follow from
    their content, so after a kill of workers, nodes or the run nothing is lost and nothing there twice.

    Args:
        batch: what is labeled, how, and where the results go.
        tell: is told of the run.
        engine: what does the work (default: Ray).

    Returns:
        What the folder of results has.

    Raises:
        UsageError: the source, the words or the options don't fit together, the results are of other settings, or Ray
            isn't installed.
        OutputError: results can't be written.
        UnavailableError: a storage doesn't answer.
        ProcessError: the workers can't go on.
    """
    tell = OnShard() if tell is None else tell
    if batch.sink == "parquet":
        parquet_schema(parts=False)  # names the extra if it is missing
    out = place_of(batch.out)
    _refuse_inside(place_of(batch.source), out)
    source = find_source(
        batch.source, kind=batch.kind, column=batch.image_column, key_column=batch.key_column, skip=batch.out
    )
    stems = result_stems(source, out, in_files=batch.sink == "files") if source.kind == "images" else []
    engine = _ray(batch.workers) if engine is None else engine
    facts = engine.facts(batch.labeling)
    lock = lock_folder(f"{out.path}/{RESUME_FOLDER}") if out.is_local else None
    done = DoneShards(out, batch.sink, batch.settings(facts, source))
    tasks, damaged = _tasks(batch, source, stems, done)
    before = sum(record.images for record in done.records.values())
    sizes = [task.images for task in tasks]
    total = None if None in sizes else before + sum(size for size in sizes if size is not None)
    tell.start(total, before, facts.warnings)
    problems = list(damaged)
    if tasks:
        for outcome in engine.run(batch, source, tasks, facts):
            tell.shard(outcome)
            if isinstance(outcome, Record):
                done.records[outcome.key] = outcome
                continue
            if outcome.ends_run:
                raise OutputError(outcome.problem)
            problems.append(outcome.problem)
    del lock
    records = done.records.values()
    return BatchSummary(
        images=sum(record.images for record in records),
        before=before,
        failed=tuple(failure for record in records for failure in record.failed),
        problems=tuple(problems),
    )


def _tasks(batch: Batch, source: BatchSource, stems: list[str], done: DoneShards) -> tuple[list[Container], list[str]]:
    """What is left to read, and what can't be."""
    if source.kind == "images":
        left = done.groups(source.units, stems, batch.limits, retry_failed=batch.retry_failed)
        return list(left), []
    found: Iterable[Container | InputError] = list(containers(source))
    damaged = [str(entry) for entry in found if isinstance(entry, SegvocError)]
    whole = [entry for entry in found if isinstance(entry, Container)]
    return list(done.rest(whole, retry_failed=batch.retry_failed)), damaged


def _refuse_inside(source: Location, out: Location) -> None:
    """Results don't go over the source."""
    results = out.path.rstrip("/") + "/"
    if source.scheme == out.scheme and (source.path.rstrip("/") + "/").startswith(results):
        raise UsageError(f"the results would go into the source's own folder, {out.address!r}; give another --out")


def _ray(workers: Workers) -> Engine:
    try:
        from segvoc.batch.engine import RayEngine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("ray", "pandas", "pyarrow"):
            raise missing_extra("Ray", "batch") from None
        raise
    return RayEngine(workers)
