"""docs/papers: every command of every row of the tables and of every page names what exists, and runs in small."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from papers.reproduce import trained_subject
from papers.tables import PAGE, PAPERS, PaperRows, Row, find_rows, page
from segvoc.cli import command_line
from segvoc.data.benchmarks import BENCHMARKS, find_benchmark
from segvoc.data.published_scores import PUBLISHED_ROWS, PublishedRow
from segvoc.models.presets import PRESETS, find_preset
from segvoc.storage.records import parse_settings, with_settings
from segvoc.training.recipes import RECIPES, finetune
from tests.cli.command import Command
from tests.papers.small_networks import name_of, smaller

COMMANDS = tuple(dict.fromkeys(command for paper in PAPERS for row in paper.rows for command in row.commands))
REPRODUCTIONS = [command for command in COMMANDS if command.startswith("python -m papers.reproduce ")]

LEAVES = {
    "ablation": {"ablation.json": ("recipe", "grids"), "ablation.md": (), "ablation.png": ()},
    "attention": {"attention.json": ("attention", "kept", "classes"), "attention.png": ()},
    "blocks": {"blocks.json": ("rows", "means"), "blocks.md": ()},
    "cat_seg_v1": {"run/model.safetensors": (), "pas-20/report.json": ("miou",)},
    "compare": {"compare.json": ("models", "differing"), "compare.png": ()},
    "costs": {"costs.json": ("words",), "costs.png": ()},
    "evaluate": {"report.json": ("model",)},
    "info": {},
    "radar": {"radar.json": ("axes", "lines"), "radar.png": ()},
    "experts": {"redundancy.json": ("rows", "variance"), "redundancy.png": ()},
    "reproduce": {"report.json": ("models", "means", "command"), "index.html": (), "scores.csv": ()},
    "seen": {"seen.json": ("rows", "above"), "seen.md": ()},
    "segment": {"photo.json": (), "photo.overlay.png": (), "photo.png": ()},
    "streams": {"streams.json": ("runs",), "streams.png": ()},
    "steps": {"steps.json": ("rows",), "steps.md": ()},
    "demo": {"photo.png": (), "photo.json": ()},
    "sweep": {"sweep.json": ("rows",), "sweep.md": (), "sweep.png": ()},
    "train": {"metrics.jsonl": ("seconds",), "model.safetensors": ()},
    "vocabulary": {"vocabulary.md": ()},
    "vocabulary --data": {"vocabulary.json": ("images",)},
    "vocabulary --model": {"vocabulary.json": ("similarity",)},
}
"""The files that each command writes into --out, with the keys that those in JSON must have."""


def cases() -> Iterator[Any]:
    """Rows with different commands; slow are all but the first with a script, and all but one grid."""
    rows: dict[tuple[str, ...], tuple[PaperRows, Row]] = {}
    for paper in PAPERS:
        for row in paper.rows:
            rows.setdefault(row.commands, (paper, row))
    del rows[()]
    # of `researcher.md`, whose commands run below
    seen = {"radar", "compare"}
    for paper, row in rows.values():
        scripts = {name_of(command.split()) for command in row.commands if command.startswith("python -m papers.")}
        slow = scripts <= seen or ("--grid" in row.commands[0] and "--grid 5e" not in row.commands[0])
        seen |= set() if slow else scripts
        named = f"{paper.title.split(' ')[0]}, {row.where}, {row.what}"
        yield pytest.param(row, id=named, marks=pytest.mark.slow if slow else ())


def rows_of(words: list[str]) -> list[PublishedRow]:
    name = words[3]
    if "," in name:
        return list(find_rows(name))
    return [row for row in PUBLISHED_ROWS if row.main and name in (row.preset, row.recipe)]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == "\n".join(page()) + "\n", "run `python -m papers.tables`"


@pytest.mark.parametrize("command", [command for command in REPRODUCTIONS if " --train " in command])
def test_the_network_of_a_row_is_built(command: str, small: None) -> None:
    words = shlex.split(command)
    settings = [value for option, value in pairwise(words) if option == "--set"]
    subject = trained_subject(words[3], settings)
    assert subject.rows and subject.recipe is not None
    PRESETS[subject.preset].build(subject.recipe.network_config())


def leaves(words: list[str]) -> dict[Path, tuple[str, ...]]:
    name = name_of(words)
    named = [f"{name} {word}" for word in words if f"{name} {word}" in LEAVES]
    files = dict(LEAVES[name])
    for more in named:
        files |= LEAVES[more]
    return {Path(words[words.index("--out") + 1], file): keys for file, keys in files.items()}


@pytest.mark.parametrize("row", cases())
def test_the_commands_of_a_row_run(program: Command, row: Row) -> None:
    for command in row.commands:
        words = smaller(shlex.split(command))
        name = name_of(words)
        if name == "reproduce":
            benchmarks = {one for published in rows_of(words) for one in published.scores}
            words += ["--benchmark", min(benchmarks, key=lambda one: len(BENCHMARKS[one].classes))]
        done = program(*words)
        # our scores aren't those of the papers, which is what a reproduction's exit code says
        assert done.code == (1 if name == "reproduce" else 0), done.err
        assert "segvoc: error: " not in done.err
        if name == "reproduce":
            report = json.loads(Path(words[words.index("--out") + 1], "report.json").read_text(encoding="utf-8"))
            assert all(one["images"] and one["scores"] for model in report["models"] for one in model["benchmarks"])
        for path, keys in leaves(words).items():
            assert path.is_file(), path
            if path.suffix in (".json", ".jsonl"):
                text = path.read_text(encoding="utf-8")
                found = json.loads(text.splitlines()[0] if path.suffix == ".jsonl" else text)
                assert set(keys) <= set(found), (path, list(found))


PAGES = sorted(path for path in PAGE.parent.glob("*.md") if path != PAGE)
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}

OURS = {"DIR": "images", "FILE": "classes.json", "background": "ground", "MODEL": "pca-seg-b.safetensors"}
"""What stands here for a user's names; after --labels, DIR is `labels`."""

