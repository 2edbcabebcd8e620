"""The machine that is measured: its processors, memory and matrix rates."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from segvoc.analysis.machine_speed.rows import Dtype, count_text
from segvoc.analysis.measuring import measure
from segvoc.hardware import bfloat16_instructions, cpu_name, installed_memory, load_average

_LONG_ENOUGH = 0.02
"""Time of a matrix product that measures more than its start [s]."""

_SIDES = 256, 8192
"""Sides of the smallest and the largest matrix."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, and the device on it that is measured."""

    cpu: str
    cores: int
    """Number of logical cores that this process may use."""
    threads: int
    """CPU threads that are measured unless a row says otherwise."""
    memory_gb: float
    """Main memory [GB]."""
    bfloat16_instructions: str | None
    """The processor's instructions for products of bfloat16 matrices, if there are any."""
    device: str
    """Where the networks run: "cpu", "cuda" or "cuda:1"."""
    gpu: str | None
    """Name of the GPU, if they run on one."""
    gpu_memory_gb: float | None
    """Its memory [GB]."""
    float32_gflops: float
    """Rate of a product of float32 matrices on the device [GFLOP/s]."""
    bfloat16_gflops: float
    """Rate of a product of bfloat16 matrices on the device [GFLOP/s]."""
    load: float
    """Programs that were running on average in the minute before (1-minute load average)."""
    pytorch: str
    python: str
    system: str

    @classmethod
    def of(cls, device: torch.device, threads: int) -> "Machine":
        """Look at this machine, and measure its matrix rates with a number of threads."""
        gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            rates = [matrix_rate(dtype, device) for dtype in (torch.float32, torch.bfloat16)]
        finally:
            torch.set_num_threads(before)
        return cls(
            cpu=cpu_name(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            threads=threads,
            memory_gb=installed_memory() / 1e9,
            bfloat16_instructions=bfloat16_instructions(),
            device=str(device),
            gpu=None if gpu is None else gpu.name,
            gpu_memory_gb=None if gpu is None else gpu.total_memory / 1e9,
            float32_gflops=rates[0],
            bfloat16_gflops=rates[1],
            load=load_average(),
            pytorch=torch.__version__,
            python=platform.python_version(),
            system=platform.platform(terse=True),
        )

    @property
    def name(self) -> str:
        """What a reader knows it by: its GPU, or its processor and threads."""
        return self.gpu or f"{self.cpu}, {count_text(self.threads, 'thread')}"

    @property
    def is_busy(self) -> bool:
        """Whether other programs used its cores before the measurement."""
        return self.load > 0.5 * self.cores

    def rate(self, dtype: Dtype) -> float:
        """Rate of a matrix product [GFLOP/s]."""
        return self.float32_gflops if dtype == "float32" else self.bfloat16_gflops

    def record(self) -> Mapping[str, Any]:
        """The facts as plain values."""
        return asdict(self)


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Rate of a product of square matrices that are large enough to measure [GFLOP/s]."""
    side, largest = _SIDES
    while True:
        matrix = torch.randn(side, side, device=device).to(dtype)
        seconds = measure(lambda matrix=matrix: torch.mm(matrix, matrix), device).seconds
        if seconds > _LONG_ENOUGH or side == largest:
            return 2 * side**3 / seconds / 1e9
        side *= 2
