"""The command as a whole: help, version, errors, shared options, and what `models`, `info` and `doctor` tell."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pytest
from torch.distributed.run import get_args_parser

from papers.reproduce import reproduce
from segvoc.checkpoints.fetching import cache_path
from segvoc.checkpoints.published import PUBLISHED
from segvoc.cli import COMMANDS, command_line
from segvoc.cli.dataset_options import DATASETS
from segvoc.cli.evaluate import evaluate_command
from segvoc.cli.options import ModelOptions
from segvoc.cli.train import train_command
from segvoc.inference.exported import segmenter
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.models.presets import PRESETS
from tests.cli.command import SAMPLES, Command
from tests.loopback_hub import use_hub

CAT_SEG_TABLE = "CAT-Seg, README of the released weights; PCA-Seg, Table 1"


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
        (["prepare", "--data", "."], "BENCHMARK"),
        (["prepare", "a-151", "--data", "."], "'a-151' is unknown"),
        (["prepare", "a-150", "--jobs", "0", "--data", "."], "--jobs 0"),
    ],
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
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("segvoc.cli.info.resolve", broken)
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
    assert facts["published_scores"] == {
        "note": "the papers that segvoc reproduces report no scores for exactly this network"
    }
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
    assert (
        facts["published_scores"]["check"]
        == "python -m papers.reproduce cat-seg-b --data ROOT --out REPORT, in a clone"
    )
    shown = segvoc_command("info", "cat-seg-b").out
    assert "status: published" in shown and "note: published, not reproduced here" in shown
    assert "    a-150:\n      miou: 31.8\n" in shown and f"    - page: {file.sources[0].page}\n      states: " in shown
    cache_path(file).parent.mkdir(parents=True)
    cache_path(file).write_bytes(bytes(1500))
    assert f"on disk: 1.5 kB at {cache_path(file)}\n" in segvoc_command("info", "cat-seg-b").out
    assert "(ready: weights are fetched)" in segvoc_command("models").out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_the_output_is_one_line(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        call, env = [sys.executable, "-m", "segvoc", "models"], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=env)
    told = "standard output can't be written (No space left on device); free space, or send it elsewhere"
    assert (done.returncode, done.stderr) == (1, f"segvoc: error: {told}\n")


def test_doctor_prints_the_same_facts_for_people_and_as_json_and_no_secrets(
    segvoc_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "SEGVOC_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hush")
    done = segvoc_command("doctor", "--json").ok()
    facts = json.loads(done.out)
    assert facts["segvoc"]["tiny"].startswith("labels an image")
    assert facts["engines"]["PyTorch"].startswith(metadata.version("torch").split("+")[0])
    assert facts["packages"]["onnxruntime"] == metadata.version("onnxruntime")
    assert {"working directory", "temporary files"} <= set(facts["folders"])
    printed = segvoc_command("doctor").out
    assert all(f"{section}\n" in printed for section in facts)
    assert facts["machine"]["processor"] in printed and facts["engines"]["GPUs"] in printed
    assert "hush" not in done.out + printed


def test_doctor_ends_with_1_where_the_model_does_not_run(
    segvoc_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ValueError("bad")

    monkeypatch.setattr(segmenter, "open_tiny", broken)
    done = segvoc_command("doctor")
    assert done.code == 1 and "can't label an image (ValueError: bad)" in done.out


@pytest.mark.parametrize("command", [reproduce, train_command, evaluate_command], ids=lambda c: c.name)
def test_no_option_looks_to_torchrun_like_one_of_its_own(command) -> None:
    """It takes the beginning of an option of its own as that option, even behind the program's name."""
    own = [name for action in get_args_parser()._actions for name in action.option_strings]
    ours = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert ours and not {name: option for name in ours for option in own if option.startswith(name)}
