"""What people see of a run: a line of progress, TensorBoard, curves, and what the network makes of a few pictures."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from segvoc.data.captions.phrases import PhraseSet
from segvoc.data.labelled_images import LabelledImages
from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.inference.protocols import Protocols
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.networks.pca_seg import SegmentationNetwork
from segvoc.storage.atomic_writes import write_atomically
from segvoc.training.curves import draw_curves
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import RunFolder

SHOWN = 8
"""Pictures whose overlays are written; scores count all."""

_TOLD_APART = ("step", "loss", "seconds", "learning_rate", "learning_rates", "gradient_norm", "gigabytes", "problem")


class Monitor:
    """Listens to a run; every process may have one, all but the first are silent."""

    def __init__(
        self,
        *,
        folder: RunFolder,
        recipe: Recipe,
        network: SegmentationNetwork,
        protocols: Protocols,
        templates: tuple[str, ...],
        pictures: LabelledImages | PhraseSet,
        progress: bool | None,
        silent: bool,
    ) -> None:
        self.folder, self.recipe, self.pictures, self.silent = folder, recipe, pictures, silent
        self.network, self.protocols, self.templates = network, protocols, templates
        self._disable = True if silent else None if progress is None else not progress
        self._line: tqdm | None = None
        self._board: Any = None
        self._told: set[str] = set()

    @contextmanager
    def session(self, done: int) -> Iterator[None]:
        """While the run goes on from a step."""
        with tqdm(
            total=self.recipe.steps, initial=done, unit="step", disable=self._disable, dynamic_ncols=True
        ) as self._line:
            if not self.silent and importlib.util.find_spec("tensorboard") is not None:
                from torch.utils.tensorboard import SummaryWriter  # here, since it takes seconds to import

                self._board = SummaryWriter(str(self.folder.path / "tensorboard"), purge_step=done + 1)
            try:
                yield
            finally:
                if not self.silent:
                    self._draw()
                if self._board is not None:
                    self._board.close()

    def step(self, metrics: dict[str, Any]) -> None:
        """Show the metrics of a step."""
        numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, metrics["step"])
        if self._line is not None:
            terms = {name: f"{value:.4f}" for name, value in numbers.items() if name not in _TOLD_APART}
            memory = {"GB": f"{numbers['gigabytes']:.1f}"} if "gigabytes" in numbers else {}
            rate = {"lr": f"{metrics['learning_rate']:.1e}", "s": f"{metrics['seconds']:.2f}"}
            self._line.set_postfix({"loss": f"{metrics['loss']:.4f}"} | terms | rate | memory, refresh=False)
            self._line.update()

    def warn(self, line: str) -> None:
        """Tell people something, once, above the line of progress."""
        if not self.silent and line not in self._told:
            self._told.add(line)
            tqdm.write(f"segvoc: warning: {line}", file=sys.stderr)

    def look(self, step: int) -> None:
        """Segment the watched pictures: scores to `watched.jsonl`, the first few as pictures, curves anew."""
        segmenter = Segmenter(
            name=f"step {step}", network=self.network, protocols=self.protocols, templates=self.templates
        )
        if isinstance(self.pictures, PhraseSet):
            return self._look_at_phrases(segmenter, self.pictures, step)
        vocabulary, background = self.pictures.vocabulary, self.pictures.background
        classes = len(vocabulary)
        counts = np.zeros((classes, classes), np.int64)
        for index, picture in enumerate(self.pictures.images):
            try:
                image, labels = self.pictures.read(index)
            except InputError as error:
                self.warn(f"passed over: {error}")
                continue
            result = segmenter.segment(image, vocabulary, background=background)
            known = labels != UNLABELLED
            pairs = labels[known].astype(np.int64) * classes + result.labels[known]
            counts += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
            if index < SHOWN:
                self._show(result, picture.stem, step)
        self.folder.note("watched.jsonl", {"step": step, **_scores(counts)})
        self._draw()

    def _look_at_phrases(self, segmenter: Segmenter, phrases: PhraseSet, step: int) -> None:
        """The first few captioned pictures, each with its own phrases; there are no labels to score with."""
        for number, index in enumerate(phrases.pictures[:SHOWN]):
            try:
                image = phrases.images.read(index)
            except InputError as error:
                self.warn(f"passed over: {error}")
                continue
            result = segmenter.segment(image, phrases.names(number), threshold=0.5)
            self._show(result, phrases.images.images[index].stem, step)
        self._draw()

    def _show(self, result: Segmentation, stem: str, step: int) -> None:
        overlay = result.overlay()
        path = self.folder.path / "pictures" / f"step_{step:06d}" / f"{stem}.png"
        write_atomically(path, lambda file: overlay.save(file, "PNG"))

    def _draw(self) -> None:
        draw_curves(
            self.folder.path / "curves.png",
            self.folder.read_lines("metrics.jsonl"),
            self.folder.read_lines("watched.jsonl"),
        )


def _scores(counts: np.ndarray) -> dict[str, float | None]:
    """Pixel accuracy, and the mean IoU of the classes that are there, in [0, 1]; None without a labelled pixel."""
    right, labelled, said = counts.diagonal(), counts.sum(1), counts.sum(0)
    there = labelled > 0
    if not there.any():
        return {"pixel_accuracy": None, "mean_iou": None}
    iou = right[there] / (labelled + said - right)[there]
    return {"pixel_accuracy": float(right.sum() / labelled.sum()), "mean_iou": float(iou.mean())}
