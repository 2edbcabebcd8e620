"""The parent of several processes: it tells them which of them is lost, and lets SIGHUP reach them."""

import os
import signal
from pathlib import Path
from socket import socket

from uvicorn import Config
from uvicorn.supervisors import Multiprocess

from segvoc.storage.atomic_writes import write_atomically


class Supervisor(Multiprocess):
    """Starts the processes, and those again that are lost.

    Args:
        config: as for `Multiprocess`.
        sockets: as for `Multiprocess`.
        board: the file that the processes read; see `Readiness`.
    """

    def __init__(self, config: Config, sockets: list[socket], board: Path) -> None:
        super().__init__(config, sockets)
        self._board, self._told = board, ""
        self._tell("the processes are starting; try again")

    def keep_subprocess_alive(self) -> None:
        """Start lost processes again, and tell the others."""
        super().keep_subprocess_alive()
        missing = sum(not process.is_ready(timeout=1) for process in self.processes)
        self._tell(f"{missing} of {len(self.processes)} processes are missing; try again" if missing else "")

    def handle_hup(self) -> None:
        """Let the processes read their API keys again."""
        for process in self.processes:  # never on Windows, which has no such signal
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)

    def _tell(self, problem: str) -> None:
        if problem != self._told or not self._board.exists():
            write_atomically(self._board, lambda file: file.write(problem.encode()))
            self._told = problem
