"""MLflow."""

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from segvoc.records import flattened
from segvoc.training.callbacks import Callback, RunEnd, RunEvaluation, RunStart, step_numbers
from segvoc.training.trackers.installed import PROJECT, require

SEND_EVERY = 5.0
"""Time between two requests with the numbers of steps [s]."""

MOST_NUMBERS, MOST_PARAMETERS, LONGEST_PARAMETER = 1000, 100, 500
"""What one of MLflow's requests takes: metrics, parameters, and characters of a parameter."""

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow asks a server that doesn't answer for minutes, during which nothing is trained."""

_ENDS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}

_REFUSED = re.compile(r"[^\w\-. /]", re.ASCII)
"""Characters that MLflow refuses in names."""


class MLflow(Callback):
    """Logs to MLflow, whose own settings apply: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN, ...

    Without a tracking URI, MLflow writes mlflow.db and mlruns in the working directory.

    Args:
        experiment: the experiment; None: MLFLOW_EXPERIMENT_NAME, or "segvoc".
        tracking_uri: the server or store; None: MLflow's own setting.

    Raises: UsageError: the package isn't installed.
    """

    def __init__(self, experiment: str | None = None, *, tracking_uri: str | None = None) -> None:
        require("mlflow", "mlflow-skinny", "mlflow")
        self._experiment, self._uri = experiment, tracking_uri
        self._client: Any = None
        self._run = ""
        self._waiting: list[Any] = []
        self._sent = 0.0

    def on_start(self, run: RunStart) -> None:
        """Create the run with the configuration as its parameters, or open the one that a resumed run had."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        self._client, self._sent = MlflowClient(tracking_uri=self._uri), time.monotonic()
        self._run = run.kept.get("mlflow", "")
        if self._run:
            self._client.update_run(self._run, status="RUNNING")
            return
        name = self._experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        self._run = self._client.create_run(experiment, run_name=run.folder.resolve().name).info.run_id
        run.keep("mlflow", self._run)
        texts = {key: _text(value) for key, value in flattened(run.config).items()}
        values = [Param(_REFUSED.sub("_", key), text) for key, text in texts.items()]
        for first in range(0, len(values), MOST_PARAMETERS):
            self._client.log_batch(self._run, params=values[first : first + MOST_PARAMETERS])

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """Keep the step's numbers, and send them once in a while."""
        self._keep(step_numbers(metrics), metrics["step"])
        if len(self._waiting) >= MOST_NUMBERS or time.monotonic() - self._sent > SEND_EVERY:
            self._send()

    def on_evaluation(self, evaluation: RunEvaluation) -> None:
        """Send scores and overlays."""
        self._keep(evaluation.numbers(), evaluation.step)
        self._send()
        for name, path in evaluation.images.items():
            folder = PurePosixPath("images", f"step_{evaluation.step:06d}", name).parent
            self._client.log_artifact(self._run, str(path), str(folder))

    def on_end(self, end: RunEnd) -> None:
        """Send the rest, and say how it ended."""
        self._send()
        self._client.set_terminated(self._run, status=_ENDS[end.status])

    def _keep(self, numbers: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        now = int(time.time() * 1000)
        self._waiting += [Metric(_REFUSED.sub("_", name), value, now, step) for name, value in numbers.items()]

    def _send(self) -> None:
        for first in range(0, len(self._waiting), MOST_NUMBERS):
            self._client.log_batch(self._run, metrics=self._waiting[first : first + MOST_NUMBERS])
        self._waiting, self._sent = [], time.monotonic()


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:LONGEST_PARAMETER]
