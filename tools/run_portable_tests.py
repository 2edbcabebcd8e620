"""Run the tests as they would run on other processors: with other vector instructions and numbers of threads.

    python -m tools.run_portable_tests              # the whole suite in three settings, numerical tests in the others
    python -m tools.run_portable_tests --whole      # the whole suite in every setting
    python -m tools.run_portable_tests --cut        # numerical tests alone, without those of whole runs
    python -m tools.run_portable_tests -- -k words  # arguments after -- go to pytest

PyTorch, oneDNN, MKL, NumPy and its OpenBLAS choose their kernels by the processor and obey environment variables that
hold them back. ONNX Runtime has no such variable: its programs always run with the machine's own instructions.
Prints a table in the end; the exit code is 1 if a test failed in any setting.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from segvoc.hardware import cpu_name

NUMERICAL = (
    "tests/layers",
    "tests/networks",
    "tests/encoders",
    "tests/inference",
    "tests/training",
    "tests/evaluation/metrics",
    "tests/test_arrays.py",
)
"""The tests that compare computed numbers, so that the processor may matter."""

NOT_IN_A_CUT = tuple(
    f"tests/{folder}/test_{name}.py"
    for folder, names in {
        "training": "callbacks loop monitor processes recipe run_folder start threads tuning",
        "inference": "keep_classes label_options libraries parts segmentation segmenter tiled viewers",
        "networks": "cat_seg choices err_seg part_cat_seg pca_seg syn_seg",
    }.items()
    for name in names.split()
)
"""Of those, the files that are about order, files, messages and drawings, or are whole runs, and those whose networks
compute with 1, 2 and 4 threads in every run of the tests. What they are made of is compared in the other files."""

X86_VARIABLES = {
    "default": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",  # obeyed on Intel's processors
        "MKL_CBWR": "COMPATIBLE",  # obeyed on AMD's too
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "native": {},
}
"""The environment variables of each instruction set, from the least to the most."""

OTHER_VARIABLES = {"default": {"ATEN_CPU_CAPABILITY": "default"}, "native": {}}
"""Those on Arm and others, where only PyTorch can be held back."""

THREADS = (1, 2, 4)

PROBE = """
import json, numpy, torch
found = numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
print(json.dumps({"torch": torch.backends.cpu.get_cpu_capability().lower(), "numpy": found}))
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A processor to imitate."""

    instructions: str
    """"default", "avx2" or "native"."""
    threads: int
    """Threads of PyTorch and NumPy in each process."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.instructions}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def main() -> int:
    """Run the tests in each setting, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instructions", help="Comma-separated; `below` is the set next to the machine's own.")
    parser.add_argument("--threads", default=",".join(map(str, THREADS)), help="Comma-separated numbers of threads.")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="Processes that share the tests.")
    extents = parser.add_mutually_exclusive_group()
    extents.add_argument("--cut", action="store_true", help="Run the numerical tests alone, without whole runs.")
    extents.add_argument("--whole", action="store_true", help="Run all tests in every setting.")
    parser.add_argument("pytest", nargs="*", help="Arguments for pytest.")
    arguments = parser.parse_args()

    variables = X86_VARIABLES if platform.machine().lower() in ("x86_64", "amd64") else OTHER_VARIABLES
    own = probe({})
    names = chosen_instructions(arguments.instructions, list(variables), own["torch"])
    settings = [
        Setting(instructions=name, threads=int(threads)) for name in names for threads in arguments.threads.split(",")
    ]
    rows: list[tuple[str, str, str, str]] = [("setting", "tests", "seconds", "result")]
    for setting in settings:
        environment = variables[setting.instructions] | numpy_variable(setting.instructions, own["numpy"])
        used = probe(environment)["torch"]
        if setting.instructions not in ("native", used):
            print(f"error: PyTorch uses {used} in spite of {environment}", file=sys.stderr)
            return 1
        whole = arguments.whole or (not arguments.cut and stands_for_its_row(setting, names))
        print(f"== {setting.name}: PyTorch uses {used}", flush=True)
        start = time.monotonic()
        code = run_tests(setting, environment, extent(whole, arguments.cut), arguments.jobs, arguments.pytest)
        result = {0: "passed", 5: "no tests"}.get(code, f"FAILED ({code})")
        rows.append((setting.name, "all" if whole else "numerical", f"{time.monotonic() - start:.0f}", result))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print(f"\nProcessor: {cpu_name()}, its own instructions: {own['torch']}")
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
    return int(any("FAILED" in row[3] for row in rows))


def chosen_instructions(asked: str | None, known: list[str], own: str) -> list[str]:
    """The instruction sets to imitate, without those that the machine lacks.

    Args:
        asked: comma-separated names, "below" for the set next to the machine's own; None for all.
        known: the names of this architecture's sets, from the least to the most; the last is "native".
        own: what PyTorch uses when it isn't held back.

    Returns:
        The sets; the one that is the machine's own is left out, since "native" is the same.
    """
    lower = known[: known.index(own if own in known else "native")]
    if asked == "below":
        return lower[-1:] or ["native"]
    if asked is None:
        return [*lower, "native"]
    chosen = asked.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise SystemExit(f"error: unknown instructions {', '.join(unknown)}; choose from {', '.join(known)}, or below")
    return chosen


def stands_for_its_row(setting: Setting, names: list[str]) -> bool:
    """Whether the whole suite runs: once for each instruction set, each time with another number of threads."""
    return setting.threads == THREADS[names.index(setting.instructions) % len(THREADS)]


def numpy_variable(instructions: str, found: list[str]) -> dict[str, str]:
    """The variable that holds NumPy back: it takes the names of its own build's sets, of those that the machine has."""
    wide = [name for name in found if "512" in name or name == "X86_V4"]
    disabled = {"default": found, "avx2": wide, "native": []}[instructions]
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(disabled)} if disabled else {}


def probe(environment: dict[str, str]) -> dict:
    """What PyTorch uses, and which of NumPy's sets the machine has."""
    command = [sys.executable, "-c", PROBE]
    answer = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def extent(whole: bool, cut: bool) -> list[str]:
    """Pytest's arguments for the tests that run where none are named."""
    if whole:
        return []
    return [*NUMERICAL, *(f"--ignore={name}" for name in NOT_IN_A_CUT if cut)]


def run_tests(setting: Setting, environment: dict[str, str], tests: list[str], jobs: int, arguments: list[str]) -> int:
    """Run pytest in a setting, with all of `tests` unless the arguments name some; its exit code."""
    threads = str(setting.threads)
    limits = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    workers = max(1, jobs // setting.threads)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "--dist", "worksteal", "-m", "not slow"]
    chosen = [] if any(Path(value).exists() for value in arguments) else tests
    return subprocess.run(
        [*command, *arguments, *chosen], env=os.environ | environment | limits, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
