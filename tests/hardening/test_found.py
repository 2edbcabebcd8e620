"""Defects that the bad inputs found: each has its smallest input here."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from segvoc.data.preparation import originals
from segvoc.data.preparation.originals import _members
from segvoc.errors import CheckpointError, DamagedJournalWarning, InputError, UsageError
from segvoc.imaging.reading import decode_image
from segvoc.inference.onnx_program import OnnxProgram
from segvoc.storage.journal import read_journal

DEEP = "[" * 100_000


def test_a_palette_image_without_its_palette_is_damaged_not_black() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("P").save(buffer, "PNG")
    content = buffer.getvalue()
    decode_image(content)
    at = content.index(b"PLTE") - 4  # length, name, colors, checksum
    end = at + 12 + int.from_bytes(content[at : at + 4], "big")
    with pytest.raises(InputError, match="its palette is missing"):
        decode_image(content[:at] + content[end:])


def test_a_journal_line_nested_too_deeply_is_a_damaged_line(tmp_path: Path) -> None:
    path = tmp_path / "work.journal"
    path.write_text(f'{{"a": 1}}\n{DEEP}\n{{"a": 2}}\n')
    with pytest.warns(DamagedJournalWarning, match="line 2"):
        assert [entry["a"] for entry in read_journal(path)] == [1, 2]


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
