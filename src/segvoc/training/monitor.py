"""Monitoring of a run: progress, callbacks, curves, and validation on a few images."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.data.captions.caption_index import CaptionDataset
from segvoc.errors import InputError, install_line
from segvoc.evaluation.metrics import Confusion
from segvoc.evaluation.protocol import evaluation_protocol
from segvoc.evaluation.runner import TaskSegmenter, segment_and_score
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask, GroundTruth, ImageScore
from segvoc.imaging.label_maps import UNLABELED_NAME
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.runtime.distributed import Processes
from segvoc.runtime.hardware import peak_gigabytes
from segvoc.runtime.progress import Progress, print_line
from segvoc.storage.atomic_writes import write_atomically
from segvoc.training.callbacks import Callback, CallbackList, RunEvaluation
from segvoc.training.losses import TERMS
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import RunFolder, validation_score


def draw_curves(path: Path, metrics: Sequence[dict[str, Any]], validation: Sequence[dict[str, Any]]) -> None:
    """Plot losses and their terms, learning rate, gradient norm and validation scores over the steps."""
    if not metrics:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here, since it takes a second to import
    from matplotlib.figure import Figure

    shown = metrics[:: max(1, len(metrics) // 2000)]
    terms = [name for name in metrics[-1] if name in ("loss", "segmentation", "fod", *TERMS)]
    panels = [
        ("loss", terms, shown, "log"),
        ("learning rate, gradient norm", ["learning_rate", "gradient_norm"], shown, "log"),
    ]
    for title, prefix in (("squared cosine of the two streams", "fod_"), ("cosine of the two streams", "cosine_")):
        if blocks := [name for name in metrics[-1] if name.startswith(prefix)]:
            panels.append((title, blocks, shown, "linear"))
    if validation:
        panels.append(("validation", ["pixel_accuracy", "mean_iou"], validation, "linear"))
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, (title, names, lines, scale) in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        steps = [line["step"] for line in lines]
        marker = "o" if len(lines) < 20 else None  # a single point draws no line
        values = {name: [np.nan if line.get(name) is None else line[name] for line in lines] for name in names}
        if not any(value > 0 for row in values.values() for value in row):
            scale = "linear"
        for name, row in values.items():
            axes.plot(steps, row, label=name.replace("_", " "), linewidth=1, marker=marker, markersize=3)
        axes.set(title=title, xlabel="step", xlim=(0, 1.03 * metrics[-1]["step"]), yscale=scale)
        axes.locator_params("x", integer=True)
        axes.legend()
    write_atomically(path, lambda file: FigureCanvasAgg(figure).print_png(file))


SHOWN = 8
"""Number of validation images with an overlay; scores use all."""

OnSegmented = Callable[[Segmentation, str], None]
"""Called with the results of a few images, and their stems."""


def _segment_labeled(
    task: EvaluationTask, segmenter: Segmenter, processes: Processes, on_segmented: OnSegmented
) -> tuple[Confusion, list[str]]:
    """Segment this process's share: the confusion counts, and a line per unreadable image."""
    # a single view, since published protocols may take several times as long
    protocol = evaluation_protocol(segmenter, task, EvaluationSettings(options={"window": "auto"}))
    network, images = TaskSegmenter(segmenter, task, protocol), task.select_images(None)
    shown, counts = {image.stem for image in images[:SHOWN]}, list[Confusion]()

    def keep(truth: GroundTruth, result: Segmentation, score: ImageScore) -> None:
        counts.append(score.confusion)
        if score.stem in shown:
            on_segmented(result, score.stem)

    # same batches as in an evaluation: the other images of a batch can change the last bits of a result
    failures = segment_and_score(network, processes.share(network.batches(images)), keep)
    return Confusion.total(counts, len(task.classes)), list(failures.values())


def _segment_captioned(
    dataset: CaptionDataset, segmenter: Segmenter, processes: Processes, on_segmented: OnSegmented
) -> tuple[None, list[str]]:
    """Segment the first few images by their phrases; there is nothing to count."""
    problems: list[str] = []
    for entry in processes.share(list(dataset.entries(0, SHOWN))):
        try:
            image = entry.location.read()
        except InputError as error:
            problems.append(str(error))
            continue
        (result,) = segmenter.start([image], dataset.phrases(entry), options=LabelOptions(threshold=0.5))()
        on_segmented(result, entry.name)
    return None, problems


_NOT_LOSSES = ("step", "loss", "seconds", "learning_rate", "learning_rates", "gradient_norm", "gigabytes", "problem")


