"""Whether the service wants requests: not while it is stopping, and not while one of its processes is lost."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Readiness:
    """What `/readyz` tells beside the model's health."""

    board: Path | None = None
    """A file in which the parent of several processes writes what is missing; None: there is one process."""
    stopping: bool = False
    """Whether SIGTERM came."""

    def problem(self) -> str | None:
        """Why the service wants no requests, in one line; None: it wants some."""
        if self.stopping:
            return "the service is stopping; ask another one"
        if self.board is None:
            return None
        try:
            return self.board.read_text(encoding="utf-8").strip() or None
        except OSError:
            return "the parent process tells nothing; restart the service"
