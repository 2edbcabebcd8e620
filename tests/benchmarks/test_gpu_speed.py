"""The benchmark of GPUs, where there is none: `make bench` goes on."""

import sys

import pytest
import torch

from benchmarks import gpu_speed


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_speed.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu_speed.main()
    assert capsys.readouterr().out == "nothing is measured, since this machine has no GPU\n"
