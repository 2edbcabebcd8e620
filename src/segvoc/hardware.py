"""What this machine's processor is, and what it can do."""

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
"""Names of dtypes; "auto" chooses between float32 and bfloat16, by the hardware."""

_CPU_INFO = Path("/proc/cpuinfo")

_BFLOAT16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "bf16": "Arm BF16"}
"""Names of instruction sets, by PyTorch's names; the fastest first."""


@cache
def bfloat16_instructions() -> str | None:
    """The instructions by which this processor multiplies bfloat16 matrices: "AMX", "AVX512-BF16" or "Arm BF16".

    Returns:
        Their name; None if there are none that PyTorch uses. Then it converts to float32 and back, which is slow.
    """
    import torch  # here, since it takes seconds to import

    found = _capabilities() if torch.backends.mkldnn.is_available() else {}
    return next((name for key, name in _BFLOAT16.items() if found.get(key)), None)


def _capabilities() -> Mapping[str, object]:
    """What PyTorch knows of the processor, by the names of its newest versions."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities()
    # versions before 2.11; none of these functions is promised to stay
    known: dict[str, object] = {}
    for key, asks in (("amx_bf16", "_is_amx_tile_supported"), ("avx512_bf16", "_is_avx512_bf16_supported")):
        known[key] = getattr(torch.cpu, asks, lambda: False)()
    if platform.machine().lower() in ("aarch64", "arm64"):
        known["bf16"] = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return known


def device_name(device: object) -> str:
    """The name of a device of PyTorch, given as such, by name or, as in other libraries, by the number of a GPU."""
    return f"cuda:{device}" if str(device).isdecimal() else str(device)


def may_have_gpu() -> bool:
    """Whether PyTorch may find a GPU here, by the driver's files: PyTorch itself takes a second to import."""
    if sys.platform == "win32":
        return Path(os.environ.get("SystemRoot", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return any(map(os.path.exists, _GPU_DEVICES))


_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""Of NVIDIA's cards, NVIDIA's Jetson (two), Windows' subsystem for Linux, and AMD's cards."""


@cache
def cpu_name() -> str:
    """The processor's name, for example "AMD EPYC 9654"; its architecture if the system doesn't tell."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    elif platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if told:
            return told
    return platform.processor() or platform.machine()


def peak_gigabytes(*, of_children: bool = False) -> float:
    """The most main memory that this process had in use so far [GB of 1e9 bytes].

    Args:
        of_children: of the largest of its children that have ended instead; 0 on Windows, which doesn't tell.
    """
    if sys.platform == "win32":
        # it doesn't tell of children that have ended
        return 0.0 if of_children else _windows_counters().peak_working_set / 1e9
    import resource  # Windows has none

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def installed_memory() -> int:
    """This machine's main memory [bytes]."""
    if sys.platform == "win32":
        status = _WindowsMemory(length=ctypes.sizeof(_WindowsMemory))
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return status.total
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class _WindowsMemory(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("used_percent", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 6),
    )


class _WindowsCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("others", ctypes.c_size_t * 7),
    )


def _windows_counters() -> _WindowsCounters:
    counters = _WindowsCounters(length=ctypes.sizeof(_WindowsCounters))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined] # as typed on Windows alone
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    this = ctypes.c_void_p(kernel.GetCurrentProcess())
    kernel.K32GetProcessMemoryInfo(this, ctypes.byref(counters), counters.length)
    return counters
