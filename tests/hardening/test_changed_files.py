"""Changed bytes and JSON values are read or refused in one line; the smallest input of each defect found by them.

`make test-all` draws other changes each time.
"""

import io
import json
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segvoc.checkpoints.files import read_header, read_weights
from segvoc.data.captions.sources import find_captions
from segvoc.data.preparation import originals
from segvoc.data.preparation.originals import _members
from segvoc.errors import CheckpointError, InputError, SegvocError, UsageError
from segvoc.imaging.label_maps import read_label_map
from segvoc.imaging.reading import decode_image, read_image
from segvoc.inference.exported.manifest import ExportManifest
from segvoc.inference.onnx_program import OnnxProgram
from segvoc.labeling.formats.dataset import DatasetWriter
from segvoc.labeling.formats.opening import read_dataset
from segvoc.labeling.formats.table import writers
from segvoc.models.shipped import TINY_MANIFEST
from segvoc.storage.files import SHIPPED
from segvoc.storage.journal import read_journal
from segvoc.vocabulary import PartVocabulary, Vocabulary
from tests.labeling.formats.drawn_results import drawn_result

Read = Callable[[Path], object]

ODD = (None, True, -1, 0, 1.5, 1 << 70, float("nan"), "", "\0", "../../x", "a" * 5000, "\ud800", [], [[]], {}, {"a": 1})
"""JSON values where others belong."""


@cache
def image(kind: str, mode: str) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    content = io.BytesIO()
    Image.fromarray(values).convert(mode).save(content, kind)
    return content.getvalue()


@cache
def weights(kind: str) -> bytes:
    tensors = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3, dtype=torch.float16), "steps": torch.arange(5)}
    content = io.BytesIO()
    if kind == "safetensors":
        return safetensors.torch.save(tensors, {"segvoc": '{"preset": "tiny"}'})
    torch.save({"model": tensors}, content)
    return content.getvalue()


@st.composite
def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """A file that is cut, or in which some bytes are others, removed, repeated or those of another place."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(1, 16))
        kind = draw(st.sampled_from(("cut", "others", "removed", "repeated", "moved")))
        if kind == "cut":
            del data[at:]
        elif kind == "others":
            data[at : at + size] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "removed":
            del data[at : at + size]
        elif kind == "repeated":
            data[at:at] = data[at : at + size]
        else:
            other = draw(st.integers(0, len(data)))
            data[at : at + size] = data[other : other + size]
    return bytes(data)


def places(value: Any) -> list[tuple[Any, Any]]:
    """All containers of a JSON value with each of their keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def other_json(draw: st.DrawFn, text: str) -> bytes:
    """A JSON file in which some values are left out or odd ones."""
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        if found := places(value):
            container, key = draw(st.sampled_from(found))
            if draw(st.booleans()):
                container[key] = draw(st.sampled_from(ODD))
            else:
                del container[key]
    return json.dumps(value).encode("utf-8", "surrogatepass")


def read_or_refused(read: Read, name: str, content: bytes, folder: Path) -> None:
    """Read a file; whatever is wrong with it has to be one line of ours."""
    path = folder / name
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except SegvocError as error:
        assert str(error).strip() and "\n" not in str(error)
        assert len(str(error)) < 2000


def _shape_and_type(path: Path) -> None:
    labels = read_label_map(path)
    assert labels.ndim == 2 and labels.dtype == np.uint16


IMAGES = [(kind, mode) for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "PPM", "WEBP") for mode in ("RGB", "L")]

TEXTS: dict[str, tuple[Read, str]] = {
    "words.txt": (Vocabulary.read, "cat\nsofa, couch\nwall\nçà et là\nтёплый плед\n"),
    "parts.json": (PartVocabulary.read, '{"dog": ["head", "leg"], "*": ["skin"], "cat, kitten": []}'),
    "classes.json": (Vocabulary.read, '["ground", "red disc", "blue disc"]'),
    "captions.json": (
        lambda path: find_captions(path, path.parent),
        '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "a cat"}]}',
    ),
    "segvoc.json": (ExportManifest.read, (SHIPPED / TINY_MANIFEST).read_text(encoding="utf-8")),
    "work.journal": (read_journal, '{"a": 1}\n{"b": [2, "x"]}\n{"c": null}\n'),
}


