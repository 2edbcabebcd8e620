"""Experiment trackers: TensorBoard and Weights & Biases.

    segvoc.train(recipe, images, "run", callbacks=[trackers.Wandb(project="birds")])

Both have the same curves: `train/...` of every step, `validation/...`, and overlays of validation images.
A resumed run continues in the tracker.
"""

import importlib.util
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError, missing_extra, missing_package
from segvoc.training.callbacks import Callback, RunEnd, RunEvaluation, RunStart, step_numbers

__all__ = ["TRACKERS", "TensorBoard", "Wandb"]


class _Tracker(Callback):
    """A callback that logs all numbers, and the overlays of validation images."""

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        self._log(metrics["step"], step_numbers(metrics), {})

    def on_evaluation(self, evaluation: RunEvaluation) -> None:
        self._log(evaluation.step, evaluation.numbers(), evaluation.images)

    def _log(self, step: int, numbers: Mapping[str, float], images: Mapping[str, Path]) -> None:
        raise NotImplementedError


class TensorBoard(_Tracker):
    """Writes RUN/tensorboard, for `tensorboard --logdir RUN`.

    Raises: UsageError: the package isn't installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise missing_extra("tensorboard", "train")
        self._writer: Any = None

    def on_start(self, run: RunStart) -> None:
        """Open the files; stale steps after the checkpoint are hidden."""
        from torch.utils.tensorboard import SummaryWriter  # here, since it takes seconds to import

        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.done + 1)

    def _log(self, step: int, numbers: Mapping[str, float], images: Mapping[str, Path]) -> None:
        from segvoc.imaging.reading import read_image  # here, so that the command line can list trackers quickly

        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        for name, path in images.items():
            self._writer.add_image(f"images/{name}", read_image(path), step, dataformats="HWC")

    def on_end(self, end: RunEnd) -> None:
        """Close the files."""
        self._writer.close()


class Wandb(_Tracker):
    """Logs to Weights & Biases, whose settings apply: `wandb login`, WANDB_MODE=offline, WANDB_ENTITY, ...

    Args:
        project: the project; None: WANDB_PROJECT, or "segvoc".
        options: more arguments of `wandb.init`, such as `tags=["night"]`.

    Raises: UsageError: the package isn't installed.
    """

    def __init__(self, project: str | None = None, **options: Any) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise missing_package("wandb")
        self._project, self._options, self._run = project, options, None

    def on_start(self, run: RunStart) -> None:
        """Open a new W&B run, or the resumed run's.

        Raises: UsageError: not logged in; a prompt would hold up the training.
        """
        import wandb

        mode = self._options.get("mode") or os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
        if mode == "online" and not wandb.login(prompt=False):
            raise UsageError("not logged in to W&B: run `wandb login`, or set WANDB_MODE=offline")
        name = run.kept.get("wandb") or secrets.token_hex(4)
        self._run = wandb.init(
            **{
                "project": self._project or os.environ.get("WANDB_PROJECT") or "segvoc",
                "name": run.folder.resolve().name,
                "dir": str(run.folder),
                "config": dict(run.config),
                "id": name,
                "resume": "allow",
                "settings": wandb.Settings(console="off"),
                **self._options,
            }
        )
        # W&B's step can't decrease, but a resumed run's may
        self._run.define_metric("*", step_metric="step")
        run.keep("wandb", self._run.id)

    def _log(self, step: int, numbers: Mapping[str, float], images: Mapping[str, Path]) -> None:
        import wandb

        if self._run is not None:
            shown = {f"images/{name}": wandb.Image(str(path)) for name, path in images.items()}
            self._run.log({"step": step, **numbers, **shown})

    def on_end(self, end: RunEnd) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish(exit_code={"finished": 0, "stopped": 130, "failed": 1}[end.status])


TRACKERS = {"tensorboard": TensorBoard, "wandb": Wandb}
"""The trackers by their names on the command line."""
