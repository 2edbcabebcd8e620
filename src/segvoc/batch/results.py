"""The results of a shard as files: a Parquet file, a tar of WebDataset's, or the files of `segvoc segment`.

Their content follows from the images and the settings alone, so a shard that is done twice gives the same files; only
the reports of `segvoc segment` tell how long each image took.
"""

import io
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from segvoc.batch.shards import BatchImage
from segvoc.errors import missing_extra
from segvoc.imaging.label_maps import label_map_image
from segvoc.imaging.overlay import OverlayStyle
from segvoc.imaging.regions import coco_masks
from segvoc.inference.reports import json_text
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.json_files import strict_json
from segvoc.storage.safe_paths import scratch_folder

Sink = Literal["parquet", "webdataset", "files"]

PART = {"parquet": "part-{}.parquet", "webdataset": "part-{}.tar"}
"""Names of the files of a shard, by its key; results in files have their images' names."""

ResultFile = tuple[str, bytes]
"""Name below the folder of the results, and content."""


@dataclass(frozen=True, kw_only=True)
class ResultForm:
    """How results are written."""

    sink: Sink
    overlay: OverlayStyle | None = None
    """What overlays show, for results in files; None: none are drawn."""
    compact: bool = False
    """Whether reports list only words that were found. Rows of Parquet always do."""
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
            return [(".json", strict_json({"key": image.key, "image": image.source, "error": result}).encode() + b"\n")]
        if self.sink == "webdataset":
            return self._sample(image, result)
        return self._files(image, result)

    def shard(self, key: str, images: Sequence[BatchImage], results: Sequence[Any]) -> list[ResultFile]:
        """The files of a shard."""
        if self.sink == "parquet":
            return [(PART["parquet"].format(key), _parquet(results, parts=self.parts))]
        if self.sink == "webdataset":
            return [(PART["webdataset"].format(key), _tar(images, results))]
        return [file for result in results for file in result if not file[0].startswith(".")]

    def _sample(self, image: BatchImage, result: Segmentation) -> list[ResultFile]:
        report: dict[str, Any] = {"key": image.key, **result.report(compact=self.compact), "image": image.source}
        del report["seconds"]  # all else is the same in every run
        files = [(".png", _png(label_map_image(result.labels, result.colors)))]
        if result.part_labels is not None:
            files.append((".parts.png", _png(label_map_image(result.part_labels, result.part_colors))))
        return [*files, (".json", json_text(report))]

    def _files(self, image: BatchImage, result: Segmentation) -> list[ResultFile]:
        with scratch_folder() as folder:
            paths = replace(result, source=image.source).save(
                folder, "result", overlay=self.overlay, compact=self.compact
            )
            return [(f"{image.stem}{path.name.removeprefix('result')}", Path(path).read_bytes()) for path in paths]


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
        ("unlabelled", pa.int64()),
        ("error", pa.string()),
    ]
    return pa.schema(columns)


def _row(image: BatchImage, result: Segmentation | str) -> dict[str, Any]:
    row: dict[str, Any] = {"key": image.key, "image": image.source}
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
    return {**row, **{name: report[name] for name in ("width", "height", "unlabelled")}}


def _parquet(rows: Sequence[dict[str, Any]], *, parts: bool) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows), parquet_schema(parts=parts)), buffer, compression="zstd")
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


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
