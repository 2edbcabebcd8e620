"""Defects that the bad inputs found: each has its smallest input here."""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from segvoc.data.captions.sources import find_captions
from segvoc.data.labeled_images import read_classes
from segvoc.data.manifests import Manifest
from segvoc.data.preparation import originals
from segvoc.data.preparation.originals import _damage_named, _members
from segvoc.encoders.prompt_tokenizer import PromptTokenizer
from segvoc.errors import CheckpointError, DamagedJournalWarning, InputError, UsageError
from segvoc.exported.manifest import ExportManifest
from segvoc.exported.shipped import SHIPPED, TINY_MANIFEST
from segvoc.imaging.reading import decode_image
from segvoc.inference.onnx_program import OnnxProgram
from segvoc.records import check_amounts, field_value
from segvoc.storage.files import safe_path
from segvoc.storage.journal import read_journal
from segvoc.training.run_folder import RunFolder
from segvoc.vocabulary import PartVocabulary, Vocabulary

DEEP = "[" * 100_000


def test_a_palette_image_without_its_palette_is_damaged_not_black() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("P").save(buffer, "PNG")
    content, chunks, at = buffer.getvalue(), [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    palette = next(chunk for chunk in chunks if chunk[0] == b"PLTE")
    decode_image(content)
    with pytest.raises(InputError, match="its palette is missing"):
        decode_image(_png([palette, *(chunk for chunk in chunks if chunk is not palette)]))


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def test_classes_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(DEEP)
    with pytest.raises(UsageError, match="is not valid JSON"):
        read_classes(tmp_path / "classes.json")


def test_a_journal_line_nested_too_deeply_is_a_damaged_line(tmp_path: Path) -> None:
    path = tmp_path / "work.journal"
    path.write_text(f'{{"a": 1}}\n{DEEP}\n{{"a": 2}}\n')
    with pytest.warns(DamagedJournalWarning, match="line 2"):
        assert [entry["a"] for entry in read_journal(path)] == [1, 2]


@pytest.mark.parametrize("sessions", [3, [3], [{"changed": 3}], [{"machine": []}]])
def test_a_run_whose_sessions_are_something_else(tmp_path: Path, sessions: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"recipe": {}, "sessions": sessions}))
    with pytest.raises(UsageError, match="does not belong to a run"):
        RunFolder.open(tmp_path, {"recipe": {}}, resume=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("files", []),
        ("stride", 0),
        ("stride", "16"),
        ("smallest", 1 << 40),
        ("vocabulary", [1]),
        ("protocols", {}),
        ("origin", None),
        ("words", []),
        ("text", None),
        ("selects", "yes"),
        ("parts_against", "x"),
    ],
)
def test_a_manifest_whose_values_are_of_other_types(tmp_path: Path, name: str, value: object) -> None:
    content = json.loads((SHIPPED / TINY_MANIFEST).read_text(encoding="utf-8"))
    path = tmp_path / "segvoc.json"
    path.write_text(json.dumps(content))
    ExportManifest.read(path)
    path.write_text(json.dumps(content | {"files": {"large.data": {"bytes": 1 << 40, "sha256": "0"}}}))
    ExportManifest.read(path)
    path.write_text(json.dumps(content | {name: value}))
    with pytest.raises(CheckpointError, match="is damaged"):
        ExportManifest.read(path)


def test_templates_that_are_no_texts_and_deep_manifests(tmp_path: Path) -> None:
    content = json.loads((SHIPPED / TINY_MANIFEST).read_text(encoding="utf-8"))
    content["text"]["templates"] = [1.5]
    for text in (json.dumps(content), DEEP):
        (tmp_path / "segvoc.json").write_text(text)
        with pytest.raises(CheckpointError, match="is damaged"):
            ExportManifest.read(tmp_path / "segvoc.json")


