"""Callbacks of a training run: experiment trackers, and user-defined ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segvoc.errors import one_line


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A starting or resumed run."""

    folder: Path
    """The run folder."""
    config: Mapping[str, Any]
    """Recipe, data and seed, as in config.json."""
    steps: int
    """Steps of the whole run."""
    done: int
    """Completed steps: 0 for a new run."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Texts that callbacks stored in the run folder, by key."""
    keep: Callable[[str, str], None] = lambda key, value: None
    """Stores a short text under a key for `kept` of a resumed run, such as a tracker's run id."""


@dataclass(frozen=True, kw_only=True)
class RunEvaluation:
    """The network's results on the validation set at a step."""

    step: int
    """Completed steps."""
    scores: Mapping[str, float]
    """"pixel_accuracy" and "mean_iou", in [0, 1]; empty without labels."""
    iou: Mapping[str, float]
    """The IoU of each class that occurs, in [0, 1]."""
    images: Mapping[str, Path]
    """Overlays of some of the images: PNG files by the image's name."""

    def numbers(self) -> dict[str, float]:
        """All scores by curve name: "validation/mean_iou", "validation/iou/cat"."""
        scores = {f"validation/{name}": value for name, value in self.scores.items()}
        return scores | {f"validation/iou/{word}": value for word, value in self.iou.items()}


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """The end of a run."""

    status: Literal["finished", "stopped", "failed"]
    """"stopped": by a signal; the run can be resumed."""
    step: int
    """Completed steps."""
    weights: Path | None
    """The trained weights of a finished run."""


class Callback:
    """Base class of callbacks; override what you need.

    Only rank 0 calls it, between steps, so slow callbacks hold up training. A callback that raises an exception is
    disabled with a warning; training continues.
    """

    def on_start(self, run: RunStart) -> None:
        """Called when the run starts or resumes."""

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """Called after each step.

        Args:
            metrics: a line of metrics.jsonl: "step", "loss" and its terms, "gradient_norm", "learning_rate",
                "learning_rates", "seconds"; also "gigabytes", the most memory so far (on a GPU that of its tensors).
        """

    def on_evaluation(self, evaluation: RunEvaluation) -> None:
        """Called after each validation; scores need labels."""

    def on_end(self, end: RunEnd) -> None:
        """Called when the run finishes, is stopped or fails."""


def step_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numeric metrics of a step by curve name: "train/loss"."""
    return {
        f"train/{name}": float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and name != "step"
    }


class CallbackList:
    """The callbacks of a run in this process; failing ones are disabled, with a line to `warn`."""

    def __init__(self, callbacks: Sequence[Callback], warn: Callable[[str], None]) -> None:
        self._callbacks, self._warn, self._step = list(callbacks), warn, 0

    @contextmanager
    def session(self, run: RunStart, weights: Path) -> Iterator[None]:
        """Notify them of the start and the end; `weights` is the file of a finished run."""
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
        """Notify them of a step."""
        self._step = metrics["step"]
        self._tell(lambda callback: callback.on_step(metrics))

    def evaluation(self, evaluation: RunEvaluation) -> None:
        """Notify them of a validation."""
        self._tell(lambda callback: callback.on_evaluation(evaluation))

    def _tell(self, call: Callable[[Callback], None]) -> None:
        for callback in tuple(self._callbacks):
            try:
                call(callback)
            except Exception as error:
                # a failing tracker must not lose days of training
                self._callbacks.remove(callback)
                self._warn(f"{type(callback).__name__} is disabled ({one_line(error)}); training continues")
