"""`segvoc models`: every model on a line, with what its weights take."""

from pathlib import Path

import pytest

from segvoc.models.presets import PRESETS
from tests.cli.command import Command
from tests.loopback_hub import use_hub


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
    assert said["pca-seg-clip-b"] == "downloads openai-clip-b) or pass --weights"
    assert said["pca-part-b"] == "downloads openai-clip-b and dinov2-s) or pass --weights"
    assert said["pca-seg-b"] == "no published weights; train it from encoders that you give, or pass --weights"
