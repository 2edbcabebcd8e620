"""Threads, memory and forks: what the command line sets, a program may set, and a library leaves alone."""

import ctypes
import os
import subprocess
import sys
import warnings

import pytest
import torch

import segvoc
from segvoc import process_settings
from segvoc.errors import SharedCoresWarning, UsageError
from tests.inference.small_network import small_segmenter
from tests.processes import printed

_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OMP_DYNAMIC")


def _python(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    return printed("-c", code, timeout=180, env=clean | environment).strip()


def test_a_library_leaves_the_process_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    process_settings.keep_freed_memory.cache_clear()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the memory allocator's settings were changed")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    small_segmenter()
    code = "import os; before = dict(os.environ); import segvoc; segvoc.load; print(dict(os.environ) == before)"
    assert _python(code) == "True"


@pytest.mark.parametrize("command", ["segment", "train", "evaluate", "models"])
def test_every_command_applies_the_settings(command: str) -> None:
    code = f"""
import os, sys
from segvoc import process_settings
process_settings.keep_freed_memory = lambda: print("memory")
from segvoc.cli import main
sys.argv = ["segvoc", "{command}", "--no-such-option"]
try:
    main()
except SystemExit:
    print(os.environ["GOMP_SPINCOUNT"], os.environ.get("OMP_DYNAMIC"))
"""
    assert _python(code, OMP_DYNAMIC="TRUE").split() == ["memory", "1000", "None"]


@pytest.mark.slow
def test_threads_set_before_pytorch_is_imported() -> None:
    code = "import os, segvoc; print(segvoc.threads(2), os.environ['GOMP_SPINCOUNT'])"
    assert _python(code) == "2 1000"
    assert _python(code, GOMP_SPINCOUNT="5") == "2 5"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at the threads that Linux lists")
def test_threads_set_after_pytorch_is_imported() -> None:
    code = """
import os, torch, segvoc
before = len(os.listdir("/proc/self/task"))
print(segvoc.threads(2), len(os.listdir("/proc/self/task")) - before > len(os.sched_getaffinity(0)))
"""
    assert _python(code) == "2 True"
    assert _python(code.replace("threads(2)", "threads(2, spin=True)")) == "2 False"


@pytest.mark.usefixtures("as_users_call")
def test_threads_are_told_and_checked() -> None:
    assert segvoc.threads(spin=True) == torch.get_num_threads()
    for number in (0, -1, 1.5, True, "2"):
        with pytest.raises(UsageError, match="number of threads"):
            segvoc.threads(number)  # type: ignore[arg-type]


def test_threads_without_pytorch() -> None:
    code = """
import os, sys
sys.modules["torch"] = None
import segvoc.process_settings as settings
settings.find_spec = lambda name: None
print(settings.threads() == len(os.sched_getaffinity(0)), settings.onnx_spins(), settings.threads(3, spin=True))
print(settings.onnx_spins(), settings.threads(), settings.onnx_spins())
"""
    assert _python(code).split() == ["True", "False", "3", "True", "3", "False"]
    assert _python(code, OMP_NUM_THREADS="7").split()[0] == "False"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_an_exported_model_labels_images_after_a_fork() -> None:
    code = """
import os, signal
import numpy as np
from segvoc.exported.shipped import open_tiny
model, image = open_tiny(), np.zeros((200, 200, 3), np.uint8)
before = model.segment(image, ["cat", "wall"])
child = os.fork()
if not child:
    signal.alarm(60)
    os._exit(3 if np.array_equal(model.segment(image, ["cat", "wall"]).labels, before.labels) else 4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert _python(code) == "3"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_is_told_what_to_do_and_does_not_hang() -> None:
    code = """
import os, signal, torch, segvoc
from tests.inference.small_network import small_segmenter
import numpy as np
torch.set_num_threads(2)
model, image = small_segmenter(), np.zeros((200, 200, 3), np.uint8)
words = [f"word {number}" for number in range(40)]
model.segment(image, words)
for mended in (False, True):
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            if mended:
                segvoc.threads(1, spin=True)
            model.segment(image, words)
            os._exit(3)
        except segvoc.UsageError as error:
            os._exit(4 if "segvoc.threads(1)" in str(error) else 5)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert _python(code, PYTHONPATH=os.pathsep.join(sys.path)).split() == ["4", "3"]


def test_shared_cores_are_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    process_settings._warn_of_shared_cores.cache_clear()
    monkeypatch.setattr(process_settings, "_spins_as_set", lambda: False)
    monkeypatch.setattr(process_settings, "_has_gnu_openmp", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    with pytest.warns(SharedCoresWarning, match=r"segvoc\.threads"):
        process_settings.note_cpu_work()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        process_settings.note_cpu_work()
    process_settings._warn_of_shared_cores.cache_clear()
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.0, 0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        process_settings.note_cpu_work()


def test_a_process_is_running_until_it_has_ended() -> None:
    assert process_settings.is_running(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    assert not process_settings.is_running(child.pid)
