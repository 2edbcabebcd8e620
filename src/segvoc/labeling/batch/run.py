"""`BatchRun`: labels a source into an output folder, and resumes earlier runs by the folder's log (`done.py`)."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

from segvoc.errors import UsageError, naming_extra
from segvoc.labeling.batch.count import SAMPLED_IMAGES, Estimate, Rest, SourceCount
from segvoc.labeling.batch.done import DoneLog, DoneShard, Remaining
from segvoc.labeling.batch.listing import find_source
from segvoc.labeling.batch.plan import UNJOINED, ShardPlan, Table, join_of, table_name, without
from segvoc.labeling.batch.sources import Shard, UniqueStems, with_image_column
from segvoc.labeling.batch.storages import folder_at, readable
from segvoc.labeling.batch.work import Batch, Join, LabeledShard, TaskOutcome, Trial, Tried, WorkerTask
from segvoc.storage.files import strict_json
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER, RunSettings, difference

BATCH_SETTINGS = f"{RESUME_FOLDER}/batch.json"


class BatchRun(AbstractContextManager["BatchRun"]):
    """Labels a source on Ray while it is iterated, in a `with` block; to resume after an interruption, create it again.

    Images that can't be read get a result with an error. Results are written atomically, with names derived from their
    content, so killing workers, nodes or the run loses and duplicates nothing. A `dry` run only counts and tries.

    Iterating yields what has come of each shard, and a line for what couldn't be read or listed; it raises
    `OutputError` if results can't be written, and `ProcessError` if the workers fail.

    Raises:
        UsageError: the source, words or options conflict, the results are of other settings, or Ray isn't installed.
        OutputError: results can't be written.
        UnavailableError: a storage doesn't respond.
        ProcessError: the workers failed.
    """

    def __init__(self, batch: Batch, *, dry: bool = False) -> None:
        self.engine = _ray(batch)
        out, place = folder_at(batch.out), folder_at(batch.source)
        if place.root.startswith(out.root):
            raise UsageError(f"the results would go into the source folder {batch.out!r}; give another --out")
        source = find_source(batch.source, column=batch.image_column, skip=out.root)
        self.batch, self.out = batch, out
        self.source = with_image_column(source) if source.kind == "Parquet files" else source
        self.facts = self.engine.facts()
        self._settings: RunSettings = {
            "source": place.root,
            "source kind": self.source.kind,
            "image column": self.source.column,
            "results": batch.sink,
            **self.facts.settings,
        }
        self._tables = dict[str, int]()
        with ExitStack() as stack:
            if out.is_local and not dry:
                stack.enter_context(lock_folder(f"{out.root}{RESUME_FOLDER}"))
            self._check_settings(dry=dry)
            self.log = DoneLog(out)
            self.before = self.log.images
            """Images done by earlier runs."""
            self.failed_before = self.log.failed
            self.count = SourceCount(self.source)
            self._lock = stack.pop_all()
        self.warnings = self.facts.warnings
        """About the words."""
        self.problems: list[str] = []
        """What couldn't be read or listed now; the same call tries again."""
        self.images, self.failed = self.before, self.failed_before
        """Number of images with results or an error, of this and earlier runs, and of those with an error."""
        self.files = 0
        """Number of source files of this run's shards."""
        self._new_problems, self._joins = deque[str](), deque[Join]()
        self._joining: dict[Join, tuple[DoneShard, tuple[str, ...], DoneShard | None]] = {}
        parts = {name for name, _, _ in out.units(UNJOINED)} if batch.sink == "parquet" else set[str]()
        self._strays = {*parts, *(name for name in self._tables if name.startswith("part-"))}
        self._plan = self._planned()

    def __exit__(self, *_: object) -> None:
        self.count.stop()
        self._lock.close()

    def __iter__(self) -> Iterator[LabeledShard | str]:
        self.count.start()
        try:
            for task, outcome in self.engine.run(self._next_task, self.facts):
                self._finish(task, outcome)
                if isinstance(outcome, LabeledShard):
                    yield outcome
                yield from self._taken_problems()
            yield from self._taken_problems()
            self.log.flush()
            for name in sorted(self._strays):
                self.out.delete(name)
        finally:
            self.log.flush()

    def _taken_problems(self) -> Iterator[str]:
        while self._new_problems:
            self.problems.append(self._new_problems.popleft())
            yield self.problems[-1]

    def rest(self, counted: Callable[[], object]) -> Rest:
        """Count what is left, with a call of `counted` for each file."""
        units = self.source.units(self.problems.append)
        left = Remaining(log=self.log, is_whole=self._is_there, retry_failed=self.batch.retry_failed)
        most = SAMPLED_IMAGES if self.source.kind == "images" else 1
        return Rest.of((unit for unit, _ in left.of(units)), most, counted)

    def estimate(self, rest: Rest) -> Estimate:
        """Label a sample of what is left without writing, and estimate the rest."""
        shard = Shard(
            address=self.source.address,
            kind=self.source.kind,
            column=self.source.column,
            units=rest.sample,
            stems=("",) * len(rest.sample),
            table="",
        )
        tasks = [Trial(shard=shard, most=SAMPLED_IMAGES)] if rest.sample else []
        tried = Tried(images=0, seconds=0.0, source_bytes=0)
        for _, outcome in self.engine.run(lambda: tasks.pop() if tasks else None, self.facts):
            if isinstance(outcome, Tried):
                tried = outcome
            else:
                self.problems.append(outcome)
        images = rest.files
        if tried.images and self.source.kind != "images":
            images = round(rest.bytes * tried.images / max(1, tried.source_bytes))
        workers = self.engine.workers
        return Estimate(
            rest=rest,
            images=images,
            seconds=tried.seconds / tried.images if tried.images else None,
            workers=workers,
            cores=workers * self.batch.cpus,
            machines=self.engine.machines,
        )

    @property
    def total(self) -> int | None:
        """Number of images, of tars and tables as far as those that are labeled tell; None until they are counted."""
        files = self.count.files
        if files is None:
            return None
        if self.source.kind == "images":
            return max(files, self.images)
        new = self.images - self.before
        return self.images + round((files - self.files) * new / self.files) if self.files else None

    def _check_settings(self, *, dry: bool) -> None:
        """Compare the settings with those of earlier runs, and find their tables."""
        if self.batch.sink == "parquet":
            names = self.out.units("")
            self._tables = {name: size for name, size, _ in names if name.lower().endswith(".parquet")}
        try:
            before = json.loads(self.out.read(BATCH_SETTINGS))["settings"]
        except FileNotFoundError:
            if self._tables:
                name = min(self._tables)
                problem = f"{self.batch.out!r} has files that aren't of segvoc batch ({readable(name)!r})"
                raise UsageError(f"{problem}; give another --out") from None
            if not dry:
                self.out.write(BATCH_SETTINGS, strict_json({"settings": self._settings}, indent=1).encode())
            return
        except (OSError, ValueError, KeyError, TypeError):
            before = None
        changes = "settings that can't be read" if before is None else difference(before, self._settings)
        if changes:
            raise UsageError(f"{self.batch.out!r} has results of another call ({changes}); give another --out")

    def _planned(self) -> ShardPlan:
        stems = UniqueStems(self.source.folder) if self.batch.sink == "files" else None
        units = self.source.units(self._new_problems.append, page=stems and stems.page)
        retry = self.batch.retry_failed
        left = Remaining(log=self.log, is_whole=self._is_whole, retry_failed=retry, changed=self._replace).of(units)
        stem_of = stems and stems.stem_of
        return ShardPlan(self.batch, self.source, left, self._take_complete, stem_of=stem_of, written=self._strays)

    def _is_there(self, entry: DoneShard) -> bool:
        return self.batch.sink == "files" or self._tables.get(table_name(entry.key)) == entry.size

    def _is_whole(self, entry: DoneShard) -> bool:
        """Whether the table of an entry is there; a damaged one is removed."""
        name = table_name(entry.key)
        is_whole = self._is_there(entry)
        if is_whole:
            self._strays.discard(name)
        else:
            self._count(-entry.images, -len(entry.failed))
            self.log.drop(entry)
            if name in self._tables:
                self.out.delete(name)
                self._strays.discard(name)
        return is_whole

    def _count(self, images: int, failed: int) -> None:
        self.images += images
        self.failed += failed

    def _replace(self, entry: DoneShard, changed: Mapping[int, str]) -> None:
        """Replace an entry, and its table, by one without the files that have changed."""
        old = table_name(entry.key)
        is_table = self.batch.sink == "parquet"
        delete = partial(self.out.delete, old) if is_table else None
        # all images of a tar or a table are labeled again
        rest = without(entry, changed) if self.source.kind == "images" else None
        if rest is None or not rest.marks:
            self._count(-entry.images, -len(entry.failed))
            self.log.drop(entry, then=delete)
            return
        self._count(rest.images - entry.images, len(rest.failed) - len(entry.failed))
        if is_table:
            names = tuple(readable(name) for name in changed.values())
            join = Join(tables=(old,), table=table_name(rest.key), without=names)
            self._joins.append(join)
            self._joining[join] = rest, (old,), entry
        else:
            self.log.add(rest, instead_of=entry)

    def _next_task(self) -> WorkerTask | None:
        """The next task for a worker; None: there is nothing to do until a running one ends."""
        if not self._joins:
            shard = next(self._plan.shards, None)
            if shard is not None:
                self._strays.discard(shard.table)
                return shard
        return self._joins.popleft() if self._joins else None

    def _finish(self, task: WorkerTask, outcome: TaskOutcome) -> None:
        if isinstance(outcome, str):
            self._new_problems.append(outcome)
        if isinstance(task, Shard):
            assert isinstance(outcome, LabeledShard | str)
            if isinstance(outcome, LabeledShard):
                self._count(outcome.images, len(outcome.failed))
            self.files += len(task.units)
            self._plan.finish(task, outcome)
        elif isinstance(task, Join) and isinstance(outcome, int):
            entry, tables, old = self._joining.pop(task)
            self._record(replace(entry, size=outcome), tables, instead_of=old)

    def _take_complete(self, table: Table) -> None:
        if self._plan.is_joined:
            join = join_of(table)
            self._joins.append(join)
            self._joining[join] = table.entry(), join.tables, None
        else:
            self._record(replace(table.entry(), size=table.labeled[0].size))

    def _record(self, entry: DoneShard, tables: tuple[str, ...] = (), *, instead_of: DoneShard | None = None) -> None:
        """Record a table, and then remove those that were joined."""

        def remove() -> None:
            for name in tables:
                self.out.delete(name)

        self._strays.discard(table_name(entry.key))
        self.log.add(entry, instead_of=instead_of, then=remove if tables else None)


def _ray(batch: Batch) -> Any:
    """The engine; tests replace it with a loop."""
    with naming_extra("PyArrow", "batch", ("pyarrow",)):
        import_module("pyarrow")  # of which workers write tables
    with naming_extra("Ray", "batch", ("ray",)):
        from segvoc.labeling.batch.engine import RayEngine
    return RayEngine(batch)
