"""Join reports of `papers.reproduce --train` whose seeds ran on different machines into one, with mean and spread."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from papers.verdicts import Row, conclude, write_report
from segvoc.cli import run_command
from segvoc.errors import InputError, UsageError, one_line
from segvoc.storage.files import read_json

_OF_A_MACHINE = ("weights", "weights_digest", "images", "device", "batch", "torch")
"""Facts of an evaluation that may differ between the machines or seeds of one experiment."""


@click.command()
@click.argument("reports", nargs=-1, required=True, metavar="REPORT REPORT...")
@click.option("--out", required=True, metavar="FOLDER", help="Folder for the joined report.")
def join(reports: Sequence[str], out: str) -> int:
    """Join REPORTs of `python -m papers.reproduce MODEL --train` with different --seeds into one.

    \b
    python -m papers.reproduce pca-seg-b --train --seeds 42,43 --data ROOT --out one     # on a machine
    python -m papers.reproduce pca-seg-b --train --seeds 44,45,46 --data ROOT --out two  # on another
    python -m papers.join one two --out joined

    Writes the same files as papers.reproduce: every seed, and the mean and standard deviation over all of them. Reports
    that differ in model, recipe, start, data, protocol or version of segvoc are refused, as are unfinished ones. Names
    of folders and GPUs may differ. Exit codes are those of papers.reproduce.
    """
    if len(reports) < 2:
        raise UsageError("one report has nothing to join with; name two or more")
    if any(Path(out).resolve() == Path(report).resolve() for report in reports):
        raise UsageError(f"--out {out!r} is one of the reports; choose another folder")
    content = joined([(Path(report), _read(Path(report))) for report in reports], Path(out))
    content["command"] = shlex.join(["python", "-m", "papers.join", *sys.argv[1:]])
    write_report(Path(out), content)
    return conclude(content, out, asked=False)


def joined(reports: Sequence[tuple[Path, Row]], out: Path) -> Row:
    """Join the contents of reports, whose links to pages become those of the folder `out`.

    Raises: UsageError: settings differ, a seed occurs twice, or a report is unfinished or without training.
    """
    (first, content), models, folders = reports[0], dict[int, Row](), dict[int, Path]()
    for folder, report in reports:
        before, after = _settings(content), _settings(report)
        for key in (key for key in {**before, **after} if before.get(key) != after.get(key)):
            what = f"{key}: {before.get(key)} and {after.get(key)}"
            raise UsageError(f"{str(first)!r} and {str(folder)!r} differ in {what}; join reports of equal settings")
        for model in report["models"]:
            seed, rows = model["seed"], model["benchmarks"]
            if seed is None:
                raise UsageError(f"{str(folder)!r} has no seeds; only reports made with --train can be joined")
            if seed in models:
                raise UsageError(f"seed {seed} is in {str(folders[seed])!r} and {str(folder)!r}; leave one of them out")
            if waiting := [row["title"] for row in rows if row["verdict"] == "waiting"]:
                raise UsageError(f"{str(folder)!r} is unfinished ({', '.join(waiting)}); repeat its command first")
            for row in (row for row in rows if "page" in row):
                row["page"] = os.path.relpath(folder / row["page"], out)
            models[seed], folders[seed] = model, folder
    return content | {
        "data": ", ".join(dict.fromkeys(report["data"] for _, report in reports)),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "models": [models[seed] for seed in sorted(models)],
    }


def _read(folder: Path) -> Row:
    """The content of a report."""
    path = folder / "report.json"
    try:
        content = read_json(path)
        _settings(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} is not a report of papers.reproduce ({one_line(error)})") from None
    return content


def _settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """What two reports must have in common, by a name for people."""
    call = content["call"]
    options = [option.partition("=") for option in call["training"] if not option.startswith("--features=")]
    settings = {
        "model": call["name"],
        "deviations": call["deviations"],
        "options of the training": [f"{name}={Path(value).name}" for name, _, value in options],
        "benchmarks": [row["name"] for row in content["models"][0]["benchmarks"]],
    }
    for row in (row for model in content["models"] for row in model["benchmarks"] if "images" in row):
        facts = {"images": row["images"], "failed images": row["failed"], "label maps": row["source"]}
        facts |= {key: value for key, value in row["protocol"].items() if key not in _OF_A_MACHINE}
        settings |= {f"{row['title']}, {key}": value for key, value in facts.items()}
    return settings


if __name__ == "__main__":
    run_command(join, "python -m papers.join")
