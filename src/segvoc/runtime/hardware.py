"""This machine's processor, memory and devices."""

import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Literal

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
"""Names of dtypes; "auto" chooses between float32 and bfloat16, by the hardware."""

Optimize = Literal["auto", "none", "compile"]
"""How a network runs on a GPU of CUDA; see `segvoc.load`."""

_CPU_INFO = Path("/proc/cpuinfo")

_BFLOAT16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "bf16": "Arm BF16"}
"""Names of instruction sets, by PyTorch's names; the fastest first."""


@cache
def bfloat16_instructions() -> str | None:
    """This processor's instruction set for bfloat16 matrix products: "AMX", "AVX512-BF16" or "Arm BF16".

    None if PyTorch uses none (it then converts to float32 and back, which is slow), or can't tell (before 2.11).
    """
    import torch  # here, since it takes seconds to import

    tells = torch.backends.mkldnn.is_available() and hasattr(torch.cpu, "get_capabilities")
    capabilities = torch.cpu.get_capabilities() if tells else {}
    return next((name for key, name in _BFLOAT16.items() if capabilities.get(key)), None)


def may_have_gpu() -> bool:
    """Whether there may be a GPU, judged by driver files because importing PyTorch takes a second."""
    if sys.platform == "win32":
        return Path(os.environ.get("SystemRoot", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    # NVIDIA cards, NVIDIA Jetson (two), Windows Subsystem for Linux, and AMD cards
    devices = ("/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
    return any(map(os.path.exists, devices))


@cache
def cpu_name() -> str:
    """The processor's name, for example "AMD EPYC 9654"; its architecture if unknown."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    elif platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if output:
            return output
    return platform.processor() or platform.machine()


def peak_gigabytes() -> float:
    """Peak main memory of this process so far [GB of 1e9 bytes]; 0 on Windows."""
    if sys.platform == "win32":
        return 0.0
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def installed_memory() -> int:
    """This machine's main memory [bytes]; 0 on Windows."""
    return 0 if sys.platform == "win32" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
