"""Count the lines and modules of the house, and say where it has grown beyond its limits: `python tools/house_size.py`.

The limits follow what is there, and go down with it; DESIGN's goals are lower. The exit code is 1 if one is exceeded.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int, int | None]] = {
    "segvoc": (("src/segvoc",), (".py",), 42_690, 215),
    "segvoc-annotate": (("annotate/src", "annotate/tools"), (".py",), 5_480, None),
    "the page": (("annotate/web",), (".ts", ".tsx"), 14_955, None),
    "papers": (("papers",), (".py",), 4_900, None),
    "tests": (("tests", "annotate/tests"), (".py",), 36_110, None),
    "around": (("benchmarks", "tools", "hardening", "examples"), (".py",), 8_085, None),
}
"""What git tracks below some folders, by suffix: at most so many lines in at most so many files."""


def main() -> int:
    """Print the table."""
    too_large = False
    print(f"{'part':16} {'lines':>7} {'at most':>8} {'files':>6} {'at most':>8}")
    for name, (folders, suffixes, most_lines, most_files) in PARTS.items():
        listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, check=True, capture_output=True, text=True)
        paths = [ROOT / path for path in listed.stdout.splitlines() if path.endswith(suffixes)]
        texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
        lines, files = sum(len(text.splitlines()) for text in texts), len(texts)
        exceeded = lines > most_lines or files > (most_files or files)
        too_large |= exceeded
        print(f"{name:16} {lines:7} {most_lines:8} {files:6} {most_files or '':>8}{'  too large' if exceeded else ''}")
    return int(too_large)


if __name__ == "__main__":
    sys.exit(main())
