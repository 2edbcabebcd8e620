"""What the processor is and can do, in all the ways in which systems and versions of PyTorch tell it."""

import platform
import resource
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import pytest
import torch

from segvoc import hardware


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
        monkeypatch.delattr(torch.cpu, "get_capabilities")
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


def test_memory_is_what_a_machine_has() -> None:
    assert 1e8 < hardware.installed_memory() < 1e14
