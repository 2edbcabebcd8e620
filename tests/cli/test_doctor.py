"""`segvoc doctor`: what a bug report needs, and nothing secret."""

import json
import sys
from importlib import metadata

import pytest

from segvoc.models import shipped
from tests.cli.command import Command


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
