"""`segvoc serve`: what it refuses, and what it hands on; tests/serving runs it."""

import socket
from pathlib import Path

from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.serving.settings import ServiceSettings
from tests.cli.command import Command

KEY = "sixteen-characters-and-more"


def test_it_listens_on_this_machine_alone(segvoc_command: Command, served):
    segvoc_command("serve").ok()
    for host in ("::1", "127.8.9.1", "localhost"):
        segvoc_command("serve", "--host", host, "--queue", "3").ok()
    told = [(options["host"], options["port"], settings.queue) for (_, settings), options in served]
    plain = ("127.0.0.1", 8000, ServiceSettings().queue)
    assert told == [plain, ("::1", 8000, 3), ("127.8.9.1", 8000, 3), ("localhost", 8000, 3)]
    assert all(settings.api_key is settings.api_key_file is None for (_, settings), _ in served)


def test_plain_tiny_is_served_without_pytorch(segvoc_command: Command, served):
    assert segvoc_command("serve", "tiny", "--model", "second=tiny", "--device", "cpu").code == 0
    (open_models, _), _ = served[0]
    assert [type(opened()) for opened in open_models] == [ExportedSegmenter] * 2


def test_elsewhere_it_demands_a_key(segvoc_command: Command, served, monkeypatch, tmp_path):
    for host in ("0.0.0.0", "::", "192.168.1.2", "localhost.example.org", ""):
        segvoc_command("serve", "--host", host).refused("--host", "SEGVOC_API_KEY", "--api-key-file")
    assert served == []
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert segvoc_command("serve", "--host", "0.0.0.0", "--api-key-file", "key").code == 0
    monkeypatch.setenv("SEGVOC_API_KEY", KEY)
    assert segvoc_command("serve", "--host", "0.0.0.0").code == 0
    assert [arguments[1].api_key for arguments, _ in served] == [None, KEY]
    assert [arguments[1].api_key_file for arguments, _ in served] == [Path("key"), None]
    segvoc_command("serve", "--api-key-file", "key").refused("both SEGVOC_API_KEY and --api-key-file")
    for wrong in (["--queue", "0"], ["--upload-seconds", "nan"], ["--upload-seconds", "inf"]):
        assert segvoc_command("serve", *wrong).code == 2


def test_the_environment_sets_what_the_options_set(segvoc_command: Command, served, monkeypatch):
    for name, value in {"HOST": "127.0.0.2", "PORT": "9000", "QUEUE": "3", "API_KEY": KEY}.items():
        monkeypatch.setenv(f"SEGVOC_{name}", value)
    assert segvoc_command("serve", "--queue", "4").code == 0
    (arguments, options) = served[0]
    assert (options["host"], options["port"], arguments[1].queue) == ("127.0.0.2", 9000, 4)
    assert (options["logged_settings"]["queue"], options["logged_settings"]["models"]) == (4, ("tiny",))
    assert KEY not in str(options["logged_settings"])
    monkeypatch.setenv("SEGVOC_MODELS", "street=tiny other")
    segvoc_command("serve").refused("--model 'other' is not NAME=MODEL")
    monkeypatch.setenv("SEGVOC_PORT", "tcp://10.0.0.1:80")
    segvoc_command("serve").refused("tcp://10.0.0.1:80")


def test_an_address_in_use_is_refused_before_the_model_is_loaded(segvoc_command: Command):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        segvoc_command("serve", "no-such-model", "--port", port).failed(2, "can't listen at 127.0.0.1")
    segvoc_command("serve", "no-such-model", "--port", 0).failed(2, "no-such-model")
