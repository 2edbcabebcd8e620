"""Which processors `make test-portable` imitates, and how."""

import sys
from pathlib import Path

import pytest

from tools import run_portable_tests
from tools.run_portable_tests import (
    OTHER_VARIABLES,
    X86_VARIABLES,
    chosen_instructions,
)

ROOT = Path(__file__).resolve().parents[2]

X86, OTHER = list(X86_VARIABLES), list(OTHER_VARIABLES)


@pytest.mark.parametrize(
    ("asked", "known", "own", "chosen"),
    [
        (None, X86, "avx512", ["default", "avx2", "native"]),
        (None, X86, "avx2", ["default", "native"]),
        (None, X86, "default", ["native"]),
        (None, OTHER, "sve256", ["default", "native"]),
        ("below", X86, "avx512", ["avx2"]),
        ("below", X86, "avx2", ["default"]),
        ("below", X86, "default", ["native"]),
        ("avx2,native", X86, "avx2", ["avx2", "native"]),
    ],
)
def test_instruction_sets_follow_the_machine(asked, known, own, chosen):
    assert chosen_instructions(asked, known, own) == chosen


def test_each_setting_runs_in_its_environment_and_a_failure_is_reported(monkeypatch, capsys):
    ran = []

    def run_tests(setting, environment, tests, jobs, arguments):
        ran.append((setting.instructions, setting.threads, environment.get("ATEN_CPU_CAPABILITY"), not tests))
        return int(setting.threads == 2 and setting.instructions == "avx2")

    monkeypatch.setattr(
        run_portable_tests,
        "probe",
        lambda environment: {"torch": environment.get("ATEN_CPU_CAPABILITY", "avx512"), "numpy": []},
    )
    monkeypatch.setattr(run_portable_tests, "run_tests", run_tests)
    monkeypatch.setattr(run_portable_tests.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "argv", ["run_portable_tests"])
    assert run_portable_tests.main() == 1
    assert [row[:3] for row in ran] == [
        (name, threads, capability)
        for name, capability in (("default", "default"), ("avx2", "avx2"), ("native", None))
        for threads in (1, 2, 4)
    ]
    # the whole suite once for each instruction set, each time with another number of threads
    assert [row[:2] for row in ran if row[3]] == [("default", 1), ("avx2", 2), ("native", 4)]
    table = capsys.readouterr().out
    assert "avx2, 2 threads" in table and table.count("FAILED") == 1
