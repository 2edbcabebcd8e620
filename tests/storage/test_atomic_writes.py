"""Whatever happens while a file or a folder is written, the old one or the new one stands there, whole
(tests/hardening kills commands at their writes); strict JSON."""

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from segvoc.errors import OutputError
from segvoc.storage.atomic_writes import folder_in_the_making, write_atomically, write_bytes, write_path_atomically
from segvoc.storage.files import read_json, strict_json, write_json
from tests.hardening.faults import killed_copies
from tests.images import one_line_error


def test_real_limit_on_file_sizes_keeps_the_earlier_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "result.bin").write_bytes(b"earlier")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with one_line_error(OutputError, "ulimit -f"):
            write_atomically(tmp_path / "result.bin", lambda file: file.write(bytes(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["result.bin"] and (tmp_path / "result.bin").read_bytes() == b"earlier"


def test_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result.bin", write)
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
def test_content_is_on_the_disk_before_the_file_gets_its_name(tmp_path, monkeypatch, write):
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


def test_values_without_a_form_in_json_are_null_and_files_of_it_are_read_again(tmp_path):
    value = {"a": float("nan"), "b": [float("inf"), 1.0], "c": (2, {"d": -float("inf")}), "name": "Zoë"}
    assert json.loads(strict_json(value)) == {"a": None, "b": [None, 1.0], "c": [2, {"d": None}], "name": "Zoë"}
    with pytest.raises(TypeError):
        strict_json({"a": object()})
    write_json(tmp_path / "folder/file.json", value)
    assert read_json(tmp_path / "folder/file.json") == json.loads(strict_json(value))
    with pytest.raises(OutputError):
        write_json(tmp_path / "folder/file.json/other.json", {})


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 200_000])
def test_what_is_no_json_is_a_value_error(tmp_path, content):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "file.json")


def earlier_folder(root: Path) -> Path:
    out = root / "export"
    out.mkdir()
    (out / "old.txt").write_text("precious")
    return out


def replace(out: Path) -> None:
    with folder_in_the_making(out) as made:
        (made / "new.txt").write_text("new")


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of replacing a folder; only Linux can exchange two."""
    if request.param == "two renames":
        monkeypatch.setattr(sys, "platform", "darwin")
    return request.param


def test_a_death_at_any_write_hides_no_folder(tmp_path: Path, way: str) -> None:
    (tmp_path / "before").mkdir()
    earlier_folder(tmp_path / "before")
    *left, replaced = killed_copies(lambda root: replace(root / "export"), tmp_path / "before", tmp_path)
    assert os.listdir(replaced) == ["export"] and os.listdir(replaced / "export") == ["new.txt"]
    for root in left:
        whole = [path.name for path in root.glob("export*") if os.listdir(path) in (["old.txt"], ["new.txt"])]
        assert "export" in whole or (not (root / "export").exists() and len(whole) == 1)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_rename_leaves_the_earlier_folder_in_place(tmp_path, failing, monkeypatch):
    out, rename, calls = earlier_folder(tmp_path), Path.rename, list[Path]()

    def renamed(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises(OutputError, match="No space left"):
        replace(out)
    assert os.listdir(tmp_path) == ["export"] and (out / "old.txt").read_text() == "precious"


def test_a_link_to_a_folder_is_replaced_and_a_file_is_refused(tmp_path: Path, way: str) -> None:
    target, out, file = earlier_folder(tmp_path), tmp_path / "link", tmp_path / "file"
    out.symlink_to(target)
    file.write_text("precious")
    replace(out)
    with pytest.raises(OutputError, match="a file stands where"), folder_in_the_making(file):
        pass
    assert sorted(os.listdir(tmp_path)) == ["export", "file", "link"]
    assert os.listdir(target) == ["old.txt"] and os.listdir(out) == ["new.txt"] and not out.is_symlink()
    assert file.read_text() == "precious"
