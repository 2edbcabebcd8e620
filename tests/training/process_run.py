"""One of several processes of runs of small networks: `python -m tests.training.process_run IMAGES OUT JSON`.

All run in float64; `test_processes` says why.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from segvoc.distributed import Processes, join_processes
from segvoc.training.loop import Training
from tests.training.caption_runs import open_captions
from tests.training.runs import drawn_images, open_run


def opened(images: Path, out: Path, **changes) -> Training:
    """A run on labels or on captions, as its recipe says."""
    if changes.get("supervision") == "captions":
        return open_captions(out, dtype=torch.float64, **changes)
    # one image of a batch is labeled, the others hardly: a mean of means over passes or processes would differ
    return open_run(drawn_images(images, labeled=(0, 3)), out, dtype=torch.float64, **changes)


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


def main(images: Path, out: Path, runs: dict[str, dict[str, Any]]) -> None:
    """Each run in turn, with its changes of the recipe."""
    torch.set_num_threads(1)
    with join_processes("gloo") as processes:
        for name, changes in runs.items():
            run(images / str(processes.rank), out, name, processes, **changes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