def changed_image(draw: Callable[..., Any]) -> tuple[Read, str, bytes]:
    kind, mode = draw(st.sampled_from(IMAGES))
    return draw(st.sampled_from((read_image, _shape_and_type))), f"x.{kind.lower()}", draw(changed(image(kind, mode)))


def changed_text(draw: Callable[..., Any]) -> tuple[Read, str, bytes]:
    name = draw(st.sampled_from(sorted(TEXTS)))
    read, text = TEXTS[name]
    made = [changed(text.encode()), *([other_json(text)] if name.endswith(".json") else [])]
    return read, name, draw(st.one_of(made))


def changed_weights(draw: Callable[..., Any]) -> tuple[Read, str, bytes]:
    kind, suffix = draw(st.sampled_from((("safetensors", ".safetensors"), ("pickled", ".pth"))))
    return draw(st.sampled_from((read_weights, read_header))), f"x{suffix}", draw(changed(weights(kind)))


@pytest.mark.parametrize("file", [changed_image, changed_text, changed_weights])
@settings(max_examples=150)
@given(data=st.data())
def test_a_changed_file_is_read_or_refused_in_one_line(file, data, tmp_path_factory):
    read_or_refused(*file(data.draw), tmp_path_factory.mktemp("changed"))


@pytest.mark.parametrize("name", list(writers()))
@settings(max_examples=20)
@given(data=st.data())
def test_datasets(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, labels = tmp_path_factory.mktemp("dataset"), np.zeros((12, 16), np.uint16)
    labels[3:9, 4:12] = 1
    with DatasetWriter(folder, name) as dataset:
        dataset.add(drawn_result(labels, ("cat", "road")), "photo")

    def read(_: Path) -> None:
        for image in (read := read_dataset(folder, name)).images:
            assert image.read(len(read.vocabulary)).labels.shape == labels.shape
            image.read_objects(labels.shape)

    file = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
    made = [changed(file.read_bytes()), *([other_json(file.read_text("utf-8"))] if file.suffix == ".json" else [])]
    read_or_refused(read, file.name, data.draw(st.one_of(made)), file.parent)


def test_a_palette_image_without_its_palette_is_damaged_not_black() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("P").save(buffer, "PNG")
    content = buffer.getvalue()
    decode_image(content)
    at = content.index(b"PLTE") - 4  # length, name, colors, checksum
    end = at + 12 + int.from_bytes(content[at : at + 4], "big")
    with pytest.raises(InputError, match="its palette is missing"):
        decode_image(content[:at] + content[end:])


def test_programs_that_fail_or_give_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def session(run: Callable[[], dict[str, np.ndarray]]) -> SimpleNamespace:
        return SimpleNamespace(
            get_inputs=list,
            get_outputs=lambda: [SimpleNamespace(name=name) for name in run()],
            run=lambda *_: list(run().values()),
        )

    def failing() -> dict[str, np.ndarray]:
        raise RuntimeError("no such node\nat all")

    program = OnnxProgram(tmp_path / "x.onnx")
    monkeypatch.setattr(OnnxProgram, "session", lambda self: session(failing))
    with pytest.raises(CheckpointError, match=r"doesn't run on what segvoc gives it \(no such node\)"):
        program({})
    for outputs in (
        {"logits": np.zeros((2, 2, 2), np.float32)},
        {"embeddings": np.zeros((2, 2), np.int64)},
        {"logits": np.zeros((1, 3, 2, 2), np.float32), "kept": np.zeros((1, 2), np.int64)},
    ):
        monkeypatch.setattr(OnnxProgram, "session", lambda self, outputs=outputs: session(lambda: outputs))
        with pytest.raises(CheckpointError, match="gives"):
            program({})


def test_archives_that_blow_up_are_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(originals, "LARGEST_BLOWN_UP", 1 << 20)
    zipped, tarred = tmp_path / "a.zip", tmp_path / "a.tar.gz"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small.png", bytes(1 << 20))
        archive.writestr("bomb.png", bytes(1 << 21))
    with tarfile.open(tarred, "w:gz") as archive:
        info = tarfile.TarInfo("bomb.png")
        info.size = 1 << 21
        archive.addfile(info, io.BytesIO(bytes(1 << 21)))
    for path in (zipped, tarred):
        with pytest.raises(UsageError, match="would unpack to 2097152; don't trust"):
            list(_members(path))
