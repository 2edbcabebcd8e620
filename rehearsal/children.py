"""Calls of segvoc in forked children, which needn't import anything, and which may be killed."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segvoc.cli import main


@dataclass(kw_only=True)
class Child:
    """A function in a process of its own, whose output goes into a file."""

    function: Callable[[], object]
    """What it does; `SystemExit` gives its exit code."""
    log: Path
    """The file, to which calls append."""
    kill_after: float | None = None
    """Seconds after which SIGKILL ends it."""
    kill_when: Callable[[], bool] | None = None
    """The same, as soon as this is true."""
    pid: int = 0
    """Its process, while it runs."""
    code: int | None = None
    """Exit code, below 0 for a signal, once it has ended."""
    seconds: float = 0.0
    """How long it ran."""
    cpu_seconds: float = 0.0
    """Processor time that it took."""
    _start: float = field(default=0.0, repr=False)

    def start(self) -> None:
        """Fork."""
        self._start = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _child(self.function, self.log)

    def poll(self) -> bool:
        """Kill it if its time has come; returns whether it has ended."""
        if self.code is not None:
            return True
        late = self.kill_after is not None and time.monotonic() - self._start >= self.kill_after
        if late or (self.kill_when is not None and self.kill_when()):
            os.kill(self.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.pid, 0)
        else:
            ended, status, usage = os.wait4(self.pid, os.WNOHANG)
            if not ended:
                return False
        self.seconds = time.monotonic() - self._start
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return True

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


def command(arguments: Sequence[str]) -> Callable[[], object]:
    """A call of `segvoc` with these arguments."""

    def call() -> None:
        sys.argv = ["segvoc", *arguments]
        main()

    return call


def _child(function: Callable[[], object], log: Path) -> None:
    code = 1
    try:
        descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        function()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
