"""Score a network of the papers by its published protocol, with a verdict beside each published score.

`Subject` is a network with its published rows; `Reproduction` prepares the data, trains the network if asked to,
evaluates it, and rewrites the report after each benchmark. docs/papers/reproduce.md explains options and verdicts.
"""

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch

from papers.tables import find_rows
from papers.verdicts import Row, conclude, mean_scores, verdict, write_report
from segvoc.checkpoints.fetching import fetch
from segvoc.cli import run_command
from segvoc.cli.dataset_options import SeveralBenchmarks, data_option, data_root, refuse_twice
from segvoc.cli.train import train_command
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.preparation.prepare import check_preparation, prepare
from segvoc.data.published_scores import PUBLISHED_ROWS, PublishedRow
from segvoc.errors import InputError, UsageError, counted
from segvoc.evaluation.report import origin_of
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.score_tables import AGREEMENT, comparison
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.models.opening import load_network
from segvoc.models.presets import PRESETS, find_preset
from segvoc.runtime.distributed import Processes, join_processes
from segvoc.runtime.hardware import cpu_name
from segvoc.runtime.progress import print_line
from segvoc.storage.files import file_sha256, read_json
from segvoc.storage.records import differences, parse, parse_settings, to_json
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from segvoc.training.run_folder import RunFolder
from segvoc.training.start import Start, configured
from segvoc.training.training_data import needed_data

_OF_TRAINING = ("encoder_weights", "captions", "images", "features")
"""Options that go to `segvoc train` as they are."""


