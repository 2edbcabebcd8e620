"""Calling `segvoc` in this process, as the installed command does."""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.cli import main, run_command
from segvoc.runtime import process_settings
from segvoc.storage.resume import RESUME_FOLDER


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call gave."""

    code: int
    out: str
    err: str

    def ok(self) -> "Outcome":
        assert self.code == 0, self.err
        return self

    def refused(self, *said: str) -> None:
        """Check a wrong call: exit code 2, nothing on standard output, one line that says what is wrong and the fix."""
        self.failed(2, *said)
        assert self.out == ""

    def failed(self, code: int, *said: str) -> None:
        """Check an error: its exit code, and one line of it that says all of `said`."""
        assert self.code == code, self.err
        (line,) = self.errors
        assert "Traceback" not in self.err
        for part in said:
            assert part in line

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("segvoc: error: ")]

    @property
    def labeled(self) -> list[str]:
        """The images that the lines on standard output are about."""
        return [line.split(": ")[0] for line in self.out.splitlines()]


Command = Callable[..., Outcome]

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
WORDS = ("--words", "cat, sofa, wall")


def make_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `segvoc` with some arguments, without its settings of the whole process."""
    return _in_process(main, monkeypatch, capfd)


def make_script(name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `python -m papers.NAME` with some arguments."""
    script = getattr(import_module(f"papers.{name}"), name)
    return _in_process(lambda: run_command(script, f"python -m papers.{name}"), monkeypatch, capfd)


def _in_process(
    call: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setattr(process_settings, "for_own_process", lambda: None)

    def command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["segvoc", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end, warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)  # which are lines on standard error, here as for users
            call()
        out, err = capfd.readouterr()
        return Outcome(code=end.value.code if isinstance(end.value.code, int) else 0, out=out, err=err)

    return command


def draw_photos(*names: str) -> None:
    """Write images of 60 x 40 pixels, each with other colors."""
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(image).resize((60, 40), Image.Resampling.NEAREST).save(name)


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def result_files(folder: str | Path = "out") -> list[str]:
    """All files of a folder of results but the journals."""
    found = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
    return [name for name in found if not name.startswith(f"{RESUME_FOLDER}/")]
