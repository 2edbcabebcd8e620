"""One of several processes of runs of small networks: `python -m tests.training.process_run OUT JSON`.

They run in float64; `test_processes` says why.
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

import torch
import torch.distributed.constants
import torch.distributed.distributed_c10d as c10d

from segvoc.distributed import Processes, join_processes
from segvoc.evaluation.task import EvaluationTask
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.training.loop import Training
from segvoc.training.monitor import Monitor
from segvoc.training.run_folder import RunFolder
from tests.inference.small_network import small_protocols
from tests.training.runs import drawn_images, open_run
from tests.training.small_runs import open_captions

TIMEOUT = timedelta(seconds=1)
"""PyTorch's default in these processes."""


def opened(images: Path, out: Path, **changes) -> Training:
    """A run on labels or on captions, as its recipe says."""
    if changes.get("supervision") == "captions":
        return open_captions(out, dtype=torch.float64, **changes)
    # one image of a batch is labeled, the others hardly: a mean of means over passes or processes would differ
    return open_run(drawn_images(images, labeled=(0, 3)), out, dtype=torch.float64, **changes)


def monitor(training: Training, images: Path, folder: RunFolder, processes: Processes) -> Monitor:
    """Validates the network on the images that it learns from."""
    segmenter = NetworkSegmenter(
        name="small", network=training.network.float(), protocols=small_protocols(), templates=("{}",)
    )
    return Monitor(
        folder=folder,
        recipe=training.recipe,
        segmenter=lambda _: segmenter,
        watched=EvaluationTask.of_images(drawn_images(images)),
        processes=processes,
        progress=False,
    )


def watch(training: Training, images: Path, out: Path) -> None:
    """Validate together, the first process for longer than the default timeout, and then in that process alone."""
    if training.processes.first:
        time.sleep(2 * TIMEOUT.total_seconds())
    monitor(training, images, training.folder, training.processes).watch(training.step)
    if training.processes.first:
        out.mkdir()
        monitor(training, images, RunFolder(out), Processes()).watch(training.step)


def run(images: Path, out: Path, name: str, processes: Processes, **changes) -> None:
    """A run that is interrupted and resumed; it is named by the folder that it gets."""
    training = opened(images, out / name, processes=processes, **changes)
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
        watch(training, images, out / "alone")


def main(out: Path, runs: dict[str, dict[str, Any]]) -> None:
    """Each run in turn, with its changes of the recipe."""
    torch.set_num_threads(1)
    c10d.default_pg_timeout = torch.distributed.constants.default_pg_timeout = TIMEOUT
    with join_processes("gloo") as processes:
        for name, changes in runs.items():
            run(out / f"images-{processes.rank}", out, name, processes, **changes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
