"""Commands that other distributions add by entry points; annotate/tests has its routes."""

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from segvoc import cli
from segvoc.errors import UsageError

MODULE = """
import click

@click.command()
def wave():
    \"\"\"Wave a hand.\"\"\"
    click.echo("hello")
"""
ENTRIES = "[test.commands]\nwave = waving_hands:wave\n"


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another distribution, by the name of its module."""
    metadata = tmp_path / "waving_hands-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: waving-hands\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "waving_hands.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "waving_hands", raising=False)
    return "waving_hands"


def test_commands_are_listed_without_an_import_and_run(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "ADDED", "test.commands")
    listed = CliRunner().invoke(cli.Commands("segvoc"), ["--help"]).output
    installed, known = listed.split("After pip install ")
    assert "models " in installed and "wave " in installed
    assert [line.split()[0] for line in known.strip().splitlines()[1:]] == ["annotate", "page", "project"]
    assert other not in sys.modules
    assert CliRunner().invoke(cli.Commands("segvoc"), ["wave"]).output == "hello\n"


def test_a_missing_distribution_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "ADDED", "test.none")
    with pytest.raises(UsageError, match=r'segvoc page needs segvoc-annotate: pip install ".*annotate\]?"'):
        cli.Commands("segvoc").main(["page"], standalone_mode=False)
    with pytest.raises(click.UsageError, match="did you mean page"):
        cli.Commands("segvoc").main(["paeg"], standalone_mode=False)
