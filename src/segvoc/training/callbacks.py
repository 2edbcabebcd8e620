"""Callbacks of a training run: trackers of experiments, and what users write themselves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segvoc.errors import one_line

NOT_MEASURED = ("step",)
"""Numbers among the metrics of a step that aren't curves."""


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A run that starts, or goes on where it was stopped."""

    folder: Path
    """The run folder."""
    config: Mapping[str, Any]
    """Recipe, data and seed, as config.json has them."""
    steps: int
    """Steps of the whole run."""
    done: int
    """Steps that are done: 0 for a new run."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """What callbacks have kept in the run folder when it was last started, by their key."""
    keep: Callable[[str, str], None] = lambda key, value: None
    """Keeps a short text under a key, for `kept` of a resumed run: with which id a tracker knows the run."""


@dataclass(frozen=True, kw_only=True)
class RunEvaluation:
    """The network's results on the watched images after some steps."""

    step: int
    """Completed steps."""
    scores: Mapping[str, float]
    """"pixel_accuracy" and "mean_iou", in [0, 1]; empty without labels."""
    iou: Mapping[str, float]
    """The IoU of each class that occurs, in [0, 1]."""
    images: Mapping[str, Path]
    """Overlays of some of the images: PNG files by the image's name."""

    def numbers(self) -> dict[str, float]:
        """All scores by the name of their curve: "validation/mean_iou", "validation/iou/cat"."""
        scores = {f"validation/{name}": value for name, value in self.scores.items()}
        return scores | {f"validation/iou/{word}": value for word, value in self.iou.items()}


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How a run has ended."""

    status: Literal["finished", "stopped", "failed"]
    """"stopped": by a signal; the run can be resumed."""
    step: int
    """Completed steps."""
    weights: Path | None
    """The trained weights, of a finished run."""


class Callback:
    """Follows a training run; derive from it and override what you need.

    Only the first process of a run calls it, between steps, so what takes long holds up the training. A callback that
    raises an exception doesn't end the training: a warning is printed, and the callback isn't called again.
    """

    def on_start(self, run: RunStart) -> None:
        """The run starts or goes on."""

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """A step is done.

        Args:
            metrics: a line of metrics.jsonl: "step", "loss" and its terms, "gradient_norm", "learning_rate",
                "learning_rates", "seconds"; also "gigabytes", the most memory so far (on a GPU that of its tensors).
        """

    def on_evaluation(self, evaluation: RunEvaluation) -> None:
        """The watched images were labeled, and scored if they have labels."""

    def on_end(self, end: RunEnd) -> None:
        """The run is finished, was stopped or has failed."""


def step_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among the metrics of a step by the name of their curve: "train/loss"."""
    return {
        f"train/{name}": float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and name not in NOT_MEASURED
    }


class Followers:
    """The callbacks of a run; one that fails is left out from then on.

    Args:
        callbacks: those of this process.
        warn: is called with a line about each that fails.
    """

    def __init__(self, callbacks: Sequence[Callback], warn: Callable[[str], None]) -> None:
        self._callbacks, self._warn, self._step = list(callbacks), warn, 0

    @contextmanager
    def session(self, run: RunStart, weights: Path) -> Iterator[None]:
        """Tell them of the start and of the end.

        Args:
            run: the run.
            weights: the file that a finished run has written.
        """
        self._step = run.done
        self._tell(lambda callback: callback.on_start(run))
        status: Literal["finished", "stopped", "failed"] = "failed"
        try:
            yield
            status = "finished"
        except (SystemExit, KeyboardInterrupt):
            status = "stopped"
            raise
        finally:
            end = RunEnd(status=status, step=self._step, weights=weights if status == "finished" else None)
            self._tell(lambda callback: callback.on_end(end))

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Tell them of a step."""
        self._step = metrics["step"]
        self._tell(lambda callback: callback.on_step(metrics))

    def evaluation(self, evaluation: RunEvaluation) -> None:
        """Tell them of the watched images."""
        self._tell(lambda callback: callback.on_evaluation(evaluation))

    def _tell(self, call: Callable[[Callback], None]) -> None:
        for callback in tuple(self._callbacks):
            try:
                call(callback)
            except Exception as error:
                # whatever a tracker raises, days of training are worth more
                self._callbacks.remove(callback)
                self._warn(f"{type(callback).__name__} is left out from here on ({one_line(error)}); training goes on")
