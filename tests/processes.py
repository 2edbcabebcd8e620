"""Programs in a process of their own."""

import socket
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


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