def test_a_damaged_tokenizer(tmp_path: Path) -> None:
    for content in (b"{", b"\xff\xfe", b"[]"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"the tokenizer .* is damaged"):
            PromptTokenizer(tmp_path / "tokenizer.json", max_tokens=9, unknown_by="script")


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
    monkeypatch.setattr(OnnxProgram, "_loaded", lambda self: session(failing))
    with pytest.raises(CheckpointError, match=r"doesn't run on what segvoc gives it \(no such node\)"):
        program({})
    for outputs in (
        {"logits": np.zeros((2, 2, 2), np.float32)},
        {"embeddings": np.zeros((2, 2), np.int64)},
        {"logits": np.zeros((1, 3, 2, 2), np.float32), "kept": np.zeros((1, 2), np.int64)},
    ):
        monkeypatch.setattr(OnnxProgram, "_loaded", lambda self, outputs=outputs: session(lambda: outputs))
        with pytest.raises(CheckpointError, match="gives"):
            program({})


def _member(name: str, content: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info


def _lying(size: bytes) -> bytes:
    """A tar whose first member tells of another size."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, data in (("a.txt", b"x"), ("b.jpg", b"y" * 2000)):
            archive.addfile(_member(name, data), io.BytesIO(data))
    content = bytearray(tar.getvalue())
    content[124 : 124 + len(size)] = size
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


HUGE = b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7


def test_sizes_in_tars_that_no_machine_has(tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    for content in (_lying(HUGE), _lying(b"\xff" * 12)):
        path.write_bytes(content)
        if content == _lying(HUGE):
            with pytest.raises(UsageError, match="don't trust this archive"), _damage_named(path):
                list(_members(path))
        with pytest.raises(UsageError, match=r"no image .* has a caption"):
            list(find_captions(path).images())


def test_archives_that_blow_up_are_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(originals, "LARGEST_BLOWN_UP", 1 << 20)
    zipped, tarred = tmp_path / "a.zip", tmp_path / "a.tar.gz"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small.png", bytes(1 << 20))
        archive.writestr("bomb.png", bytes(1 << 21))
    with tarfile.open(tarred, "w:gz") as archive:
        archive.addfile(_member("bomb.png", bytes(1 << 21)), io.BytesIO(bytes(1 << 21)))
    for path in (zipped, tarred):
        with pytest.raises(UsageError, match="would become 2097152; don't trust"):
            list(_members(path))


@pytest.mark.parametrize("changes", [{"records": [{"stem": 1, "image": [], "labels": "x"}]}, {"sources": 3}])
def test_a_manifest_of_preparation_of_other_types(tmp_path: Path, changes: dict[str, object]) -> None:
    Manifest(benchmark="a-150", records=(), sha256="0").write(tmp_path)
    path = Manifest.path(tmp_path, "a-150")
    assert Manifest.read(tmp_path, "a-150") is not None
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UsageError, match="delete it and prepare again"):
        Manifest.read(tmp_path, "a-150")


def test_long_names_are_shortened_in_errors() -> None:
    for make in (lambda: Vocabulary(["a" * 5000] * 2), lambda: PartVocabulary({"a" * 5000: ["b" * 5000] * 2})):
        with pytest.raises(UsageError) as error:
            make()
        assert len(str(error.value)) < 400


def test_names_longer_than_any_file_system_takes() -> None:
    with pytest.raises(ValueError, match="is no name of a file") as error:
        safe_path("a" * 5000)
    assert len(str(error.value)) < 200
    assert safe_path("sub/" + "a" * 255).name == "a" * 255


def test_types_of_records() -> None:
    assert field_value(Mapping[str, tuple[int, ...]], {"a": [1, 2]}, "x") == {"a": (1, 2)}
    for value, annotation in (
        (True, int),
        ("2", int),
        (1, str),
        ([1], tuple[int, int]),
        ("ab", tuple[str, ...]),
        (float("nan"), float),
        (10**400, float),
        ("a", Literal["b"]),
        (3, None | str),
        ([], Mapping[str, int]),
    ):
        with pytest.raises(UsageError, match=r"^x=.* is not "):
            field_value(annotation, value, "x")
    with pytest.raises(UsageError, match=r"^sizes\[1\]=-1 is out of range"):
        check_amounts(Sizes(sizes=(1, -1)))


@dataclass(frozen=True)
class Sizes:
    sizes: tuple[int, ...]
