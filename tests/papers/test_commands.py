"""docs/papers/tables.md: every command of every row runs, on the papers' networks and data in small."""

import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from segvoc.data.benchmarks import BENCHMARKS
from segvoc.data.published_scores import PUBLISHED_ROWS, PublishedRow, find_rows
from segvoc.models.presets import PRESETS
from segvoc.reproduction.subjects import trained_subject
from segvoc.training.recipes import RECIPES
from segvoc.training.start import Start
from tests.cli.command import Command
from tests.papers.small_networks import smaller
from tools.make_tables_page import PAGE, PAPERS, page
from tools.papers.rows import Row, commands

COMMANDS = tuple(commands(PAPERS))
TRAINING = [command for command in COMMANDS if command.startswith("segvoc train ") or " --train " in command]
REPRODUCTIONS = [command for command in COMMANDS if command.startswith("segvoc reproduce ")]


def kinds(row: Row) -> set[str]:
    words = [command.split()[1:] for command in row.commands]
    return {one[1] if one[0] == "analyze" else f"{one[0]}{' --train' * ('--train' in one)}" for one in words}


def cases() -> Iterator[Any]:
    """Rows with different commands; slow are all but a paper's first with a kind of command, and all but one grid."""
    done: set[tuple[str, ...]] = set()
    for paper in PAPERS:
        seen: set[str] = set()
        for row in paper.rows:
            if not row.commands or row.commands in done:
                continue
            done.add(row.commands)
            grid = re.search(r"--grid (\w+)", row.commands[0])
            slow = kinds(row) <= seen if grid is None else grid[1] != "5e"
            seen |= kinds(row)
            named = f"{paper.title.split(' ')[0]}, {row.where}, {row.what}"
            yield pytest.param(row, id=named, marks=pytest.mark.slow if slow else ())


def rows_of(words: list[str]) -> list[PublishedRow]:
    """The published rows that `segvoc reproduce` compares with."""
    names = words[1 : next(number for number, word in enumerate(words) if word.startswith("--"))]
    if "," in names[0]:
        return list(find_rows(names[0]))
    return [row for row in PUBLISHED_ROWS if row.main and (row.preset in names or row.recipe in names)]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == "\n".join(page()) + "\n", "run `python -m tools.make_tables_page`"


@pytest.mark.parametrize("command", TRAINING)
def test_a_training_says_what_it_starts_from(command: str) -> None:
    words = shlex.split(command)[1:]
    name = words[1]
    recipe = find_rows(name)[0].recipe if "," in name else name
    preset = PRESETS[RECIPES[recipe]().model]
    assert ("--encoder-weights" in words) == (not preset.fetched_encoders)
    assert ("--captions" in words) == (RECIPES[recipe]().supervision == "captions")


@pytest.mark.parametrize("command", [command for command in REPRODUCTIONS if " --train " in command])
def test_the_network_of_a_row_is_built(command: str, small: None) -> None:
    words = shlex.split(command)[1:]
    settings = [value for option, value in pairwise(words) if option == "--set"]
    subject = trained_subject(words[1], Start(), settings, None)
    assert subject.rows and subject.recipe is not None
    PRESETS[subject.preset].build(subject.recipe.network_config())


@pytest.mark.parametrize("row", cases())
def test_the_commands_of_a_row_run(segvoc_command: Command, row: Row) -> None:
    for command in row.commands:
        words = smaller(shlex.split(command)[1:])
        if words[0] == "reproduce":
            benchmarks = {name for published in rows_of(words) for name in published.scores}
            words += ["--benchmark", min(benchmarks, key=lambda name: len(BENCHMARKS[name].classes))]
        done = segvoc_command(*words)
        # our scores aren't those of the papers, which is what a reproduction's exit code says
        assert done.code == (1 if words[0] == "reproduce" else 0), done.err
        assert "segvoc: error: " not in done.err
        if words[0] == "reproduce":
            models = json.loads(Path("REPORT/report.json").read_text(encoding="utf-8"))["models"]
            assert all(one["images"] and one["scores"] for model in models for one in model["benchmarks"])
    for name, keys in row.leaves.items():
        assert Path(name).is_file(), name
        if name.endswith((".json", ".jsonl")):
            text = Path(name).read_text(encoding="utf-8")
            found = json.loads(text.splitlines()[0] if name.endswith("l") else text)
            assert set(keys) <= set(found), (name, list(found))
