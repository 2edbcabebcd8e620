"""The facts of a machine."""

import json
from dataclasses import replace

import torch

from segvoc.analysis.machine_speed import machine
from segvoc.analysis.machine_speed.machine import Machine
from segvoc.hardware import bfloat16_instructions, cpu_name
from tests.analysis.machine_speed.made_up import GPU, MACHINE

CPU = torch.device("cpu")


def test_this_machine(monkeypatch):
    monkeypatch.setattr(machine, "_SIDES", (32, 64))
    before = torch.get_num_threads()
    found = Machine.of(CPU, 2)
    assert torch.get_num_threads() == before
    assert (found.cpu, found.threads, found.device, found.gpu) == (cpu_name(), 2, "cpu", None)
    assert found.bfloat16_instructions == bfloat16_instructions()
    assert found.cores >= 1 and found.memory_gb > 0.1
    assert found.rate("float32") == found.float32_gflops > 0 and found.rate("bfloat16") == found.bfloat16_gflops > 0
    assert json.loads(json.dumps(found.record()))["pytorch"] == torch.__version__


def test_names_and_load():
    assert MACHINE.name == "Quick CPU, 4 threads" and replace(MACHINE, threads=1).name == "Quick CPU, 1 thread"
    assert GPU.name == "Quick GPU"
    assert not MACHINE.is_busy and replace(MACHINE, load=5.0).is_busy
