"""The results of a shard as files, and the folder of all results, with a record of every shard that is done.

The content of the files follows from the images and the settings alone, so a shard that is done twice gives the same
files; only the reports of `segvoc segment` tell how long each image took. Settings and records have a file each, since
nothing can be appended to a file in a bucket. A record names the source's files with size and time, so a changed image
is labeled again, and a new one once.
"""

import io
import json
import tarfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from segvoc.batch.sources import BatchImage, BatchSource, Shard, Task, in_groups
from segvoc.batch.storage import STORAGE_THREADS, Folder, Unit
from segvoc.errors import UsageError, missing_extra
from segvoc.imaging.brush_masks import coco_masks
from segvoc.imaging.label_maps import label_map_image
from segvoc.imaging.overlay import OverlayStyle
from segvoc.inference.reports import json_text
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.files import scratch_folder
from segvoc.storage.json_files import strict_json
from segvoc.storage.resume import RESUME_FOLDER, Key, difference

Sink = Literal["parquet", "webdataset", "files"]

ResultFile = tuple[str, bytes]
"""Name below the folder of the results, and content."""

_SETTINGS = f"{RESUME_FOLDER}/batch.json"
_RECORDS = f"{RESUME_FOLDER}/shards/"
_SUFFIX: Mapping[Sink, str] = {"parquet": ".parquet", "webdataset": ".tar"}
"""Of the file of a shard; results in files have their images' names."""


@dataclass(frozen=True, kw_only=True)
class ResultForm:
    """What results are made into."""

    sink: Sink
    overlay: OverlayStyle | None = None
    """What overlays show, for results in files; None: none are drawn."""
    parts: bool = False

    def image(self, image: BatchImage, result: Segmentation | str) -> Any:
        """The results of an image, for `shard`; in threads.

        Args:
            image: the image.
            result: what it was labeled with, or why it wasn't.
        """
        if self.sink == "parquet":
            return _row(image, result)
        if isinstance(result, str):
            entry = {"key": image.key, "image": image.address, "error": result}
            return [(".json", strict_json(entry).encode() + b"\n")] if self.sink == "webdataset" else []
        if self.sink == "webdataset":
            return _sample(image, result)
        return _files(image, result, self.overlay)

    def shard(self, shard: Shard, results: Sequence[Any]) -> list[ResultFile]:
        """The files of a shard."""
        if self.sink == "files":
            return [file for result in results for file in result]
        content = _parquet(results, parts=self.parts) if self.sink == "parquet" else _tar(shard.images, results)
        return [(f"part-{shard.key}{_SUFFIX[self.sink]}", content)]


def parquet_schema(*, parts: bool) -> Any:
    """The columns of results in Parquet.

    Args:
        parts: whether there are parts.
    """
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise missing_extra("PyArrow", "batch") from None
    found = [("pixels", pa.int64()), ("fraction", pa.float64()), ("mean_confidence", pa.float64())]
    named = [("id", pa.int32()), ("name", pa.string()), ("counts", pa.string()), *found]
    columns = [
        ("key", pa.string()),
        ("image", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("classes", pa.list_(pa.struct(named))),
        *([("parts", pa.list_(pa.struct([*named, ("object", pa.string()), ("part", pa.string())])))] if parts else []),
        ("unlabeled", pa.int64()),
        ("error", pa.string()),
    ]
    return pa.schema(columns)


def _row(image: BatchImage, result: Segmentation | str) -> dict[str, Any]:
    row: dict[str, Any] = {"key": image.key, "image": image.address}
    if isinstance(result, str):
        return {**row, "error": result}
    report = result.report(compact=True)
    for kind, labels, number in (
        ("classes", result.labels, len(result.words)),
        ("parts", result.part_labels, len(result.parts)),
    ):
        if labels is not None and kind in report:
            masks = list(coco_masks(labels, number))
            row[kind] = [{**entry, "counts": masks[entry["id"]]["counts"]} for entry in report[kind]]
    return {**row, **{name: report[name] for name in ("width", "height", "unlabeled")}}


def _parquet(rows: Sequence[dict[str, Any]], *, parts: bool) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows), parquet_schema(parts=parts)), buffer, compression="zstd")
    return buffer.getvalue()


def _sample(image: BatchImage, result: Segmentation) -> list[ResultFile]:
    report: dict[str, Any] = {"key": image.key, **result.report(), "image": image.address}
    del report["seconds"]  # all else is the same in every run
    files = [(".png", _png(label_map_image(result.labels, result.colors)))]
    if result.part_labels is not None:
        files.append((".parts.png", _png(label_map_image(result.part_labels, result.part_colors))))
    return [*files, (".json", json_text(report))]


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _tar(images: Sequence[BatchImage], results: Sequence[Sequence[ResultFile]]) -> bytes:
    """A tar in which the files of an image share a name without dots, as WebDataset wants it."""
    names: Counter[str] = Counter()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for image, files in zip(images, results, strict=True):
            plain = image.stem.replace(".", "_")
            names[plain] += 1
            name = plain if names[plain] == 1 else f"{plain}_{names[plain]}"
            for suffix, content in files:
                info = tarfile.TarInfo(f"{name}{suffix}")
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _files(image: BatchImage, result: Segmentation, overlay: OverlayStyle | None) -> list[ResultFile]:
    with scratch_folder() as folder:
        paths = replace(result, source=image.address).save(folder, "result", overlay=overlay)
        return [(f"{image.stem}{path.name.removeprefix('result')}", Path(path).read_bytes()) for path in paths]


