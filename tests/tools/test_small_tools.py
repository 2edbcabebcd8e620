"""The smaller tools: licenses, the committed page, pages that scripts make, and how the tests are run."""

import os
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from tools import make_baselines, make_benchmarks_page
from tools.check_web import differences
from tools.run_portable_tests import OTHER, X86, chosen_instructions

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
    assert all(f"| {package.name} | {package.version} | " in check_licenses.table(found) for package in found)


def test_every_difference_between_the_committed_and_the_built_page_is_named(tmp_path: Path):
    def folder(name: str, files: dict[str, str]) -> Path:
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
        return tmp_path / name

    committed = folder("committed", {"app.js": "1", "old.js": ""})
    assert differences(committed, folder("same", {"app.js": "1", "old.js": "", "ort.wasm.gz": "only built"})) == []
    missing, stale, changed = differences(committed, folder("built", {"app.js": "2", "new.js": ""}))
    assert "new.js is missing" in missing
    assert "old.js is not built" in stale
    assert "app.js is not what the sources give" in changed


@pytest.mark.parametrize("script", [pytest.param(make_baselines, marks=pytest.mark.slow), make_benchmarks_page])
def test_the_page_is_up_to_date(script):
    assert script.PAGE.read_text(encoding="utf-8") == "\n".join(script.page()) + "\n"


@pytest.mark.parametrize(
    ("asked", "known", "own", "chosen"),
    [
        (None, X86, "avx512", ["default", "avx2", "native"]),
        (None, X86, "avx2", ["default", "native"]),
        (None, X86, "default", ["native"]),
        (None, OTHER, "sve256", ["default", "native"]),
        ("avx2,native", X86, "avx2", ["avx2", "native"]),
    ],
)
def test_instruction_sets_that_are_imitated_follow_the_machine(asked, known, own, chosen):
    assert chosen_instructions(asked, list(known), own) == chosen


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
    assert (done.returncode, done.stderr, int(done.stdout)) == (0, "", expected)
