"""Trackers of experiments: TensorBoard, Weights & Biases, MLflow and Trackio.

    segvoc.train(recipe, images, "run", callbacks=[segvoc.trackers.Wandb(project="birds")])

All have the same curves: `train/...` of every step, `validation/...` of the watched images, and the
overlays of these. A resumed run goes on in the tracker where it was.
"""

import importlib.util

from segvoc.training.callbacks import Callback
from segvoc.training.trackers.mlflow_tracker import MLflow
from segvoc.training.trackers.tensorboard_files import TensorBoard
from segvoc.training.trackers.trackio_tracker import Trackio
from segvoc.training.trackers.wandb_tracker import Wandb

__all__ = ["TRACKERS", "MLflow", "TensorBoard", "Trackio", "Wandb", "default_callbacks", "named_tracker"]

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""The names of the trackers on the command line."""


def named_tracker(name: str, project: str | None = None) -> Callback:
    """The tracker of a name.

    Args:
        name: one of `TRACKERS`.
        project: where it puts the run; TensorBoard has no projects.

    Raises: UsageError: its package isn't installed.
    """
    if name == "tensorboard":
        return TensorBoard()
    return {"wandb": Wandb, "mlflow": MLflow, "trackio": Trackio}[name](project)


def default_callbacks() -> list[Callback]:
    """What follows a run if nothing was chosen: TensorBoard's files, where it is installed."""
    return [TensorBoard()] if importlib.util.find_spec("tensorboard") is not None else []
