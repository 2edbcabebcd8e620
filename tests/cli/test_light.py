"""Plain tiny labels by its shipped programs: nobody waits for PyTorch who doesn't need it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segvoc.cli.options import ModelOptions
from segvoc.exported.segmenter import ExportedSegmenter

CALL = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules))
from segvoc.cli import main
main()
"""


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
def test_it_runs_where_nothing_else_is_asked_for(
    changed: dict[str, Any], gpu: bool, light: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segvoc.models.opening.may_have_gpu", lambda: gpu)
    opened = ModelOptions(**{"options": (), "dtype": "auto"} | changed).open_light("tiny")
    assert isinstance(opened, ExportedSegmenter) == light


def test_pytorch_is_not_imported(tmp_path: Path) -> None:
    call = ["segment", "samples/coffee.jpg", "--words", "cup, table", "--device", "cpu", "--out", str(tmp_path)]
    run = subprocess.run([sys.executable, "-c", CALL, *call], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False" and (tmp_path / "coffee.png").exists()
