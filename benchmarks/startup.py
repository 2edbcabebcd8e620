"""What starting segvoc costs: seconds, modules and heavy libraries of four calls, each in a process of its own.

    python -m benchmarks.startup [--repeats N]

`cpu_s` is the CPU time of user and system on one thread, the least of N runs, which says most on a shared machine;
`seconds` is the shortest time on the clock. Modules and libraries are those that the process has loaded when it ends.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import keep

ROOT = Path(__file__).parent.parent
HEAVY = (
    "torch",
    "torch._dynamo",
    "torch._inductor",
    "torchvision",
    "torchvision.models.detection",
    "timm",
    "open_clip",
    "sympy",
    "scipy",
    "matplotlib",
    "huggingface_hub",
    "numpy",
)
REPORT = f"print(json.dumps([len(sys.modules), [name for name in {HEAVY} if name in sys.modules]]), file=sys.stderr)"
COMMAND = f"import json, sys\nfrom segvoc.cli import main\ntry: main()\nfinally: {REPORT}"
LIBRARY = f"import json, sys\nimport segvoc\n{REPORT}"


def main() -> None:
    """Measure, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as out:
        photo = str(ROOT / "samples" / "rocket.jpg")
        calls = {
            "import segvoc": [LIBRARY],
            "segvoc --help": [COMMAND, "--help"],
            "segvoc models": [COMMAND, "models"],
            "segvoc segment, to written files": [COMMAND, "segment", photo, "--words", "sky, rocket", "--out", out],
        }
        keep("startup", [_row(what, code, repeats) for what, code in calls.items()])


def _row(what: str, code: list[str], repeats: int) -> dict[str, object]:
    cpu, seconds, report = [], [], [0, [""]]
    for _ in range(repeats):
        before, start = _cpu_of_children(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", *code],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        cpu.append(_cpu_of_children() - before)
        seconds.append(time.perf_counter() - start)
        report = json.loads(done.stderr.splitlines()[-1])
    modules, heavy = report
    return {
        "what": what,
        "cpu_s": min(cpu),
        "seconds": min(seconds),
        "modules": modules,
        "heavy": ", ".join(heavy) or "-",
    }


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
