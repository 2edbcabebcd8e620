"""The house rules that no linter knows: size of files, repeated blocks, documentation, addresses, promises.

Usage: python tools/check_house.py [ROOT]. Prints one line per breach and exits 1 if there is any.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 500
BLOCK_LINES = 6
CODE_FOLDERS = ("src", "tests", "tools", "benchmarks", "examples")
CODE_SUFFIXES = (".py", ".sh", ".toml", ".yaml", ".yml", ".cff")

# Put together here, so that this file does not hold what it looks for.
INDEX_HOSTS = tuple(
    ".".join(host) for host in (("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"))
)
INDEX_OPTIONS = re.compile(r"^\s*(--(extra-)?index-url|-i|--find-links|-f|--trusted-host)\b|://", re.MULTILINE)
PROMISES = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def tracked_files(root: Path) -> list[Path]:
    """Files that git tracks or would track, sorted; outside a repository every file that is not hidden."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        names = [root / name for name in listing.stdout.split("\0") if name]
    else:
        names = [path for path in root.rglob("*") if not any(part[0] == "." for part in path.relative_to(root).parts)]
    return sorted({path for path in names if path.is_file()})


def long_files(paths: list[Path]) -> Iterator[str]:
    """Breaches: Python files of more than 500 lines."""
    for path in paths:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            yield f"{path}: {lines} lines, the house allows {MAX_FILE_LINES}; split it where the thought splits"


def significant_lines(source: str) -> list[tuple[int, str]]:
    """Line numbers and stripped text of what counts as code: no imports, comments, docstrings or lone punctuation."""
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        is_string = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if isinstance(node, ast.stmt) and (is_string or isinstance(node, ast.Import | ast.ImportFrom)):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    numbered = ((number, line.strip()) for number, line in enumerate(source.splitlines(), start=1))
    return [
        (number, line)
        for number, line in numbered
        if number not in skipped and not line.startswith("#") and re.search(r"\w", line)
    ]


def repeated_blocks(paths: list[Path]) -> Iterator[str]:
    """Breaches: six equal lines of code in a row at two places; a longer repetition is told once."""
    files = {path: significant_lines(path.read_text(encoding="utf-8")) for path in paths}
    places: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path, lines in files.items():
        for start in range(len(lines) - BLOCK_LINES + 1):
            block = tuple(text for _, text in lines[start : start + BLOCK_LINES])
            places[block].append((path, start))
    told: set[tuple[Path, int, Path, int]] = set()
    for (first, at), *others in (found for found in places.values() if len(found) > 1):
        for second, again in others:
            told.add((first, at, second, again))
            if (first, at - 1, second, again - 1) not in told:
                yield (
                    f"{second}:{files[second][again][0]}: repeats the lines from {first}:{files[first][at][0]};"
                    " make one piece of code serve both"
                )


def public_definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """Dotted name and node of every public class, function and method; what stands inside a function is private."""
    pending: list[tuple[str, ast.stmt]] = [("", node) for node in tree.body]
    while pending:
        prefix, node = pending.pop(0)
        if isinstance(node, ast.If | ast.Try):
            pending[:0] = [(prefix, child) for child in node.body + node.orelse]
        if not isinstance(node, Definition) or (node.name.startswith("_") and not node.name.endswith("__")):
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            pending[:0] = [(f"{prefix}{node.name}.", child) for child in node.body]


def missing_annotations(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Parameters without a type, and "return" where the result has none; `self` and `cls` need none."""
    positional = node.args.posonlyargs + node.args.args
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if "." in name and "staticmethod" not in decorators:
        positional = positional[1:]
    named = [*positional, *node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
    bare = [argument.arg for argument in named if argument.annotation is None]
    return bare if node.returns is not None else [*bare, "return"]


def undocumented_names(paths: list[Path]) -> Iterator[str]:
    """Breaches: a public module, class, function or method without docstring or without all its types."""
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        is_private = path.name.startswith("_") and not path.name.startswith("__")
        if not is_private and ast.get_docstring(tree) is None:
            yield f"{path}:1: the module has no docstring"
        for name, node in public_definitions(tree):
            decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
            documented_elsewhere = decorators & {"overload", "override", "setter"} or node.name.endswith("__")
            if ast.get_docstring(node) is None and not documented_elsewhere:
                yield f"{path}:{node.lineno}: {name} has no docstring"
            if not isinstance(node, ast.ClassDef) and (bare := missing_annotations(name, node)):
                yield f"{path}:{node.lineno}: {name} has no type for {', '.join(bare)}"


def index_addresses(paths: list[Path]) -> Iterator[str]:
    """Breaches: the address of a package index anywhere; any address or index option in a lock."""
    for path in paths:
        content = path.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode("utf-8", errors="replace")
        for host in INDEX_HOSTS:
            if host in text:
                yield f"{path}: holds the address of a package index ({host}); the machine decides where to fetch"
        if path.suffix == ".lock" and (found := INDEX_OPTIONS.search(text)):
            yield f"{path}: a lock holds versions and hashes only, not {found.group().strip()!r}"


def promises(paths: list[Path]) -> Iterator[str]:
    """Breaches: marks in code for work that is put off."""
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if found := PROMISES.search(line):
                yield f"{path}:{number}: {found.group()}: do it now, or put it into an issue"


def check(root: Path) -> list[str]:
    """All breaches under a root folder, with paths relative to the working directory where that is possible."""
    files = tracked_files(root)
    python = [path for path in files if path.suffix == ".py" and path.relative_to(root).parts[0] in CODE_FOLDERS]
    package = [path for path in python if path.relative_to(root).parts[0] == "src"]
    code = [
        path for path in files if path.suffix in CODE_SUFFIXES or path.name == "Makefile" or path.parent.name == ".ci"
    ]
    return [
        *long_files(python),
        *repeated_blocks(package),
        *undocumented_names(package),
        *index_addresses(files),
        *promises(code),
    ]


def main() -> int:
    """Check the folder named on the command line, or this one; the exit code."""
    breaches = check(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    for breach in breaches:
        print(breach)
    print(f"house rules: {len(breaches)} breaches" if breaches else "house rules: kept")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
