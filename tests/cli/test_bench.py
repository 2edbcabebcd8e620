"""`segvoc bench`: real measurements with tiny at a small size, and wrong calls."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from segvoc.analysis import requirements
from segvoc.analysis.machine_speed import machine, measurement
from segvoc.analysis.machine_speed.rows import Sample
from segvoc.analysis.machine_speed.worker import Load, Loaded, Worker, WorkerFailed
from tests.cli.command import Command

SMALL = ("--words", "3,2,3", "--size", "40x30", "--seconds", "3000", "--threads", "2")


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SIDES", (32, 32))
    monkeypatch.setattr(measurement, "REPEATS", 1)


def strict(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.slow
def test_tiny_is_measured_and_the_results_are_written(segvoc_command: Command) -> None:
    pytest.importorskip("matplotlib")
    done = segvoc_command("bench", *SMALL, "--json", "--out", "results")
    assert done.code == 0, done.err
    (line,) = done.out.splitlines()
    record = strict(line)
    assert strict(Path("results/bench.json").read_text()) == record
    assert Path("results/bench.png").read_bytes().startswith(b"\x89PNG")
    assert done.err.endswith("-> results/bench.png\n")
    assert record["complete"] and record["settings"]["words"] == [2, 3]
    assert record["machine"]["threads"] == 2 and record["machine"]["cpu"]
    (tiny,) = record["models"]
    assert tiny["weights"] == "own" and tiny["float32"]["seconds_per_new_word"] > 0
    plain = [row for row in record["rows"] if row["threads"] == 2 and row["processes"] == 1]
    assert [(row["dtype"], row["words"]) for row in plain] == [
        (dtype, words) for dtype in ("float32", "bfloat16") for words in (2, 3)
    ]
    assert any(row["threads"] == 1 for row in record["rows"])
    for row in record["rows"]:
        assert row["status"] == "measured" and row["repeats"] >= 1
        assert 0 < row["fastest"] <= row["seconds"] <= row["slowest"]
        assert math.isclose(row["images_per_second"], row["processes"] / row["seconds"], rel_tol=0.9)
        assert 0.1 < row["memory_gb"] < 20
    assert record["advice"] and all(line.startswith(("tiny: ", "the models")) for line in record["advice"])


class Imitation(Worker):
    """Answers at once; what it says of 3 words, a test decides."""

    three: Any = None

    def __init__(self) -> None:
        self.request: Any = None

    def send(self, request: Any) -> None:
        self.request = request

    def receive(self, deadline: float) -> Any:
        if isinstance(self.request, Load):
            return Loaded(
                random=self.request.settings.models[self.request.case.model], load_seconds=1.0, word_seconds=0.01
            )
        if self.request.case.words == 3 and self.three is not None:
            raise self.three
        return Sample(seconds=(0.5,), memory=1.0)

    def close(self) -> None:
        pass


@pytest.fixture
def imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "Worker", Imitation)


@pytest.mark.usefixtures("imitated")
def test_a_table_for_people(segvoc_command: Command) -> None:
    done = segvoc_command("bench", *SMALL, "--threads", "1", "--seconds", "300")
    assert done.code == 0, done.err
    assert len([line for line in done.out.splitlines() if line.startswith("tiny  ")]) == 4
    assert "\ntiny: take --dtype float32, since bfloat16 is about as fast (0.50 s" in done.out
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("imitated")
def test_models_without_weights_here_get_random_ones_and_nothing_is_fetched(segvoc_command, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("segvoc.checkpoints.fetching.cached", lambda file: None)
    done = segvoc_command("bench", "tiny", "cat-seg-b", "pca-seg-b", "tiny", *SMALL, "--json")
    assert done.code == 0, done.err
    found = {model["model"]: model["weights"] for model in strict(done.out)["models"]}
    assert found == {"tiny": "own", "cat-seg-b": "random", "pca-seg-b": "random"}


@pytest.mark.usefixtures("imitated")
def test_a_row_that_fails_is_named_and_the_others_are_told(segvoc_command, monkeypatch):
    monkeypatch.setattr(Imitation, "three", WorkerFailed("memory ran out"))
    done = segvoc_command("bench", *SMALL)
    assert done.code == 1
    assert "segvoc: error: tiny, float32, 3 words: memory ran out\n" in done.err
    assert "segvoc: error: tiny, bfloat16, 3 words: memory ran out\n" in done.err
    assert "failed: memory ran out" in done.out and "0.50" in done.out


@pytest.mark.usefixtures("imitated")
def test_an_interruption_tells_and_writes_what_was_measured(segvoc_command, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(Imitation, "three", KeyboardInterrupt())
    done = segvoc_command("bench", *SMALL, "--out", "results")
    done.failed(130, "interrupted; results written so far are complete")
    assert "0.50" in done.out
    record = strict(Path("results/bench.json").read_text())
    assert not record["complete"] and [row["words"] for row in record["rows"]] == [2]


@pytest.mark.usefixtures("imitated")
def test_an_interruption_before_the_first_row_tells_and_writes_nothing(segvoc_command, monkeypatch):
    def interrupted(self: Imitation, deadline: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Imitation, "receive", interrupted)
    done = segvoc_command("bench", *SMALL, "--out", "results")
    done.failed(130, "interrupted")
    assert done.out == "" and not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tinny"], "'tinny' is unknown"),
        (["tiny", "none.safetensors"], "'none.safetensors' does not exist"),
        (["--words", "0"], "--words '0' is invalid; give numbers from 1, for example 20,171"),
        (["--words", "20,,3"], "--words '20,,3'"),
        (["--words", "cat, dog"], "--words 'cat, dog'"),
        (["--words", "-3"], "--words '-3'"),
        (["--seconds", "0"], "--seconds 0 is not enough time to measure; give more than 0"),
        (["--seconds", "nan"], "--seconds nan"),
        (["--seconds", "inf"], "--seconds inf"),
        (["--seconds", "soon"], "--seconds"),
        (["--threads", "0"], "--threads"),
        (["--size", "640"], "--size '640' is not a width and a height"),
        (["--size", "0x480"], "--size '0x480' is invalid"),
        (["--size", "1x2x3"], "--size '1x2x3'"),
        (["--device", "tpu"], "'tpu' is not available"),
        (["--set", "dense=qq"], "tiny has no setting 'dense'"),
        (["--window", "tcl"], "--window tcl is unknown to tiny; it is one of auto, single"),
        (["--dtype", "float32"], "--dtype"),
        (["--out", "a-file"], "'a-file' is a file"),
    ],
)
def test_wrong_calls(segvoc_command: Command, arguments: list[str], said: str) -> None:
    Path("a-file").write_text("")
    segvoc_command("bench", *arguments).refused(said)


def test_a_missing_matplotlib_is_named_before_anything_is_measured(segvoc_command, monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    segvoc_command("bench", "--out", "results").refused("matplotlib", 'pip install "segvoc[analysis]"')


def test_a_busy_machine_is_told(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    monkeypatch.setattr(measurement, "Worker", Imitation)
    done = segvoc_command("bench", *SMALL)
    assert "segvoc: warning: other programs are using this machine (load 99.0): times are too long\n" in done.err
