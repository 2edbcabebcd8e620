"""`segvoc reproduce`: networks of the papers on their benchmarks, with a verdict beside each published score."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segvoc.cli.dataset_options import SeveralBenchmarks, data_option, data_root, refuse_twice
from segvoc.cli.output import echo, example
from segvoc.errors import UsageError
from segvoc.progress import print_line
from segvoc.storage.files import strict_json

if TYPE_CHECKING:
    from segvoc.reproduction.reproduce import TrainingCall


@click.command(
    "reproduce",
    cls=SeveralBenchmarks,
    epilog=example("segvoc reproduce cat-seg-b --benchmark a-150 --data datasets --out report"),
)
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Every model with published weights and scores (with --benchmark, also models without scores).",
)
@click.option("--weights", metavar="FILE", help="Your own weights for the model, instead of the published ones.")
@click.option(
    "--train", "trains", is_flag=True, help="First train by the recipe NAME, or by the recipe of the row NAME."
)
@click.option("--seeds", metavar="N,N", help="Train once per seed; by default the recipe's seeds, usually one.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Training steps, instead of the recipe's.")
@click.option("--set", multiple=True, metavar="NAME=VALUE", help="Change the recipe: lr=1e-4.")
@click.option("--encoder-weights", metavar="FILE", help="Encoder weights to start from, as in segvoc train.")
@click.option("--start-weights", metavar="FILE", help="Weights of the whole network to start from, or random.")
@click.option("--captions", metavar="PATH", help="Captions to train on, as in segvoc train.")
@click.option("--images", metavar="DIR", help="The images that a caption file refers to.")
@click.option("--features", metavar="DIR", help="Cache for the embeddings of phrases, shared by runs.")
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="NAME...",
    help="Only these benchmarks; by default those with published scores.",
)
@data_option("The data folder, as for `segvoc prepare`.")
@click.option("--out", required=True, metavar="REPORT", help="Folder for the report; an unfinished report is resumed.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--jobs", type=int, metavar="N", help="Processes that prepare downloads; by default one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
def reproduce_command(
    names: Sequence[str],
    everything: bool,
    weights: str | None,
    trains: bool,
    benchmarks: Sequence[str],
    data: str | None,
    out: str,
    device: str,
    jobs: int | None,
    as_json: bool,
    **training: Any,
) -> int:
    """Score the networks NAME by their papers' protocol, beside the published scores.

    NAME is a model, whose published weights are downloaded and verified, unless --weights gives yours. With --train,
    NAME is a recipe to train first. NAME can also be a row of a paper's table: "PCA-Seg, Table 5a, EPL".

    First lists which benchmarks are prepared in ROOT, which are downloaded (and prepares them), and which are
    missing, with download links. Everything is evaluated in float32. The report's page, index.html, has a
    verdict per benchmark: whether our score (with several seeds, their mean) is within 0.1 mIoU of the published
    score. If interrupted, run the same command again to resume. Under torchrun, the processes share the work.

    Exit codes: 0 if every score is within 0.1 (or none is published); 1 if a score isn't, images are missing or
    damaged, or a requested benchmark can't be run; 2 if nothing can be run.
    """
    refuse_twice(benchmarks)
    _check(names, everything, jobs, out)
    only_training = {f"--{name.replace('_', '-')}": None if value == () else value for name, value in training.items()}
    given = [option for option, value in only_training.items() if value is not None]
    _check_training(trains, everything, weights, given)
    root = data_root(data, "--data is missing; name the data folder with --data ROOT")
    from segvoc.distributed import Processes
    from segvoc.reproduction.report import verdict_table

    # here, since PyTorch takes seconds to import
    from segvoc.reproduction.reproduce import ReproductionCall, reproduce, reproducible, with_scores

    first = Processes.from_environment().first
    call = ReproductionCall(
        names=tuple(dict.fromkeys(names)) or (reproducible() if benchmarks else with_scores()),
        weights=weights,
        training=_training(only_training) if trains else None,
        benchmarks=tuple(benchmarks),
        data=Path(root),
        out=Path(out),
        device=device,
        jobs=jobs or os.cpu_count() or 1,
        command=shlex.join(["segvoc", *sys.argv[1:]]),
    )
    content = reproduce(call, print_line)
    if not first:
        return 0
    if as_json:
        # ASCII only, since standard output may have any encoding
        echo(strict_json(content))
    else:
        echo(verdict_table(content))
        page = call.out / "index.html"  # only written if jinja2 is installed
        echo(f"-> {page if page.exists() else call.out / 'report.json'}")
    failed = list(_failed(content))
    for line in failed:
        echo(f"segvoc: {line}", err=True)
    return 1 if failed else 0


def _check(names: Sequence[str], everything: bool, jobs: int | None, out: str) -> None:
    if bool(names) == everything:
        raise UsageError("give names of models, for example cat-seg-b, or --all")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} is not a number of processes; give 1 or more")
    if Path(out).exists() and not Path(out).is_dir():
        raise UsageError(f"the folder of the report {out!r} is a file; choose another --out")


def _check_training(trains: bool, everything: bool, weights: str | None, given: Sequence[str]) -> None:
    if given and not trains:
        raise UsageError(f"{given[0]} is for training; add --train, or leave it out")
    if trains and everything:
        raise UsageError("--all is for published weights; name the recipes to train")
    if trains and weights is not None:
        raise UsageError(
            "--weights and --train can't be combined; to start a training from weights, give --start-weights"
        )
    if "--captions" not in given and (lost := [option for option in ("--images", "--features") if option in given]):
        raise UsageError(f"{lost[0]} goes with --captions; name the captions, or leave it out")


def _training(options: Mapping[str, Any]) -> "TrainingCall":
    """The training call, from the options by name."""
    from segvoc.reproduction.reproduce import TrainingCall
    from segvoc.training.caption_task import CaptionFiles
    from segvoc.training.start import Start

    files, features = None, None if options["--features"] is None else Path(options["--features"])
    if options["--captions"] is not None:
        files = CaptionFiles(captions=options["--captions"], images=options["--images"], features=features)
    return TrainingCall(
        seeds=() if options["--seeds"] is None else _numbers(options["--seeds"]),
        start=Start(weights=options["--start-weights"], encoder_weights=options["--encoder-weights"]),
        captions=files,
        settings=tuple(options["--set"] or ()),
        steps=options["--steps"],
    )


def _numbers(text: str) -> tuple[int, ...]:
    """Seeds from a text such as "42,43"."""
    try:
        seeds = tuple(int(piece) for piece in text.split(","))
    except ValueError:
        raise UsageError(f"--seeds {text!r} are not whole numbers; write them as 42,43,44") from None
    if twice := [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]:
        raise UsageError(f"seed {twice[0]} is given twice; each seed is one run")
    if min(seeds) < 0:
        raise UsageError(f"seed {min(seeds)} is negative; give whole numbers from 0")
    return seeds


def _failed(content: dict) -> Sequence[str]:
    """Failures that make the exit code 1: of the means over seeds if there are any, else of each model."""
    averaged = {mean["name"] for mean in content["means"]}
    models = [model for model in content["models"] if model["name"] not in averaged]
    return [f"{entry['name']}: {line}" for entry in (*models, *content["means"]) for line in entry["failures"]]
