"""Whatever happens while a file is written, the old one or the new one stands there, whole."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from segvoc.errors import OutputError
from segvoc.storage.atomic_writes import write_atomically


class _Disk:
    """A writer that puts something down, and then meets an error of the system."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, file: BinaryIO) -> None:
        file.write(b"half of it")
        file.flush()
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "mend"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EROFS, "another folder")],
)
def test_full_disk_keeps_the_earlier_file(tmp_path: Path, number: int, mend: str) -> None:
    target = tmp_path / "result.bin"
    target.write_bytes(b"earlier")
    with pytest.raises(OutputError) as error:
        write_atomically(target, _Disk(number))
    assert target.read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["result.bin"]
    message = str(error.value)
    assert "result.bin" in message
    assert os.strerror(number) in message
    assert mend in message
    assert "\n" not in message


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
    def write(file: BinaryIO) -> None:
        file.write(b"half")
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


_ENDLESS_WRITER = """
import itertools, sys
from segvoc.storage import atomic_writes
from segvoc.storage.atomic_writes import put_in_place, write_atomically
from tests.images import one_line_error

def write(file):
    for _ in range(64):
        file.write(letter * 4096)
        file.flush()

for letter in itertools.cycle([b"a", b"b", b"c"]):
    write_atomically(sys.argv[1], write)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing kills at once here")
@pytest.mark.parametrize("delay", [0.0, 0.013, 0.031, 0.057, 0.101])
def test_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path, delay: float) -> None:
    target = tmp_path / "result.bin"
    writer = subprocess.Popen([sys.executable, "-c", _ENDLESS_WRITER, target])
    try:
        deadline = time.monotonic() + 60
        while not target.exists():
            assert writer.poll() is None
            assert time.monotonic() < deadline
        # Readers meet whole files while it runs, and the kill leaves one.
        end = time.monotonic() + delay
        while True:
            content = target.read_bytes()
            assert len(content) == 64 * 4096
            assert len(set(content)) == 1
            if time.monotonic() >= end:
                break
    finally:
        writer.kill()
        writer.wait()
    content = target.read_bytes()
    assert len(content) == 64 * 4096
    assert len(set(content)) == 1
    assert all(name.startswith(".segvoc-") for name in os.listdir(tmp_path) if name != "result.bin")
