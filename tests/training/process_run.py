"""One of several processes of runs of the small network: `python -m tests.training.process_run PICTURES OUT JSON`."""

import json
import sys
from pathlib import Path

import torch

from segvoc.training.processes import joined
from tests.training.runs import drawn_pictures, open_run


def main(pictures: Path, out: Path, runs: dict[str, dict]) -> None:
    """Each run in turn, named by the folder that it gets, with its changes of the recipe."""
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as processes:
        for name, changes in runs.items():
            training = open_run(
                drawn_pictures(pictures / str(processes.rank)), out / name, processes=processes, **changes
            )
            training.run()
            weights = training.weights()
            if processes.first:
                torch.save(weights, out / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
