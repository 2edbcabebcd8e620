"""The parent of several processes: it tells them which of them is lost, and lets SIGHUP reach them."""

import os
import signal
from collections.abc import Callable
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
        definitions_kept: whether the process that keeps the vocabularies is there.
    """

    def __init__(
        self, config: Config, sockets: list[socket], board: Path, definitions_kept: Callable[[], bool]
    ) -> None:
        super().__init__(config, sockets)
        self._board, self._definitions_kept, self._told = board, definitions_kept, ""
        self._tell("the processes are starting; try again")

    def keep_subprocess_alive(self) -> None:
        """Start lost processes again, and tell the others."""
        super().keep_subprocess_alive()
        missing = sum(not process.is_ready(timeout=1) for process in self.processes)
        problem = f"{missing} of {len(self.processes)} processes are missing; try again" if missing else ""
        if not self._definitions_kept():
            problem = "the process of the vocabularies is lost; restart the service"
        self._tell(problem)

    def handle_hup(self) -> None:
        """Let the processes read their API keys again."""
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)

    def _tell(self, problem: str) -> None:
        if problem != self._told or not self._board.exists():
            write_atomically(self._board, lambda file: file.write(problem.encode()))
            self._told = problem
