"""`segvoc serve`: what it refuses, and what it hands on; tests/serving runs it."""

from pathlib import Path

import pytest

from segvoc.serving.settings import ServiceSettings
from tests.cli.command import Command

KEY = "sixteen-characters-and-more"


@pytest.fixture
def served(monkeypatch):
    """The calls of the service, which doesn't run."""
    calls = []
    monkeypatch.setattr("segvoc.serving.server.run", lambda *arguments, **options: calls.append((arguments, options)))
    monkeypatch.delenv("SEGVOC_API_KEY", raising=False)
    return calls


def test_it_listens_on_this_machine_alone(segvoc_command: Command, served):
    assert segvoc_command("serve").code == 0
    ((_, settings), options) = served[0]
    assert options == {"host": "127.0.0.1", "port": 8000, "workers": 1}
    assert "localhost" in settings.hosts
    assert settings.api_key is None
    defaults = ServiceSettings()
    given = ("hosts", "extensions")
    assert {name: value for name, value in vars(settings).items() if name not in given} == {
        name: value for name, value in vars(defaults).items() if name not in given
    }


def test_elsewhere_it_demands_a_key_or_the_word_public(segvoc_command: Command, served, monkeypatch, tmp_path):
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        segvoc_command("serve", "--host", host).refused("--host", "SEGVOC_API_KEY", "--public")
    assert served == []
    assert segvoc_command("serve", "--host", "0.0.0.0", "--public").code == 0
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert segvoc_command("serve", "--host", "0.0.0.0", "--api-key-file", "key").code == 0
    monkeypatch.setenv("SEGVOC_API_KEY", KEY)
    assert segvoc_command("serve", "--host", "0.0.0.0", "--allow-host", "example.org").code == 0
    assert [arguments[1].api_key for arguments, _ in served] == [None, None, KEY]
    assert [arguments[1].api_key_file for arguments, _ in served] == [None, Path("key"), None]
    assert [arguments[1].hosts for arguments, _ in served] == [(), (), ("example.org",)]
    segvoc_command("serve", "--api-key-file", "key").refused("both SEGVOC_API_KEY and --api-key-file")


def test_wrong_keys_and_numbers_are_refused(segvoc_command: Command, served, tmp_path):
    segvoc_command("serve", "--api-key-file", "missing").refused("missing", "can't be read")
    (tmp_path / "key").write_text("\n")
    segvoc_command("serve", "--api-key-file", "key").refused("is empty")
    (tmp_path / "key").write_text("short")
    segvoc_command("serve", "--api-key-file", "key").refused("16 or more characters")
    segvoc_command("serve", "--queue", "0").refused("queue=0 is not positive")
    segvoc_command("serve", "--upload-seconds", "inf").refused("upload_seconds")
    segvoc_command("serve", "--upload-seconds", "nan").refused("upload_seconds")
    assert served == []


def test_every_number_has_an_option(segvoc_command: Command, served):
    numbers = {name: 3 for name, value in vars(ServiceSettings()).items() if isinstance(value, int | float)}
    options = [f"--{name.replace('_', '-')}=3" for name in (*numbers, "batch")]
    assert segvoc_command("serve", *options).code == 0
    settings = vars(served[0][0][1])
    assert {name: settings[name] for name in (*numbers, "batch")} == {**numbers, "batch": 3}


def test_an_address_in_use_is_refused_before_the_model_is_loaded(segvoc_command: Command):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        outcome = segvoc_command("serve", "no-such-model", "--port", port)
    assert outcome.code == 2
    assert "can't listen at 127.0.0.1" in outcome.err


def test_an_unknown_model_is_refused(segvoc_command: Command):
    outcome = segvoc_command("serve", "no-such-model", "--port", 0)
    assert outcome.code == 2
    assert "no-such-model" in outcome.err.splitlines()[-1]
