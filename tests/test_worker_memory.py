"""What a process of the tests keeps: `tests/worker_memory.py` in a small run of its own."""

import functools
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.worker_memory import clear_caches

ROOT = Path(__file__).parents[1]

CONFTEST = """
from tests.worker_memory import WorkerMemory

def pytest_configure(config):
    config.pluginmanager.register(WorkerMemory())
"""

TESTS = """
import weakref
import numpy as np
from tests.worker_memory import resident

class Held:
    def __init__(self):
        self.content, self.itself = np.ones(40_000_000), self  # 320 MB

left = []

def test_it_leaves_a_cycle():
    left.extend((weakref.ref(Held()), resident()))
    assert left[0]() is not None

def test_it_is_there_no_more():
    assert left[0]() is None and resident() < left[1] - 200e6
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux says how much memory a process has")


@pytest.mark.parametrize(("workers", "limit", "code"), [((), None, 0), ((), "2", 0), (("-n", "1"), "0.3", 1)])
def test_what_tests_leave_is_freed_and_the_largest_process_is_named(tmp_path, workers, limit, code):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_leaves.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SEGVOC_TEST"))}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"SEGVOC_TEST_MEMORY": limit} if limit else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", *workers, "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("largest process: "))
    assert "2 passed" in done.stdout, done.stdout
    assert " GB, at test_leaves.py::test_it_leaves_a_cycle" in line
    assert line.endswith("; more than 0.3 GB") == bool(code)
    assert done.returncode == code


def test_caches_of_the_tests_end_with_the_module_that_filled_them() -> None:
    cached = functools.cache(object)
    before = cached()
    sys.modules["tests.made"] = module = types.ModuleType("tests.made")
    module.cached = cached  # type: ignore[attr-defined]
    try:
        clear_caches()
    finally:
        del sys.modules["tests.made"]
    assert cached() is not before
