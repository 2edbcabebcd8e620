"""Whatever happens while a file is written, the old one or the new one stands there, whole (tests/hardening kills
commands at their writes); strict JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from segvoc.errors import OutputError
from segvoc.storage.atomic_writes import write_atomically, write_bytes, write_path_atomically
from segvoc.storage.files import read_json, strict_json, write_json


def failing(error: BaseException) -> Callable[[BinaryIO], None]:
    """A writer that puts something down, and then meets an error."""

    def write(file: BinaryIO) -> None:
        file.write(b"half of it")
        file.flush()
        raise error

    return write


def test_real_limit_on_file_sizes_keeps_the_earlier_file(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    (tmp_path / "result.bin").write_bytes(b"earlier")
    script = (
        "import resource, sys\n"
        "from segvoc.storage.atomic_writes import write_atomically\n"
        "from segvoc.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    write_atomically(sys.argv[1], lambda file: file.write(bytes(100_000)))\n"
        "except OutputError as error:\n"
        "    sys.exit(str(error))\n"
    )
    run = subprocess.run([sys.executable, "-c", script, tmp_path / "result.bin"], capture_output=True, text=True)
    assert run.returncode == 1
    assert "ulimit -f" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == ["result.bin"]
    assert (tmp_path / "result.bin").read_bytes() == b"earlier"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError])
def test_interruption_leaves_nothing_behind(tmp_path: Path, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption):
        write_atomically(tmp_path / "result.bin", failing(interruption()))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("below", ["photo", "photo/sub"])
def test_file_in_the_place_of_the_folder_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "photo").write_bytes(b"precious")
    with pytest.raises(OutputError, match="a file stands where the folder should be"):
        write_atomically(tmp_path / below / "result.png", lambda file: file.write(b"new"))
    assert (tmp_path / "photo").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomically(path, lambda file: file.write(b"content")),
        lambda path: write_bytes(path, b"content"),
        lambda path: write_path_atomically(path, lambda temporary: temporary.write_bytes(b"content")),
    ],
    ids=["file", "bytes", "path"],
)
def test_content_is_on_the_disk_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    """Otherwise a power failure could leave an empty file in place of the earlier one."""
    target, synced = tmp_path / "result.bin", []
    fsync = os.fsync

    def noted(file: int) -> None:
        fsync(file)
        synced.append((os.fstat(file).st_size, os.fstat(file).st_ino, target.exists()))

    monkeypatch.setattr(os, "fsync", noted)
    write(target)
    assert target.read_bytes() == b"content"
    assert synced == [(7, target.stat().st_ino, False)]


def test_values_without_a_form_in_json_are_null():
    assert strict_json({"a": float("nan"), "b": [float("inf"), 1.0], "c": (2, {"d": -float("inf")})}) == (
        '{"a": null, "b": [null, 1.0], "c": [2, {"d": null}]}'
    )
    with pytest.raises(TypeError):
        strict_json({"a": object()})


def test_a_file_is_written_whole_and_read_again(tmp_path):
    write_json(tmp_path / "folder/file.json", {"name": "Zoë", "score": float("nan")})
    assert read_json(tmp_path / "folder/file.json") == {"name": "Zoë", "score": None}
    json.loads((tmp_path / "folder/file.json").read_bytes())
    with pytest.raises(OutputError):
        write_json(tmp_path / "folder/file.json/other.json", {})


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 200_000])
def test_what_is_no_json_is_a_value_error(tmp_path, content):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "file.json")
