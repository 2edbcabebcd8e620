"""TensorBoard's files in the run folder."""

from collections.abc import Mapping
from typing import Any

from segvoc.training.callbacks import Callback, RunEnd, RunEvaluation, RunStart, step_numbers
from segvoc.training.trackers.installed import require


class TensorBoard(Callback):
    """Writes RUN/tensorboard, for `tensorboard --logdir RUN`.

    Raises: UsageError: the package isn't installed.
    """

    def __init__(self) -> None:
        require("tensorboard", "tensorboard", "train")
        self._writer: Any = None

    def on_start(self, run: RunStart) -> None:
        """Open the files; what they have of steps after the checkpoint isn't shown any more."""
        from torch.utils.tensorboard import SummaryWriter  # here, since it takes seconds to import

        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.done + 1)

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """Write the step's numbers."""
        for name, value in step_numbers(metrics).items():
            self._writer.add_scalar(name, value, metrics["step"])

    def on_evaluation(self, evaluation: RunEvaluation) -> None:
        """Write scores and overlays."""
        from segvoc.imaging.reading import read_image  # here, so that the command line can name the trackers at once

        for name, value in evaluation.numbers().items():
            self._writer.add_scalar(name, value, evaluation.step)
        for name, path in evaluation.images.items():
            self._writer.add_image(f"images/{name}", read_image(path), evaluation.step, dataformats="HWC")

    def on_end(self, end: RunEnd) -> None:
        """Close the files."""
        self._writer.close()
