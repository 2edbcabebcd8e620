"""What a page tells its reader to type: the lines of its blocks of commands, and its Python.

Lines of `make` and `git`, and the `cd` that belongs to them, are for a clone, and are left out; nothing else is.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]

OF_A_CLONE = ("make", "git", "cd")
"""Programs that only a clone has a use for."""

_BLOCK = re.compile(r"^```(?P<kind>[^\n`]*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_SNIPPET = re.compile(r'^--8<-- "(?P<name>[\w.]+)"$', re.MULTILINE)
_CODE = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'#][^\s"']*|\s)*""")
_HEADING = re.compile(r"^#+ (?P<title>.*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that a reader of a page types."""

    kind: Literal["command", "python"]
    """A line for a shell, or a script."""
    text: str
    """The line without its comment, or the script."""
    heading: str
    """What it stands below."""


def steps(page: str) -> Iterator[Step]:
    """What a page in Markdown tells its reader to type, in order."""
    for block in _BLOCK.finditer(page):
        above = [heading["title"] for heading in _HEADING.finditer(_without_blocks(page[: block.start()]))]
        heading = above[-1] if above else ""
        kind = block["kind"].strip("{ .}")
        if kind in ("", "sh", "bash", "console"):
            for line in re.sub(r"\s*\\\n\s*", " ", block["text"]).splitlines():
                if (command := _without_comment(line)) and shlex.split(command)[0] not in OF_A_CLONE:
                    yield Step(kind="command", text=command, heading=heading)
        elif kind == "python":
            script = _SNIPPET.sub(
                lambda found: (ROOT / "examples" / found["name"]).read_text(encoding="utf-8"), block["text"]
            )
            yield Step(kind="python", text=script, heading=heading)


def _without_blocks(text: str) -> str:
    return _BLOCK.sub("", text)


def _without_comment(line: str) -> str:
    match = _CODE.match(line)
    assert match is not None  # it may be empty
    return match[0].strip()
