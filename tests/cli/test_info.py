"""`segvoc models`, `segvoc doctor`, and `segvoc info` of presets; commands that make files have that of files."""

import json
import re
import sys
from importlib import metadata

import pytest

from segvoc.checkpoints.fetching import cache_path
from segvoc.checkpoints.published import PUBLISHED
from segvoc.models import shipped
from segvoc.models.presets import PRESETS
from tests.cli.command import Command
from tests.loopback_hub import use_hub


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
    tables = [table for table in facts["published_scores"].values() if isinstance(table, dict)]
    assert [table["a-150"] for table in tables] == [{"miou": 31.8}]
    assert weights["status"] == "published" and weights["size"] == "819 MB"
    assert weights["on_disk"] == "not fetched yet: segvoc fetch cat-seg-b"
    assert file.record().items() <= weights.items()
    assert weights["sources"][0] == {"page": file.sources[0].page, "states": file.sources[0].states}
    (encoders,) = facts["training_starts_from"]
    assert encoders["name"] == "openai-clip-b" and encoders["sha256"] == PUBLISHED["openai-clip-b"].sha256
    assert facts["published_scores"]["note"] == "published, not reproduced here"
    table, check = "CAT-Seg, README of the released weights; PCA-Seg, Table 1", "python -m papers.reproduce cat-seg-b "
    assert facts["published_scores"][table]["a-150"] == {"miou": 31.8}
    assert facts["published_scores"]["check"].startswith(check)
    shown = segvoc_command("info", "cat-seg-b").out
    assert "status: published" in shown and "note: published, not reproduced here" in shown
    assert "    a-150:\n      miou: 31.8\n" in shown and f"    - page: {file.sources[0].page}\n      states: " in shown
    cache_path(file).parent.mkdir(parents=True)
    cache_path(file).write_bytes(bytes(1500))
    assert f"on disk: 1.5 kB at {cache_path(file)}\n" in segvoc_command("info", "cat-seg-b").out
    assert "(ready: weights are fetched)" in segvoc_command("models").out


def test_models_are_listed_one_a_line(segvoc_command, monkeypatch, tmp_path):
    use_hub(monkeypatch, tmp_path, "http://127.0.0.1:9")
    done = segvoc_command("models").ok()
    assert [line.split()[0] for line in done.out.splitlines()] == list(PRESETS)
    said = {line.split()[0]: line.rpartition("(")[2].removesuffix(")") for line in done.out.splitlines()}
    assert said["tiny"] == "ready: weights ship"
    assert said["cat-seg-b"] == "fetched at first use: 819 MB" and said["cat-seg-l"] == "fetched at first use: 2.3 GB"
    assert said["clipseg"] == "fetched at first use: 603 MB"
    assert said["clip-b"] == "fetched at first use: size not stated"
    assert said["eva-clip-l"] == "fetched at first use: 856 MB"
    assert said["pca-seg-clip-b"] == "downloads openai-clip-b) or pass --weights"
    assert said["pca-part-b"] == "downloads openai-clip-b and dinov2-s) or pass --weights"
    assert said["pca-seg-b"] == "no published weights; train it from encoders that you give, or pass --weights"


def test_doctor_prints_the_same_facts_for_people_and_as_json_and_no_secrets(
    segvoc_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "SEGVOC_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hush")
    done = segvoc_command("doctor", "--json").ok()
    facts = json.loads(done.out)
    assert facts["segvoc"]["tiny"].startswith("self-test passed")
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

    monkeypatch.setattr(shipped, "open_tiny", broken)
    done = segvoc_command("doctor")
    assert done.code == 1 and "can't label an image (ValueError: bad)" in done.out


def test_doctor_says_what_works_without_pytorch(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = segvoc_command("doctor").ok()
    assert "PyTorch       isn't installed: tiny and exported models run by ONNX Runtime; pip install" in done.out
