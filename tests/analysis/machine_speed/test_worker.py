"""Processes that measure: real ones with tiny, and what they do when they or their parents die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from segvoc.analysis.machine_speed import worker
from segvoc.analysis.machine_speed.rows import BenchSettings, Sample
from segvoc.analysis.machine_speed.worker import Load, Measure, Worker, WorkerFailed, WorkerLate, WorkerRefused
from tests.analysis.machine_speed.made_up import case
from tests.inference.small_network import Letters
from tests.processes import survivors

PATIENCE = 300.0


@pytest.fixture(scope="module")
def running() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.close()


def asked(one: Worker, request: Load | Measure):
    one.send(request)
    return one.receive(time.monotonic() + PATIENCE)


def load(model: str = "tiny", *, random: bool = False, **options) -> Load:
    settings = BenchSettings(
        models={model: random}, words=(20,), size=(40, 30), window="auto", options=options, seconds=1.0
    )
    return Load(case=case(model=model, threads=1), settings=settings, device="cpu")


def measure(**settings) -> Measure:
    return Measure(case=case(threads=1, **settings), seconds=0.0, repeats=1)


def test_a_process_loads_and_measures(running: Worker) -> None:
    loaded = asked(running, load())
    assert not loaded.random and loaded.load_seconds > 0 and loaded.word_seconds > 0
    plain = asked(running, measure(words=3))
    kept = asked(running, Measure(case=case(words=9, keep_classes=2, batch=2, threads=1), seconds=60.0, repeats=2))
    for sample, repeats in ((plain, 1), (kept, 2)):
        assert isinstance(sample, Sample) and len(sample.seconds) == repeats
        assert 0.1 < sample.memory < 20 and min(sample.seconds) > 0


def test_errors_are_answers_and_the_process_lives_on(running: Worker) -> None:
    with pytest.raises(WorkerRefused, match="'no-model' is unknown"):
        asked(running, load("no-model"))
    with pytest.raises(WorkerFailed, match=r"none\.safetensors") as error:
        asked(running, load("none.safetensors"))
    assert not isinstance(error.value, WorkerRefused)
    # settings that the weights don't fit, and weights that aren't here
    assert asked(running, load(blocks=2)).random
    assert asked(running, load(random=True)).random


def test_an_answer_that_is_late_and_a_process_that_is_closed() -> None:
    one = Worker()
    one.send(load())
    with pytest.raises(WorkerLate):
        one.receive(time.monotonic() - 1)
    one.close()
    assert not one.process.is_alive()


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGKILL, "killed, probably because memory ran out"), (signal.SIGTERM, "exit code -15")]
)
def test_a_process_that_dies_is_an_error_of_one_line(number: signal.Signals, said: str) -> None:
    one = Worker()
    pid = one.process.pid
    assert pid is not None
    os.kill(pid, number)
    one.process.join()
    one.send(load())
    with pytest.raises(WorkerFailed, match=said):
        one.receive(time.monotonic() + PATIENCE)
    one.close()


SCRIPT = """
import sys, time
from segvoc.analysis.machine_speed.worker import Worker
if __name__ == "__main__":
    worker = Worker()
    print(worker.process.pid, flush=True)
    worker.receive(time.monotonic() + 600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_ends_with_its_parent_and_says_nothing(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background jobs ignore Ctrl-C, and what they start does too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    child = int(parent.stdout.readline())
    # Ctrl-C reaches both, at whatever the child is: it imports PyTorch at first
    (os.killpg if number is signal.SIGINT else os.kill)(parent.pid, number)
    _, err = parent.communicate(timeout=PATIENCE)
    assert err.count("KeyboardInterrupt") == (number is signal.SIGINT)
    assert survivors([child], PATIENCE) == []


def test_drawn_texts_take_the_place_of_an_encoder() -> None:
    torch.manual_seed(0)
    encoder = Letters().to(torch.bfloat16)
    drawn = worker.DrawnTexts(encoder)
    calls = len(encoder.calls)
    embeddings = drawn(drawn.tokenize(["a", "b", "c"], multiple=8))
    assert embeddings.shape == (3, Letters.channels) and embeddings.dtype == torch.bfloat16
    torch.testing.assert_close(embeddings.norm(dim=-1).float(), torch.ones(3), rtol=0.02, atol=0.02)
    assert not torch.equal(embeddings[0], embeddings[1])
    assert len(encoder.calls) == calls and len(list(drawn.parameters())) == len(list(encoder.parameters()))
