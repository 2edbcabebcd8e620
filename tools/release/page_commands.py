"""What a page tells its reader to type: the lines of its blocks of commands, and its Python.

Lines of `make` and `git`, and the `cd` that belongs to them, are for a clone, and are left out; nothing else is.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

ROOT = Path(__file__).resolve().parents[2]

OF_A_CLONE = ("make", "git", "cd")
"""Programs that only a clone has a use for."""

_BLOCK = re.compile(r"^```(?P<kind>[^\n`]*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_SNIPPET = re.compile(r'^--8<-- "(?P<name>[\w.]+)"$', re.MULTILINE)
_CODE = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'#][^\s"']*|\s)*""")
_HEADING = re.compile(r"^#+ (.*)", re.MULTILINE)


class Step(NamedTuple):
    """Something that a reader of a page types: a line for a shell without its comment, or a script."""

    kind: Literal["command", "python"]
    text: str
    heading: str
    """What it stands below."""


def steps(page: str) -> Iterator[Step]:
    """What a page in Markdown tells its reader to type, in order."""
    for block in _BLOCK.finditer(page):
        heading = ["", *_HEADING.findall(_BLOCK.sub("", page[: block.start()]))][-1]
        kind = block["kind"].strip("{ .}")
        if kind in ("", "sh", "bash", "console"):
            for line in re.sub(r"\s*\\\n\s*", " ", block["text"]).splitlines():
                if (command := _without_comment(line)) and shlex.split(command)[0] not in OF_A_CLONE:
                    yield Step("command", command, heading)
        elif kind == "python":
            script = _SNIPPET.sub(
                lambda found: (ROOT / "examples" / found["name"]).read_text(encoding="utf-8"), block["text"]
            )
            yield Step("python", script, heading)


def _without_comment(line: str) -> str:
    match = _CODE.match(line)
    assert match is not None  # it may be empty
    return match[0].strip()
