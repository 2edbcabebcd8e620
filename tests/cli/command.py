"""Calling `segvoc` in this process, as the installed command does."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from segvoc.cli import main


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call gave."""

    code: int
    out: str
    err: str

    def refused(self, *said: str) -> None:
        """Check a wrong call: exit code 2, nothing on standard output, one line that says what and how to mend it."""
        self.failed(2, *said)
        assert self.out == ""

    def failed(self, code: int, *said: str) -> None:
        """Check an error: its exit code, and one line of it that says all of `said`."""
        assert self.code == code, self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("segvoc: error: ")]
        assert "Traceback" not in self.err
        for part in said:
            assert part in line


Command = Callable[..., Outcome]


def make_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `segvoc` with some arguments."""

    def command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["segvoc", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end, warnings.catch_warnings():
            main()
        out, err = capfd.readouterr()
        return Outcome(code=end.value.code if isinstance(end.value.code, int) else 0, out=out, err=err)

    return command
