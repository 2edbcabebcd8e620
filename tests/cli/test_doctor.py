"""What `segvoc doctor` prints: facts for a bug report, no secrets, and 1 where the shipped model doesn't run."""

import json
from importlib import metadata

import pytest

from segvoc.exported import shipped
from tests.cli.command import Command


def test_it_prints_the_same_facts_for_people_and_as_json(segvoc_command: Command) -> None:
    done = segvoc_command("doctor", "--json").ok()
    facts = json.loads(done.out)
    assert facts["segvoc"]["tiny"].startswith("labels an image")
    assert facts["engines"]["PyTorch"].startswith(metadata.version("torch").split("+")[0])
    assert facts["packages"]["onnxruntime"] == metadata.version("onnxruntime")
    assert {"working directory", "temporary files"} <= set(facts["folders"])
    printed = segvoc_command("doctor").out
    assert all(f"{section}\n" in printed for section in facts)
    assert facts["machine"]["processor"] in printed and facts["engines"]["GPUs"] in printed


def test_secrets_are_not_printed(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "SEGVOC_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hush")
    assert "hush" not in segvoc_command("doctor").out


def test_a_model_that_does_not_run_ends_with_1(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("bad")

    monkeypatch.setattr(shipped, "open_tiny", broken)
    done = segvoc_command("doctor")
    assert done.code == 1 and "can't label an image (ValueError: bad)" in done.out