@click.command(cls=SeveralBenchmarks)
@click.argument("name", metavar="MODEL")
@click.option("--weights", metavar="FILE", help="Your weights instead of published ones; with --train to start from.")
@click.option("--train", "trains", is_flag=True, help="First train by the recipe MODEL, or by that of the row MODEL.")
@click.option("--seeds", metavar="N,N", help="Train once per seed; by default the recipe's seeds, usually one.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the recipe: steps=1000.")
@click.option("--encoder-weights", metavar="FILE", help="Encoder weights to start from, as in segvoc train.")
@click.option("--captions", metavar="PATH", help="Captions to train on, as in segvoc train.")
@click.option("--images", metavar="DIR", help="The images that a caption file refers to.")
@click.option("--features", metavar="DIR", help="Cache for the embeddings of phrases, shared by runs.")
@click.option("--benchmark", "benchmarks", multiple=True, metavar="NAME...", help="Default: all with a printed score.")
@data_option("The data folder, as for `segvoc prepare`.")
@click.option("--out", required=True, metavar="REPORT", help="Folder for the report; an unfinished report is resumed.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, metavar="N", help="To prepare downloads.")
def reproduce(name: str, weights: str | None, trains: bool, data: str | None, out: str, **given: Any) -> int:
    """Score MODEL by its paper's protocol, beside the published scores.

    \b
    python -m papers.reproduce cat-seg-b --benchmark a-150 --data ROOT --out REPORT

    MODEL is a preset, whose published weights are fetched and verified, unless --weights gives yours; with --train a
    recipe; or a row of a paper's table: "PCA-Seg, Table 5a, EPL". Downloaded benchmarks are prepared first. If
    interrupted, run the same command again to resume. Under torchrun, the processes share the work.

    Exit codes: 0 if every score is within 0.1 (or none is published); 1 if a score isn't, images are missing or
    damaged, or a requested benchmark can't be run; 2 if nothing can be run.
    """
    refuse_twice(given["benchmarks"])
    training = [f"--{option.replace('_', '-')}={given[option]}" for option in _OF_TRAINING if given[option]]
    if not trains and (training or given["settings"] or given["seeds"]):
        raise UsageError("--set, --seeds and what starts a training need --train; add it, or leave them out")
    if Path(out).exists() and not Path(out).is_dir():
        raise UsageError(f"the folder of the report {out!r} is a file; choose another --out")
    subject = trained_subject(name, given["settings"], weights) if trains else scored_subject(name, weights)
    if not (benchmarks := given["benchmarks"] or subject.benchmarks):
        raise UsageError(f"no paper reports scores of {name} on segvoc's benchmarks; choose some with --benchmark")
    seeds: tuple[int | None, ...] = (None,)
    if subject.recipe is not None:
        seeds = subject.recipe.with_settings([f"seeds={given['seeds']}"] if given["seeds"] else []).seeds
    content = Reproduction(
        subject=subject,
        benchmarks=tuple(benchmarks),
        weights=weights,
        training=tuple(training),
        seeds=seeds,
        data=Path(data_root(data, "--data is missing; name the data folder with --data ROOT")),
        out=Path(out),
        device=given["device"],
        jobs=given["jobs"],
    ).run()
    if not Processes.from_environment().first:
        return 0
    return conclude(content, out, asked=bool(given["benchmarks"]))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to compare with published scores."""

    name: str
    """Name of a preset, a recipe, or a row of a paper's table."""
    preset: str
    rows: tuple[PublishedRow, ...]
    recipe: Recipe | None = None
    """The recipe that trains it; None: weights exist."""
    base: str = ""
    """Name of the recipe without its settings."""
    changes: tuple[str, ...] = ()
    """Settings of the recipe, as NAME=VALUE: the row's and the user's."""
    deviations: tuple[str, ...] = ()
    """Deviations from the paper's network or recipe, each in a few words."""

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks with published scores, in table order."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.scores))

    def published(self, benchmark: str) -> list[Row]:
        """The published scores on a benchmark."""
        return [row.score_on(benchmark) for row in self.rows if benchmark in row.scores]

    def evaluation(self) -> tuple[dict[str, Any], EvaluationSettings]:
        """Options of the network and of its labels that a row changes; none for presets and recipes."""
        if "," not in self.name:
            return {}, EvaluationSettings()
        options = {name: parse(bool | int | float, text) for name, text in parse_settings(self.rows[0].options).items()}
        return options, EvaluationSettings(options=self.rows[0].labels)


def scored_subject(name: str, weights: str | None) -> Subject:
    """A network with weights, published (None) or a file: a preset, or a row that needs no other training."""
    if "," in name:
        subject = _subject_of_rows(name)
        if weights is None and (settings := " ".join(subject.rows[0].training)):
            raise UsageError(f"{name!r} was trained with {settings}; train it with --train, or give --weights")
    else:
        find_preset(name)
        subject = Subject(name=name, preset=name, rows=tuple(r for r in PUBLISHED_ROWS if r.main and r.preset == name))
    if weights is not None:
        if not Path(weights).is_file():
            raise UsageError(f"the file of weights {weights!r} does not exist")
        return replace(subject, deviations=(f"weights of your own, {Path(weights).name}", *subject.deviations))
    if PRESETS[subject.preset].published is None:
        known = ", ".join(name for name, preset in PRESETS.items() if preset.published is not None)
        raise UsageError(
            f"{subject.preset} has no published weights that segvoc can fetch and check; give --weights FILE, or train "
            f"it with --train. Published weights exist for {known}"
        )
    return subject


def trained_subject(name: str, settings: Sequence[str] = (), weights: str | None = None) -> Subject:
    """A network to train, by a recipe or by the recipe and settings of a row; `weights` are what it starts from.

    Further `settings` of the recipe or its network (NAME=VALUE) and the weights are deviations.
    """
    if name in RECIPES:
        of_recipe = (row for row in PUBLISHED_ROWS if row.recipe == name)
        whole = tuple(row for row in of_recipe if not (row.training or row.options or row.labels))
        rows = tuple(row for row in whole if row.main) or whole
        subject = Subject(name=name, preset=RECIPES[name]().model, rows=rows, base=name)
    elif "," in name:
        row = (subject := _subject_of_rows(name)).rows[0]
        if row.recipe not in RECIPES:
            raise UsageError(f"no recipe of segvoc trains {name!r}; the recipes are {', '.join(RECIPES)}")
        subject = replace(subject, base=row.recipe, changes=row.training)
    else:
        raise UsageError(f"recipe {name!r} is unknown; it is one of {', '.join(RECIPES)}, or the name of a table's row")
    recipe = configured(RECIPES[subject.base](), Start(weights=weights)).with_settings(subject.changes)
    if recipe.supervision == "labels" and not recipe.data.dataset:
        raise UsageError(f"{name} is not a recipe of a paper; train it with `segvoc train {name}`")
    published = replace(recipe, network=recipe.network_config())
    changed = published.with_settings(settings)
    departures = [f"{key}={value}" for key, value in differences(changed, published).items()]
    departures += [] if weights is None else [f"started from {weights}"]
    changes, deviations = (*subject.changes, *settings), (*subject.deviations, *departures)
    return replace(subject, recipe=changed, changes=changes, deviations=deviations)


def _subject_of_rows(name: str) -> Subject:
    """The network of the rows with a name; part networks have a row per protocol."""
    rows = find_rows(name)
    if not rows[0].preset:
        raise UsageError(f"no network of segvoc stands for {name!r}")
    if rows[0].protocol is None and any("seen" in scores for scores in rows[0].scores.values()):
        raise UsageError(f"{name!r} scores seen and unseen classes apart, as `python -m papers.seen` does from reports")
    return Subject(name=name, preset=rows[0].preset, rows=rows, deviations=tuple(filter(None, [rows[0].departs])))


def prepared(name: str, root: Path, jobs: int) -> Row:
    """Prepare a benchmark if it is downloaded; its "status" (prepared, missing, failed), and "why" or "images"."""
    benchmark, status = find_benchmark(name), "missing"
    try:
        if (manifest := check_preparation(benchmark, root, allow_missing=True)) is None:
            status = "failed"
            manifest = prepare(benchmark, root, jobs=jobs, on_failure=print_line)
    except (UsageError, InputError) as error:
        return {"status": status, "why": str(error)}
    if failed := manifest.failed:
        why = f"{counted(len(failed), 'image')} can't be read, for example {failed[0]!r}; replace the files, or run "
        why += f"`segvoc prepare {name} --data {root} --partial` for a score that can't be compared"
        return {"status": status, "why": why}
    return {"status": "prepared", "why": "", "images": len(manifest.records), "partial": manifest.partial}


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What to reproduce, and where."""

    subject: Subject
    benchmarks: tuple[str, ...]
    weights: str | None = None
    """Weights file of the network, or of what its training starts from; None: published weights."""
    training: tuple[str, ...] = ()
    """Further options of `segvoc train`: "--encoder-weights=CLIP.pt"."""
    seeds: tuple[int | None, ...] = (None,)
    """A training per seed; (None,): no training."""
    data: Path
    out: Path
    device: str = "auto"
    jobs: int = 1

    def run(self) -> dict[str, Any]:
        """Prepare, train, evaluate, and write the report after each benchmark; its content."""
        subject, (options, settings) = self.subject, self.subject.evaluation()
        call = {"name": subject.name, "deviations": list(subject.deviations), "training": list(self.training)}
        self._check_report(call)
        with join_processes("gloo") as processes:
            found = self._prepare(processes)
        models = [dict[str, Any](name=subject.name, seed=seed, weights={}, machine="") for seed in self.seeds]
        content = {
            "command": shlex.join(["python", "-m", "papers.reproduce", *sys.argv[1:]]),
            "call": call,
            "data": str(self.data),
            "tolerance": AGREEMENT,
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "models": models,
        }
        reports: dict[int | None, dict[str, Any]] = {seed: {} for seed in self.seeds}
        self._write(content, found, reports, processes)  # before training, so that another call is refused
        for seed, model in zip(self.seeds, models, strict=True):
            folder = self.out if seed is None else self.out / f"seed-{seed}"
            weights = self.weights if seed is None else self._train(seed, folder / "run")
            with join_processes("gloo") as processes:
                device = processes.own_device(self.device)
                network = load_network(subject.preset, weights=weights, device=device, dtype="float32", options=options)
                chip = torch.cuda.get_device_name(network.device) if network.device.type == "cuda" else cpu_name()
                model["machine"] = f"{network.device.type} ({chip}), {network.dtype}, {platform.platform()}"
                shared: dict[str, Any] = {"origin": origin_of(network, weights, options), "processes": processes}
                model["weights"] = _weights_record(subject.preset, weights)
                for name in (name for name in self.benchmarks if not found[name]["why"]):
                    task = EvaluationTask.of_benchmark(name, self.data)
                    reports[seed][name] = evaluate(network, task, folder / name, settings, **shared, progress=True)
                    self._write(content, found, reports, processes)
        return content

    def _check_report(self, call: Mapping[str, Any]) -> None:
        """Refuse to replace the report of a different call; seeds and benchmarks may be added."""
        path = self.out / "report.json"
        try:
            before = read_json(path)["call"] if path.exists() else call
        except (ValueError, TypeError, KeyError):
            before = None
        if before != call:
            raise UsageError(f"{str(path)!r} is the report of another call ({before}); choose another --out")

    def _prepare(self, processes: Processes) -> dict[str, Row]:
        """Prepare all benchmarks, also those of the training, and list what is there before any transfer."""
        if not self.data.is_dir():
            raise UsageError(f"the data folder {str(self.data)!r} does not exist; create it, and download into it")
        learned = needed_data(self.subject.recipe) if self.subject.recipe else ()
        found = dict[str, Row]()
        for name in dict.fromkeys((*learned, *self.benchmarks)) if processes.first else ():
            entry = found[name] = prepared(name, self.data, self.jobs)
            images = "" if entry["why"] else counted(entry["images"], "image") + " (incomplete)" * entry["partial"]
            print_line(f"segvoc: {name} {entry['status']}: {entry['why'] or images}")
        found = processes.gather(found)[0]
        for name in learned:
            if found[name]["why"]:
                raise UsageError(f"the training needs {name}: {found[name]['why']}")
        if all(found[name]["why"] for name in self.benchmarks):
            why = found[self.benchmarks[0]]["why"]
            raise UsageError(f"none of {', '.join(self.benchmarks)} can be evaluated from {str(self.data)!r}; {why}")
        return found

    def _train(self, seed: int, run: Path) -> str:
        """Train a network with `segvoc train`, continue a run, or return if it is finished; the file of its weights."""
        subject, weights = self.subject, str(run / "model.safetensors")
        assert subject.recipe is not None, "there are seeds"
        if os.path.exists(weights):
            RunFolder.check(run, to_json(subject.recipe))
            return weights
        words = [subject.base, *self.training, *(part for change in subject.changes for part in ("--set", change))]
        words += [] if self.weights is None else ["--weights", self.weights]
        words += ["--data", str(self.data)] if needed_data(subject.recipe) else []
        words += ["--seed", str(seed), "--out", str(run), "--device", self.device, "--resume"]
        train_command.main(words, "segvoc train", standalone_mode=False)
        return weights

    def _write(self, content: Row, found: Mapping[str, Row], reports: Mapping[Any, Row], processes: Processes) -> None:
        for model in content["models"]:
            scored, seed = reports[model["seed"]], model["seed"]
            model["benchmarks"] = [self._row(name, seed, found, scored.get(name)) for name in self.benchmarks]
        if processes.first:
            write_report(self.out, content)

    def _row(self, name: str, seed: int | None, found: Mapping[str, Row], report: Mapping[str, Any] | None) -> Row:
        """A benchmark in the report; `report` is that of the evaluation, once it is done."""
        published = self.subject.published(name)
        parts = {entry["protocol"]: {"part-cat-seg": dict.fromkeys(entry["scores"])} for entry in published}
        scores = comparison({"published": published, "miou": None, "classes_per_image": None, "parts": parts})
        row = {"name": name, "title": find_benchmark(name).title, "scores": scores, "deviations": []}
        row |= {key: found[name][key] for key in ("status", "why")}
        row["verdict"] = "not run" if row["why"] else "waiting"
        if report is None:
            return row
        deviations = [*self.subject.deviations, *report["protocol"]["deviations"]]
        scores = mean_scores([comparison({**report, "published": published})])
        reasons = ["it was prepared with --partial, and images are missing"] * found[name]["partial"]
        reasons += [f"{counted(report['data']['failed'], 'image')} could not be read"] * bool(report["data"]["failed"])
        if (dataset := self.subject.recipe.data.dataset if self.subject.recipe else "") and found[dataset]["partial"]:
            deviations.append(f"trained on {found[dataset]['images']} images of {dataset}")
        return {
            **row,
            "verdict": verdict(scores, incomplete=bool(reasons)),
            "why": "; ".join(reasons),
            "scores": scores,
            "deviations": deviations,
            **{key: report[key] for key in ("miou", "fwiou", "pixel_accuracy", "mean_accuracy")},
            **{key: report[key] for key in ("parts", "protocol", "versions")},
            **{key: report["data"][key] for key in ("images", "failed", "source")},
            **{key: report["run"][key] for key in ("processes", "date")},
            "page": f"{name if seed is None else f'seed-{seed}/{name}'}/index.html",
        }


def _weights_record(preset: str, path: str | None) -> dict[str, Any]:
    """Facts about a file of weights, or about the published one (None)."""
    if path is not None:
        return {"filename": Path(path).name, "sha256": file_sha256(path), "bytes": Path(path).stat().st_size}
    file = PRESETS[preset].published
    assert file is not None, "the subject is checked"
    return {**file.record(), "license_note": file.license_note, "bytes": fetch(file).stat().st_size}


if __name__ == "__main__":
    run_command(reproduce, "python -m papers.reproduce")
