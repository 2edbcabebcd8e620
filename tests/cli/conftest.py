"""What the tests of all commands share."""

from pathlib import Path

import pytest

from tests.cli.command import Command, make_command


@pytest.fixture
def segvoc_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs `segvoc` with some arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return make_command(monkeypatch, capfd)
