"""Weights & Biases."""

import os
import secrets
from collections.abc import Mapping
from typing import Any

from segvoc.errors import UsageError
from segvoc.training.callbacks import Callback, RunEnd, RunEvaluation, RunStart, step_numbers
from segvoc.training.trackers.installed import PROJECT, require

_EXIT_CODES = {"finished": 0, "stopped": 130, "failed": 1}


class Wandb(Callback):
    """Logs to Weights & Biases, whose own settings apply: `wandb login`, WANDB_MODE=offline, WANDB_ENTITY, ...

    Args:
        project: the project; None: WANDB_PROJECT, or "segvoc".
        options: more arguments of `wandb.init`, such as `tags=["night"]`.

    Raises: UsageError: the package isn't installed.
    """

    def __init__(self, project: str | None = None, **options: Any) -> None:
        require("wandb", "wandb", "wandb")
        self._project, self._options, self._run = project, options, None

    def on_start(self, run: RunStart) -> None:
        """Open the run, or the one that a resumed run had.

        Raises: UsageError: nobody is logged in; asking on a terminal would hold up the training.
        """
        import wandb

        mode = self._options.get("mode") or os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
        if mode == "online" and not wandb.login(prompt=False):
            raise UsageError("nobody is logged in to W&B: run `wandb login`, or set WANDB_MODE=offline")
        name = run.kept.get("wandb") or secrets.token_hex(4)
        self._run = wandb.init(
            **{
                "project": self._project or os.environ.get("WANDB_PROJECT") or PROJECT,
                "name": run.folder.resolve().name,
                "dir": str(run.folder),
                "config": dict(run.config),
                "id": name,
                "resume": "allow",
                "settings": wandb.Settings(console="off"),
                **self._options,
            }
        )
        # steps of its own never go back, those of a resumed run may
        self._run.define_metric("*", step_metric="step")
        run.keep("wandb", self._run.id)

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """Log the step's numbers."""
        self._log({"step": metrics["step"], **step_numbers(metrics)})

    def on_evaluation(self, evaluation: RunEvaluation) -> None:
        """Log scores and overlays."""
        import wandb

        images = {f"images/{name}": wandb.Image(str(path)) for name, path in evaluation.images.items()}
        self._log({"step": evaluation.step, **evaluation.numbers(), **images})

    def on_end(self, end: RunEnd) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish(exit_code=_EXIT_CODES[end.status])

    def _log(self, values: dict[str, Any]) -> None:
        if self._run is not None:
            self._run.log(values)
