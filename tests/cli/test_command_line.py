"""The command as a whole: help, version, errors, and what `models` and `info` tell."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import segvoc
from segvoc.checkpoints.fetching import cache_path
from segvoc.checkpoints.files import write_weights
from segvoc.checkpoints.published import PUBLISHED
from segvoc.cli import COMMANDS
from segvoc.models import loading
from segvoc.models.presets import PRESETS
from tests.cli.command import Command
from tests.loopback_hub import use_hub
from tests.processes import printed

CAT_SEG_TABLE = "CAT-Seg, README of the released weights; PCA-Seg, Table 1"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["--version"], ["segment", "--help"], ["segment", "photo.jpg"], ["no-command"]]
)
def test_quick_answers_come_without_loading_pytorch(arguments: list[str]) -> None:
    code = "import sys\nfrom segvoc.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules, 'torch'"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert "AssertionError" not in done.stderr
    assert done.returncode == (2 if arguments[-1] in ("photo.jpg", "no-command") else 0)
    assert done.stdout or done.stderr.startswith("segvoc: error: ")


def test_the_package_is_the_command_line() -> None:
    assert printed("-m", "segvoc", "--version") == f"segvoc, version {segvoc.__version__}\n"


@pytest.mark.parametrize(("command", "default"), [("segment", "auto"), ("evaluate", "float32")])
def test_what_compares_numbers_is_in_float32_by_default(segvoc_command: Command, command: str, default: str) -> None:
    shown = " ".join(segvoc_command(command, "--help").out.split())
    assert f"else float32. [default: {default}]" in shown


NO_SCORES = "none of the papers that segvoc reproduces reports any for exactly this network"


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
    done = segvoc_command("models")
    assert done.code == 0
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


def test_info_tells_what_dtype_auto_means(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda device: True)
    asked = [("tiny",), ("tiny", "--set", "aggregation=none"), ("pca-seg-b",)]
    found = [json.loads(segvoc_command("info", *call, "--json").out)["auto_dtype"] for call in asked]
    assert found == ["bfloat16", "float32", "float32"]


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
    assert facts["published_scores"]["note"] == "published, not repeated here"
    assert facts["published_scores"][CAT_SEG_TABLE]["a-150"] == {"miou": 31.8}
    assert facts["published_scores"]["check"] == "segvoc reproduce cat-seg-b --data ROOT --out REPORT"
    shown = segvoc_command("info", "cat-seg-b").out
    assert "status: published" in shown and "note: published, not repeated here" in shown
    assert "    a-150:\n      miou: 31.8\n" in shown and f"    - page: {file.sources[0].page}\n      states: " in shown
    cache_path(file).parent.mkdir(parents=True)
    cache_path(file).write_bytes(bytes(1500))
    assert f"on disk: 1.5 kB at {cache_path(file)}\n" in segvoc_command("info", "cat-seg-b").out
    assert "(ready: weights are fetched)" in segvoc_command("models").out


def test_info_tells_of_models_that_need_no_training(segvoc_command: Command) -> None:
    facts = json.loads(segvoc_command("info", "clip-b", "--json").out)
    assert facts["weights"]["name"] == "openai-clip-b" and facts["weights"]["license"] == "MIT"
    assert facts["published_scores"] == {"note": NO_SCORES}
    assert [encoders["name"] for encoders in facts["training_starts_from"]] == ["openai-clip-b"]
    assert len(facts["templates"]) == 80
    first = "".join(f"  {template}\n" for template in facts["templates"][:3])
    assert f"templates:\n{first}  and 77 more (--json has all)\nauto dtype: " in segvoc_command("info", "clip-b").out
    facts = json.loads(segvoc_command("info", "clipseg", "--json").out)
    assert facts["weights"]["repository"] == "CIDAS/clipseg-rd64-refined" and facts["templates"] == ["{}"]
    assert "This license does not apply to the model weights." in facts["weights"]["license_note"]


def test_info_tells_of_a_published_file_with_its_licenses(segvoc_command: Command) -> None:
    facts = json.loads(segvoc_command("info", "clipseg-rd64-refined", "--json").out)
    assert facts["weights"]["license"] == "Apache-2.0"
    assert "This license does not apply to the model weights." in facts["weights"]["license_note"]
    assert facts["weights"]["revision"] and facts["weights"]["repository"] == "CIDAS/clipseg-rd64-refined"
    segvoc_command("info", "openai-clip-b", "--set", "blocks=2").refused("openai-clip-b is a published file")


def test_info_tells_what_is_not_fetched_and_why(segvoc_command: Command) -> None:
    facts = json.loads(segvoc_command("info", "err-seg-b", "--json").out)
    assert facts["weights"]["status"] == "not published" and "lchen1019/ERR-Seg" in facts["weights"]["how_to_get"]
    (encoders,) = facts["training_starts_from"]
    assert encoders["name"] == "convnext-clip-b" and "no page states the SHA-256" in encoders["not_fetched"]
    assert facts["published_scores"]["ERR-Seg, Table 3"]["a-847"] == {"miou": 13.9}
    assert "check" not in facts["published_scores"]


def test_info_tells_the_scores_of_parts_by_protocol(segvoc_command: Command) -> None:
    scores = json.loads(segvoc_command("info", "pca-part-b", "--json").out)["published_scores"]["PCA-Seg, Table 2"]
    assert scores["pascal-part-116, pred-all"] == {"seen": 57.2, "unseen": 43.5, "harmonic": 49.3}
    assert len(scores) == 4


def test_info_of_a_file_tells_its_hash_and_size(segvoc_command: Command) -> None:
    write_weights("w.safetensors", {"a": torch.zeros(3)}, "tiny", origin="here", license="MIT")
    weights = json.loads(segvoc_command("info", "w.safetensors", "--json").out)["weights"]
    assert weights["file_sha256"] == hashlib.sha256(Path("w.safetensors").read_bytes()).hexdigest()
    assert weights["on_disk"] == f"{Path('w.safetensors').stat().st_size} B at w.safetensors"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        call = [sys.executable, "-m", "segvoc", "models"]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "segvoc: error: standard output can't be written (No space left on device); free space, or send it elsewhere"
    )
