"""A bar on a terminal; elsewhere a line now and then, and none for short work."""

import contextlib
import io
import os
import sys
import threading
from types import SimpleNamespace

import pytest

from segvoc.runtime import progress
from segvoc.runtime.progress import Progress, announced


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on when the test says so."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_no_terminal_gets_a_line_now_and_then(clock, capsys):
    with Progress("encoding images", total=120, done=20) as shown:
        shown.update(10)
        assert capsys.readouterr().err == ""
        clock.now += 10
        shown.update(10)
        assert capsys.readouterr().err == "segvoc: encoding images: 40 of 120 images\n"  # too early to tell
        clock.now += 29
        shown.update(10)
        assert capsys.readouterr().err == ""
        clock.now += 1
        shown.update(30, note="loss 0.5")
        line = "segvoc: encoding images: 80 of 120 images, loss 0.5, 1.25 images per second, 00:32 left\n"
        assert capsys.readouterr().err == line
        shown.update(40)
    assert capsys.readouterr().err == "segvoc: encoding images: 120 of 120 images, loss 0.5, done in 00:40\n"


def test_the_first_unit_says_nothing_of_the_remaining_time(clock, capsys):
    with Progress("training", total=103, unit="step") as shown:
        clock.now += 600  # it loads and compiles
        shown.update()
        assert capsys.readouterr().err == "segvoc: training: 1 of 103 steps\n"
        clock.now += 28
        shown.update()
        shown.update()
        clock.now += 2
        shown.update()
        assert capsys.readouterr().err.endswith("4 of 103 steps, 0.1 steps per second, 16:30 left\n")


def test_long_tasks_show_that_they_have_begun(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EARLY_LINE", 0.01)
    for silent, line in ((False, "segvoc: evaluating: 0 of 9 images\n"), (True, "")):
        with contextlib.suppress(KeyError), Progress("evaluating", total=9, silent=silent, early=True) as shown:
            shown._timer.join() if not silent else None
            raise KeyError
        assert capsys.readouterr().err == line


def test_short_work_and_silent_processes_print_nothing(clock, capsys):
    with Progress("reading", total=2, unit="file") as shown:
        assert list(shown.over("ab")) == ["a", "b"]
    with Progress("reading", total=2, unit="file", silent=True) as shown:
        clock.now += 100
        shown.update()
    assert capsys.readouterr() == ("", "")


class Stream(io.StringIO):
    """A standard error that tells when a line has come."""

    def __init__(self) -> None:
        super().__init__()
        self.line = threading.Event()

    def flush(self) -> None:
        self.line.set()


def test_slow_work_without_units_is_announced(monkeypatch):
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "ANNOUNCED_AFTER", 0.0)
    with announced("loading tiny"):
        assert stream.line.wait(60)
    monkeypatch.setattr(progress, "ANNOUNCED_AFTER", 100.0)
    with announced("saving tiny"):  # it ends before
        threads = threading.active_count()
        with announced("exporting tiny", silent=True):
            assert threading.active_count() == threads  # nothing waits to say it
    assert stream.getvalue() == "segvoc: loading tiny ...\n"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals")
def test_a_terminal_that_does_not_report_its_size_gets_a_bar(clock, monkeypatch):
    ours, theirs = os.openpty()  # it has 0 columns, like the terminals of scripts and containers
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr("tqdm.std.time", lambda: clock.now)
        with Progress("encoding images", total=8, done=1) as shown:
            for _ in range(5):
                clock.now += 1
                shown.update(note="loss 0.5")
    printed = b""
    with contextlib.suppress(OSError):  # at its end, since the terminal is closed
        while part := os.read(ours, 4096):
            printed += part
    os.close(ours)
    assert "encoding images:  12%" in printed.decode() and "1/8" in printed.decode()
    assert "6/8 [00:05, loss 0.5, 1/s, 00:02 left]" in printed.decode()
