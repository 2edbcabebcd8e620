"""One recipe from archives to its verdicts: the call, what it needs, what it gave, and what is expected of it."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from rehearsal.networks import SHRUNK
from rehearsal.originals import stems_of, write_originals
from rehearsal.scenes import SIZE, draw_scene
from segvoc.data.benchmarks import find_benchmark, prepared
from segvoc.imaging.label_maps import UNLABELED
from segvoc.reproduction.subjects import trained_subject
from segvoc.storage.json_files import read_json
from segvoc.training.recipe import Recipe
from segvoc.training.recipe_data import held_out_benchmark
from segvoc.training.recipes import RECIPES
from segvoc.training.start import Start

STEPS, PART_STEPS = 100, 60
"""Steps of every recipe; those of parts take longer, since they take all classes."""

BATCH, WORDS = 4, 16
"""Images and classes in a step."""

FASTER = 4.0
"""Factor on every learning rate: small networks learn with larger steps."""

CAPTIONS_RATE = 3e-4
"""Learning rate of the recipe of captions, whose decoder has learned from masks before."""

SAVE_EVERY = 10
"""Steps between checkpoints, so that kills fall between many."""

ABOVE_CHANCE = 3.0
"""Expectation: the mean of the scores is at least this often that of classes drawn at random."""

PARTS_ABOVE_CHANCE = 2.0
"""The same for parts, whose harmonic mean counts the parts of objects that no training shows as much as the others."""

LOSS_FALLS_TO = 0.95
"""Expectation: the mean loss of the last tenth of the steps is at most this share of that of the first."""

OTHER_BENCHMARKS = {"syn-seg-b": ("pc-60",)}
"""Benchmarks on which no paper scores a network, so that all are rehearsed."""

WITHOUT_ROWS = ("a-150", "pas-20")
"""The benchmarks of recipes that no paper reports scores of."""


ROWS = tuple(f"CAT-Seg (arXiv v1), Table 6, trained on {title}" for title in ("A-150", "PC-59"))
"""Rows of a table whose training sets no recipe names."""


def rehearsed_recipes() -> tuple[str, ...]:
    """The recipes of the papers."""
    return tuple(name for name, recipe in RECIPES.items() if not name.startswith("tiny"))


@dataclass(kw_only=True)
class Trial:
    """A recipe in a folder of its own."""

    name: str
    """The recipe."""
    folder: Path
    """Where its data, its report and its log are."""
    start: Path
    """The weights that it starts from."""
    benchmarks: tuple[str, ...]
    """The benchmarks on which it is scored."""
    steps: int = 0
    """Number of steps; 0: as many as it learns with."""
    kills: list[float] = field(default_factory=list)
    """Seconds after which its calls were killed."""
    seconds: float = 0.0
    """How long its calls took."""
    cpu_seconds: float = 0.0
    """Processor time of its calls."""
    code: int | None = None
    """Exit code of its last call."""

    @property
    def recipe(self) -> Recipe:
        """The recipe, of the small network; that of a row has the row's settings."""
        recipe = trained_subject(self.name, Start(), (), None).recipe
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

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.report / f"seed-{self.recipe.seeds[0]}" / "run"

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
            names += [recipe.data.dataset, held_out_benchmark(recipe)]
        write_originals(list(dict.fromkeys(names)), data)

    def arguments(self) -> list[str]:
        """The call of segvoc, the same after each kill."""
        recipe = self.recipe
        settings: dict[str, Any] = {
            "batch_size": BATCH,
            "num_workers": 0,
            "save_every": SAVE_EVERY,
            "eval_every": 0,
            "crop_size": recipe.data.crop_size // SHRUNK,
            "lr": FASTER * recipe.optimizer.lr,
            "warmup_steps": 0,
        }
        if recipe.supervision == "captions":
            settings |= {"extractor": "rules", "batch_size": 2 * BATCH, "lr": CAPTIONS_RATE}
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
        words = ["reproduce", self.name, "--train", "--benchmark", *self.benchmarks, "--steps", str(steps)]
        start = "--start-weights" if recipe.supervision == "captions" else "--encoder-weights"
        words += ["--seeds", str(recipe.seeds[0]), start, str(self.start.resolve())]
        words += captions if recipe.supervision == "captions" else []
        words += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        return [*words, "--data", "data", "--out", "report", "--jobs", "1", "--device", "cpu"]

    def scores(self) -> dict[str, float | None]:
        """The score on each benchmark that its paper reports [percent]; None if there is none.

        It is the mIoU; for parts, the harmonic mean of the mIoU of seen and of unseen ones, with the object given.
        """
        (model,) = read_json(self.report / "report.json")["models"]
        return {row["name"]: _score(row) for row in model["benchmarks"]}

    def losses(self) -> list[float]:
        """Loss of each step."""
        lines = (self.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        by_step = {entry["step"]: entry["loss"] for entry in map(json.loads, lines)}
        return [by_step[step] for step in sorted(by_step)]

    def numbers(self) -> dict[str, Any]:
        """All that must be the same after kills: scores, fingerprints of the data, losses, weights."""
        (model,) = read_json(self.report / "report.json")["models"]
        named = ("name", "verdict", "miou", "fwiou", "pixel_accuracy", "mean_accuracy", "parts", "scores", "images")
        rows = [{name: row[name] for name in (*named, "labels_sha256")} for row in model["benchmarks"]]
        return {"benchmarks": rows, "losses": self.losses(), "weights": _tensors_digest(self.run / "model.safetensors")}

    def chances(self) -> dict[str, float]:
        """By benchmark, the mIoU of labels drawn at random from the classes that its images have [percent]."""
        return {name: _chance(name, self.folder / "data") for name in self.benchmarks}

    def shortfalls(self) -> list[str]:
        """What isn't as expected, in a few words each."""
        if self.code not in (0, 1) or not (self.report / "report.json").exists():
            return [f"ended with exit code {self.code}; see {self.folder / 'log'}"]
        scores = [score for score in self.scores().values() if score is not None]
        chance = fmean(self.chances().values())
        if len(scores) < len(self.benchmarks):
            return ["a benchmark has no score"]
        found, losses = [], self.losses()
        least = PARTS_ABOVE_CHANCE if any(find_benchmark(name).parts for name in self.benchmarks) else ABOVE_CHANCE
        if fmean(scores) < least * chance:
            found.append(f"mean score {fmean(scores):.1f} is below {least:g} x chance, {chance:.1f}")
        tenth = max(1, len(losses) // 10)
        first, last = fmean(losses[:tenth]), fmean(losses[-tenth:])
        if last > LOSS_FALLS_TO * first:
            found.append(f"the loss went from {first:.3f} to {last:.3f}, not below {LOSS_FALLS_TO:g} times that")
        return found


def benchmarks_of(name: str) -> tuple[str, ...]:
    """Those of the papers' tables, and others that no recipe would rehearse."""
    found = trained_subject(name, Start(), (), None).benchmarks
    return (*(found or WITHOUT_ROWS), *OTHER_BENCHMARKS.get(name, ()))


def write_captions(folder: Path) -> None:
    """Draw the images of the training set once more, each with a caption."""
    from PIL import Image

    (folder / "images").mkdir(parents=True)
    scenes = {stem: draw_scene((0, 1, number)) for number, stem in enumerate(stems_of("coco-stuff-train"))}
    for stem, scene in scenes.items():
        Image.fromarray(scene.image).save(folder / f"images/{stem}.png")
    captions = {stem: [scene.caption] for stem, scene in scenes.items()}
    (folder / "captions.json").write_text(json.dumps(captions), encoding="utf-8")


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


def _score(row: Mapping[str, Any]) -> float | None:
    return row["parts"]["oracle-obj"]["part-cat-seg"]["harmonic"] if row.get("parts") else row["miou"]


def _tensors_digest(path: Path) -> str:
    """The SHA-256 of a file of safetensors without its header, which has the date."""
    content = path.read_bytes()
    return hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