PROGRAMS = ("segvoc ", "python -m papers.")

NOT_RUN = {
    "convert": "tests/cli/test_convert.py has its files",
    "ablation": "the grids of the rows, all of them at once",
    "reproduce": "the rows; here it would end with 1, since scores of small networks are others",
    "join": "tests/papers/test_reproduce.py",
}
"""Commands of blocks that don't run here, and why."""


def blocks(text: str) -> list[list[str]]:
    """The commands of each fenced block, without comments and without the brackets around what may be left out."""
    found = []
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = re.sub(r"\\\n\s*", " ", block).splitlines()
        lines = [re.sub(r"^torchrun .* --no-python ", "", line) for line in lines]
        found.append([re.sub(r"\s+#.*|[\[\]]", "", line) for line in lines if line.startswith(PROGRAMS)])
    return [block for block in found if block]


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Every command, and whether it is whole: in a sentence it may be a part of one."""
    for block in blocks(text):
        yield from ((command, True) for command in block)
    sentences = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for quoted in re.findall(rf"`((?:{'|'.join(PROGRAMS)})[^`]+)`", sentences):
        yield " ".join(quoted.split()), False


def parsed(words: list[str], *, whole: bool) -> tuple[str, dict[str, object]]:
    """The command's name and its options, by the command line's own parser; a part of a command may lack some."""
    script = name_of(words) if words[0] == "python" else ""
    group: click.Command = getattr(import_module(f"papers.{script}"), script) if script else command_line
    rest = list(words[3 if script else 1 :])
    while isinstance(group, click.Group) and rest:
        found = group.get_command(click.Context(group), rest.pop(0))
        assert found is not None, words
        group = found
    assert group.name is not None
    if isinstance(group, click.Group):
        return group.name, {}
    try:
        return group.name, group.make_context(group.name, list(rest)).params
    except (click.MissingParameter, click.BadOptionUsage):
        assert not whole
        return group.name, {}


@pytest.mark.parametrize(
    ("command", "whole"),
    [
        pytest.param(command, whole, id=f"{name}, {command[:60]}")
        for name, text in TEXTS.items()
        for command, whole in dict.fromkeys(commands(text))
    ],
)
def test_the_command_names_what_exists(command: str, whole: bool) -> None:
    name, options = parsed(shlex.split(command), whole=whole)
    settings = options.get("settings") or options.get("options") or ()
    assert isinstance(settings, tuple | list)
    for benchmark in options.get("benchmarks") or ():  # type: ignore[union-attr]
        find_benchmark(benchmark)
    if name == "train" and options:
        recipe = finetune("tiny") if options["recipe"] == "finetune" else RECIPES[str(options["recipe"])]()
        recipe.with_settings(settings)
    elif settings:
        network = str(options.get("model") or options.get("recipe"))
        if network in RECIPES and network not in PRESETS:
            RECIPES[network]().with_settings(settings)
            return
        preset = find_preset(network) if network in PRESETS else PRESETS["syn-seg-b"]
        with_settings(preset.configuration, parse_settings(settings), network)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{name}, {block[0][:60]}", marks=() if name == "researcher.md" else pytest.mark.slow)
        for name, text in TEXTS.items()
        for block in blocks(text)
        if any(name_of(shlex.split(command)) not in NOT_RUN for command in block)
    ],
)
def test_the_commands_of_a_block_run(program: Command, block: list[str]) -> None:
    for command in block:
        words = shlex.split(command)
        name = name_of(words)
        if name in NOT_RUN:
            continue
        words = [OURS.get(word, word) for word in smaller(words)]
        if "--labels" in words:
            words[words.index("--labels") + 1] = "labels"
        if name == "train":
            shutil.rmtree("RUN", ignore_errors=True)  # the block's next training
        program(*words).ok()