# ---- the folder


@dataclass(frozen=True, kw_only=True)
class Record:
    """A shard that is done."""

    key: str
    units: tuple[Unit, ...]
    """The files of the source that it is of."""
    number: int
    last: bool
    """Whether it is the last one in there."""
    images: int
    """How many images it has, readable or not."""
    failed: tuple[tuple[str, str], ...]
    """Sources and problems of those that couldn't be labeled."""
    files: tuple[tuple[str, int], ...]
    """The files of its results, with their bytes."""


def write_shard(out: Folder, record: Record, files: Sequence[ResultFile]) -> None:
    """Write the files of a shard, and then its record.

    Raises:
        OutputError: one can't be written.
    """
    for name, content in files:
        out.write(name, content)
    out.write(f"{_RECORDS}{record.key}.json", strict_json(asdict(record)).encode())


class DoneShards:
    """What is done in a folder of results; at most one run at a time may work there.

    Raises:
        UsageError: it has results of other settings, or of another program.
        UnavailableError: the storage doesn't answer.
    """

    def __init__(self, out: Folder, sink: Sink, settings: Key) -> None:
        self.out = out
        entries = {path: size for path, size, _ in out.files()}
        suffix = _SUFFIX.get(sink)
        made = [path for path in entries if suffix is not None and path.lower().endswith(suffix)]
        if _SETTINGS in entries:
            before = _json(out, _SETTINGS)
            told = "settings that can't be read" if before is None else difference(before, settings)
            if told:
                raise UsageError(f"{out.address!r} has results of another call ({told}); give another --out")
        elif made:
            raise UsageError(f"{out.address!r} has files that aren't of segvoc batch ({made[0]!r}); give another --out")
        else:
            out.write(_SETTINGS, strict_json(settings).encode())
        names = [path for path in entries if path.startswith(_RECORDS)]
        with ThreadPoolExecutor(STORAGE_THREADS) as pool:
            found = [record for record in pool.map(self._record, names) if record is not None]
        whole = [record for record in found if all(entries.get(name) == size for name, size in record.files)]
        self.records = {record.key: record for record in whole}
        # what a killed run had written of shards without a record, and records of files that are gone
        own = {name for record in whole for name, _ in record.files}
        known = {f"{_RECORDS}{key}.json" for key in self.records}
        self._remove([*({*names} - known), *({*made} - own)])

    def left(
        self, source: BatchSource, stems: Sequence[str], shard_images: int, *, retry_failed: bool = False
    ) -> list[Task]:
        """The tasks of a source that are left to do. Shards of files that have changed since are not done.

        Args:
            source: the source.
            stems: the names of the results of a folder's images.
            shard_images: most images of a shard.
            retry_failed: whether shards with images that failed are left to do.
        """
        now = {unit[0]: unit for unit in source.units}
        for record in list(self.records.values()):
            if any(now.get(unit[0], unit) != unit for unit in record.units) or (retry_failed and record.failed):
                self._remove([f"{_RECORDS}{record.key}.json", *(name for name, _ in record.files)])
                del self.records[record.key]
        done: dict[Unit, list[Record]] = defaultdict(list)
        for record in self.records.values():
            for unit in record.units:
                done[unit].append(record)
        if source.kind == "images":
            left = [pair for pair in zip(source.units, stems, strict=True) if pair[0] not in done]
            return list(in_groups([unit for unit, _ in left], [stem for _, stem in left], shard_images))
        return [
            Task(units=(unit,), skip=frozenset(record.number for record in done[unit]))
            for unit in source.units
            if not any(record.last and len(done[unit]) > record.number for record in done[unit])
        ]

    def _record(self, name: str) -> Record | None:
        try:
            found = Record(**_json(self.out, name) or {})
            lists = {name: tuple(map(tuple, getattr(found, name))) for name in ("units", "failed", "files")}
            return replace(found, **lists)
        except TypeError:  # damaged
            return None

    def _remove(self, names: Sequence[str]) -> None:
        with ThreadPoolExecutor(STORAGE_THREADS) as pool:
            list(pool.map(self.out.delete, names))


def _json(folder: Folder, name: str) -> dict[str, Any] | None:
    """The content of a file; None if it is damaged or can't be read."""
    try:
        content = json.loads(folder.read(name))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
