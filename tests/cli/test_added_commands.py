"""Commands and routes that other distributions add by entry points."""

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fastapi import FastAPI
from starlette.testclient import TestClient

from segvoc import cli
from segvoc.errors import UsageError
from segvoc.serving.app import create_app
from segvoc.serving.settings import ServiceSettings, installed_extensions
from tests.inference.numpy_engine import NumpySegmenter

MODULE = """
import contextlib
import click
from segvoc.serving.settings import Extension

@click.command()
def wave():
    \"\"\"Wave a hand.\"\"\"
    click.echo("hello")

def add(app, service):
    app.add_api_route("/wave", lambda: service.labeler.model.name)
    app.add_api_route("/told", lambda: told)
    return running()

told = []

@contextlib.asynccontextmanager
async def running():
    told.append("begins")
    yield
    told.append("ends")

EXTENSION = Extension(options=[click.Option(["--wave"])], routes=lambda values: add if values["wave"] else None)
"""
ENTRIES = "[test.commands]\nwave = waving_hands:wave\n\n[segvoc.routes]\nwave = waving_hands:EXTENSION\n"


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


def test_routes_are_there_while_the_model_is_loaded(other: str) -> None:
    (extension,) = (one for one in installed_extensions() if one.options[0].name == "wave")
    add = extension.routes({"wave": "x"})
    app = create_app([NumpySegmenter], ServiceSettings(extensions=(add,)))
    assert isinstance(app, FastAPI)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/wave").json() == "numpy"
        assert client.get("/told").json() == ["begins"]
    assert sys.modules[other].told == ["begins", "ends"]
