"""Two processes on gloo against one that sums up two passes, or takes the whole batch.

In float64: in float32, Adam's first steps are as long for a gradient that is zero but for rounding as for any other.
`python -m tests.training.test_processes OUT JSON` starts the two.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.constants
import torch.distributed.distributed_c10d as c10d
from torch.multiprocessing.spawn import start_processes

from segvoc.evaluation.task import EvaluationTask
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.runtime.distributed import Processes, join_processes
from segvoc.training import monitor as monitors
from segvoc.training.loop import Training
from segvoc.training.monitor import Monitor
from segvoc.training.run_folder import RunFolder
from tests.inference.small_network import small_protocols
from tests.processes import free_port, printed
from tests.training.runs import drawn_images, losses, open_captions, open_run

TIMEOUT = timedelta(seconds=0.3)
"""PyTorch's default in these processes."""


def opened(images: Path, out: Path, **changes) -> Training:
    if changes.get("supervision") == "captions":
        return open_captions(out, dtype=torch.float64, **changes)
    # one image of a batch is labeled, the others hardly: a mean of means over passes or processes would differ
    return open_run(drawn_images(images, labeled=(0, 3)), out, dtype=torch.float64, **changes)


def monitor(training: Training, images: Path, folder: RunFolder, processes: Processes) -> Monitor:
    network = training.network.float()
    segmenter = NetworkSegmenter(name="small", network=network, protocols=small_protocols(), templates=("{}",))
    task = EvaluationTask.of_images(drawn_images(images))
    seen = {"segmenter": lambda _: segmenter, "validation": task, "progress": False}
    return Monitor(folder=folder, recipe=training.recipe, processes=processes, **seen)


def validate(training: Training, images: Path, out: Path) -> None:
    """Validate together, the first process for longer than the default timeout, and then in that process alone."""
    if training.processes.first:
        time.sleep(2 * TIMEOUT.total_seconds())
    monitor(training, images, training.folder, training.processes).validate(training.step)
    if training.processes.first:
        out.mkdir()
        monitor(training, images, RunFolder(out), Processes()).validate(training.step)


def run(images: Path, out: Path, name: str, processes: Processes, **changes) -> None:
    """A run, named by the folder that it gets; that on captions is interrupted and resumed."""
    training = opened(images, out / name, processes=processes, **changes)
    if name == "captions":
        if processes.first:  # it alone is told to stop during the first step; all stop, and go on from the checkpoint
            training.objective.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with suppress(SystemExit):
            training.run()
        assert training.step == 1
        training = opened(images, out / name, processes=processes, resume=True, **changes)
    training.run()
    weights = training.weights()
    if processes.first:
        torch.save(weights, out / f"{name}.pt")
    if name == "copies":
        validate(training, images, out / "alone")


def main(rank: int, out: Path, runs: dict[str, dict[str, Any]]) -> None:
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"}
    torch.set_num_threads(1)
    monitors.draw_curves = lambda *_: None  # takes seconds
    c10d.default_pg_timeout = torch.distributed.constants.default_pg_timeout = TIMEOUT
    with join_processes("gloo") as processes:
        for name, changes in runs.items():
            run(out / f"images-{processes.rank}", out, name, processes, **changes)


RUNS = {
    "copies": {"steps": 2, "class_chunk_size": 2, "activation_checkpointing": True},
    "synchronized": {"steps": 2, "loss": "masked", "fod_weight": 0.0, "sync_batch_norm": True},
    "captions": {"supervision": "captions", "steps": 3, "batch_size": 4},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory, pytestconfig):
    """The folder of the runs of two processes, with `torchrun`'s variables: `NAME` and the final weights `NAME.pt`."""
    out = tmp_path_factory.mktemp("two")
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    command = ("-X", "faulthandler", "-m", "tests.training.test_processes", out, json.dumps(RUNS))
    printed(*command, cwd=pytestconfig.rootpath, env=os.environ | shared, timeout=240)
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
    two, one = (json.loads((both / name / "validation.jsonl").read_text()) for name in ("copies", "alone"))
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


if __name__ == "__main__":
    method = "fork" if sys.platform == "linux" else "spawn"  # the import takes longer than the runs
    start_processes(main, (Path(sys.argv[1]), json.loads(sys.argv[2])), nprocs=2, start_method=method)
