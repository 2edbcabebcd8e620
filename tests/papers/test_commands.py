"""docs/papers/tables.md: every command of every row runs, on the papers' networks and data in small."""

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.command import Command
from tools.make_tables_page import PAPERS
from tools.papers.rows import Row

REPRODUCE = ("--jobs", "1", "--device", "cpu")

ROWS = {
    f"{paper.title.split(' ')[0]}, {row.where}, {row.what}": row
    for paper in PAPERS
    for row in paper.rows
    if row.commands
}


def smaller(command: str) -> list[str]:
    """A command of the page as it runs here."""
    words = shlex.split(command)[1:]
    if words[0] == "reproduce":
        words += ["--jobs", "1", "--device", "cpu"]
        if "," in words[1] or "--train" in words:
            words += []
        if "--train" in words and "--captions" in words:
            words += ["--seeds", "42"]
    if words[:2] == ["analyze", "ablation"]:
        words += ["--seeds", "1", "--scored", "1"]
    return words


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_commands_of_a_row_run(segvoc_command: Command, row: Row) -> None:
    for command in row.commands:
        words = smaller(command)
        done = segvoc_command(*words)
        if words[0] == "reproduce":
            assert done.code in (0, 1) and "error" not in done.err, done.err
        else:
            assert done.code == 0, done.err
    for name, keys in row.leaves.items():
        assert Path(name).is_file(), name
        if name.endswith(".json"):
            found = json.loads(Path(name).read_text(encoding="utf-8"))
            assert set(keys) <= set(found), (name, list(found))
