"""What jobs do in tests, in a module of its own: their processes import it, and it imports next to nothing."""

import os
import time
from typing import Any


def stuck(*_: object) -> None:
    time.sleep(300)


def dying(*_: object) -> None:
    os._exit(9)


def failing(*arguments: Any) -> None:
    arguments[-1].send(("failed", "the disk is full; free some space"))
