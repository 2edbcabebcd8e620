"""The project's own rules, which no linter checks: sizes, addresses, postponed work, code from files, chance in tests.

Usage: python tools/check_source.py [ROOT]. Prints a line for each violation and exits 1 if there are any.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 900
CODE_FOLDERS = ("src", "annotate", "papers", "tests", "tools", "benchmarks", "examples")
CODE_SUFFIXES = (".py", ".sh", ".toml", ".yaml", ".yml", ".cff")

# Assembled here, so that this file doesn't contain what it searches for.
INDEX_HOSTS = tuple(f"{name}.org" for name in ("pypi", "pythonhosted", "download.pytorch"))
INDEX_OPTIONS = re.compile(r"^\s*(--(extra-)?index-url|-i|--find-links|-f|--trusted-host)\b|://", re.MULTILINE)
POSTPONED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")

TESTS = ("conftest.py", "tests/", "annotate/tests/")

CHANCE = re.compile(
    r"(os\.)?(urandom|getrandom)|(uuid\.)?uuid[14]|(random\.)?SystemRandom|secrets\..*|time\.time(_ns)?"
    r"|(datetime\.)*(datetime\.(now|utcnow|today)|date\.today)"
)
"""Calls that give something else in each run; conftest.py seeds the global generators before each test."""

GENERATORS = re.compile(r"(random\.)?Random|((np|numpy)\.random\.)?(default_rng|RandomState|SeedSequence)")
"""Calls that need a seed."""

DRAWS = re.compile(r"random\.[a-z]+|(np|numpy)\.random\.[a-z_]+|torch\.(rand\w*|normal|bernoulli|multinomial)")
"""Calls that draw from a global generator, which isn't seeded while a module is imported."""

RUNS_CODE = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "dill.load", "joblib.load", "marshal.loads", "shelve.open", "yaml.load", "torch.jit.load", "torch.hub.load",
    "torch.package.PackageImporter", "torch.export.load", "shutil.unpack_archive",
    "xml.etree.ElementTree.parse", "xml.etree.ElementTree.fromstring", "aoti_load_package", "runpy.run_path",
}  # fmt: skip
"""Calls that run code from a file, or write files where it says; subclasses of the unpickler count as calls."""

HARMLESS = {
    ("labeling/batch/engine.py", "pickle.loads"): "what the program itself pickled, from Ray's object store",
    ("checkpoints/torchscript.py", "pickle.Unpickler"): "finds a list of harmless globals only",
    ("data/preparation/originals.py", "pickle.Unpickler"): "finds a list of harmless globals only",
    ("vocabulary/files.py", "yaml.load"): "its loader makes nothing but lists, mappings and texts",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


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


def drawn_anew(paths: list[Path]) -> Iterator[str]:
    """Find what tests draw without a seed, and from a global generator outside of functions."""
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
        delayed = {inner for function in functions for inner in ast.walk(function)}
        delayed -= {inner for function in functions for outer in at_definition(function) for inner in ast.walk(outer)}
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name, is_seeded = ast.unparse(node.func), bool(node.args or node.keywords)
            if CHANCE.fullmatch(name) or (GENERATORS.fullmatch(name) and not is_seeded):
                yield f"{path}:{node.lineno}: {name} gives something else in each run; draw by a seed"
            elif DRAWS.fullmatch(name) and not GENERATORS.fullmatch(name) and node not in delayed:
                if not any(keyword.arg == "generator" for keyword in node.keywords):
                    yield f"{path}:{node.lineno}: {name} draws while the module is imported; give it a seeded generator"


def at_definition(function: Function) -> list[ast.expr]:
    """What Python evaluates where a function is defined: decorators and defaults."""
    decorators = [] if isinstance(function, ast.Lambda) else function.decorator_list
    return [*decorators, *function.args.defaults, *filter(None, function.args.kw_defaults)]


def foreign_code(paths: list[Path], package: Path) -> Iterator[str]:
    """Find calls in a package that could run code from an input, but for those that are `HARMLESS`."""
    for path in paths:
        for name, node in calls(ast.parse(path.read_text(encoding="utf-8"))):
            keywords = node.keywords if isinstance(node, ast.Call) else []
            settings = {one.arg: ast.unparse(one.value) for one in keywords}
            if (
                name in RUNS_CODE
                or name.endswith(".extractall")
                or (name == "torch.load" and settings.get("weights_only") != "True")
                or (name == "np.load" and settings.get("allow_pickle", "False") != "False")
                or settings.get("shell", "False") != "False"
            ) and (path.relative_to(package).as_posix(), name) not in HARMLESS:
                yield f"{path}:{node.lineno}: {name} may run code from a file; read data, or list it as harmless"


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call | ast.ClassDef]]:
    """All calls, and the bases of classes, by their names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node
        elif isinstance(node, ast.ClassDef):
            yield from ((ast.unparse(base), node) for base in node.bases)


def check(root: Path) -> list[str]:
    """All violations below a root folder."""
    files = tracked_files(root)
    python = [path for path in files if path.suffix == ".py" and path.relative_to(root).parts[0] in CODE_FOLDERS]
    tests = [path for path in files if path.suffix == ".py" and path.relative_to(root).as_posix().startswith(TESTS)]
    code = [
        path for path in files if path.suffix in CODE_SUFFIXES or "Makefile" in path.name or path.parent.name == ".ci"
    ]
    package = root / "src" / "segvoc"
    return [
        *long_files(python),
        *index_addresses(files),
        *postponed_work(code),
        *drawn_anew(tests),
        *foreign_code([path for path in python if path.is_relative_to(package)], package),
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
