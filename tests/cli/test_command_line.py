"""The command as a whole: help, version, errors and shared options; each command has a module of its own here."""

import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from torch.distributed.run import get_args_parser

from papers.reproduce import reproduce
from segvoc import cli
from segvoc.cli import COMMANDS, command_line
from segvoc.cli.dataset_options import DATASETS
from segvoc.cli.evaluate import evaluate_command
from segvoc.cli.options import ModelOptions
from segvoc.cli.train import train_command
from segvoc.errors import UsageError
from segvoc.inference.exported.segmenter import ExportedSegmenter
from tests.cli.command import SAMPLES, Command


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["segment", SAMPLES / "coffee.jpg", "--words", "cup, table", "--device", "cpu"], 0),
        (["segment", "photo.jpg", "--words", "cat,"], 2),
    ],
)
def test_quick_answers_and_labels_of_tiny_come_without_loading_pytorch(tmp_path, arguments, code):
    call = "import sys\nfrom segvoc.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules, 'torch'"
    command = [sys.executable, "-c", call, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "AssertionError" not in done.stderr
    assert done.returncode == code
    assert done.stdout or done.stderr.startswith("segvoc: error: ")
    assert (tmp_path / "out/coffee.png").exists() == (SAMPLES / "coffee.jpg" in arguments)


@pytest.mark.parametrize(
    ("changed", "gpu", "light"),
    [
        ({}, False, True),
        ({"dtype": "float32"}, False, True),
        ({"device": "cpu"}, True, True),
        ({}, True, False),
        ({"dtype": "bfloat16"}, False, False),
        ({"options": ("aggregation=none",)}, False, False),
    ],
)
def test_tiny_runs_without_pytorch_where_nothing_else_is_asked_for(
    changed: dict[str, Any], gpu: bool, light: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segvoc.models.opening.may_have_gpu", lambda: gpu)
    opened = ModelOptions(**{"options": (), "dtype": "auto"} | changed).open("tiny")
    assert isinstance(opened, ExportedSegmenter) == light


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
    [([], "Missing command"), (["paint"], "'paint'"), (["--color"], "--color"), (["info"], "MODEL")],
)
def test_wrong_call_is_one_line_and_exit_code_2(segvoc_command: Command, arguments: list[str], said: str) -> None:
    segvoc_command(*arguments).refused(said)


DATA_CALLS = {
    "prepare": (("prepare", "pas-20"), "the data folder {root!r} does not exist"),
    "evaluate": (("evaluate", "tiny", "--benchmark", "pas-20", "--out", "x"), "segvoc prepare pas-20 --data {root}"),
    "train": (("train", "cat-seg-b", "--out", "x"), "segvoc prepare coco-stuff --data {root}"),
}


@pytest.mark.parametrize("name", DATA_CALLS)
def test_the_folder_of_benchmarks_is_given_or_from_the_environment(segvoc_command, monkeypatch, name):
    call, said = DATA_CALLS[name]
    segvoc_command(*call).refused("--data", f"or set {DATASETS}")
    monkeypatch.setenv(DATASETS, "")
    segvoc_command(*call).refused(f"or set {DATASETS}")
    monkeypatch.setenv(DATASETS, "there")
    segvoc_command(*call).refused(said.format(root="there"))
    segvoc_command(*call, "--data", "here").refused(said.format(root="here"))
    assert f"[default: ${DATASETS}]" in " ".join(segvoc_command(call[0], "--help").out.split())


@pytest.mark.parametrize("arguments", [["--debug", "info", "tinny"], ["info", "tinny", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(segvoc_command: Command, arguments: list[str]) -> None:
    done = segvoc_command(*arguments)
    assert done.code == 2
    assert "Traceback (most recent call last)" in done.err
    assert done.err.splitlines()[-1].startswith("segvoc: error: model 'tinny' is unknown")


def test_unforeseen_error_is_one_line_too(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        warnings.warn("from a\nlibrary", UserWarning, stacklevel=1)
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("segvoc.cli.info.resolve", broken)
    done = segvoc_command("info", "tiny")
    done.failed(1, "unexpected ZeroDivisionError: first line", "--debug")
    assert done.err.startswith("segvoc: warning: from a library\n")
    assert "second line" in segvoc_command("info", "tiny", "--debug").err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", pytest.param("1", marks=pytest.mark.slow)])
def test_a_full_disk_behind_the_output_is_one_line(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        call, env = [sys.executable, "-m", "segvoc", "models"], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=env)
    told = "standard output can't be written (No space left on device); free space, or send it elsewhere"
    assert (done.returncode, done.stderr) == (1, f"segvoc: error: {told}\n")


@pytest.mark.parametrize("command", [reproduce, train_command, evaluate_command], ids=lambda c: c.name)
def test_no_option_looks_to_torchrun_like_one_of_its_own(command) -> None:
    """It takes the beginning of an option of its own as that option, even behind the program's name."""
    own = [name for action in get_args_parser()._actions for name in action.option_strings]
    ours = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert ours and not {name: option for name in ours for option in own if option.startswith(name)}


# ---- commands that other distributions add by entry points; annotate/tests has its routes


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
