"""Threads, memory, forks and the processor: what is known, what a program may set, and what a library leaves alone."""

import ctypes
import os
import platform
import resource
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from segvoc.errors import SegvocError
from segvoc.runtime import hardware, process_settings
from tests.inference.small_network import small_segmenter
from tests.processes import printed, touch

_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OMP_DYNAMIC", "OPENBLAS_NUM_THREADS")


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


def test_commands_apply_the_settings() -> None:
    code = """
import os, sys
from segvoc.runtime import process_settings
process_settings.keep_freed_memory = lambda: print("memory")
from segvoc.cli import main
sys.argv = ["segvoc", "segment", "--no-such-option"]
try:
    main()
except SystemExit:
    print(os.environ["GOMP_SPINCOUNT"], os.environ.get("OMP_DYNAMIC"))
"""
    assert _python(code, OMP_DYNAMIC="TRUE").split() == ["memory", "1000", "None"]


def test_a_process_keeps_the_settings_that_its_user_chose() -> None:
    code = """
import os
from segvoc.runtime.process_settings import for_own_process, onnx_threads
for_own_process(2)
print(onnx_threads(), os.environ["GOMP_SPINCOUNT"], os.environ["OPENBLAS_NUM_THREADS"])
"""
    assert _python(code, OMP_NUM_THREADS="7", GOMP_SPINCOUNT="5").split() == ["2", "5", "1"]


FORKS = """
import gc, os, signal
from segvoc.runtime.process_settings import for_own_process, onnx_threads
for_own_process(2)
import numpy as np
import segvoc
from segvoc.models.shipped import open_tiny

def forked(work):
    child = os.fork()
    if not child:
        signal.alarm(60)  # where it hangs
        try:
            os._exit(work())
        except segvoc.UsageError as error:
            os._exit(4 if "use spawn" in str(error) else 5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

image = np.zeros((200, 200, 3), np.uint8)
exported = open_tiny()
before = exported.segment(image, ["cat", "wall"])

def labels_again():
    global exported
    same = np.array_equal(exported.segment(image, ["cat", "wall"]).labels, before.labels)
    del exported  # nothing waits for the parent's threads
    gc.collect()
    return 3 if same else 6

print("exported", forked(labels_again))

import torch
from tests.inference.small_network import small_segmenter
print("threads", torch.get_num_threads(), onnx_threads())
model, words = small_segmenter(), [f"word {number}" for number in range(40)]
model.segment(image, words)

def labels(threads=None):
    if threads is not None:
        torch.set_num_threads(threads)
    model.segment(image, words)
    return 3

print("network", forked(labels), forked(lambda: labels(1)))
for_own_process(1)
print("threads", torch.get_num_threads(), onnx_threads())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another OpenMP, or no fork")
def test_a_process_of_our_own_has_its_threads_and_a_fork_labels_or_is_told_what_to_do() -> None:
    printed = _python(FORKS, PYTHONPATH=os.pathsep.join(sys.path)).splitlines()
    assert printed == ["exported 3", "threads 2 2", "network 4 3", "threads 1 1"]


@pytest.fixture(autouse=True)
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bfloat16_instructions", "cpu_name"):
        monkeypatch.setattr(hardware, name, cache(getattr(hardware, name).__wrapped__))


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "AMX"),
        ({"amx_bf16": False, "avx512_bf16": True}, "AVX512-BF16"),
        ({"bf16": True, "sve": True}, "Arm BF16"),
        ({"amx_bf16": False, "avx512_f": True}, None),
        (None, None),  # PyTorch before 2.11
    ],
)
def test_instructions_that_pytorch_tells_and_was_built_with(monkeypatch, known, name):
    if known is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert hardware.bfloat16_instructions() == name
    hardware.bfloat16_instructions.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert hardware.bfloat16_instructions() is None


@pytest.mark.parametrize(
    ("system", "told", "name"),
    [
        ("Linux", "model\t\t: 7\nmodel name\t: Quick   CPU @ 3 GHz\nmodel name\t: other\n", "Quick CPU @ 3 GHz"),
        ("Linux", "processor\t: 0\nCPU implementer\t: 0x41\n", "aarch64"),
        ("Darwin", None, "Apple M4"),
    ],
)
def test_name_of_the_processor(monkeypatch, tmp_path, system, told, name):
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
    for function, value in (("system", system), ("processor", ""), ("machine", "aarch64")):
        monkeypatch.setattr(platform, function, lambda value=value: value)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="Apple M4\n"))
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    assert hardware.cpu_name() == name


def test_peak_memory_is_in_bytes_by_the_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=2_000_000))
    for system, unit in (("linux", 1024), ("darwin", 1)):
        monkeypatch.setattr(sys, "platform", system)
        assert hardware.peak_gigabytes() == pytest.approx(2e6 * unit / 1e9)


def test_who_stops_early_waits_for_no_process(tmp_path):
    files = [str(tmp_path / name) for name in ("first", "late")]  # it would come after two minutes
    outcomes = process_settings.map_in_processes(touch, files, 2, SegvocError("killed"))
    assert next(outcomes) == files[0]
    outcomes.close()
    assert not Path(files[1]).exists()


def in_force() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_overlapping_threads_leave_the_precision_of_products_as_it_was(first_leaves_first: bool) -> None:
    """While they overlap, the more exact one counts."""
    of_process = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        before = in_force()
        entered, leave = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]
        seen: list[tuple[object, ...]] = []

        def use(number: int) -> None:
            with process_settings.float32_products(tf32=number == 1):
                entered[number].set()
                assert leave[number].wait(60)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(2)]
        for number, thread in enumerate(threads):
            thread.start()
            assert entered[number].wait(60)
            seen.append(in_force())
        for number in (0, 1) if first_leaves_first else (1, 0):
            leave[number].set()
            threads[number].join()
            seen.append(in_force())
        exact, rough = ("highest", False, False), ("high", True, False)
        assert seen == [exact, exact, rough if first_leaves_first else exact, before]
    finally:
        torch.set_float32_matmul_precision(of_process)


def test_blocks_of_products_nest() -> None:
    before, seen = in_force(), []
    with process_settings.float32_products(tf32=True):
        with process_settings.float32_products(tf32=False):
            with process_settings.float32_products(tf32=True):
                seen.append(in_force()[:2])
            seen.append(in_force()[:2])
        seen.append(in_force()[:2])
    assert seen == [("high", True), ("highest", False), ("high", True)] and in_force() == before
