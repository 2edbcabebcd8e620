"""One of two processes of a run, one of which watches images for longer than PyTorch's default time-out."""

import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed.constants
import torch.distributed.distributed_c10d as c10d

from segvoc.distributed import Processes, join_processes
from segvoc.evaluation.task import EvaluationTask
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.training.monitor import Monitor
from segvoc.training.run_folder import RunFolder
from tests.inference.small_network import small_protocols
from tests.training.runs import drawn_images, open_run

SHORT = timedelta(seconds=3)


def train(out: Path, processes: Processes) -> None:
    images = drawn_images(out / f"images-{processes.rank}")
    training = open_run(images, out / "run", processes=processes, steps=2, eval_every=1)

    def monitor(folder: RunFolder, processes: Processes) -> Monitor:
        return Monitor(
            folder=folder,
            recipe=training.recipe,
            segmenter=lambda name: NetworkSegmenter(
                name=name, network=training.network, protocols=small_protocols(), templates=("{}",)
            ),
            watched=EvaluationTask.of_images(images),
            processes=processes,
            progress=False,
        )

    shared = monitor(training.folder, processes)

    def watch(step: int) -> None:
        if processes.first:
            time.sleep(2 * SHORT.total_seconds())
        shared.watch(step)

    training.listeners = replace(training.listeners, watch=watch)
    training.run()
    if processes.first:
        (out / "alone").mkdir()
        # the memory format in which the run watches: in another one, last bits differ, and with them single labels
        training.network.image_encoder.to(memory_format=torch.contiguous_format)
        monitor(RunFolder(out / "alone"), Processes()).watch(2)


def main(out: Path) -> None:
    torch.set_num_threads(1)
    c10d.default_pg_timeout = torch.distributed.constants.default_pg_timeout = SHORT
    with join_processes("gloo") as processes:
        train(out, processes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
