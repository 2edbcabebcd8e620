"""One of several processes of runs of small networks: `python -m tests.training.process_run IMAGES OUT JSON`."""

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from segvoc.distributed import join_processes
from segvoc.training.loop import Training
from tests.training.caption_runs import open_captions
from tests.training.runs import drawn_images, open_run


def opened(images: Path, out: Path, **changes) -> Training:
    """A run on labels or on captions, as its recipe says."""
    if changes.get("learns") == "captions":
        return open_captions(out, **changes)
    return open_run(drawn_images(images), out, **changes)


def main(images: Path, out: Path, runs: dict[str, dict]) -> None:
    """Each run in turn, interrupted and resumed, named by the folder that it gets, with its changes of the recipe."""
    torch.set_num_threads(1)
    with join_processes("gloo") as processes:
        for name, changes in runs.items():
            own = images / str(processes.rank)
            training = opened(own, out / name, processes=processes, **changes)
            # the first process alone is told to stop after its first step; all stop, and go on from the checkpoint
            training.listeners = replace(training.listeners, step=lambda _: os.kill(os.getpid(), signal.SIGTERM))
            with suppress(SystemExit):
                training.run()
            assert training.step == 1
            training = opened(own, out / name, processes=processes, resume=True, **changes)
            training.run()
            weights = training.weights()
            if processes.first:
                torch.save(weights, out / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
