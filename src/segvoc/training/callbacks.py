"""Callbacks of a training run: TensorBoard's, and your own."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from segvoc.errors import missing_extra, one_line
from segvoc.imaging.reading import read_image


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A starting or resumed run."""

    folder: Path
    config: Mapping[str, Any]
    """Recipe, data and seed, as in config.json."""
    steps: int
    done: int
    """Completed steps: 0 for a new run."""


@dataclass(frozen=True, kw_only=True)
class RunEvaluation:
    """The network's results on the validation set at a step."""

    step: int
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
    weights: Path | None


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


class TensorBoard(Callback):
    """Writes all numbers, and the overlays of validation images, to RUN/tensorboard, for `tensorboard --logdir RUN`.

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

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """Write the step's numbers."""
        for name, value in step_numbers(metrics).items():
            self._writer.add_scalar(name, value, metrics["step"])

    def on_evaluation(self, evaluation: RunEvaluation) -> None:
        """Write scores and overlays."""
        for name, value in evaluation.numbers().items():
            self._writer.add_scalar(name, value, evaluation.step)
        for name, path in evaluation.images.items():
            self._writer.add_image(f"images/{name}", read_image(path), evaluation.step, dataformats="HWC")

    def on_end(self, end: RunEnd) -> None:
        """Close the files."""
        self._writer.close()


def default_callbacks() -> list[Callback]:
    """TensorBoard's callback, if that is installed."""
    return [] if importlib.util.find_spec("tensorboard") is None else [TensorBoard()]


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
