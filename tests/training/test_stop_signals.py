"""A signal ends a run after its step, and a second one ends it even where a library hangs."""

import os
import signal
import subprocess
import sys
import time

import pytest

from segvoc.training.loop import stop_signals

STUCK = """
import ctypes
from segvoc.training import loop as module
module.GRACE = 0.2
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
with module.stop_signals():
    print("stuck", flush=True)
    libc.pthread_mutex_lock(mutex)  # never returns, and no signal interrupts it
"""


def test_the_first_signal_is_noted_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as received:
        assert received == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_process_that_hangs(number):
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "stuck\n"
        time.sleep(1)  # a signal before the process hangs is dealt with as usual
        process.send_signal(number)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
