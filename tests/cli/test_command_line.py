"""The command as a whole: help, version, errors, and what `models` and `info` tell."""

import json
import subprocess
import sys

import pytest

import segvoc
from segvoc.checkpoints.published import PUBLISHED
from segvoc.cli import COMMANDS
from segvoc.models.presets import PRESETS
from tests.cli.command import Command

# published networks: specs/cat_seg_and_pca_seg.md, section 10
PARAMETERS = {
    "pca-seg-b": (157_110_902, 31_012_725),
    "pca-seg-l": (436_617_014, 80_099_189),
    "pca-seg-clip-b": (157_040_502, 27_866_997),
    "pca-seg-clip-l": (436_478_070, 73_021_301),
}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["--version"], ["segment", "--help"], ["segment", "photo.jpg"], ["no-command"]]
)
def test_quick_answers_come_without_loading_pytorch(arguments: list[str]) -> None:
    code = "import sys\nfrom segvoc.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules, 'torch'"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert "AssertionError" not in done.stderr
    assert done.returncode == (2 if arguments[-1] in ("photo.jpg", "no-command") else 0)
    assert done.stdout or done.stderr.startswith("segvoc: error: ")


def test_help_lists_every_command(segvoc_command: Command) -> None:
    done = segvoc_command("--help")
    assert done.code == 0
    assert done.err == ""
    for name, line in COMMANDS.items():
        assert f"  {name} " in done.out
        assert line in done.out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(segvoc_command: Command, name: str) -> None:
    done = segvoc_command(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: segvoc {name}")


def test_version(segvoc_command: Command) -> None:
    done = segvoc_command("--version")
    assert (done.code, done.out.split()) == (0, ["segvoc,", "version", segvoc.__version__])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing command"),
        (["paint"], "'paint'"),
        (["--colour"], "'--colour'"),
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
    def broken(_: str) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("segvoc.models.presets.find_preset", broken)
    segvoc_command("info", "tiny").failed(1, "unexpected ZeroDivisionError: first line", "--debug")
    assert "second line" in segvoc_command("info", "tiny", "--debug").err


def test_models_are_listed_one_a_line(segvoc_command: Command) -> None:
    done = segvoc_command("models")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == list(PRESETS)
    said = {line.split()[0]: line.partition("(weights")[2] or "none" for line in done.out.splitlines()}
    assert said.pop("tiny") == " ship)"
    assert said.pop("cat-seg-b") == " published: 819 MB, fetched at first use)"
    assert said.pop("cat-seg-l") == " published: 2.3 GB, fetched at first use)"
    assert set(said.values()) == {"none"} and done.out.count("(no weights published)") == len(said)


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_info_counts_the_parameters_of_published_networks(segvoc_command: Command, name: str) -> None:
    done = segvoc_command("info", name, "--json")
    assert done.code == 0
    (line,) = done.out.splitlines()
    facts = json.loads(line)
    assert facts["name"] == name
    assert (facts["parameters"], facts["trainable"]) == PARAMETERS[name]
    assert sum(facts["parts"].values()) == facts["parameters"]
    assert "DeCLIP" in facts["weights"]["how_to_get"] or "ViT-" in facts["weights"]["how_to_get"]
    assert f"{facts['parameters']:,}" in segvoc_command("info", name).out


def test_info_of_the_embedded_model(segvoc_command: Command) -> None:
    facts = json.loads(segvoc_command("info", "tiny", "--json").out)
    assert {"name", "parameters", "trainable", "weights"} <= facts.keys()
    assert facts["weights"]["status"] == "shipped"
    assert 20_000_000 < facts["parameters"] < 40_000_000
    assert "status: shipped" in segvoc_command("info", "tiny").out


def test_info_names_published_weights(segvoc_command: Command) -> None:
    weights = json.loads(segvoc_command("info", "cat-seg-b", "--json").out)["weights"]
    assert weights.pop("status") == "published"
    assert weights.keys() == {"repository", "filename", "revision", "sha256", "size", "licence", "page"}
    assert all(weights[name] == getattr(PUBLISHED["cat-seg-b"], name) for name in weights)
    assert "status: published" in segvoc_command("info", "cat-seg-b").out
