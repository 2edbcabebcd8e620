"""From the data folder to the report: preparation, optional training, evaluation, verdicts."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from segvoc.checkpoints.fetching import cached, fetch
from segvoc.checkpoints.published import PublishedFile
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.published_scores import scored_benchmarks
from segvoc.distributed import Processes, join_processes
from segvoc.errors import UsageError
from segvoc.evaluation.report.page import AGREEMENT
from segvoc.evaluation.report.report import origin_of
from segvoc.evaluation.runner import evaluate_shown
from segvoc.evaluation.task import EvaluationTask
from segvoc.hardware import cpu_name
from segvoc.models.loading import load_network
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import find_preset
from segvoc.records import to_json
from segvoc.reproduction.report import Row, empty_row, evaluated_row, failures, headline, mean_rows, write_reproduction
from segvoc.reproduction.subjects import (
    Availability,
    Subject,
    availability,
    prepare_downloaded,
    reproducible,
    scored_subject,
    trained_subject,
)
from segvoc.storage.files import file_sha256, read_json
from segvoc.storage.resume import difference
from segvoc.training.caption_task import CaptionFiles
from segvoc.training.recipe import Recipe
from segvoc.training.run import train
from segvoc.training.run_folder import RunFolder
from segvoc.training.start import Start
from segvoc.training.training_data import needed_data, recipe_data


@dataclass(frozen=True, kw_only=True)
class TrainingCall:
    """Training options of a reproduction, besides the recipes."""

    seeds: tuple[int, ...] = ()
    """A run per seed; empty: the recipe's seeds."""
    start: Start = field(default_factory=Start)
    """The initial weights; default: the authors' initial weights, which are fetched."""
    captions: CaptionFiles | None = None
    """The training data of a recipe that learns from captions."""
    settings: tuple[str, ...] = ()
    steps: int | None = None

    def seeds_of(self, recipe: Recipe) -> tuple[int, ...]:
        """The seeds of the runs."""
        return self.seeds or recipe.seeds

    def check(self, name: str, recipe: Recipe) -> None:
        """Raise `UsageError` if the data doesn't fit the recipe's supervision."""
        if recipe.supervision == "captions" and self.captions is None:
            raise UsageError(f"{name} learns from captions; name them: --captions captions.json --images DIR")
        if recipe.supervision != "captions" and self.captions is not None:
            raise UsageError(f"{name} learns from label maps in the data folder; leave out --captions")
        if recipe.supervision != "captions" and not recipe.data.dataset:
            raise UsageError(f"{name} is not a recipe of a paper; train it with `segvoc train {name}`")


def _trained(call: "ReproductionCall", subject: Subject, seed: int | None) -> Path:
    """Train a network, continue a run, or return if it is finished; the file of its weights."""
    recipe, training, device = subject.recipe, call.training, call.device
    assert recipe is not None and training is not None and seed is not None, "the subject is checked"
    run = call.out / call.folder(subject, seed) / "run"
    weights = run / "model.safetensors"
    if weights.exists():
        _check_finished(run, recipe, seed, training)
    elif training.captions is not None:
        train(recipe, training.captions, run, start=training.start, seed=seed, device=device, resume=True)
    else:
        images, watched = recipe_data(recipe, call.data)
        train(recipe, images, run, start=training.start, watched=watched, seed=seed, device=device, resume=True)
    return weights


