"""Two processes on gloo against one that sums up two passes, or takes the whole batch.

Both in float64, where they agree but for the last digits on any processor. In float32 they don't: Adam's first steps
are as long for a gradient that is zero but for rounding as for any other.
"""

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from segvoc.distributed import Processes
from tests.processes import free_port
from tests.training.process_run import opened
from tests.training.runs import losses

RUNS = {
    "copies": {"steps": 2, "class_chunk_size": 2, "activation_checkpointing": True},
    "synchronized": {"steps": 2, "loss": "masked", "fod_weight": 0.0, "sync_batch_norm": True},
    "captions": {"supervision": "captions", "steps": 3, "batch_size": 4},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory, pytestconfig):
    """The folder of the runs of two processes, started as by `torchrun`: `NAME` and the final weights `NAME.pt`."""
    out = tmp_path_factory.mktemp("two")
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.training.process_run", str(out), json.dumps(RUNS)]
    with (out / "errors.txt").open("w") as errors:
        running = [
            subprocess.Popen(
                command,
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                cwd=pytestconfig.rootpath,
                stderr=errors,
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
    assert codes == [0, 0], f"the processes ended with {codes}:\n{(out / 'errors.txt').read_text()}"
    return out


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("copies", {"grad_accum_steps": 2}),  # batch norm is local to a process, as it is to a pass
        ("synchronized", {"sync_batch_norm": False}),  # batch norm over all processes is that of the whole batch
        ("captions", {"grad_accum_steps": 2}),
        ("captions", {}),  # every image counts alike, however many phrases it has
    ],
)
def test_two_processes_learn_what_one_learns(both, tmp_path, name, alone):
    """Losses, norms of gradients and weights; statistics too, where they are those of the whole batch."""
    training = opened(tmp_path / "images", tmp_path / "one", **RUNS[name] | alone)
    training.run()
    ours, weights = torch.load(both / f"{name}.pt", weights_only=True), training.weights()
    assert ours.keys() == weights.keys()
    for key, value in weights.items():
        if name == "synchronized" or not (".running_" in key or "num_batches" in key):
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-9, msg=key)
    found, expected = (torch.tensor(losses(folder), dtype=torch.float64) for folder in (both / name, tmp_path / "one"))
    torch.testing.assert_close(found[:, :2], expected[:, :2], rtol=1e-6, atol=0)  # losses are noted in float32
    torch.testing.assert_close(found[:, 2], expected[:, 2], rtol=1e-9, atol=0)


def test_processes_share_a_validation_and_wait_for_one_that_takes_longer_than_the_default_timeout(both):
    two, one = (json.loads((both / name / "watched.jsonl").read_text()) for name in ("copies", "alone"))
    assert two == one and two["step"] == 2


@pytest.mark.parametrize(
    ("asked", "count", "expected"),
    [
        ("auto", 4, "cuda:1"),  # the third rank, the second on its machine
        ("cuda", 4, "cuda:1"),
        ("cuda:0", 4, "cuda:0"),
        ("cpu", 4, "cpu"),
        ("auto", 1, "auto"),
    ],
)
def test_each_rank_of_a_machine_has_a_gpu_of_its_own(monkeypatch, asked, count, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Processes(rank=min(2, count - 1), count=count).own_device(asked) == expected
