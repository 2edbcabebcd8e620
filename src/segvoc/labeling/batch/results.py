"""The result files of a shard, and the manifest of the output folder.

The files depend only on the images and the settings, so redoing a shard gives the same files; only the reports of `--to
files` include times. The manifest has the settings and every finished shard, with the size and time of its source
files, so that changed images are labeled again, and new images once.
"""

import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from segvoc.errors import UsageError
from segvoc.imaging.annotations import coco_masks
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.batch.sources import BatchImage, BatchSource, Folder, Unit
from segvoc.storage.files import scratch_folder, strict_json
from segvoc.storage.resume import RESUME_FOLDER, Key, difference

Sink = Literal["parquet", "files"]

ResultFile = tuple[str, bytes]
"""Name below the output folder, and content."""

BATCH_MANIFEST = f"{RESUME_FOLDER}/batch.json"


def encoded_result(sink: Sink, image: BatchImage, result: Segmentation | str) -> Any:
    """Encode the result of an image, or why there is none, for `shard_files`; runs in threads."""
    if sink == "parquet":
        return _row(image, result)
    if isinstance(result, str):
        return []
    with scratch_folder() as folder:
        paths = replace(result, source=image.address).save(folder, "result", overlay=None)
        files = {path.name.removeprefix("result"): path.read_bytes() for path in paths}
    return [(image.stem + suffix, content) for suffix, content in files.items()]


def shard_files(sink: Sink, key: str, results: Sequence[Any], *, parts: bool) -> list[ResultFile]:
    """The file of a shard of rows."""
    return [(f"part-{key}.parquet", _parquet(results, parts=parts))]


def _row(image: BatchImage, result: Segmentation | str) -> dict[str, Any]:
    row: dict[str, Any] = {"key": image.key, "image": image.address}
    if isinstance(result, str):
        return {**row, "error": result}
    report = result.report(compact=True)
    for kind, labels in (("classes", result.labels), ("parts", result.part_labels)):
        if labels is not None and kind in report:
            masks = list(coco_masks(labels, len(result.words if kind == "classes" else result.parts)))
            row[kind] = [{**entry, "counts": masks[entry["id"]]["counts"]} for entry in report[kind]]
    return {**row, **{name: report[name] for name in ("width", "height", "unlabeled")}}


def _parquet(rows: Sequence[dict[str, Any]], *, parts: bool) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    text, found = pa.string(), [("pixels", pa.int64()), ("fraction", pa.float64()), ("mean_confidence", pa.float64())]
    named = [("id", pa.int32()), ("name", text), ("counts", text), *found]
    columns = [
        *[("key", text), ("image", text), ("width", pa.int32()), ("height", pa.int32())],
        ("classes", pa.list_(pa.struct(named))),
        *([("parts", pa.list_(pa.struct([*named, ("object", text), ("part", text)])))] if parts else []),
        *[("unlabeled", pa.int64()), ("error", text)],
    ]
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows), pa.schema(columns)), buffer, compression="zstd")
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class Record:
    """A finished shard."""

    key: str
    units: tuple[Unit, ...]
    images: int
    """Number of images, readable or not."""
    failed: tuple[tuple[str, str], ...]
    """Sources and problems of failed images."""
    files: tuple[tuple[str, int], ...]
    """Its result files, with their sizes [bytes]."""


class BatchManifest:
    """The finished work in an output folder; only a single run may use it at a time."""

    def __init__(self, out: Folder, sink: Sink, settings: Key) -> None:
        self._out, self._settings = out, settings
        self._due = 0.0
        entries = {path: size for path, size, _ in out.files()}
        made = [path for path in entries if sink == "parquet" and path.lower().endswith(".parquet")]
        records = list[Record]()
        if BATCH_MANIFEST in entries:
            before, records = _read(out) or (None, [])
            changes = "a manifest that can't be read" if before is None else difference(before, settings)
            if changes:
                raise UsageError(f"{out.address!r} has results of another call ({changes}); give another --out")
        elif made:
            raise UsageError(f"{out.address!r} has files that aren't of segvoc batch ({made[0]!r}); give another --out")
        whole = [record for record in records if all(entries.get(name) == size for name, size in record.files)]
        self.records = {record.key: record for record in whole}
        """The finished shards, by key."""
        # files that a killed run has written for shards missing from the manifest
        own = {name for record in whole for name, _ in record.files}
        for path in {*made} - own:
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
