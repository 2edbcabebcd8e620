"""The plan of a run, as a stream: what isn't done yet, as shards for workers, whose results are joined to tables.

A table of results has the rows of consecutive files of the source. Its shards are labeled in any order, each into a
table of its own in `UNJOINED`; once all are there, they are joined, and the table is recorded. So memory follows the
tables in progress, and a kill costs the shards in progress.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from segvoc.labeling.batch.done import MARK, DoneShard
from segvoc.labeling.batch.listing import Source
from segvoc.labeling.batch.sources import Shard
from segvoc.labeling.batch.storages import Unit
from segvoc.labeling.batch.work import Batch, Join, LabeledShard
from segvoc.storage.resume import RESUME_FOLDER

UNJOINED = f"{RESUME_FOLDER}/parts/"
"""Folder of the tables of shards that are joined later, in the folder of the results."""

SHARD_BYTES = 32_000_000
"""Target size of a folder's shards [bytes]; a larger image is a separate shard."""


def table_name(key: str) -> str:
    """The name of a table of results."""
    return f"part-{key}.parquet"


@dataclass(eq=False)
class Table:
    """A table of results in progress, or the shard whose results are in files."""

    shards: list[Shard] = field(default_factory=list)
    marks: list[bytes] = field(default_factory=list)
    """The marks of each shard's files."""
    labeled: dict[int, LabeledShard] = field(default_factory=dict)
    """What has come of the shards, by index; problems are left out."""
    left: int = 0
    """Number of shards that aren't labeled yet."""
    files: int = 0
    """Number of source files."""
    is_planned: bool = False
    """Whether it has all of its shards."""

    def entry(self) -> DoneShard:
        """What is recorded once it is written, but for its size."""
        done = sorted(self.labeled)
        marks = b"".join(self.marks[index] for index in done)
        failed, start = list[int](), 0
        for index in done:
            failed += [start + place for place in self.labeled[index].failed]
            start += len(self.shards[index].units)
        return DoneShard(
            key=_key(marks),
            first=self.shards[done[0]].units[0][0],
            last=self.shards[done[-1]].units[-1][0],
            marks=marks,
            images=sum(self.labeled[index].images for index in done),
            failed=tuple(failed),
            problems=tuple(problem for index in done for problem in self.labeled[index].problems),
        )


def _key(marks: bytes) -> str:
    return blake2b(marks, digest_size=10).hexdigest()


class ShardPlan:
    """Shards of the files that remain, given with their marks as they are listed, and the tables that they belong to.

    `on_complete` gets each table once all of its shards are labeled. `stem_of` gives the names of results in files, if
    they are files; `written` are the shards' tables that an earlier run has written.
    """

    def __init__(
        self,
        batch: Batch,
        source: Source,
        remaining: Iterable[tuple[Unit, bytes]],
        on_complete: Callable[[Table], object],
        *,
        stem_of: Callable[[str], str] | None,
        written: Collection[str],
    ) -> None:
        self.batch, self.source, self._on_complete = batch, source, on_complete
        self._stem_of, self._written = stem_of, written
        is_folder, is_table = source.kind == "images", batch.sink == "parquet"
        most = min(batch.shard_images, batch.rows_a_file) if is_table else batch.shard_images
        self._most_in_shard = most if is_folder else 1
        self.is_joined = is_folder and is_table and batch.rows_a_file > self._most_in_shard
        """Whether a table has several shards, whose tables are joined."""
        self._table: Table | None = None
        self._of_shard: dict[Shard, tuple[Table, int]] = {}
        self.shards = self._stream(remaining)

    def finish(self, shard: Shard, outcome: LabeledShard | str) -> None:
        """Note what has come of a shard; a line is the reason why it can't be labeled now."""
        table, index = self._of_shard.pop(shard)
        table.left -= 1
        if isinstance(outcome, LabeledShard):
            table.labeled[index] = outcome
        self._check(table)

    def _check(self, table: Table) -> None:
        if table.is_planned and not table.left and table.labeled:
            self._on_complete(table)

    def _stream(self, remaining: Iterable[tuple[Unit, bytes]]) -> Iterator[Shard]:
        group, size = list[tuple[Unit, bytes]](), 0
        most = min(self._most_in_shard, self._rows_left())
        for unit, mark in remaining:
            if group and (len(group) >= most or size + unit[1] > SHARD_BYTES):
                yield self._shard(group)
                group, size, most = [], 0, min(self._most_in_shard, self._rows_left())
            group.append((unit, mark))
            size += unit[1]
        if group:
            yield self._shard(group)
        self._end_table()

    def _rows_left(self) -> int:
        """Number of rows until the table is full."""
        if not self.is_joined:
            return self._most_in_shard
        return self.batch.rows_a_file - (self._table.files if self._table else 0)

    def _shard(self, group: list[tuple[Unit, bytes]]) -> Shard:
        marks = b"".join(mark for _, mark in group)
        key = _key(marks)
        name = f"{UNJOINED}{key}.parquet" if self.is_joined else table_name(key)
        shard = Shard(
            address=self.source.address,
            kind=self.source.kind,
            column=self.source.column,
            units=tuple(unit for unit, _ in group),
            stems=tuple(self._stem_of(unit[0]) for unit, _ in group) if self._stem_of else ("",) * len(group),
            table=name,
            is_written=name in self._written,
        )
        table = self._table = self._table or Table()
        self._of_shard[shard] = table, len(table.shards)
        table.shards.append(shard)
        table.marks.append(marks)
        table.left += 1
        table.files += len(group)
        if not self.is_joined or not self._rows_left():
            self._end_table()
        return shard

    def _end_table(self) -> None:
        if self._table is not None:
            self._table.is_planned = True
            self._check(self._table)
        self._table = None


def without(entry: DoneShard, changed: Mapping[int, str]) -> DoneShard:
    """An entry without some of its files, under another key; a table of images has a row for each."""
    kept = [index for index in range(len(entry.marks) // MARK) if index not in changed]
    place = {index: at for at, index in enumerate(kept)}
    marks = b"".join(entry.marks[index * MARK : (index + 1) * MARK] for index in kept)
    failed = tuple(place[index] for index in entry.failed if index in place)
    return DoneShard(key=_key(marks), first=entry.first, last=entry.last, marks=marks, images=len(kept), failed=failed)


def join_of(table: Table) -> Join:
    """The task of joining the tables of shards."""
    names = [shard.table for index, shard in enumerate(table.shards) if index in table.labeled]
    return Join(tables=tuple(names), table=table_name(table.entry().key))
