"""A trial of a recipe from archives to verdict: the call, its inputs, its results and the expected ones."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from papers.rehearsal.networks import SHRUNK
from papers.reproduce import Subject, trained_subject
from segvoc.data.benchmarks import find_benchmark, prepared
from segvoc.evaluation.score_tables import percent
from segvoc.imaging.label_maps import UNLABELED
from segvoc.storage.files import read_json
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from segvoc.training.training_data import needed_data
from tests.data.scene_originals import stems_of, write_originals
from tests.data.scenes import SIZE, draw_scene

STEPS, PART_STEPS = 100, 60
"""Steps of every recipe; part recipes take longer, since they use all classes."""

BATCH, WORDS = 4, 16
"""Images and classes per step."""

FASTER = 4.0
"""Factor on every learning rate: small networks learn with larger steps."""

CAPTIONS_RATE = 3e-4
"""Learning rate of the caption recipe, whose decoder was pre-trained on masks."""

ABOVE_CHANCE = 3.0
"""Expectation: min ratio of the mean score to that of random classes."""

PARTS_ABOVE_CHANCE = 2.0
"""The same for parts, whose harmonic mean counts the parts of objects that no training shows as much as the others."""

LOSS_FALLS_TO = 0.95
"""Expectation: max ratio of the mean loss of the last tenth of the steps to the first tenth's."""

OTHER_BENCHMARKS = {"syn-seg-b": ("pc-60",)}
"""Benchmarks on which no paper scores a network, so that all are rehearsed."""

WITHOUT_ROWS = ("a-150", "pas-20")
"""The benchmarks of recipes that no paper reports scores of."""

SHARED = {
    "pca-seg-clip": "cat-seg",
    "cat-seg-eva": "pca-seg",
    "pca-part-b": "part-cat-seg-b",
    "err-seg-vit-b": "cat-seg-b",
}
"""By the beginning of a preset's name, that of the preset with the same encoders, which are trained once."""

REHEARSED = (
    *(name for name in RECIPES if not name.startswith("tiny")),
    *(f"CAT-Seg (arXiv v1), Table 6, trained on {title}" for title in ("A-150", "PC-59")),
)
"""The recipes of the papers, and rows of a table whose training sets no recipe names."""


