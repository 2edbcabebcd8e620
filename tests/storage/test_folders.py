"""A folder is replaced whole: neither a failure nor a kill hides the earlier folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segvoc.errors import OutputError
from segvoc.storage import atomic_writes
from segvoc.storage.atomic_writes import folder_in_the_making


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
def test_a_failed_rename_leaves_the_earlier_folder_in_place(
    tmp_path: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
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
