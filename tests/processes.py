"""Programs in a process of their own."""

import subprocess
import sys
from typing import Any


def printed(*arguments: object, **options: Any) -> str:
    """What `python ARGUMENTS` prints; where it fails, the test shows what it wrote on standard error.

    Args:
        arguments: "-c" and code, "-m" and a module, or a script, and what they are called with.
        options: of `subprocess.run`.
    """
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout
