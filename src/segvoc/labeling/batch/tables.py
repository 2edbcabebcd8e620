"""Tables of results: Parquet files with a row for each image, which pandas, DuckDB and Spark read.

A table's schema has metadata under `METADATA`: the words, the model and all other settings.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from segvoc.labeling.batch.storages import Folder
from segvoc.storage.files import strict_json

METADATA = b"segvoc"
"""The schema's metadata with the settings of a run, as JSON."""

FAILED = b"segvoc.failed"
"""The metadata of a shard's table with the index of the file of each image that failed, as JSON."""

ROW_GROUP = 8_192
"""Maximum number of rows that are read together, and are in memory while tables are joined."""


def write_table(
    folder: Folder, name: str, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], failed: Sequence[int]
) -> int:
    """Write the table of a shard; returns its size [bytes]."""
    import pyarrow as pa

    schema = _schema(settings).with_metadata(
        {METADATA: strict_json(settings).encode(), FAILED: strict_json(failed).encode()}
    )
    groups = (rows[start : start + ROW_GROUP] for start in range(0, len(rows), ROW_GROUP) or (0,))
    return _write(folder, name, schema, (pa.Table.from_pylist([*group], schema) for group in groups))


def join_tables(folder: Folder, name: str, tables: Sequence[str], without: Collection[str] = ()) -> int:
    """Write the rows of several tables of a folder to one, without those of some keys; returns its size [bytes]."""
    import pyarrow as pa
    from pyarrow import compute as made_on_import

    compute: Any = made_on_import

    def groups() -> Iterator[Any]:
        waiting, rows = list[Any](), 0
        for table in tables:
            with folder.access(table), folder.open(table) as file:
                parquet = _parquet_file(file)
                for index in range(parquet.num_row_groups):
                    group = parquet.read_row_group(index)
                    if without:
                        group = group.filter(compute.invert(compute.is_in(group["key"], pa.array(sorted(without)))))
                    waiting, rows = [*waiting, group.replace_schema_metadata(None)], rows + len(group)
                    if rows >= ROW_GROUP:
                        yield pa.concat_tables(waiting)
                        waiting, rows = [], 0
        if waiting:
            yield pa.concat_tables(waiting)

    with folder.access(tables[0]), folder.open(tables[0]) as file:
        schema = _parquet_file(file).schema_arrow
    schema = schema.with_metadata({METADATA: schema.metadata[METADATA]})
    return _write(folder, name, schema, groups())


def read_footer(folder: Folder, name: str) -> tuple[int, list[int], int]:
    """The number of images in the table of a shard, the index of the file of each that failed, and its size [bytes]."""
    with folder.access(name), folder.open(name) as file:
        parquet = _parquet_file(file)
        failed = json.loads(parquet.schema_arrow.metadata[FAILED])
        return parquet.metadata.num_rows, failed, file.seek(0, os.SEEK_END)


def _parquet_file(file: BinaryIO) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(file)


def _write(folder: Folder, name: str, schema: Any, tables: Iterable[Any]) -> int:
    from pyarrow.parquet import ParquetWriter

    with tempfile.TemporaryFile() as scratch:
        with ParquetWriter(scratch, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table.cast(schema), row_group_size=ROW_GROUP)
        size = scratch.tell()

        def copy(file: BinaryIO) -> None:
            scratch.seek(0)
            shutil.copyfileobj(scratch, file, 1 << 20)

        folder.save(name, copy)
        return size


def _schema(settings: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    text, share = pa.string(), pa.float64()
    region = [("id", pa.int32()), ("name", text), ("counts", text)]
    region += [("pixels", pa.int64()), ("fraction", share), ("confidence", share)]
    of_object = [("name", text), ("counts", text), ("pixels", pa.int64()), ("score", share)]
    of_object += [("box", pa.list_(pa.int32()))]
    has_parts, has_objects = settings.get("parts") is not None, bool(settings.get("objects"))
    return pa.schema(
        [
            *[("key", text), ("image", text), ("width", pa.int32()), ("height", pa.int32())],
            ("classes", pa.list_(pa.struct(region))),
            *([("parts", pa.list_(pa.struct([*region, ("object", text), ("part", text)])))] if has_parts else []),
            *([("objects", pa.list_(pa.struct(of_object)))] if has_objects else []),
            *[("unlabeled", pa.int64()), ("quality", share), ("error", text)],
        ]
    )
