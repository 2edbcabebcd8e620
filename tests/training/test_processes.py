"""Two processes on gloo against one that sums up two passes, or takes the whole batch.

Both in float64, where they agree but for the last digits on any processor. In float32 they don't: Adam's first steps
are as long for a gradient that is zero but for rounding as for any other.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from segvoc.distributed import SHARDS
from tests.processes import free_port
from tests.training.process_run import opened
from tests.training.runs import losses
from tests.versions import needs_shards

COPIES = {"steps": 3}
SYNCHRONIZED = {"steps": 2, "loss": "masked", "fod_weight": 0.0}
SHARDED = {"steps": 2, "save_every": 1}
CAPTIONS = {"supervision": "captions", "steps": 3, "batch_size": 4}
RUNS = {
    "copies": COPIES,
    "synchronized": SYNCHRONIZED | {"sync_batch_norm": True},
    **({"shards": SHARDED | {"parallel": "fsdp"}} if SHARDS else {}),
    "captions": CAPTIONS,
}


def run_two(root: Path, errors: Path, module: str, *arguments: object) -> None:
    """Run a module in two processes, as `torchrun` would; both must end well. What they warn of goes to `errors`."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    with errors.open("w") as file:
        running = [
            subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", module, *map(str, arguments)],
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                cwd=root,
                stderr=file,
            )
            for rank in range(2)
        ]
        try:
            end = time.monotonic() + 240
            # one that waits for another that has failed would wait for days
            while None in (codes := [one.poll() for one in running]) and not any(codes) and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            for process in running:
                process.kill()
                process.wait()
    assert codes == [0, 0], f"the processes ended with {codes}:\n{errors.read_text()}"


@pytest.fixture(scope="module")
def both(tmp_path_factory, pytestconfig):
    """The folder of the runs of two processes: `NAME` and the final weights `NAME.pt`."""
    out = tmp_path_factory.mktemp("two")
    arguments = out / "images", out, json.dumps(RUNS)
    run_two(pytestconfig.rootpath, out / "errors.txt", "tests.training.process_run", *arguments)
    return out


def assert_same(both, name, tmp_path, *, statistics=False, **changes):
    """One process with these changes gives what the two gave: losses, norms of gradients, and weights."""
    training = opened(tmp_path / "images", tmp_path / "one", **changes)
    training.run()
    ours, weights = torch.load(both / f"{name}.pt", weights_only=True), training.weights()
    assert ours.keys() == weights.keys()
    for key, value in weights.items():
        if statistics or not (".running_" in key or "num_batches" in key):
            torch.testing.assert_close(
                ours[key], value, rtol=1e-9, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}"
            )
    found, expected = (torch.tensor(losses(folder), dtype=torch.float64) for folder in (both / name, tmp_path / "one"))
    torch.testing.assert_close(found[:, :2], expected[:, :2], rtol=1e-6, atol=0)  # losses are noted in float32
    torch.testing.assert_close(found[:, 2], expected[:, 2], rtol=1e-9, atol=0)


@pytest.mark.slow
def test_copies_of_the_network_learn_as_one_process_that_sums_up(both, tmp_path):
    """Batch norm is local to a process, as it is to a pass."""
    assert_same(both, "copies", tmp_path, grad_accum_steps=2, **COPIES)


def test_batch_norm_over_all_processes_is_that_of_the_whole_batch(both, tmp_path):
    assert_same(both, "synchronized", tmp_path, statistics=True, **SYNCHRONIZED)


@needs_shards
def test_a_network_in_shards_takes_the_same_steps(both, tmp_path):
    assert_same(both, "shards", tmp_path, grad_accum_steps=2, **SHARDED)
    state = torch.load(both / "shards/checkpoint.pt", weights_only=True)
    assert state["step"] == 2 and len(state["generators"]) == 2


def test_captions_teach_two_processes_what_they_teach_one(both, tmp_path):
    """Every image counts alike, however many phrases it has."""
    assert_same(both, "captions", tmp_path, grad_accum_steps=2, **CAPTIONS)
    assert_same(both, "captions", tmp_path / "whole", **CAPTIONS)


@pytest.fixture(scope="module")
def watched(tmp_path_factory, pytestconfig):
    """The folder of a run of two processes that watches images for longer than PyTorch's default time-out."""
    out = tmp_path_factory.mktemp("watched")
    run_two(pytestconfig.rootpath, out / "errors.txt", "tests.training.slow_watch", out)
    return out


@pytest.mark.slow
def test_processes_wait_for_one_that_watches_longer_than_the_default_time_out(watched):
    """They share the watched images, too, and count what one process counts."""
    two, one = (
        [json.loads(line) for line in (watched / name / "watched.jsonl").read_text().splitlines()]
        for name in ("run", "alone")
    )
    assert [line["step"] for line in two] == [1, 2] and two[-1] == one[-1]
