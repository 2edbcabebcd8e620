"""Programs in a process of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def printed(*arguments: object, **options: Any) -> str:
    """What `python ARGUMENTS` prints; where it fails, the test shows what it wrote on standard error."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def survivors(pids: Iterable[int], seconds: float = 300) -> list[int]:
    """Processes that don't end within some time, and are killed then."""
    end, left = time.monotonic() + seconds, list(pids)
    while (left := [pid for pid in left if _runs(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


def _runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for its new parent as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def touch(path: str) -> str:
    """Write a file, after two minutes if its name says so; for processes, which import no more than this module."""
    time.sleep(120 if "late" in path else 0)
    Path(path).touch()
    return path
