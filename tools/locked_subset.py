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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

_NAME = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[(?P<extras>[^]]*)\])?")
_PARENT = re.compile(r"^ +# +(?:via +)?(?!via$)([A-Za-z0-9._-]+)(?:\[.*\])?(?: .*)?$", re.MULTILINE)


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, tuple[str, set[str]]]:
    """The entries of a lock by name: their lines without comments, and the packages that asked for them."""
    found = {}
    for block in re.split(r"\n(?=\S)", lock):
        text = re.sub(r"\n?^\s*#.*$", "", block.rstrip(), flags=re.MULTILINE)
        if "==" in text:
            found[plain(text.partition("==")[0])] = text, {plain(name) for name in _PARENT.findall(block)}
    return found


def asked(project: Mapping[str, Any], extras: Iterable[str], groups: Sequence[str]) -> set[str]:
    """The packages that the project itself asks for: its base with some of its extras, groups, or both.

    Raises:
        KeyError: there is no such extra or group.
    """
    about, found = project["project"], set[str]()
    lines = [line for group in groups for line in project["dependency-groups"][group]]
    if extras or not groups:
        lines += [*about["dependencies"], f"{about['name']}[{','.join(extras)}]"]
    for line in lines:  # which grows
        match = _NAME.match(line)
        if match and plain(match["name"]) != plain(about["name"]):
            found.add(plain(match["name"]))
        elif match:
            lines += [line for extra in names(match["extras"]) for line in about["optional-dependencies"][extra]]
    return found


def subset(lock: Mapping[str, tuple[str, set[str]]], wanted: Iterable[str]) -> list[str]:
    """The entries that are needed for some packages, in the order of the lock.

    Raises:
        KeyError: a package isn't in the lock.
    """
    needed, new = set[str](), set(wanted)
    while new:
        if missing := new - lock.keys():
            raise KeyError(min(missing))
        needed |= new
        new = {name for name, (_, parents) in lock.items() if parents & needed} - needed
    return [text for name, (text, _) in lock.items() if name in needed]


def names(text: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def main() -> int:
    """Print the subset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (("extras", "extras, with what segvoc always needs"), ("groups", "dependency groups alone")):
        parser.add_argument(f"--{name}", type=names, default=[], help=f"comma-separated {what}")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    try:
        lines = subset(
            entries(arguments.lock.read_text(encoding="utf-8")), asked(project, arguments.extras, arguments.groups)
        )
    except KeyError as error:
        print(f"error: {error.args[0]!r} is in neither pyproject.toml nor {arguments.lock.name}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
