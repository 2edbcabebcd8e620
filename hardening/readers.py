"""What of segvoc reads each kind of input, and an independent reading of what it accepted."""

import contextlib
import json
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from segvoc.analysis.ablation import read_results
from segvoc.checkpoints.files import read_header, read_weights
from segvoc.data.benchmarks import find_benchmark, prepared
from segvoc.data.captions.sources import find_captions
from segvoc.data.datasets.opening import read_dataset
from segvoc.data.labeled_images import read_classes
from segvoc.data.preparation.foreign_files import read_matlab_array, read_pickled_index
from segvoc.data.preparation.prepare import prepare
from segvoc.errors import InputError
from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.formats.names import DATASET_NAMES
from segvoc.imaging.label_maps import read_label_map
from segvoc.imaging.rasters import RasterImage
from segvoc.imaging.reading import decode_image, read_image
from segvoc.imaging.windowed_images import DecodedImage
from segvoc.models.finding import find_model
from segvoc.models.loading import load_network
from segvoc.storage.journal import Journal, read_journal
from segvoc.vocabulary import PartVocabulary, Vocabulary
from tests.data.replicas import replica
from tests.training.runs import drawn_images, open_run

Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A part of segvoc that reads inputs."""

    read: Callable[[Path, Path], object]
    """Reads the input in one folder; what it writes goes to the other."""
    disagreement: Callable[[Path, Path], str] = lambda source, out: ""
    """Why an independent reading refuses an input that was accepted; empty if it accepts it too."""


def only_file(folder: Path) -> Path:
    """The one file of an input."""
    (path,) = folder.iterdir()
    return path


# ---- images


COMPARED = 1_000_000
"""Pixels up to which values are compared, too."""


def _image(source: Path, out: Path) -> None:
    pixels = read_image(only_file(source))
    np.save(out / "size.npy", pixels.shape[:2])
    if pixels.shape[0] * pixels.shape[1] <= COMPARED:
        np.save(out / "pixels.npy", pixels)


def _image_bytes(source: Path, out: Path) -> None:
    np.save(out / "size.npy", decode_image(only_file(source).read_bytes()).shape[:2])


def _windows(source: Path, out: Path) -> None:
    path = only_file(source)
    if path.suffix in (".tif", ".tiff"):
        with RasterImage(path) as raster:
            _read_windows(raster, out)
    else:
        _read_windows(DecodedImage(path), out)


def _read_windows(image: Any, out: Path) -> None:
    if image.height * image.width > 50_000_000:
        return
    image.overview(64)
    image.valid(slice(0, image.height), slice(0, image.width))
    image.read(slice(image.height // 2, image.height), slice(0, image.width))
    np.save(out / "size.npy", (image.height, image.width))


def _other_image(source: Path, out: Path) -> str:
    """Pillow must read an image of the same sides and colors; GDAL one of the same sides where Pillow reads none."""
    path = only_file(source)
    if not (out / "size.npy").exists():
        return ""
    ours = sorted(np.load(out / "size.npy").tolist())
    try:
        with Image.open(path) as image:
            image.load()
            theirs = sorted(image.convert("RGB").size)
            if difference := _difference(image, out):
                return difference
    except Exception as error:
        if path.read_bytes()[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return f"Pillow says {type(error).__name__}: {error}"
        theirs = sorted(_raster_size(path))
    return "" if ours == theirs else f"its sides are {ours}, and {theirs} to another reader"


def _difference(image: Image.Image, out: Path) -> str:
    """How opaque pixels of 8 bits or fewer differ; other modes have rules of their own."""
    if image.mode not in ("1", "L", "P", "RGB", "RGBA", "LA") or not (out / "pixels.npy").exists():
        return ""
    upright = ImageOps.exif_transpose(image)
    rgba = np.array(upright.convert("RGBA")).astype(int)
    ours = np.load(out / "pixels.npy")
    if ours.shape[:2] != rgba.shape[:2]:
        return f"it is {ours.shape[:2]}, and {rgba.shape[:2]} to another reader"
    apart = np.abs(ours - rgba[..., :3])[rgba[..., 3] == 255]
    return f"its colors differ by {apart.max()}" if apart.size and apart.max() > 1 else ""


def _raster_size(path: Path) -> tuple[int, int]:
    import rasterio

    with rasterio.open(path) as dataset:
        dataset.read(1)
        return dataset.height, dataset.width


def _label_map(source: Path, out: Path) -> None:
    labels = read_label_map(only_file(source))
    assert labels.dtype == np.uint16 and labels.ndim == 2
    np.save(out / "size.npy", labels.shape)


# ---- texts


def _other_words(source: Path, out: Path) -> str:
    text = only_file(source).read_bytes().decode("utf-8-sig")
    words = [line.strip() for line in text.rstrip().splitlines()]
    return "" if tuple(words) == Vocabulary.read(only_file(source)).words else "its lines are other words"


def _other_json(source: Path, out: Path) -> str:
    try:
        json.loads(only_file(source).read_bytes().decode("utf-8-sig"))
    except ValueError as error:
        return f"json says {error}"
    return ""


def _captions(source: Path, out: Path) -> None:
    """Input: `captions.*` or `set*.tar`, beside a folder of images."""
    (path,) = [path for path in source.iterdir() if path.name != "images"]
    images = source / "images"
    found = find_captions(path, images if images.is_dir() and path.suffix != ".tar" else None)
    for number, image in enumerate(found.images()):
        if number < 3:
            with contextlib.suppress(InputError):
                image.location.read()


def _dataset(name: str | None) -> Callable[[Path, Path], None]:
    def read(source: Path, out: Path) -> None:
        found = read_dataset(source, name)
        problems = []
        for index in range(min(3, len(found))):
            try:
                found.read(index)
            except InputError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    return read


# ---- weights, programs and runs


def _weights(source: Path, out: Path) -> None:
    read_weights(only_file(source))


def _header(source: Path, out: Path) -> None:
    read_header(only_file(source))


def _network(source: Path, out: Path) -> None:
    load_network(only_file(source), device="cpu")


def _other_weights(source: Path, out: Path) -> str:
    """Our own reading of a safetensors header by its specification; PyTorch's reading of the others."""
    content = only_file(source).read_bytes()
    if content[5:9] == b"\0\0\0{":
        try:
            _check_safetensors(content)
        except (ValueError, KeyError, TypeError, UnicodeDecodeError, struct.error) as error:
            return f"it breaks the specification: {error!r}"
        return ""
    if not content.startswith((b"PK", b"\x80")):
        return "it begins like no checkpoint"
    return ""


