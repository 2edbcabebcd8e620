"""SIGTERM and SIGINT end a run: the first signal after the current step, the second at once."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

GRACE = 2.0
"""Signals within this time count as one [s], since `torchrun` and a shell may both forward the same signal."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the signals received so far in a list, which the run checks after each step.

    The second signal has its usual effect. Python runs signal handlers only between two instructions of the main
    thread, so never while a library call hangs; then a separate thread ends the process.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # Python lets only the main thread set handlers
        return

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    reader, writer = os.pipe()
    if sys.platform != "win32":  # there it works for sockets alone, and nobody asks for it
        os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, note) for number in SIGNALS}
    listener = threading.Thread(target=_end_if_stuck, args=(reader,), daemon=True)
    listener.start()
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        listener.join()
        os.close(reader)


def _end_if_stuck(reader: int) -> None:
    """End the process at the second signal if the first has still not been handled."""
    first: float | None = None
    while number := os.read(reader, 1):
        if number[0] not in SIGNALS:
            continue
        if first is None:
            first = time.monotonic()
        elif time.monotonic() - first > GRACE:
            os._exit(128 + number[0])
