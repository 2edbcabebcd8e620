"""docs/papers/tables.md: every table and figure has its row, and every command and switch that it names exists."""

import re
from importlib import import_module
from pathlib import Path

import click
import pytest

from segvoc.cli import command_line
from segvoc.data.benchmarks import find_benchmark
from segvoc.errors import UsageError
from segvoc.models.presets import PRESETS
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES

PAGE = (Path(__file__).resolve().parents[2] / "docs/papers/tables.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"`([^`]+)`", PAGE)
COMMANDS = [text for text in QUOTED if text.startswith("segvoc ")]
NOT_MODELS = ("PARALLEL", "SERIAL", "MODEL", "RECIPE", "finetune")


def numbers(kind: str, part: str) -> set[int]:
    """The numbers of the rows of one paper."""
    return {int(number) for number in re.findall(rf"^\| {kind} (\d+)", part, re.MULTILINE)}


@pytest.mark.parametrize(("paper", "tables", "figures"), [("PCA-Seg", 5, 6), ("CAT-Seg", 11, 17), ("ERR-Seg", 14, 9)])
def test_every_table_and_figure_has_its_row(paper, tables, figures):
    part = PAGE.split(f"\n## {paper} ")[1].split("\n## ")[0]
    assert numbers("Table", part) == set(range(1, tables + 1))
    assert numbers("Fig.", part) == set(range(1, figures + 1))
    assert re.findall(r"^\| Table 5(\w)", part, re.MULTILINE) == (list("abcde") if paper == "PCA-Seg" else [])


@pytest.mark.parametrize("text", COMMANDS)
def test_the_command_and_its_options_exist(text):
    command, words = command_line, text.split()[1:]
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    if words and not words[0].startswith("--") and command.name in ("train", "evaluate", "blocks", "sweep"):
        assert words[0] in {**PRESETS, **RECIPES} or words[0] in NOT_MODELS
    for name in re.findall(r"--benchmark ((?:[a-z0-9-]+ )+)", text):
        assert [find_benchmark(benchmark).name for benchmark in name.split() if benchmark[0] != "-"]
    if grid := re.search(r"--grid (\w+)", text):
        assert grid[1] in import_module("segvoc.analysis.grids").GRIDS
    for axis in re.findall(r"--vary (\S+)", text):
        import_module("segvoc.analysis.sweeps").Axis.parse(axis)


@pytest.mark.parametrize("text", sorted({found for text in QUOTED for found in re.findall(r"\b[a-z]\w*=\S+", text)}))
def test_the_switch_exists(text):
    if "," in text or ".safetensors" in text:
        return
    problems = []
    for model in ("pca-seg-b", "err-seg-b", "syn-seg-b", "part-cat-seg-b", "tiny"):
        try:
            Recipe(model=model).with_settings([text])
        except UsageError as error:
            problems.append(str(error))
    assert len(problems) < 5, problems[0]
