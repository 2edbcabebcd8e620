"""A run that is killed again and again ends with the results of an unbroken one."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.many_images import broken_run, make_crops, problems_of
from tests.processes import printed

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
import sys
from segvoc.models import loading
from tests.inference.small_network import small_segmenter
small = small_segmenter()
loading.load_network = lambda *_, **__: small
from segvoc.cli import main
sys.argv = ["segvoc", "segment", "in", "--words", "cat, sofa, wall", "--resume", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
def test_killed_run_loses_nothing_and_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(ROOT))))
    crops = make_crops(ROOT / "samples", tmp_path / "in", 20)
    printed("-c", COMMAND, "--out", "whole", cwd=tmp_path)
    lines = broken_run([sys.executable, "-c", COMMAND, "--out", "broken"], len(crops), 3, cwd=tmp_path)
    assert problems_of(tmp_path / "broken", tmp_path / "whole", lines) == []
    (tmp_path / "broken" / "00003.png").write_bytes(b"")
    (tmp_path / "broken" / "00004.json").unlink()
    found = problems_of(tmp_path / "broken", tmp_path / "whole", [*lines, lines[0]])
    assert sorted(found) == ["00003.png differs", "00004.json is lost", "in/00000.jpg was printed 2 times"]