_WIDTHS = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


def _check_safetensors(content: bytes) -> None:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length].decode())
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        count = 1
        for side in entry["shape"]:
            count *= side
        if entry["dtype"] in _WIDTHS and last - first != count * _WIDTHS[entry["dtype"]]:
            raise ValueError(f"{name} has {last - first} bytes")
        spans.append((first, last))
    end = 0
    for first, last in sorted(spans):
        if first != end:
            raise ValueError(f"a gap or an overlap at {first}")
        end = last
    if end != len(content) - 8 - length:
        raise ValueError(f"{len(content) - 8 - length - end} bytes belong to no tensor")


def _exported(source: Path, out: Path) -> None:
    """Input: an exported folder."""
    result = ExportedSegmenter(source).segment(np.full((32, 40, 3), 90, np.uint8), ["cat", "wall"], window="single")
    assert result.labels.shape == (32, 40)


def _run_folder(source: Path, out: Path) -> None:
    """Input: the folder of a run that was stopped; it goes on where it was, and writes there."""
    images = drawn_images(out / "drawn", count=3)
    run = shutil.copytree(source, out / "run", symlinks=True)
    training = open_run(images, run, resume=True, steps=3)
    training.run()


def _journal(source: Path, out: Path) -> None:
    path = only_file(source)
    list(read_journal(path))
    with Journal(path) as journal:
        journal.append({"one": 1})
    assert list(read_journal(path))[-1] == {"one": 1}


def _ablation(source: Path, out: Path) -> None:
    read_results(source)


def _prepare(source: Path, out: Path) -> None:
    """Input: a data folder with originals or archives; its first part of a name says the benchmark."""
    benchmark = find_benchmark((source / "benchmark").read_text())
    failures: list[str] = []
    with _moved(source / "data", out):
        result = prepare(benchmark, out / "data", allow_missing=True, on_failure=failures.append)
        if failures and not result.manifest.failed:
            raise AssertionError("failures that the manifest doesn't tell")
    if failures:
        raise InputError(failures[0])


@contextlib.contextmanager
def _moved(folder: Path, out: Path) -> Iterator[None]:
    folder.rename(out / "data")
    yield


def _prepared(source: Path, out: Path) -> None:
    prepared(find_benchmark((source / "benchmark").read_text()), source / "data")


def _pickle(source: Path, out: Path) -> None:
    read_pickled_index(only_file(source))


def _matlab(source: Path, out: Path) -> None:
    read_matlab_array(only_file(source), "LabelMap")


READERS: Mapping[str, Reader] = {
    "image": Reader(read=_image, disagreement=_other_image),
    "image in memory": Reader(read=_image_bytes, disagreement=_other_image),
    "windows": Reader(read=_windows, disagreement=_other_image),
    "label map": Reader(read=_label_map, disagreement=_other_image),
    "words": Reader(read=lambda source, out: Vocabulary.read(only_file(source)), disagreement=_other_words),
    "parts": Reader(read=lambda source, out: PartVocabulary.read(only_file(source)), disagreement=_other_json),
    "classes": Reader(read=lambda source, out: read_classes(only_file(source)), disagreement=_other_json),
    "captions": Reader(read=_captions),
    "weights": Reader(read=_weights, disagreement=_other_weights),
    "header": Reader(read=_header),
    "network": Reader(read=_network, disagreement=_other_weights),
    "exported": Reader(read=_exported),
    "model folder": Reader(read=lambda source, out: find_model(str(source))),
    "run": Reader(read=_run_folder),
    "journal": Reader(read=_journal),
    "ablation": Reader(read=_ablation),
    "prepare": Reader(read=_prepare),
    "prepared": Reader(read=_prepared),
    "pickled index": Reader(read=_pickle),
    "matlab": Reader(read=_matlab),
    "dataset": Reader(read=_dataset(None)),
    **{f"dataset {name}": Reader(read=_dataset(name)) for name in DATASET_NAMES},
}
"""All readers by name."""

torch.set_num_threads(1)
__all__ = ["READERS", "Reader", "only_file", "replica"]
