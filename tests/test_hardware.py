"""What the processor is and can do, in all the ways in which systems and versions of PyTorch tell it."""

import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from segvoc import hardware


@pytest.fixture(autouse=True)
def uncached() -> Iterator[None]:
    for function in (hardware.bfloat16_instructions, hardware.cpu_name):
        function.cache_clear()
    yield
    for function in (hardware.bfloat16_instructions, hardware.cpu_name):
        function.cache_clear()


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "AMX"),
        ({"amx_bf16": False, "avx512_bf16": True}, "AVX512-BF16"),
        ({"bf16": True, "sve": True}, "Arm BF16"),
        ({"amx_bf16": False, "avx512_f": True}, None),
        ({}, None),
    ],
)
def test_instructions_as_new_versions_of_pytorch_tell_them(monkeypatch, known, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert hardware.bfloat16_instructions() == name


def test_instructions_that_pytorch_was_built_without_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True}, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        assert hardware.bfloat16_instructions() is None
    hardware.bfloat16_instructions.cache_clear()
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # older than 2.11
    assert hardware.bfloat16_instructions() is None


def test_name_of_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "_CPU_INFO", told)
    told.write_text("processor\t: 0\nmodel\t\t: 7\nmodel name\t: Quick   CPU @ 3 GHz\nmodel name\t: other\n")
    assert hardware.cpu_name() == "Quick CPU @ 3 GHz"


def test_name_of_a_processor_that_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "_CPU_INFO", told)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    told.write_text("processor\t: 0\nCPU implementer\t: 0x41\n")
    assert hardware.cpu_name() == "aarch64"


def test_name_of_the_processor_of_a_mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="Apple M4\n"))
    assert hardware.cpu_name() == "Apple M4"


def test_peak_memory_is_in_bytes_by_the_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=2_000_000))
    for system, unit in (("linux", 1024), ("darwin", 1)):
        monkeypatch.setattr(sys, "platform", system)
        assert hardware.peak_gigabytes() == pytest.approx(2e6 * unit / 1e9)


def test_memory_is_what_a_machine_has() -> None:
    assert 1e8 < hardware.installed_memory() < 1e14