@dataclass(kw_only=True, eq=False)
class Monitor:
    """Monitors a run. Every process has a monitor and segments validation images; only rank 0 writes and prints."""

    folder: RunFolder
    recipe: Recipe
    segmenter: Callable[[int], Segmenter]
    """Returns a segmenter with the network's current weights; its argument is the number of steps so far."""
    validation: EvaluationTask | CaptionDataset
    """Labeled images, which are scored, or captioned ones, of which the first few are segmented by their phrases."""
    processes: Processes
    progress: bool
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        self.followers, self._warned, self._drawn = CallbackList(self.callbacks, self.warn), set[str](), False

    @contextmanager
    def session(self, done: int) -> Iterator[None]:
        """Show progress while the run continues from step `done`, and draw its curves at the end."""
        steps, silent = self.recipe.optimizer.steps, not (self.progress and self.processes.first)
        with Progress(
            "training", total=steps, done=done, unit="step", silent=silent, keep=True, early=True
        ) as self._bar:
            if self.processes.first and importlib.util.find_spec("matplotlib") is None:
                print_line(f"no curves.png will be drawn: matplotlib is missing; {install_line('train')}")
            try:
                yield
            finally:
                if not self._drawn:  # the last step may have been validated
                    self._draw()

    def step(self, metrics: dict[str, Any]) -> None:
        """Show the metrics of a step."""
        self._drawn = False
        # GPU memory is in the metrics; process memory isn't per step
        self.followers.step({"gigabytes": peak_gigabytes(), **metrics})
        numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
        shown = {"loss": f"{metrics['loss']:.4f}"}
        # signed cosines are only in the files; the line shows the squared ones
        losses = [name for name in numbers if name not in _NOT_LOSSES and not name.startswith("cosine_")]
        shown |= {name: f"{numbers[name]:.4f}" for name in losses}
        shown |= {"lr": f"{metrics['learning_rate']:.1e}", "s": f"{metrics['seconds']:.2f}"}
        if "gigabytes" in numbers:
            shown["GB"] = f"{numbers['gigabytes']:.1f}"
        self._bar.update(note=", ".join(f"{name} {value}" for name, value in shown.items()))

    def warn(self, line: str) -> None:
        """Print a warning once."""
        if self.processes.first and line not in self._warned:
            self._warned.add(line)
            print_line(f"segvoc: warning: {line}")

    def validate(self, step: int) -> float | None:
        """Segment the validation images in the window `auto`; write scores to `validation.jsonl`, overlays and curves.

        Each process handles its share of the images, so all must call this. Returns their score (`validation_score`).
        """
        validation, folder = self.validation, self.folder.path / "images" / f"step_{step:06d}"

        def draw(result: Segmentation, stem: str) -> None:
            write_atomically(folder / f"{stem}.png", partial(result.overlay().save, format="PNG"))

        if isinstance(validation, EvaluationTask):
            words, result = validation.classes, _segment_labeled(validation, self.segmenter(step), self.processes, draw)
        else:
            words, result = (), _segment_captioned(validation, self.segmenter(step), self.processes, draw)
        gathered = self.processes.gather(result)
        for problem in (problem for _, problems in gathered for problem in problems):
            self.warn(f"passed over: {problem}")
        scores: dict[str, Any] = {}
        if words:
            scores = _scores(Confusion.total((counts for counts, _ in gathered if counts), len(words)), words)
        if self.processes.first:
            if scores:
                self.folder.note("validation.jsonl", {"step": step, **scores})
            self._draw()
            drawn = sorted(folder.rglob("*.png"))
            self.followers.evaluation(
                RunEvaluation(
                    step=step,
                    scores={name: value for name, value in scores.items() if isinstance(value, float)},
                    # empty without labels
                    iou={w: v for w, v in zip(words, scores.get("iou", ()), strict=False) if v is not None},
                    images={path.relative_to(folder).with_suffix("").as_posix(): path for path in drawn},
                )
            )
        return validation_score(scores)

    def _draw(self) -> None:
        if self.processes.first and importlib.util.find_spec("matplotlib") is not None:
            metrics, validation = (self.folder.read_lines(name) for name in ("metrics.jsonl", "validation.jsonl"))
            draw_curves(self.folder.path / "curves.png", metrics, validation)
            self._drawn = True


def _scores(counts: Confusion, words: Sequence[str]) -> dict[str, Any]:
    """Pixel accuracy, mean IoU over the classes that occur, and IoU per class, in [0, 1]; None without labels.

    "outside" has what pixels without a label got, as shares of all pixels by word.
    """
    names, pixels = (*words, UNLABELED_NAME), int(counts.pixels.sum()) + counts.ignored
    outside = {names[label]: round(count / pixels, 4) for label, count in counts.outside.items()}
    scores = counts.scores()
    if not counts.truth_pixels().any():
        return {"pixel_accuracy": None, "mean_iou": None, "outside": outside}
    iou = [None if np.isnan(one) else round(float(one) / 100, 4) for one in scores.iou]
    exact = {"pixel_accuracy": scores.pixel_accuracy / 100, "mean_iou": scores.miou / 100}
    return {**exact, "iou": iou, "outside": outside}
