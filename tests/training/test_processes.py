"""Two processes on gloo against one that sums up two passes, or takes the whole batch."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from tests.training.process_run import opened
from tests.training.runs import losses

# the rate is low, since Adam's first steps blow up rounding
COPIES = {"steps": 3, "ema": 0.9, "learning_rate": 1e-4}
SYNCHRONISED = {"steps": 2, "learning_rate": 1e-4, "loss": "released", "fod": 0.0}
SHARDS = {"steps": 2, "learning_rate": 1e-4, "save_every": 1}
CAPTIONS = {"learns": "captions", "steps": 3, "batch": 4, "learning_rate": 1e-4}
RUNS = {
    "copies": COPIES,
    "synchronised": SYNCHRONISED | {"sync_norm": True},
    "shards": SHARDS | {"parallel": "fsdp"},
    "captions": CAPTIONS,
}


def run_two(root, errors, module, *arguments, **environment):
    """Run a module in two processes, as `torchrun` would; both must end well. What they warn of goes to `errors`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            env=os.environ | shared | environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=root,
            stderr=errors,
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=240) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()


@pytest.fixture(scope="module")
def both(tmp_path_factory, pytestconfig):
    """The folder of the runs of two processes: `NAME` and the final weights `NAME.pt`."""
    out = tmp_path_factory.mktemp("two")
    with (out / "errors.txt").open("w") as errors:
        run_two(pytestconfig.rootpath, errors, "tests.training.process_run", out / "images", out, json.dumps(RUNS))
    return out


def assert_same(both, name, tmp_path, *, statistics=False, **changes):
    """One process with these changes gives what the two gave: losses and weights."""
    training = opened(tmp_path / "images", tmp_path / "one", **changes)
    training.run()
    ours, weights = torch.load(both / f"{name}.pt", weights_only=True), training.weights()
    assert ours.keys() == weights.keys()
    for key, value in weights.items():
        if statistics or not (".running_" in key or "num_batches" in key):
            torch.testing.assert_close(
                ours[key], value, rtol=1e-5, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
            )
    assert torch.allclose(torch.tensor(losses(both / name)), torch.tensor(losses(tmp_path / "one")), rtol=1e-5)


@pytest.mark.slow
def test_copies_of_the_network_learn_as_one_process_that_sums_up(both, tmp_path):
    """Batch norm is local to a process, as it is to a pass."""
    assert_same(both, "copies", tmp_path, passes=2, **COPIES)


@pytest.mark.slow
def test_copies_are_made_without_outdated_arguments(both):
    assert "broadcast_buffers" not in (both / "errors.txt").read_text()


def test_batch_norm_over_all_processes_is_that_of_the_whole_batch(both, tmp_path):
    assert_same(both, "synchronised", tmp_path, statistics=True, **SYNCHRONISED)


def test_a_network_in_shards_takes_the_same_steps(both, tmp_path):
    assert_same(both, "shards", tmp_path, passes=2, **SHARDS)
    state = torch.load(both / "shards/checkpoint.pt", weights_only=True)
    assert state["step"] == 2 and len(state["generators"]) == 2


def test_captions_teach_two_processes_what_they_teach_one(both, tmp_path):
    """Every image counts alike, however many phrases it has."""
    assert_same(both, "captions", tmp_path, passes=2, **CAPTIONS)
    assert_same(both, "captions", tmp_path / "whole", **CAPTIONS)


@pytest.mark.slow
def test_processes_wait_for_one_that_watches_longer_than_the_default_time_out(tmp_path, pytestconfig):
    """They share the watched images, too, and count what one process counts."""
    with (tmp_path / "errors.txt").open("w") as errors:
        run_two(pytestconfig.rootpath, errors, "tests.training.slow_watch", tmp_path)
    two, one = (
        [json.loads(line) for line in (tmp_path / name / "watched.jsonl").read_text().splitlines()]
        for name in ("run", "alone")
    )
    assert [line["step"] for line in two] == [1, 2] and two[-1] == one[-1]
