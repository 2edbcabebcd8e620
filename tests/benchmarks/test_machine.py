"""Results of benchmarks on disk."""

import json
from pathlib import Path

import pytest

from benchmarks import machine


def test_rows_replace_those_with_the_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(machine, "matrix_rate", lambda: 1.0)
    machine.update("speed", [{"part": "rate", "share": 0.5}, {"part": "kills", "wrong": 1}], ["part"])
    machine.update("speed", [{"part": "kills", "wrong": 0}, {"part": "s3", "wrong": 0}], ["part"], engine="onnx")
    saved = json.loads((tmp_path / "speed.json").read_text())
    assert saved["rows"] == [{"part": "rate", "share": 0.5}, {"part": "kills", "wrong": 0}, {"part": "s3", "wrong": 0}]
    assert saved["machine"]["engine"] == "onnx"
