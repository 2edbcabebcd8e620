"""Networks to reproduce: published weights, your own weights, or a recipe to train, with their published rows."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from segvoc.data.benchmarks import Benchmark, find_benchmark
from segvoc.data.preparation.prepare import check_preparation, prepare
from segvoc.data.published_scores import PublishedRow, find_rows, published_rows, recipe_rows
from segvoc.errors import InputError, UsageError
from segvoc.evaluation.task import EvaluationSettings
from segvoc.models.presets import PRESETS, find_preset
from segvoc.records import differences, parse, parse_settings
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from segvoc.training.start import Start, with_file_configuration

Status = Literal["prepared", "downloaded", "missing", "failed"]
"""Status of a benchmark in the data folder; "failed": downloaded but can't be prepared."""


@dataclass(frozen=True, kw_only=True)
class Availability:
    """A benchmark in the data folder."""

    name: str
    status: Status
    images: int = 0
    """Number of prepared images; for a part benchmark, of objects."""
    partial: bool = False
    """Whether images are missing, so that its scores can't be compared with published ones."""
    obstacle: str = ""
    """If it can't be evaluated: the problem, and where to get and put missing files."""

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark of this name."""
        return find_benchmark(self.name)

    @property
    def usable(self) -> bool:
        """Whether it is prepared or may be preparable."""
        return self.status in ("prepared", "downloaded")

    def line(self) -> str:
        """Status line for the plan."""
        if self.status == "prepared":
            images, of = "1 image" if self.images == 1 else f"{self.images:,} images", self.benchmark.image_count
            whole = f"{'' if of is None else f' of {of:,}'} (incomplete)" if self.partial else ""
            return f"prepared, {images}{whole}"
        if self.status == "downloaded":
            return "downloaded, will be prepared first"
        return f"{self.status}: {self.obstacle}"


def availability(name: str, root: Path) -> Availability:
    """Look for a benchmark in the data folder, without writing anything."""
    benchmark = find_benchmark(name)
    try:
        manifest = check_preparation(benchmark, root, allow_missing=True)
    except UsageError as error:
        return Availability(name=name, status="missing", obstacle=str(error))
    if manifest is None:
        return Availability(name=name, status="downloaded")
    return Availability(name=name, status="prepared", images=len(manifest.records), partial=manifest.partial)


def prepare_downloaded(entry: Availability, root: Path, jobs: int, say: Callable[[str], object]) -> Availability:
    """Prepare a benchmark if it is downloaded, like `segvoc prepare` without --partial; then it is prepared or failed.

    `say` gets a line per damaged file.
    """
    if entry.status != "downloaded":
        return entry
    try:
        done = prepare(entry.benchmark, root, jobs=jobs, on_failure=lambda error: say(f"segvoc: error: {error}"))
        manifest = done.manifest
    except (UsageError, InputError) as error:
        return replace(entry, status="failed", obstacle=str(error))
    if manifest.failed:
        images = "1 image is" if len(manifest.failed) == 1 else f"{len(manifest.failed)} images are"
        obstacle = (
            f"{images} damaged, for example {manifest.failed[0]!r}; replace the files, or run "
            f"`segvoc prepare {entry.name} --data {root} --partial` for a score that can't be compared"
        )
        return replace(entry, status="failed", obstacle=obstacle)
    return replace(entry, status="prepared", images=len(manifest.records), partial=manifest.partial)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to compare with published scores."""

    name: str
    """Name of a preset, a recipe, or a row of a paper's table."""
    preset: str
    rows: tuple[PublishedRow, ...]
    recipe: Recipe | None = None
    """The recipe that trains it; None: weights exist."""
    options: tuple[str, ...] = ()
    """Settings of the trained network for the evaluation, as NAME=VALUE."""
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    """How it is evaluated; by default by the published protocol of each benchmark."""
    deviations: tuple[str, ...] = ()
    """Deviations from the paper's recipe, each in a few words."""

    @property
    def folder(self) -> str:
        """Folder of its reports and runs, if there are several subjects."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks with published scores, in table order."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.scores))

    def published(self, benchmark: str) -> list[dict[str, Any]]:
        """The published scores on a benchmark, as plain values."""
        return [row.score_on(benchmark) for row in self.rows if benchmark in row.scores]

    def network_options(self) -> dict[str, Any]:
        """The settings for the evaluation, as `segvoc.load` takes them."""
        return {name: parse(bool | int | float, text) for name, text in parse_settings(self.options).items()}


def reproducible() -> tuple[str, ...]:
    """The presets with published weights."""
    return tuple(name for name, preset in PRESETS.items() if preset.published is not None)


def scored_subject(name: str, *, weights: str | None, named_benchmarks: bool) -> Subject:
    """A network with existing weights, published (None) or a file: a preset, or a row that needs no other training.

    With `named_benchmarks`, the user chose the benchmarks, which then don't need published scores.
    """
    if "," not in name:
        find_preset(name)
        subject = Subject(name=name, preset=name, rows=tuple(row for row in published_rows(name) if row.main))
    else:
        subject = _subject_of_rows(name)
        if weights is None and any(row.training for row in subject.rows):
            raise UsageError(
                f"{name!r} was trained with {' '.join(subject.rows[0].training)}, and its weights are not published; "
                "train it with --train, or give --weights"
            )
    if weights is None and find_preset(subject.preset).published is None:
        raise UsageError(
            f"{subject.preset} has no published weights that segvoc can fetch and check; give --weights FILE, or train "
            f"it with --train. Published weights exist for {', '.join(reproducible())}"
        )
    if not (subject.rows or named_benchmarks):
        raise UsageError(
            f"no paper that segvoc knows reports scores of {name} on its benchmarks; choose benchmarks with --benchmark"
        )
    return subject


def trained_subject(name: str, start: Start, settings: Sequence[str], steps: int | None) -> Subject:
    """A network to train: a recipe, a preset that has a recipe of this name, or a published row.

    `settings` change the recipe or its network (NAME=VALUE), `steps` its length.
    """
    if name in RECIPES:
        recipe = RECIPES[name]()
        whole = tuple(row for row in recipe_rows(name) if not (row.training or row.options or row.labels))
        rows = tuple(row for row in whole if row.main) or whole
        subject = Subject(name=name, preset=recipe.model, rows=rows)
    elif "," not in name:
        raise UsageError(f"recipe {name!r} is unknown; it is one of {', '.join(RECIPES)}, or the name of a table's row")
    else:
        subject = _subject_of_rows(name)
        recipe_name = subject.rows[0].recipe
        if recipe_name not in RECIPES:
            raise UsageError(f"no recipe of segvoc trains {name!r}; the recipes are {', '.join(RECIPES)}")
        recipe = RECIPES[recipe_name]().with_settings(subject.rows[0].training)
    published = with_file_configuration(recipe, start)
    published = replace(published, network=published.network_config())
    changed = published.with_settings(settings)
    changed = changed if steps is None else changed.with_settings(steps=steps)
    departures = [f"{key}={value}" for key, value in differences(changed, published).items()]
    if start.weights is not None:
        departures.append(f"started from {start.weights}")
    return replace(subject, recipe=changed, deviations=(*subject.deviations, *departures))


def _subject_of_rows(name: str) -> Subject:
    """The network of the rows with a name; part networks have a row per protocol."""
    rows = find_rows(name)
    row = rows[0]
    if not row.preset:
        raise UsageError(f"no network of segvoc stands for {name!r}")
    if row.protocol is None and any("seen" in scores for scores in row.scores.values()):
        raise UsageError(
            f"{name!r} has scores of seen and of unseen classes, which `python -m papers.seen` makes in a clone of the "
            f"reports of {row.preset}; reproduce {row.preset} first"
        )
    return Subject(
        name=name,
        preset=row.preset,
        rows=rows,
        options=row.options,
        settings=EvaluationSettings(options=row.labels),
        deviations=(row.departs,) if row.departs else (),
    )
