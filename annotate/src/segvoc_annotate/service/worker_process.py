"""Jobs of a project: each is a process beside the service, which can be killed at any time, and says how far it is."""

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from segvoc import SegvocError
from segvoc.runtime.process_settings import exit_reason, exit_when_parent_dies, for_own_process

LOWER_PRIORITY = 5
"""Niceness of these processes, which yield to labeling."""

NEWS_SECONDS = 0.25
"""Polling interval for progress and cancellation [s]."""

CANCEL_SECONDS = 10.0
"""Grace period of a canceled job [s]."""

OnEnd = Callable[[Any, float], None]

_INTERNAL = "internal error; see the service's log"


class Job(threading.Thread):
    """Runs `target(*arguments, connection)` in a process of its own, and follows what it sends.

    `state` is a record with the fields `state` ("running" until the job ends) and `message`; at the end, `on_end` is
    called with it and the time that the job took [s].
    """

    state: Any

    def __init__(self, state: Any, on_end: OnEnd, target: Callable[..., None], *arguments: Any) -> None:
        super().__init__(name="segvoc-job", daemon=True)
        self.state, self._on_end, self._target, self._arguments = state, on_end, target, arguments
        self._end: Mapping[str, Any] | None = None

    def told(self, kind: str, *values: Any) -> Mapping[str, Any]:
        """What changes in the state with a message of the process; raises `SegvocError`."""
        raise NotImplementedError

    def ended(self, state: Any) -> Any:
        """Called at the end; returns the last state."""
        return state

    def end(self, state: str, message: str | None) -> None:
        """End the job if it runs, and wait for that."""
        self._end = {"state": state, "message": message}
        self.join(CANCEL_SECONDS)

    def run(self) -> None:
        """Follow the process until it ends."""
        began = time.monotonic()
        try:
            last = self._followed()
        except Exception as error:
            if not isinstance(error, SegvocError):
                logging.getLogger("segvoc.serving").exception("a job failed")
            message = str(error) if isinstance(error, SegvocError) else _INTERNAL
            last = replace(self.state, state="failed", message=message)
        with suppress(OSError, SegvocError):
            last = self.ended(last)
        self._on_end(last, time.monotonic() - began)
        self.state = last

    def _followed(self) -> Any:
        context = multiprocessing.get_context("spawn")
        news, theirs = context.Pipe(duplex=False)
        process = context.Process(target=self._target, args=(*self._arguments, theirs))
        process.start()
        theirs.close()
        try:
            while self._end is None:
                if not news.poll(NEWS_SECONDS):
                    continue
                try:
                    told = self.told(*news.recv())
                except EOFError:
                    process.join()
                    told = {"state": "failed", "message": f"{exit_reason(process.exitcode)}; start it again"}
                if told.get("state", "running") != "running":
                    return replace(self.state, **told)
                self.state = replace(self.state, **told)
            return replace(self.state, **self._end)
        finally:
            process.kill()
            process.join()


@contextmanager
def reporting(to: Connection) -> Iterator[None]:
    """What such a process does; an error is sent as ("failed", line)."""
    for_own_process()
    exit_when_parent_dies()
    with suppress(OSError, AttributeError):  # Windows has no `nice`
        os.nice(LOWER_PRIORITY)
    try:
        yield
    except SegvocError as error:
        to.send(("failed", str(error)))
    except Exception:
        logging.getLogger("segvoc.serving").exception("a job failed")
        to.send(("failed", _INTERNAL))
