"""The files of a release: source archives and wheels of both distributions, and what has to be true of them.

    python -m tools.release.files [--tag vX.Y.Z] [DIST]

Builds them into DIST (default: dist) and checks them: nothing is missing or too much, the wheel that a source archive
gives is the same to the byte, and versions, tag and CHANGELOG agree. Needs hatchling and git, and no package of segvoc.
"""

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tools.build_hook import MADE, PACKAGE

ROOT = Path(__file__).resolve().parents[2]

NOTICES = ("LICENSE", "NOTICE")
"""Licenses and notices, which stand in the wheel's metadata too."""

VERSION = f"{PACKAGE}/runtime/version.py"
"""Where the version is, also for pyproject.toml."""

LARGEST = 100_000_000
"""What a package index takes without being asked [bytes]."""


def release_problems(tag: str, root: Path = ROOT) -> Iterator[str]:
    """A line for each thing that keeps a tag (`v1.2.3`) from being a release of a clone."""
    (number,) = re.findall(r'^__version__ = "(.+)"$', (root / VERSION).read_text(encoding="utf-8"), re.MULTILINE)
    if tag != f"v{number}":
        yield f"the tag is {tag}, but {VERSION} says {number}: set the version, or tag v{number}"
    if f'\nversion = "{number}"' not in (root / "annotate" / "pyproject.toml").read_text(encoding="utf-8"):
        yield f"annotate/pyproject.toml has another version than {number}: set that"
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(rf"^## \[{re.escape(number)}\](.*)\n((?:(?!## ).*\n?)*)", changes, re.MULTILINE)
    if section is None:
        yield f"CHANGELOG.md has no section '## [{number}] - YYYY-MM-DD': move what is under Unreleased there"
    elif not re.fullmatch(r" - \d{4}-\d\d-\d\d", section[1]):
        yield f"the section [{number}] of CHANGELOG.md has no date: write '## [{number}] - YYYY-MM-DD'"
    elif not section[2].strip():
        yield f"the section [{number}] of CHANGELOG.md is empty: say what is new"


def tracked(root: Path, *folders: str) -> set[str]:
    """What git tracks, or would track, in some folders of a clone."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", *folders]
    listed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    return {name for name in listed.split("\0") if name}


def of_package(root: Path) -> set[str]:
    """What belongs into a wheel: what git tracks of the package, and what is made."""
    return tracked(root, PACKAGE) | {f"{PACKAGE}/{name}" for names in MADE.values() for name in names}


def differences(what: str, found: set[str], wanted: set[str]) -> Iterator[str]:
    """A line for each file that an archive lacks or has too much."""
    yield from (f"{what} lacks {name}" for name in sorted(wanted - found))
    yield from (f"{what} has {name}, which git doesn't track" for name in sorted(found - wanted))


def wheel_problems(wheel: Path, root: Path = ROOT) -> Iterator[str]:
    """A line for each file that a wheel lacks or has too much, and for its size."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    yield from differences(wheel.name, {f"src/{name}" for name in names - metadata}, of_package(root))
    folder = f"{wheel.name.rpartition('-py3-')[0]}.dist-info/licenses"
    yield from (f"{wheel.name} lacks {folder}/{name}" for name in NOTICES if f"{folder}/{name}" not in metadata)
    if wheel.stat().st_size > LARGEST:
        yield f"{wheel.name} has {wheel.stat().st_size / 1e6:.0f} MB, more than an index takes"


def source_problems(archive: Path, root: Path = ROOT) -> Iterator[str]:
    """A line for each file that a source archive lacks or has too much."""
    with tarfile.open(archive) as content:
        names = {member.name.partition("/")[2] for member in content if member.isfile()}
    wanted = of_package(root) | tracked(root)
    # hidden files at the root are settings of the clone; PKG-INFO and .gitignore are hatchling's doing
    hidden = {name for name in wanted if name.startswith(".") and not name.startswith((".ci/", ".github/"))}
    yield from differences(archive.name, names - {"PKG-INFO", ".gitignore"}, wanted - hidden)


def build(root: Path, out: Path, target: str) -> Path:
    """Build an archive of a clone, or of an unpacked source archive, into an empty folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out.resolve()), "--target", target]
    if code := subprocess.run(command, cwd=root, check=False).returncode:
        raise SystemExit(code)  # the hook has said why
    name = "segvoc_annotate" if root.name.startswith(("annotate", "segvoc_annotate-")) else "segvoc"
    (archive,) = out.glob(f"{name}-*.whl" if target == "wheel" else f"{name}-*.tar.gz")
    return archive


def same_wheel_problems(wheel: Path, source: Path) -> Iterator[str]:
    """A line if the wheel that a source archive gives isn't the same, byte for byte."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        again = build(folder / source.name.removesuffix(".tar.gz"), folder / "dist", "wheel")
        if again.read_bytes() != wheel.read_bytes():
            yield f"the wheel that {source.name} gives differs from {wheel.name}"


def main() -> int:
    """Build and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "dist", metavar="DIST")
    parser.add_argument("--tag", help="the release's tag: version and CHANGELOG.md have to agree with it")
    arguments = parser.parse_args()
    problems = list(release_problems(arguments.tag)) if arguments.tag else []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for old in (*arguments.out.glob("segvoc*-*.whl"), *arguments.out.glob("segvoc*-*.tar.gz")):
        old.unlink()
    source, wheel = (build(ROOT, arguments.out, target) for target in ("sdist", "wheel"))
    problems += [*wheel_problems(wheel), *source_problems(source), *same_wheel_problems(wheel, source)]
    # the hook has looked whether the page is whole
    annotate = [build(ROOT / "annotate", arguments.out, target) for target in ("sdist", "wheel")]
    problems += same_wheel_problems(annotate[1], annotate[0])
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    for path in (source, wheel, *annotate):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
