"""A signal is noted once; the second one has its usual effect."""

import os
import signal

from segvoc.training.loop import stop_signals


def test_the_first_signal_is_noted_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as received:
        assert received == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getsignal(signal.SIGTERM) == before
