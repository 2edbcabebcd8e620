"""The other pages of docs/papers: every command names what exists, and those in blocks run in small."""

import re
import shlex
import shutil
from collections.abc import Iterator
from importlib import import_module

import click
import pytest

from papers.tables import PAGE
from segvoc.cli import command_line
from segvoc.data.benchmarks import find_benchmark
from segvoc.models.presets import PRESETS, find_preset
from segvoc.storage.records import parse_settings, with_settings
from segvoc.training.recipes import RECIPES, finetune
from tests.cli.command import Command
from tests.papers.small_networks import name_of, smaller

PAGES = sorted(path for path in PAGE.parent.glob("*.md") if path != PAGE)
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}

OURS = {"DIR": "images", "FILE": "classes.json", "background": "ground", "MODEL": "pca-seg-b.safetensors"}
"""What stands here for a user's names; after --labels, DIR is `labels`."""

PROGRAMS = ("segvoc ", "python -m papers.")

NOT_RUN = {
    "convert": "tests/cli/test_convert.py has its files",
    "ablation": "the grids of test_commands.py, all of them at once",
    "reproduce": "the rows of test_commands.py; here it would end with 1, since scores of small networks are others",
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
