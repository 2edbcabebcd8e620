"""Images that other projects test their own readers with: each is read, or refused in one line.

python -m hardening.peers NAME=FOLDER ... [--jobs 2] [--keep]

FOLDER is a checkout of a project, such as Pillow's or libtiff's, from which nothing is copied. All files that have the
suffix of an image are read as `segvoc segment` reads images, whole and by windows, and as a label map is read. What is
accepted must have the size that another reader sees. The rows go to benchmarks/results/hardening_peers.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from hardening.cases import Case, Finding, file
from hardening.fuzz import RESULTS, table
from hardening.pool import run_cases
from segvoc.imaging.image_formats import IMAGE_SUFFIXES

READERS = ("image", "windows", "label map")
OTHERS = (
    ".jp2",
    ".j2k",
    ".avif",
    ".ico",
    ".icns",
    ".ppm",
    ".pgm",
    ".pbm",
    ".tga",
    ".psd",
    ".dds",
    ".eps",
    ".xpm",
    ".fli",
)
"""Suffixes of images that segvoc doesn't take: they must be refused."""


def cases_of(name: str, folder: Path) -> Iterator[Case]:
    """All images below a folder, for each reader."""
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if path.is_file() and suffix in (*IMAGE_SUFFIXES, *OTHERS):
            for reader in READERS:
                yield Case(
                    family=f"{name}: {suffix.removeprefix('.')}",
                    what=str(path.relative_to(folder)),
                    reader=reader,
                    build=file(path.name, path.read_bytes()),
                )


def rows_of(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """A row for each project and suffix."""
    rows: list[dict[str, object]] = []
    for row in table(findings):
        project, suffix = str(row["family"]).split(": ")
        files = len({finding.what for finding in findings if finding.family == row["family"]})
        verdicts = {verdict: row[verdict] for verdict in ("refused", "accepted", "defects")}
        rows.append({"project": project, "suffix": suffix, "files": files, **verdicts})
    return rows


def main() -> None:
    """Read everything, print the rows and the defects; fail if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--show", default="", help="print all findings of this verdict")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/hardening_peers.json")
    arguments = parser.parse_args()
    cases: list[Case] = []
    for project in arguments.projects:
        name, _, folder = project.partition("=")
        if not Path(folder).is_dir():
            parser.error(f"{folder!r} is not a folder; give NAME=FOLDER")
        cases += cases_of(name, Path(folder))
    findings = run_cases(cases, jobs=arguments.jobs)
    rows = rows_of(findings)
    for row in rows:
        print("{project:12} {suffix:6} {files:6} {refused:6} {accepted:6} {defects:6}".format(**row))
    defects = [finding for finding in findings if finding.verdict == "defect"]
    for finding in findings:
        if finding.verdict in ("defect", arguments.show):
            print(f"{finding.family} · {finding.what} · {finding.reader}: {finding.detail} ({finding.seconds} s)")
    if arguments.keep:
        kept = {"rows": rows, "readers": READERS}
        (RESULTS / "hardening_peers.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if defects else 0)


if __name__ == "__main__":
    main()
