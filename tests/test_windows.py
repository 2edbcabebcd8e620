"""What Windows lacks, taken away here: modules, functions and signals. Its own calls run in its own jobs."""

from pathlib import Path

import pytest

from tests.processes import printed

SAMPLES = Path(__file__).parents[1] / "samples"

WITHOUT = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
for module, names in ((signal, ("SIGKILL", "SIGHUP")), (os, ("getloadavg", "nice", "setpgid", "sched_getaffinity"))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import multiprocessing
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""


def test_labeling_and_a_journal_need_nothing_of_it(tmp_path: Path) -> None:
    code = f"""{WITHOUT}
import importlib
for name in ("labeling.labeling", "storage.journal", "cli.doctor"):
    importlib.import_module(f"segvoc.{{name}}")
from segvoc.runtime.process_settings import WORKER_START, exit_reason
assert WORKER_START == "spawn" and "killed" in exit_reason(-9)
from segvoc.cli import main
main()
"""
    printed("-c", code, "segment", SAMPLES / "rocket.jpg", "--words", "sky, rocket", "--out", tmp_path)
    assert (tmp_path / "rocket.png").is_file()


@pytest.mark.slow
def test_every_module_imports_without_it() -> None:
    code = f"""{WITHOUT}
import importlib, pkgutil, segvoc
for module in pkgutil.walk_packages(segvoc.__path__, "segvoc."):
    if module.name not in ("segvoc.labeling.batch.engine", "segvoc.serving.ray_app"):  # on Linux, Ray needs some of it
        importlib.import_module(module.name)
"""
    printed("-c", code)
