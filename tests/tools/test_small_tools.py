"""The smaller tools: licenses, the committed page, pages that scripts make, and how the tests are run."""

import os
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from segvoc.imaging.palette import class_colors
from tools import make_palette, make_tables

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30


def test_every_locked_package_may_be_used() -> None:
    check_licenses = pytest.importorskip("tools.check_licenses", exc_type=ImportError)
    try:
        found = list(check_licenses.licensed((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    except PackageNotFoundError as error:  # `make test-versions` may resolve to other packages
        pytest.skip(f"this environment isn't the locked one: {error}")
    assert {"torch", "numpy", "click"} <= {package.name for package in found}
    assert [package for package in found if not package.accepted] == []


def test_shipped_colors_are_those_that_the_tool_computes() -> None:
    colors = make_palette.palette()
    assert np.array_equal(colors, class_colors(len(colors)))


def test_tables_have_what_the_code_says_and_what_was_measured() -> None:
    for path, text in make_tables.pages():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python tools/make_tables.py"


@pytest.mark.parametrize(
    ("cores", "free", "expected"),
    [(4, 64 * GIB, 5), (4, 11 * GIB, 3), (64, 16 * GIB, 5), (2, 2 * GIB, 1), (1, 64 * GIB, 2)],
)
def test_a_process_more_than_cores_if_the_memory_allows(tmp_path: Path, cores: int, free: int, expected: int) -> None:
    """tools/jobs.sh on a machine of so many cores and bytes of free memory."""
    programs = {"nproc": f'echo "${{OMP_NUM_THREADS:-{cores}}}"', "sysctl": "exit 1"}
    for name in ("proc", "programs"):
        (tmp_path / name).mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {free // 1024} kB\nBuffers: 0 kB\n")
    for name, body in programs.items():
        (tmp_path / "programs" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "programs" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'programs'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = [ROOT / "tools/jobs.sh", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    fewer = f"only {expected} of {cores + 1} test processes fit into {int(free / 1e9)} GB of free memory, at 3 GB each"
    assert (done.returncode, int(done.stdout)) == (0, expected)
    assert done.stderr.strip() == (fewer if expected <= cores else "")
