"""The machine: processor, memory, what a container may use of them, and the variables that change it."""

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from segvoc.hardware import cpu_name, installed_memory, load_average
from segvoc.process_settings import cores

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells the limits of a container."""

VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "DETECTRON2_DATASETS", "GOMP_SPINCOUNT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE",
    "KMP_BLOCKTIME", "LANG", "LC_ALL", "LD_PRELOAD", "MKL_NUM_THREADS", "OMP_DYNAMIC", "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY", "PYTHONPATH", "SEGVOC_CACHE", "TMPDIR",
)  # fmt: skip
"""Environment variables that change how segvoc runs, none of which is secret."""

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""Instruction sets that make networks faster, as Linux calls them."""

LEAST_MEMORY = 2_000_000_000
"""Memory of which less is called a problem [bytes]."""


def describe_machine() -> dict[str, str]:
    """System, Python, processor and memory, by name."""
    limit, quota = memory_limit(), cpu_quota()
    memory = f"{installed_memory() / 1e9:.1f} GB"
    if limit is not None:
        memory += f", of which this container may use {limit / 1e9:.1f} GB"
    processors = f"{cores()}"
    if quota is not None:
        processors += f", of which this container may use {quota:g}"
    return {
        "system": platform.platform(),
        "Python": f"{platform.python_version()} ({sys.executable})",
        "processor": cpu_name(),
        "cores": processors,
        "instructions": ", ".join(_instructions()) or "unknown",
        "memory": memory,
        "load": f"{load_average():.1f} programs on average in the last minute",
    }


def set_variables() -> dict[str, str]:
    """Environment variables that change how segvoc runs."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def problems_of_machine() -> Iterator[str]:
    """Settings that make segvoc slow or let it end."""
    quota, available = cpu_quota(), cores()
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > available:
        yield f"OMP_NUM_THREADS={told}, but this process may use {available} cores; unset it, or lower it"
    elif told.isdecimal() and 2 * int(told) < available:
        yield f"OMP_NUM_THREADS={told} leaves most of the {available} cores unused; unset it"
    elif quota is not None and quota < available and not told:
        yield (
            f"this container may use {quota:g} of {available} cores, and threads for all of them wait for one another; "
            f"set OMP_NUM_THREADS={max(1, int(quota))}"
        )
    memory = min(installed_memory(), memory_limit() or sys.maxsize)
    if memory < LEAST_MEMORY:
        yield f"there are only {memory / 1e9:.1f} GB of memory; labeling photographs takes up to 2 GB"
    if sys.getfilesystemencoding().lower().replace("-", "") != "utf8":
        yield (f"names of files are read as {sys.getfilesystemencoding()}, so that some can't be; set LC_ALL=C.UTF-8")


def warnings_of_machine() -> Iterator[str]:
    """What makes segvoc slow at the moment, and is no mistake."""
    if load_average() > 2 * cores():
        yield "other programs use this machine's cores, so that everything takes longer; end them, or wait"


def memory_limit() -> int | None:
    """What this container may use of the memory [bytes]; None: all."""
    text = _control("memory.max")
    return int(text) if text.isdecimal() else None


def cpu_quota() -> float | None:
    """How many cores' time this container may use; None: all."""
    quota, _, period = _control("cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _control(name: str) -> str:
    try:
        return (CONTROL_GROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _instructions() -> list[str]:
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return []
    return [name for name in _INSTRUCTIONS if name in flags]
