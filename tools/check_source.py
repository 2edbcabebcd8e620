"""The project's own rules, which no linter checks: sizes, names and addresses.

Usage: python tools/check_source.py [ROOT]. Prints a line for each violation and exits 1 if there are any.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 900
CODE_FOLDERS = ("src", "annotate", "papers", "tests", "tools", "benchmarks", "examples")
CODE_SUFFIXES = (".py", ".sh", ".toml", ".yaml", ".yml", ".cff")

# Assembled here, so that this file doesn't contain what it searches for.
INDEX_HOSTS = tuple(f"{name}.org" for name in ("pypi", "pythonhosted", "download.pytorch"))
INDEX_OPTIONS = re.compile(r"^\s*(--(extra-)?index-url|-i|--find-links|-f|--trusted-host)\b|://", re.MULTILINE)
POSTPONED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")

SHARED_NAMES = ("convert", "export", "evaluate", "fetch", "prepare", "sweep", "train")
"""Public names that two modules may define: a command has the name of the library function that it calls."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def tracked_files(root: Path) -> list[Path]:
    """Files that git tracks or would track, sorted; without git or a repository all files that aren't hidden."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("git") else None
    if listing is not None and listing.returncode == 0:
        paths = {root / name for name in listing.stdout.split("\0") if name}
    else:
        paths = {path for path in root.rglob("*") if not any(name[0] == "." for name in path.relative_to(root).parts)}
    return sorted(filter(Path.is_file, paths))


def long_files(paths: list[Path]) -> Iterator[str]:
    """Find Python files with more than `MAX_FILE_LINES` lines."""
    for path in paths:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            yield f"{path}: {lines} lines, at most {MAX_FILE_LINES} are allowed; split it by thought"


def index_addresses(paths: list[Path]) -> Iterator[str]:
    """Find addresses of package indexes in any file, and any address or index option in a lock file."""
    for path in paths:
        content = path.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode("utf-8", errors="replace")
        for host in INDEX_HOSTS:
            if host in text:
                yield f"{path}: contains the address of a package index ({host}), which is a setting of the machine"
        if path.suffix == ".lock" and (found := INDEX_OPTIONS.search(text)):
            yield f"{path}: a lock file has versions and hashes only, not {found.group().strip()!r}"


def postponed_work(paths: list[Path]) -> Iterator[str]:
    """Find marks in code for postponed work."""
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if found := POSTPONED.search(line):
                yield f"{path}:{number}: {found.group()}: do it now, or open an issue"


def module_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Public classes, functions, constants and aliases that a module defines at its top level, with their lines."""
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, Definition):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        yield from ((name, node.lineno) for name in names if not name.startswith("_"))


def ambiguous_names(paths: list[Path]) -> Iterator[str]:
    """Find public names that two modules define, but for `SHARED_NAMES`."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for name, line in dict(module_names(ast.parse(path.read_text(encoding="utf-8")))).items():
            places[name].append(f"{path}:{line}")
    for name, (first, *others) in places.items():
        if name not in SHARED_NAMES:
            for other in others:
                yield f"{other}: {name} is also defined in {first}; give them different names, or move one"


def check(root: Path) -> list[str]:
    """All violations below a root folder."""
    files = tracked_files(root)
    python = [path for path in files if path.suffix == ".py" and path.relative_to(root).parts[0] in CODE_FOLDERS]
    package = [path for path in python if path.relative_to(root).parts[0] == "src"]
    code = [
        path for path in files if path.suffix in CODE_SUFFIXES or "Makefile" in path.name or path.parent.name == ".ci"
    ]
    return [
        *long_files(python),
        *ambiguous_names(package),
        *index_addresses(files),
        *postponed_work(code),
    ]


def main() -> int:
    """Check the folder given on the command line, or this one; returns the exit code."""
    violations = check(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    for violation in violations:
        print(violation)
    print(f"source checks: {len(violations)} violations" if violations else "source checks: passed")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
