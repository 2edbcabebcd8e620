"""Print the part of requirements.lock that some extras need, with its hashes.

    python tools/locked_subset.py --extras serve,data > packages.lock
    python tools/locked_subset.py --groups build > build.lock

The whole lock has everything for development. What a package is locked for, the lock's own comments say ("# via"), so
nothing is resolved again. Needs only Python.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

_NAME = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[(?P<extras>[^]]*)\])?")
_PARENT = re.compile(r"^\s+#\s+(?:via\s+)?(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?(?:\s.*)?$")


@dataclass(frozen=True)
class Locked:
    """An entry of the lock."""

    text: str
    """Its lines, without comments."""
    parents: frozenset[str]
    """The packages that asked for it."""


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, Locked]:
    """The entries of a lock by name."""
    found: dict[str, Locked] = {}
    for block in re.split(r"\n(?=\S)", lock):
        lines = [line for line in block.splitlines() if not line.lstrip().startswith("#")]
        if not lines or "==" not in lines[0]:
            continue
        parents = (_PARENT.match(line) for line in block.splitlines()[1:] if line.lstrip().startswith("#"))
        named = {plain(parent["name"]) for parent in parents if parent and parent["name"] != "via"}
        found[plain(lines[0].partition("==")[0])] = Locked("\n".join(lines), frozenset(named))
    return found


def asked(project: Mapping[str, Any], extras: Iterable[str], groups: Iterable[str]) -> set[str]:
    """The packages that the project itself asks for: its base with some of its extras, groups, or both.

    Raises:
        KeyError: there is no such extra or group.
    """
    optional, wanted, seen = project["project"]["optional-dependencies"], set[str](), set[str]()
    open_extras, groups = list(extras), list(groups)
    lines = [line for group in groups for line in project["dependency-groups"][group]]
    if open_extras or not groups:
        lines += project["project"]["dependencies"]
    while lines or open_extras:
        if not lines:
            extra = open_extras.pop()
            lines, seen = [] if extra in seen else list(optional[extra]), seen | {extra}
            continue
        match = _NAME.match(lines.pop())
        assert match is not None
        if plain(match["name"]) == plain(project["project"]["name"]):
            open_extras += [extra.strip() for extra in (match["extras"] or "").split(",")]
        else:
            wanted.add(plain(match["name"]))
    return wanted


def subset(lock: Mapping[str, Locked], wanted: Iterable[str]) -> list[str]:
    """The entries that are needed for some packages, in the order of the lock.

    Raises:
        KeyError: a package isn't in the lock.
    """
    needed, new = set[str](), {plain(name) for name in wanted}
    while new:
        if missing := new - lock.keys():
            raise KeyError(min(missing))
        needed |= new
        new = {name for name, entry in lock.items() if entry.parents & needed} - needed
    return [entry.text for name, entry in lock.items() if name in needed]


def main() -> int:
    """Print the subset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default="", help="comma-separated extras, with what segvoc always needs")
    parser.add_argument("--groups", default="", help="comma-separated dependency groups alone")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    arguments = parser.parse_args()
    extras, groups = (
        [name.strip() for name in value.split(",") if name.strip()] for value in (arguments.extras, arguments.groups)
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    try:
        lines = subset(entries(arguments.lock.read_text(encoding="utf-8")), asked(project, extras, groups))
    except KeyError as error:
        print(f"error: {error.args[0]!r} is in neither pyproject.toml nor {arguments.lock.name}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
