"""What this machine's processor is, and what it can do."""

import ctypes
import os
import platform
import subprocess
import sys
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
        Their name; None if there are none that PyTorch uses, or if it doesn't tell (before 2.11). Without them it
        converts to float32 and back, which is slow.
    """
    import torch  # here, since it takes seconds to import

    tells = torch.backends.mkldnn.is_available() and hasattr(torch.cpu, "get_capabilities")
    found = torch.cpu.get_capabilities() if tells else {}
    return next((name for key, name in _BFLOAT16.items() if found.get(key)), None)


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


def peak_gigabytes() -> float:
    """The most main memory that this process had in use so far [GB of 1e9 bytes]; 0 on Windows."""
    if sys.platform == "win32":
        return 0.0
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


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
