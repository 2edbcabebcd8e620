"""Run the tests as they would run on other processors: with other vector instructions and numbers of threads.

    python -m tools.run_portable_tests              # the whole suite in three settings, numerical tests in the others
    python -m tools.run_portable_tests --cut        # numerical tests alone, without those of whole runs
    python -m tools.run_portable_tests -- -k words  # arguments after -- go to pytest

PyTorch, oneDNN, MKL, NumPy and its OpenBLAS obey variables that hold them back, ONNX Runtime has none.
"""

import argparse
import os
import platform
import subprocess
import sys

NUMERICAL = "layers networks encoders inference training evaluation/metrics test_arrays.py"
NOT_IN_A_CUT = {
    "training": "callbacks loop monitor processes recipe run_folder start threads tuning",
    "inference": "keep_classes label_options libraries parts segmentation segmenter tiled viewers",
    "networks": "cat_seg choices err_seg part_cat_seg pca_seg syn_seg",
}
"""Files about order, messages and drawings, of whole runs, and of networks that compute with 1, 2 and 4 threads in
every run of the tests: what they are made of is compared in the other files."""

PYTORCH = "ATEN_CPU_CAPABILITY={0}"
ALL = PYTORCH + " ONEDNN_MAX_CPU_ISA={1} MKL_ENABLE_INSTRUCTIONS={2} OPENBLAS_CORETYPE={3}"
X86 = {
    "default": ALL.format("default", "SSE41", "SSE4_2", "Nehalem") + " MKL_CBWR=COMPATIBLE",  # which AMD's obey
    "avx2": ALL.format("avx2", "AVX2", "AVX2", "Haswell"),
    "native": "",
}
OTHER = {"default": PYTORCH.format("default"), "native": ""}
"""Environment variables of each instruction set, from the least to the most, here for processors that aren't x86."""

PROBE = """import numpy, torch
print(torch.backends.cpu.get_cpu_capability().lower())
print(*numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", []))"""


def chosen_instructions(asked: str | None, known: list[str], own: str) -> list[str]:
    """The sets to imitate: `asked`, else all below the machine's own, which "native" stands for."""
    chosen = [*known[: known.index(own if own in known else "native")], "native"] if asked is None else asked.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise SystemExit(f"error: unknown instructions {', '.join(unknown)}; choose from {', '.join(known)}")
    return chosen


def probe(environment: dict[str, str]) -> tuple[str, list[str]]:
    """What PyTorch uses, and which of NumPy's sets the machine has."""
    command = [sys.executable, "-c", PROBE]
    lines = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout
    return lines.splitlines()[0], lines.splitlines()[1].split()


def main() -> int:
    """Run the tests in each setting, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instructions", help="Comma-separated: default, avx2, native.")
    parser.add_argument("--threads", default="1,2,4", help="Comma-separated numbers of threads.")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="Processes that share the tests.")
    parser.add_argument("--cut", action="store_true", help="Run the numerical tests alone, without whole runs.")
    parser.add_argument("pytest", nargs="*", help="Arguments for pytest.")
    arguments = parser.parse_args()

    variables = X86 if platform.machine().lower() in ("x86_64", "amd64") else OTHER
    own, numpy_sets = probe({})
    numerical = [f"tests/{name}" for name in NUMERICAL.split()]
    cut = [f"--ignore=tests/{at}/test_{name}.py" for at, names in NOT_IN_A_CUT.items() for name in names.split()]
    results = [f"\nThe machine's own instructions: {own}"]
    for row, name in enumerate(chosen_instructions(arguments.instructions, list(variables), own)):
        environment = dict(pair.split("=") for pair in variables[name].split())
        held_back = [each for each in numpy_sets if name == "default" or "512" in each or each == "X86_V4"]
        environment |= {"NPY_DISABLE_CPU_FEATURES": " ".join(held_back)} if name != "native" and held_back else {}
        used = probe(environment)[0]
        if name not in ("native", used):
            raise SystemExit(f"error: PyTorch uses {used} in spite of {environment}")
        threads = arguments.threads.split(",")
        for column, number in enumerate(threads):
            # the whole suite once for each instruction set, each time with another number of threads
            tests = [*numerical, *cut] if arguments.cut else numerical if column != row % len(threads) else ["tests"]
            limits = {f"{library}_NUM_THREADS": number for library in ("OMP", "MKL", "OPENBLAS")}
            command = [sys.executable, "-m", "pytest", "-q", f"-n{max(1, arguments.jobs // int(number))}"]
            command += ["--dist", "worksteal", "-m", "not slow", *arguments.pytest]
            named = any(os.path.exists(value) for value in arguments.pytest)
            print(f"== {name}, {number} threads: PyTorch uses {used}", flush=True)
            code = subprocess.run(command + (not named) * tests, env=os.environ | environment | limits).returncode
            results.append(f"{name}, {number} threads: {'FAILED' if code not in (0, 5) else 'passed'} ({code})")
    print("\n".join(results))
    return int(any("FAILED" in line for line in results))


if __name__ == "__main__":
    sys.exit(main())
