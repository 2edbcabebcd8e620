"""Count the lines and modules of the house, and say where it has grown beyond its limits: `python tools/house_size.py`.

The limits follow what is there, and go down with it; DESIGN's goals are lower. The exit code is 1 if one is exceeded.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Part(NamedTuple):
    """A part of the repository: what git tracks below its folders, by suffix."""

    name: str
    folders: tuple[str, ...]
    suffixes: tuple[str, ...]
    most_lines: int
    most_files: int | None = None


PARTS = (
    Part("segvoc", ("src/segvoc",), (".py",), 43_685, 215),
    Part("segvoc-annotate", ("annotate/src", "annotate/tools"), (".py",), 5_485),
    Part("the page", ("annotate/web",), (".ts", ".tsx"), 16_135),
    Part("papers", ("papers",), (".py",), 4_900),
    Part("tests", ("tests", "annotate/tests"), (".py",), 38_890),
    Part("around", ("benchmarks", "tools", "hardening", "examples"), (".py",), 9_170),
)


def counted(part: Part) -> tuple[int, int]:
    """Lines and files of a part."""
    listed = subprocess.run(["git", "ls-files", *part.folders], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.splitlines() if name.endswith(part.suffixes)]
    files = [file for file in files if file.exists()]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files), len(files)


def main() -> int:
    """Print the table."""
    too_large = False
    print(f"{'part':16} {'lines':>7} {'at most':>8} {'files':>6} {'at most':>8}")
    for part in PARTS:
        lines, files = counted(part)
        exceeded = lines > part.most_lines or files > (part.most_files or files)
        too_large |= exceeded
        most = "" if part.most_files is None else part.most_files
        print(f"{part.name:16} {lines:7} {part.most_lines:8} {files:6} {most:>8}{'  too large' if exceeded else ''}")
    return int(too_large)


if __name__ == "__main__":
    sys.exit(main())
