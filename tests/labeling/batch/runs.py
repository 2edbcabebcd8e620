"""Runs of batches without Ray, and the sources that they read."""

import functools
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.inference.decision import PLAIN_DECISION
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.labeling.batch import run
from segvoc.labeling.batch.run import BatchRun
from segvoc.labeling.batch.sources import Shard
from segvoc.labeling.batch.work import Batch, LabeledShard, ModelFacts, TaskOutcome, Worker, WorkerTask, find_facts
from segvoc.models.shipped import TINY_MANIFEST
from segvoc.storage.files import SHIPPED
from segvoc.vocabulary import Vocabulary
from tests.lazy_modules import LazyModule

pa, parquet = LazyModule("pyarrow"), LazyModule("pyarrow.parquet")

WORDS = Vocabulary(["cat", "sofa", "wall"])
BAD = b"no image"


class QuickSegmenter(ExportedSegmenter):
    """The words of `tiny` without its rules, and a network of a line: linear in the mean colors of 16 x 16 pixels."""

    def __init__(self) -> None:
        super().__init__(SHIPPED, manifest=TINY_MANIFEST, threads=1)
        self.traits = replace(self.traits, refines_edges=False, decision=PLAIN_DECISION)

    def encode_views(self, pixels: np.ndarray, *, complete: bool = True) -> dict[str, np.ndarray]:
        n, _, height, width = pixels.shape
        return {"map_0": pixels.reshape(n, 3, height // 16, 16, width // 16, 16).mean((3, 5)) / 255 - 0.5}

    def compare(self, features: Any, text: Any, protocol: Any) -> tuple[Any, Any]:
        colors = np.random.default_rng(0).standard_normal((3, text.shape[-1])).astype(np.float32)
        return np.einsum("nchw,cd,td->nthw", features["map_0"], colors, text.mean(1)).astype(np.float32) * 5, None


@functools.cache
def quick() -> QuickSegmenter:
    return QuickSegmenter()


class Stopped(Exception):
    """Stands for kill -9."""


class Loop:
    """An engine that does one shard after another, and may stop after some."""

    def __init__(self, stop_after: int | None = None, *, before_record: bool = False) -> None:
        self.left, self.before_record = stop_after, before_record
        self.labeled, self.workers, self.machines = 0, 1, 1

    def __call__(self, batch: Batch) -> "Loop":
        self.batch = batch
        return self

    def facts(self) -> ModelFacts:
        return find_facts(self.batch)

    def run(
        self, next_task: Callable[[], WorkerTask | None], facts: ModelFacts
    ) -> Iterator[tuple[WorkerTask, TaskOutcome]]:
        worker = Worker(self.batch, facts)
        while (task := next_task()) is not None:
            if self.left == 0 and isinstance(task, Shard):
                if self.before_record:
                    worker(task)
                raise Stopped
            outcome = worker(task)
            if isinstance(outcome, LabeledShard) and isinstance(task, Shard) and not task.is_written:
                self.left = None if self.left is None else self.left - 1
                self.labeled += outcome.images
            yield task, outcome


def label(source: object, out: object, engine: Loop | None = None, **options: Any) -> BatchRun:
    asked = {"words": WORDS, "load": quick, "shard_images": 2, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_ray", engine or Loop())
        done = BatchRun(Batch(source=str(source), out=str(out), **asked))
    with done:
        for _ in done:
            pass
    return done


def jpeg(seed: int) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).resize((60, 40), Image.Resampling.NEAREST).save(buffer, "JPEG")
    return buffer.getvalue()


def folder_of(folder: Path, names: Iterable[str]) -> Path:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BAD if "bad" in name else jpeg(seed))
    return folder


def tar_of(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def table_of(path: Path, columns: Mapping[str, Sequence[Any]], *, rows: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(dict(columns)), path, row_group_size=rows)
    return path


def rows_of(out: object) -> list[dict[str, Any]]:
    """All rows of results in Parquet, by key; a key that is there twice fails."""
    found = parquet.read_table(str(out)).to_pylist()
    assert len({row["key"] for row in found}) == len(found)
    return sorted(found, key=lambda row: row["key"])


def contents(out: Path) -> dict[str, Any]:
    """All results, without the time that they took."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and not name.startswith(".segvoc"):
            found[name] = path.read_bytes()
            if path.suffix == ".json":
                found[name] = {key: value for key, value in json.loads(found[name]).items() if key != "seconds"}
    return found
