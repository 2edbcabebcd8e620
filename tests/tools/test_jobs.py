"""tools/jobs.sh: how many processes of the tests fit a machine."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "jobs.sh"
GIB = 1 << 30


def jobs(root: Path, *, cores: int | None, free: int | None, files: dict[str, str], commands: dict[str, str]) -> int:
    """What the script prints on a machine of so many cores and bytes of free memory, with some files and programs."""
    if free is not None:
        files = {**files, "proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable: {free // 1024} kB\nBuffers: 0 kB\n"}
    if cores is not None:
        commands = {**commands, "nproc": f'echo "${{OMP_NUM_THREADS:-{cores}}}"'}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    programs = root / "programs"
    programs.mkdir(exist_ok=True)
    for name, body in {"nproc": "exit 127", "sysctl": "exit 1", **commands}.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([SCRIPT, root], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return int(done.stdout)


@pytest.mark.parametrize(
    ("cores", "free", "expected"),
    [(4, 64 * GIB, 4), (4, 16 * GIB, 4), (4, 11 * GIB, 3), (64, 16 * GIB, 5), (2, 2 * GIB, 1), (1, 64 * GIB, 1)],
)
def test_each_has_a_core_and_3_gb(tmp_path: Path, cores: int, free: int, expected: int) -> None:
    assert jobs(tmp_path, cores=cores, free=free, files={}, commands={}) == expected