def _check_finished(run: Path, recipe: Recipe, seed: int, call: TrainingCall) -> None:
    RunFolder.check(run, to_json(replace(recipe, network=recipe.network_config())))
    try:
        config = read_json(run / "config.json")
        found = {"seed": config["seed"], **config["start"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{str(run)!r} has weights but no record of its run; choose another --out") from None
    wanted = {"seed": seed, "weights": call.start.weights, "encoder_weights": call.start.encoder_weights}
    if changes := difference({name: found.get(name) for name in wanted}, wanted):
        raise UsageError(f"{str(run)!r} was trained otherwise ({changes}); choose another --out")


@dataclass(frozen=True, kw_only=True)
class ReproductionCall:
    """What to reproduce, and where."""

    names: tuple[str, ...]
    """Presets, recipes or rows of tables; see `scored_subject` and `trained_subject`."""
    weights: str | None = None
    """Weights file of a single network; None: published weights."""
    training: TrainingCall | None = None
    """How to train the networks; None: no training."""
    benchmarks: tuple[str, ...] = ()
    """Names of the benchmarks; empty: each network's benchmarks with published scores."""
    data: Path
    """The data folder, with downloads or prepared benchmarks."""
    out: Path
    """Folder of the report; an interrupted call is continued."""
    device: str = "auto"
    jobs: int = 1
    command: str = ""

    def subjects(self) -> tuple[Subject, ...]:
        """The networks, checked: `UsageError` if a name or setting is wrong, or weights or scores are missing."""
        for benchmark in self.benchmarks:
            find_benchmark(benchmark)
        if self.weights is not None and (len(self.names) > 1 or self.training is not None):
            other = "the training" if self.training is not None else f"{len(self.names)} networks"
            raise UsageError(f"--weights is for a single trained network; leave it out for {other}")
        if self.weights is not None and not Path(self.weights).is_file():
            raise UsageError(f"the file of weights {self.weights!r} does not exist")
        if self.training is None:
            return tuple(
                scored_subject(name, weights=self.weights, named_benchmarks=bool(self.benchmarks))
                for name in self.names
            )
        subjects = []
        for name in self.names:
            subject = trained_subject(name, self.training.start, self.training.settings, self.training.steps)
            assert subject.recipe is not None
            self.training.check(name, subject.recipe)
            if not (subject.rows or self.benchmarks):
                raise UsageError(f"no paper reports scores of {name}; choose benchmarks with --benchmark")
            subjects.append(subject)
        return tuple(subjects)

    def wanted(self, subject: Subject) -> tuple[str, ...]:
        """The benchmarks on which a network is scored."""
        return self.benchmarks or subject.benchmarks

    def folder(self, subject: Subject, seed: int | None) -> Path:
        """Folder of a network's reports, below `out`."""
        named = Path() if len(self.names) == 1 else Path(subject.folder)
        return named if seed is None else named / f"seed-{seed}"

    def described(self) -> dict[str, Any]:
        """Settings that must not change when a report is continued; seeds may be added."""
        training = None
        if (call := self.training) is not None:
            start = {"weights": call.start.weights, "encoder_weights": call.start.encoder_weights}
            training = {"settings": list(call.settings), "steps": call.steps, **start}
        return {"names": list(self.names), "weights": self.weights, "training": training}


def with_scores() -> tuple[str, ...]:
    """The presets with published weights and published scores."""
    return tuple(name for name in reproducible() if scored_benchmarks(name))


def reproduce(call: ReproductionCall, say: Callable[[str], object] = lambda line: None) -> dict[str, Any]:
    """Score networks of the papers by their published protocols, and compare the scores with the published ones.

    First lists which benchmarks are prepared, downloaded or missing, then fetches published weights and prepares
    downloaded benchmarks. With `call.training`, trains each network once per seed. Evaluates each benchmark with
    `segvoc.evaluate`, and rewrites the report after each. If the process is killed, the same call resumes with the
    next image or from the last checkpoint; finished work isn't repeated. Under `torchrun`, the processes share
    training and evaluation.

    `say` is called with each line of output, only on rank 0. Returns the content of the report, in all processes.
    """
    subjects = call.subjects()
    _check_report(call)
    with join_processes("gloo") as processes:
        states, published = _prepare(call, subjects, processes, say if processes.first else lambda line: None)
    content: dict[str, Any] = {
        "command": call.command,
        "call": call.described(),
        "data": str(call.data),
        "tolerance": AGREEMENT,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "models": [_waiting(call, subject, seed, states) for subject, seed in _turns(call, subjects)],
        "means": [],
    }
    for (subject, seed), model in zip(_turns(call, subjects), content["models"], strict=True):
        weights = str(published.get(subject.preset) or call.weights or _trained(call, subject, seed))
        with join_processes("gloo") as processes:
            model["weights"] = _weights_record(call, subject, weights)
            segmenter = load_network(
                subject.preset,
                weights=weights,
                device=processes.own_device(call.device),
                dtype="float32",
                options=subject.network_options(),
            )
            model["machine"] = machine(segmenter)
            origin = origin_of(
                subject.preset,
                None if call.weights is None and seed is None else str(weights),
                subject.network_options(),
            )
            for index, row in enumerate(model["benchmarks"]):
                if not states[row["name"]].usable:
                    continue
                folder = call.folder(subject, seed) / row["name"]
                task = EvaluationTask.of_benchmark(row["name"], call.data)
                report = evaluate_shown(segmenter, task, call.out / folder, subject.settings, origin, processes)
                model["benchmarks"][index] = evaluated_row(
                    states[row["name"]],
                    report,
                    folder.as_posix(),
                    subject.published(row["name"]),
                    list(_deviations(call, subject, states)),
                )
                _conclude(call, content)
                if processes.first:
                    write_reproduction(call.out, content)
    return content


def _turns(call: ReproductionCall, subjects: Sequence[Subject]) -> Iterator[tuple[Subject, int | None]]:
    """Each network with each of its seeds; None without training."""
    for subject in subjects:
        if call.training is None or subject.recipe is None:
            yield subject, None
        else:
            yield from ((subject, seed) for seed in call.training.seeds_of(subject.recipe))


def _check_report(call: ReproductionCall) -> None:
    """Refuse to continue the report of a different call."""
    path = call.out / "report.json"
    if not path.exists():
        return
    try:
        changes = difference(read_json(path)["call"], call.described())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{str(path)!r} is not a report of `segvoc reproduce`; choose another --out") from None
    if changes:
        raise UsageError(f"{str(call.out)!r} has results of another call ({changes}); choose another --out")


def _prepare(
    call: ReproductionCall, subjects: Sequence[Subject], processes: Processes, say: Callable[[str], object]
) -> tuple[dict[str, Availability], dict[str, Path]]:
    """Print the plan, fetch published weights, and prepare downloaded benchmarks.

    Returns each evaluation or training benchmark, and the files of published weights by preset, if evaluated.
    """
    benchmarks = dict.fromkeys(name for subject in subjects for name in call.wanted(subject))
    learned = dict.fromkeys(name for subject in subjects if subject.recipe for name in needed_data(subject.recipe))
    found = [availability(name, call.data) for name in learned | benchmarks]
    _say_plan(call, found, subjects, say)
    _require(call, found, learned, benchmarks)
    published = {}
    if call.training is None and call.weights is None:
        published = {subject.preset: fetch(_published(subject)) for subject in subjects}
    if processes.first:
        found = [prepare_downloaded(entry, call.data, call.jobs, say) for entry in found]
    found = processes.gather(found)[0]
    _require(call, found, learned, benchmarks)
    return {entry.name: entry for entry in found}, published


def _require(
    call: ReproductionCall, found: Sequence[Availability], learned: dict[str, None], benchmarks: dict[str, None]
) -> None:
    if not call.data.is_dir():
        raise UsageError(
            f"the data folder {str(call.data)!r} does not exist; create it and download benchmarks into it"
        )
    for entry in found:
        if entry.name in learned and not entry.usable:
            raise UsageError(f"the training needs {entry.name}: {entry.obstacle}")
    scored = [entry for entry in found if entry.name in benchmarks]
    if not any(entry.usable for entry in scored):
        names = ", ".join(entry.name for entry in scored)
        raise UsageError(f"none of {names} can be evaluated from {str(call.data)!r}; for example, {scored[0].obstacle}")


def _say_plan(
    call: ReproductionCall, found: Sequence[Availability], subjects: Sequence[Subject], say: Callable[[str], object]
) -> None:
    width = max(len(entry.name) for entry in found)
    say(f"segvoc: benchmarks in {str(call.data)!r}:")
    for entry in found:
        say(f"segvoc:   {entry.name.ljust(width)}  {entry.line()}")
    for subject in subjects:
        if subject.recipe is not None and call.training is not None:
            seeds = ", ".join(map(str, call.training.seeds_of(subject.recipe)))
            say(f"segvoc: {subject.name} is trained for {subject.recipe.optimizer.steps:,} steps, with seeds {seeds}")
        elif call.weights is None:
            file = _published(subject)
            state = "to be fetched" if cached(file) is None else "here already"
            facts = (f"{file.filename} of {file.place.origin}", file.size_text, f"license {file.license}", state)
            say(f"segvoc: weights of {subject.name}: {', '.join(facts)}")


def _published(subject: Subject) -> PublishedFile:
    file = find_preset(subject.preset).published
    assert file is not None, "the subject is checked"
    return file


def _deviations(call: ReproductionCall, subject: Subject, states: dict[str, Availability]) -> Iterator[str]:
    """Differences from the published network."""
    if call.weights is not None:
        yield f"weights of your own, {Path(call.weights).name}"
    yield from subject.deviations
    if subject.recipe is not None and needed_data(subject.recipe) and states[subject.recipe.data.dataset].partial:
        state = states[subject.recipe.data.dataset]
        whole = "" if state.benchmark.image_count is None else f" of {state.benchmark.image_count:,}"
        yield f"trained on {state.images:,}{whole} images of {state.name}"


def _conclude(call: ReproductionCall, content: dict[str, Any]) -> None:
    """Summarize the results so far: each model, and the means over seeds."""
    named = bool(call.benchmarks)
    for model in content["models"]:
        model["result"] = headline(model["benchmarks"])
        model["failures"] = failures(model["benchmarks"], named=named)
    content["means"] = []
    for name in dict.fromkeys(model["name"] for model in content["models"]):
        runs = [model for model in content["models"] if model["name"] == name]
        if len(runs) > 1:
            rows = mean_rows([run["benchmarks"] for run in runs])
            entry = {"name": name, "seeds": [run["seed"] for run in runs], "benchmarks": rows}
            content["means"].append({**entry, "result": headline(rows), "failures": failures(rows, named=named)})


def machine(segmenter: NetworkSegmenter) -> dict[str, str]:
    """Describe the machine that runs a network, as names and values."""
    device = segmenter.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "device": f"{device.type} ({name})",
        "precision": segmenter.dtype,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _waiting(
    call: ReproductionCall, subject: Subject, seed: int | None, states: dict[str, Availability]
) -> dict[str, Any]:
    """The entry of a model before it is scored."""
    recipe = subject.recipe
    rows: list[Row] = [empty_row(states[name], subject.published(name)) for name in call.wanted(subject)]
    return {
        "name": subject.name,
        "seed": seed,
        "summary": find_preset(subject.preset).summary,
        "result": headline(rows),
        "failures": [],
        "weights": {},
        "training": None if recipe is None else {"steps": recipe.optimizer.steps, "data": recipe.data.dataset},
        "machine": {},
        "benchmarks": rows,
    }


def _weights_record(call: ReproductionCall, subject: Subject, path: str) -> dict[str, Any]:
    facts = {"bytes": Path(path).stat().st_size, "path": path}
    if call.weights is not None or subject.recipe is not None:
        return {"filename": Path(path).name, "sha256": file_sha256(path), **facts}
    file = _published(subject)
    return {**file.record(), "page": file.place.page, "license_note": file.license_note, **facts}
