"""Rows and machines that nobody measured."""

from dataclasses import replace
from typing import Any

from segvoc.analysis.machine_speed.machine import Machine
from segvoc.analysis.machine_speed.rows import Case, Sample, SpeedRow

MACHINE = Machine(
    cpu="Quick CPU",
    cores=8,
    threads=4,
    memory_gb=64.0,
    bfloat16_instructions="AMX",
    device="cpu",
    gpu=None,
    gpu_memory_gb=None,
    float32_gflops=500.0,
    bfloat16_gflops=1000.0,
    load=0.1,
    pytorch="2.9",
    python="3.12",
    system="Linux",
)

GPU = replace(MACHINE, device="cuda", gpu="Quick GPU", gpu_memory_gb=80.0)


def case(**settings: Any) -> Case:
    return Case(**{"model": "tiny", "dtype": "float32", "words": 20, "threads": 4, **settings})


def row(seconds: float, memory: float = 1.0, **settings: Any) -> SpeedRow:
    """A row whose calls took so long; in each of several processes."""
    what = case(**settings)
    sample = Sample(seconds=(seconds, 0.9 * seconds, 1.2 * seconds), memory=memory)
    return SpeedRow.measured(what, [sample] * what.processes)


def unmeasured(status: Any = "skipped", note: str = "would take about 99 s", **settings: Any) -> SpeedRow:
    return SpeedRow(case=case(**settings), status=status, note=note)
