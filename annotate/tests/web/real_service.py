"""The real service with a project, as a process that can be killed."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

from tests.processes import free_port

START_SECONDS = 120


@dataclass
class RealService:
    folder: Path
    """The project's."""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "segvoc", "serve", "tiny", "--project", str(self.folder)]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}healthz", timeout=5):
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"the service didn't start; see {self.folder}.log")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
