"""List the errors for users that no test raises, from the data of `make coverage`.

Usage: python tools/unhit_errors.py; prints a line for each `raise` of a class in `segvoc.errors` that didn't run.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import coverage

from segvoc import errors

ROOT = Path(__file__).resolve().parents[1]
RAISED = {name for name in vars(errors) if name.endswith("Error") or name == "missing_extra"}


def raised_errors(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and class of each statement that raises an error of segvoc."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func).split(".")[-1]
            if name in RAISED:
                yield node.lineno, name


def main() -> int:
    """Print the list; it is for people, so the exit code is 0."""
    data = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    data.load()
    total = unhit = 0
    for path in sorted((ROOT / "src" / "segvoc").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        missing = set(data.analysis2(str(path))[3])
        for line, name in raised_errors(ast.parse(source)):
            total += 1
            if line in missing:
                unhit += 1
                text = source.splitlines()[line - 1].strip()
                print(f"{path.relative_to(ROOT)}:{line}: no test raises this {name}: {text}")
    print(f"{unhit} of {total} errors for users are never raised by the tests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
