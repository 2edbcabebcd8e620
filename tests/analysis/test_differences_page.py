"""docs/papers/differences.md: every option, command and preset that it names exists, and its figures are right."""

import re
from pathlib import Path

import click
import numpy as np
import pytest

from segvoc.cli import command_line
from segvoc.data.class_lists import class_names
from segvoc.errors import UsageError
from segvoc.models.presets import PRESETS
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES
from segvoc.vocabulary import Vocabulary

PAGE = (Path(__file__).resolve().parents[2] / "docs/papers/differences.md").read_text(encoding="utf-8")
SECTIONS = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
PRESET_OF = {"ERR-Seg": "err-seg-b", "CAT-Seg": "cat-seg-b"}


@pytest.mark.parametrize(
    ("preset", "setting"),
    [
        (PRESET_OF[paper], setting)
        for paper, text in SECTIONS.items()
        if paper in PRESET_OF
        for setting in sorted(set(re.findall(r"`(?:[^`]*--set )?([a-z]\w*=[\w-]+)`", text)))
    ],
)
def test_the_option_exists(preset, setting):
    Recipe(model=preset).with_settings([setting])
    with pytest.raises(UsageError):
        Recipe(model=preset).with_settings([f"{setting}-no"])


@pytest.mark.parametrize("text", sorted(set(re.findall(r"`segvoc ([^`]+)`", PAGE))))
def test_the_command_exists(text):
    command, words = command_line, text.split()
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
    if words and command.name == "train":
        assert words[0] in {**PRESETS, **RECIPES}


def test_labels_that_are_the_same_to_the_letter_are_as_many_as_the_page_says():
    known = {name.split(", ")[0] for name in Vocabulary(class_names("coco")).words}
    shares = []
    for benchmark in ("voc20", "pc59", "ade150", "pc459", "ade847"):
        names = Vocabulary(class_names(benchmark)).words
        shares.append(float(np.mean([name.split(", ")[0] in known for name in names])))
    *most, last = (f"{share:.2f}" for share in shares)
    assert f"{', '.join(most)} and {last}" in PAGE