@dataclass(kw_only=True)
class Trial:
    """A recipe in a separate folder."""

    name: str
    """The recipe."""
    folder: Path
    """Folder of its data, report and log."""
    start: Path
    """The weights that it starts from."""
    benchmarks: tuple[str, ...]
    """The benchmarks on which it is scored."""
    steps: int = 0
    """Number of steps; 0: the default."""
    seconds: float = 0.0
    """Duration of its call [s]."""
    code: int | None = None
    """Exit code of its call."""

    @classmethod
    def of(cls, name: str, folder: Path, starts: Path, benchmarks: tuple[str, ...] = (), steps: int = 0) -> "Trial":
        """A recipe, scored on the benchmarks of its papers' tables unless others are given."""
        subject = _subject(name)
        scored = benchmarks or (*(subject.benchmarks or WITHOUT_ROWS), *OTHER_BENCHMARKS.get(name, ()))
        model = "" if subject.recipe is None else subject.recipe.model
        known = next((model.replace(own, other) for own, other in SHARED.items() if model.startswith(own)), model)
        return cls(name=name, folder=folder, start=starts / f"{known}.safetensors", benchmarks=scored, steps=steps)

    @property
    def recipe(self) -> Recipe:
        """The recipe, of the small network; that of a row has the row's settings."""
        recipe = _subject(self.name).recipe
        assert recipe is not None, "the subject is trained"
        return recipe

    @property
    def learns_parts(self) -> bool:
        """Whether it trains a network of parts."""
        data = self.recipe.data.dataset
        return bool(data) and find_benchmark(data).training_parts is not None

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.folder / "report"

    def set_up(self) -> None:
        """Write the archives that it needs, or the captions."""
        shutil.rmtree(self.folder, ignore_errors=True)
        data = self.folder / "data"
        data.mkdir(parents=True)
        recipe = self.recipe
        names = [*self.benchmarks]
        if recipe.supervision == "captions":
            write_captions(self.folder / "captions")
        else:
            names += needed_data(recipe)
        write_originals(list(dict.fromkeys(names)), data)

    def arguments(self) -> list[str]:
        """The arguments of `papers.reproduce`."""
        recipe = self.recipe
        settings: dict[str, Any] = {
            "batch_size": BATCH,
            "num_workers": 0,
            "eval_every": 0,
            "crop_size": recipe.data.crop_size // SHRUNK,
            "lr": FASTER * recipe.optimizer.lr,
            "warmup_steps": 0,
        }
        if recipe.supervision == "captions":
            settings |= {"batch_size": 2 * BATCH, "lr": CAPTIONS_RATE}
        else:
            shortest = ",".join(str(side // SHRUNK) for side in recipe.data.short_sides)
            settings |= {
                "num_sampled_classes": 0 if self.learns_parts else WORDS,
                "short_sides": shortest,
                "max_long_side": recipe.data.max_long_side // SHRUNK,
            }
            settings |= {"resize_crop_to": recipe.data.resize_crop_to // SHRUNK, "precision": "float32"}
        steps = self.steps or (PART_STEPS if self.learns_parts else STEPS)
        captions = ["--captions", "captions/captions.json", "--images", "captions/images"]
        words = [self.name, "--train", "--benchmark", *self.benchmarks, "--set", f"steps={steps}"]
        start = "--weights" if recipe.supervision == "captions" else "--encoder-weights"
        words += ["--seeds", str(recipe.seeds[0]), start, str(self.start.resolve())]
        words += captions if recipe.supervision == "captions" else []
        words += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        return [*words, "--data", "data", "--out", "report", "--jobs", "1", "--device", "cpu"]

    def scores(self) -> dict[str, float | None]:
        """The score on each benchmark that its paper reports [percent]; None if there is none.

        It is the mIoU; for parts, the harmonic mean of the mIoU of seen and of unseen ones, with the object given.
        """
        (model,) = read_json(self.report / "report.json")["models"]
        return {
            row["name"]: row["parts"]["oracle-obj"]["part-cat-seg"]["harmonic"] if row.get("parts") else row["miou"]
            for row in model["benchmarks"]
        }

    def losses(self) -> list[float]:
        """Loss of each step."""
        metrics = self.report / f"seed-{self.recipe.seeds[0]}/run/metrics.jsonl"
        return [json.loads(line)["loss"] for line in metrics.read_text(encoding="utf-8").splitlines()]

    def chance(self) -> float:
        """The mean over the benchmarks of the mIoU of labels drawn at random from those of their images [percent]."""
        return fmean(_chance(name, self.folder / "data") for name in self.benchmarks)

    def finished(self) -> bool:
        """Whether there is a report; exit code 1 says that a score isn't the published one."""
        return self.code in (0, 1) and (self.report / "report.json").exists()

    def shortfalls(self) -> list[str]:
        """Unmet expectations, in a few words each."""
        if not self.finished():
            return [f"ended with exit code {self.code}; see {self.folder / 'log'}"]
        scores = [score for score in self.scores().values() if score is not None]
        if len(scores) < len(self.benchmarks):
            return ["a benchmark has no score"]
        found, losses, chance = [], self.losses(), self.chance()
        least = PARTS_ABOVE_CHANCE if any(find_benchmark(name).parts for name in self.benchmarks) else ABOVE_CHANCE
        if fmean(scores) < least * chance:
            found.append(f"mean score {fmean(scores):.1f} is below {least:g} x chance, {chance:.1f}")
        tenth = max(1, len(losses) // 10)
        first, last = fmean(losses[:tenth]), fmean(losses[-tenth:])
        if last > LOSS_FALLS_TO * first:
            found.append(f"the loss went from {first:.3f} to {last:.3f}, not below {LOSS_FALLS_TO:g} times that")
        return found

    def row(self) -> list[str]:
        """Its line in the table: recipe, scores, chance, losses, seconds and verdict."""
        shown = ["—"] * 3
        if self.finished():
            losses = self.losses()
            shown = [", ".join(f"{name} {percent(score)}" for name, score in self.scores().items())]
            shown += [f"{self.chance():.1f}", f"{losses[0]:.3f} to {losses[-1]:.3f}"]
        return [self.name, *shown, f"{self.seconds:.0f}", "; ".join(self.shortfalls()) or "learned"]


def _subject(name: str) -> Subject:
    return trained_subject(name)


def write_captions(folder: Path) -> None:
    """Draw the training set's images again, each with a caption."""
    (folder / "images").mkdir(parents=True)
    scenes = {stem: draw_scene((0, 1, number)) for number, stem in enumerate(stems_of("coco-stuff-train"))}
    for stem, scene in scenes.items():
        Image.fromarray(scene.image).save(folder / f"images/{stem}.png")
    content = {
        "images": [{"id": number, "file_name": f"{stem}.png"} for number, stem in enumerate(scenes)],
        "annotations": [{"image_id": number, "caption": scene.caption} for number, scene in enumerate(scenes.values())],
    }
    (folder / "captions.json").write_text(json.dumps(content), encoding="utf-8")


def _chance(name: str, data: Path) -> float:
    """Each class with a share f of the pixels has the IoU (f / K) / (f + 1 / K - f / K) among K classes at random."""
    counts: dict[int, int] = {}
    width, height = SIZE
    for record in prepared(find_benchmark(name), data).images:
        labels, pixels = np.unique(record.stored_labels((height, width)), return_counts=True)
        for label, count in zip(labels.tolist(), pixels.tolist(), strict=True):
            counts[label] = counts.get(label, 0) + count
    counts.pop(UNLABELED, None)
    total, classes = sum(counts.values()), len(counts)
    shares = [count / total for count in counts.values()]
    return 100 * fmean(share / (share * classes + 1 - share) for share in shares)
