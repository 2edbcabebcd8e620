"""Trackio, which keeps runs on this machine or in a Space of the Hugging Face Hub."""

import secrets
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from segvoc.training.callbacks import Callback, RunEnd, RunEvaluation, RunStart, step_numbers
from segvoc.training.trackers.installed import PROJECT, require


class Trackio(Callback):
    """Logs to Trackio, whose own settings apply: TRACKIO_DIR, TRACKIO_SPACE_ID, ... `trackio show` shows the runs.

    Args:
        project: the project; None: "segvoc".
        options: more arguments of `trackio.init`, such as `space_id="owner/name"`.

    Raises: UsageError: the package isn't installed.
    """

    def __init__(self, project: str | None = None, **options: Any) -> None:
        require("trackio", "trackio", "trackio")
        self._project, self._options, self._run = project or PROJECT, options, None

    def on_start(self, run: RunStart) -> None:
        """Open the run, or the one that a resumed run had; Trackio tells runs apart by name."""
        import trackio  # pyright: ignore[reportMissingImports]

        name = run.kept.get("trackio") or f"{run.folder.resolve().name}-{secrets.token_hex(3)}"
        given = {"name": name, "config": dict(run.config), "resume": "allow", "embed": False, **self._options}
        with redirect_stdout(sys.stderr):  # standard output has the results alone
            self._run = trackio.init(self._project, **given)
        run.keep("trackio", name)

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """Log the step's numbers."""
        self._log(step_numbers(metrics), metrics["step"])

    def on_evaluation(self, evaluation: RunEvaluation) -> None:
        """Log scores and overlays."""
        import trackio  # pyright: ignore[reportMissingImports]

        images = {f"images/{name}": trackio.Image(str(path)) for name, path in evaluation.images.items()}
        self._log({**evaluation.numbers(), **images}, evaluation.step)

    def on_end(self, end: RunEnd) -> None:
        """Finish the run."""
        if self._run is not None:
            with redirect_stdout(sys.stderr):
                self._run.finish()

    def _log(self, values: dict[str, Any], step: int) -> None:
        if self._run is not None and values:
            self._run.log(values, step=step)
