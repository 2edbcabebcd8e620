"""The command as a whole: help, version, errors, and what `models` and `info` tell."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import segvoc
from segvoc.checkpoints.fetching import cache_path
from segvoc.checkpoints.published import PUBLISHED
from segvoc.cli import COMMANDS, command_line
from segvoc.models.presets import PRESETS
from tests.cli.command import Command
from tests.loopback_hub import use_hub
from tests.processes import printed

CAT_SEG_TABLE = "CAT-Seg, README of the released weights; PCA-Seg, Table 1"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["segment", "--help"], ["segment", "photo.jpg", "--words", "cat,"], ["no-command"]]
)
def test_quick_answers_come_without_loading_pytorch(arguments: list[str]) -> None:
    code = "import sys\nfrom segvoc.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules, 'torch'"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert "AssertionError" not in done.stderr
    assert done.returncode == (2 if arguments[-1] in ("cat,", "no-command") else 0)
    assert done.stdout or done.stderr.startswith("segvoc: error: ")


def test_the_package_is_the_command_line() -> None:
    assert printed("-m", "segvoc", "--version") == f"segvoc, version {segvoc.__version__}\n"


NO_SCORES = "the papers that segvoc reproduces report no scores for exactly this network"


def test_help_lists_every_command(segvoc_command: Command) -> None:
    done = segvoc_command("--help").ok()
    assert done.err == ""
    for name, line in COMMANDS.items():
        assert f"  {name} " in done.out
        assert line in done.out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example_that_parses(segvoc_command: Command, name: str) -> None:
    done = segvoc_command(name, "--help").ok()
    assert done.out.startswith(f"Usage: segvoc {name}")
    _, _, example = done.out.partition("Example:\n")
    program, called, *arguments = shlex.split(example.splitlines()[0])
    assert (program, called) == ("segvoc", name)
    command = command_line.get_command(click.Context(command_line), name)
    assert command is not None
    command.make_context(name, arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing command"),
        (["paint"], "'paint'"),
        (["--color"], "--color"),
        (["segment"], "IMAGE"),
        (["segment", "a.jpg", "--word", "cat"], "--word"),
        (["info"], "MODEL"),
        (["info", "tinny"], "'tinny' is unknown"),
        (["info", "none.safetensors"], "'none.safetensors' does not exist"),
        (["info", "tiny", "--set", "dense=qq"], "tiny has no setting 'dense'; it has "),
        (["convert", "a.pth"], "OUT"),
        (["convert", "a.pth", "b.safetensors"], "--model"),
        (["models", "tiny"], "tiny"),
    ],
)
def test_wrong_call_is_one_line_and_exit_code_2(segvoc_command: Command, arguments: list[str], said: str) -> None:
    segvoc_command(*arguments).refused(said)


@pytest.mark.parametrize("arguments", [["--debug", "info", "tinny"], ["info", "tinny", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(segvoc_command: Command, arguments: list[str]) -> None:
    done = segvoc_command(*arguments)
    assert done.code == 2
    assert "Traceback (most recent call last)" in done.err
    assert done.err.splitlines()[-1].startswith("segvoc: error: model 'tinny' is unknown")


def test_unforeseen_error_is_one_line_too(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("segvoc.models.loading.named_model", broken)
    segvoc_command("info", "tiny").failed(1, "unexpected ZeroDivisionError: first line", "--debug")
    assert "second line" in segvoc_command("info", "tiny", "--debug").err


def test_models_are_listed_one_a_line(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_hub(monkeypatch, tmp_path, "http://127.0.0.1:9")
    done = segvoc_command("models").ok()
    assert [line.split()[0] for line in done.out.splitlines()] == list(PRESETS)
    said = {line.split()[0]: line.rpartition("(")[2].removesuffix(")") for line in done.out.splitlines()}
    assert said["tiny"] == "ready: weights ship"
    assert said["cat-seg-b"] == "fetched at first use: 819 MB" and said["cat-seg-l"] == "fetched at first use: 2.3 GB"
    assert said["clipseg"] == "fetched at first use: 603 MB"
    assert said["clip-b"] == "fetched at first use: size not stated"
    assert said["eva-clip-l"] == "fetched at first use: 856 MB"
    assert said["pca-seg-clip-b"] == "train it, which fetches openai-clip-b, or give weights"
    assert said["pca-part-b"] == "train it, which fetches openai-clip-b and dinov2-s, or give weights"
    assert said["pca-seg-b"] == "train it from encoders that you give, or give weights"


def test_info_of_the_embedded_model(segvoc_command: Command) -> None:
    facts = json.loads(segvoc_command("info", "tiny", "--json").out)
    assert {"name", "parameters", "trainable", "weights"} <= facts.keys()
    assert facts["weights"]["status"] == "shipped"
    assert re.match(r"\d\.\d\d MB at .*tiny\.safetensors$", facts["weights"]["on_disk"]["tiny.safetensors"])
    assert facts["published_scores"] == {"note": NO_SCORES}
    assert "training_starts_from" not in facts
    assert 20_000_000 < facts["parameters"] < 40_000_000
    assert "status: shipped" in segvoc_command("info", "tiny").out


def test_info_tells_of_published_weights(segvoc_command, monkeypatch, tmp_path):
    use_hub(monkeypatch, tmp_path, "http://127.0.0.1:9")
    facts = json.loads(segvoc_command("info", "cat-seg-b", "--json").out)
    file, weights = PUBLISHED["cat-seg-b"], facts["weights"]
    assert weights["status"] == "published" and weights["size"] == "819 MB"
    assert weights["on_disk"] == "not fetched yet: segvoc fetch cat-seg-b"
    assert file.record().items() <= weights.items()
    assert weights["sources"][0] == {"page": file.sources[0].page, "states": file.sources[0].states}
    (encoders,) = facts["training_starts_from"]
    assert encoders["name"] == "openai-clip-b" and encoders["sha256"] == PUBLISHED["openai-clip-b"].sha256
    assert facts["published_scores"]["note"] == "published, not reproduced here"
    assert facts["published_scores"][CAT_SEG_TABLE]["a-150"] == {"miou": 31.8}
    assert facts["published_scores"]["check"] == "segvoc reproduce cat-seg-b --data ROOT --out REPORT"
    shown = segvoc_command("info", "cat-seg-b").out
    assert "status: published" in shown and "note: published, not reproduced here" in shown
    assert "    a-150:\n      miou: 31.8\n" in shown and f"    - page: {file.sources[0].page}\n      states: " in shown
    cache_path(file).parent.mkdir(parents=True)
    cache_path(file).write_bytes(bytes(1500))
    assert f"on disk: 1.5 kB at {cache_path(file)}\n" in segvoc_command("info", "cat-seg-b").out
    assert "(ready: weights are fetched)" in segvoc_command("models").out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        call = [sys.executable, "-m", "segvoc", "models"]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "segvoc: error: standard output can't be written (No space left on device); free space, or send it elsewhere"
    )
