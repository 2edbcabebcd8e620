"""Whatever happens while a file or a folder is written, the old one or the new one stands there, whole
(tests/hardening kills commands at their writes); strict JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from segvoc.errors import OutputError
from segvoc.storage import atomic_writes
from segvoc.storage.atomic_writes import folder_in_the_making, write_atomically, write_bytes, write_path_atomically
from segvoc.storage.files import read_json, strict_json, write_json


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
    assert run.returncode == 1 and "ulimit -f" in run.stderr
    assert len(run.stderr.splitlines()) == 1 and os.listdir(tmp_path) == ["result.bin"]
    assert (tmp_path / "result.bin").read_bytes() == b"earlier"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError])
def test_interruption_leaves_nothing_behind(tmp_path: Path, interruption: type[BaseException]) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"half of it")
        raise interruption

    with pytest.raises(interruption):
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


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of replacing a folder; not every disk can exchange two."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic_writes, "_exchange", lambda one, other: False)
    return request.param


def test_the_earlier_folder_is_replaced(tmp_path: Path, way: str) -> None:
    out = earlier_folder(tmp_path)
    with folder_in_the_making(out) as made:
        (made / "new.txt").write_text("new")
        assert os.listdir(out) == ["old.txt"]
    assert os.listdir(tmp_path) == ["export"] and os.listdir(out) == ["new.txt"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_rename_leaves_the_earlier_folder_in_place(tmp_path, failing, monkeypatch):
    out, rename, calls = earlier_folder(tmp_path), Path.rename, list[Path]()

    def renamed(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(atomic_writes, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises(OutputError, match="No space left"), folder_in_the_making(out) as made:
        (made / "new.txt").write_text("new")
    assert os.listdir(tmp_path) == ["export"] and (out / "old.txt").read_text() == "precious"


_KILLED = """
import os, sys
from pathlib import Path
from segvoc.storage import atomic_writes

moves = 0

def killed(move):
    def moved(*arguments):
        global moves
        moves += 1
        if moves == int(sys.argv[2]):
            os._exit(9)
        return move(*arguments)
    return moved

Path.rename, atomic_writes._exchange = killed(Path.rename), killed(atomic_writes._exchange)
if sys.argv[3] == "two renames":
    atomic_writes._exchange = lambda one, other: False
with atomic_writes.folder_in_the_making(Path(sys.argv[1])) as made:
    (made / "new.txt").write_text("new")
"""


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            "exchange", marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges folders")
        ),
        "two renames",
    ],
)
@pytest.mark.parametrize("move", [1, 2])
def test_a_kill_between_the_moves_hides_nothing(tmp_path: Path, way: str, move: int) -> None:
    out = earlier_folder(tmp_path)
    subprocess.run([sys.executable, "-c", _KILLED, out, str(move), way], check=False)
    (visible,) = (path for path in tmp_path.iterdir() if not path.name.startswith("."))
    is_moved = way == "two renames" and move == 2
    assert visible.name.startswith("export.earlier-") if is_moved else visible == out
    is_new = way == "exchange" and move == 2  # that kill never comes
    assert os.listdir(visible) == ["new.txt" if is_new else "old.txt"]


def test_a_link_to_a_folder_is_replaced_and_a_file_is_refused(tmp_path: Path, way: str) -> None:
    target, out, file = earlier_folder(tmp_path), tmp_path / "link", tmp_path / "file"
    out.symlink_to(target)
    file.write_text("precious")
    with folder_in_the_making(out) as made:
        (made / "new.txt").write_text("new")
    with pytest.raises(OutputError, match="a file stands where"), folder_in_the_making(file):
        pass
    assert sorted(os.listdir(tmp_path)) == ["export", "file", "link"]
    assert os.listdir(target) == ["old.txt"] and os.listdir(out) == ["new.txt"] and not out.is_symlink()
    assert file.read_text() == "precious"
