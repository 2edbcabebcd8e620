"""Running a program of `hardening/` by itself: its children are forked from a process that has done nothing else."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(program: str, *arguments: str) -> str:
    """What `python -m hardening.PROGRAM` prints.

    Its exit code tells what it found, so it isn't looked at; tests look at what is printed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SEGVOC_CACHE": "off"}
    command = [sys.executable, "-W", "ignore", "-m", f"hardening.{program}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout
