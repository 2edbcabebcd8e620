"""The files of other projects, put through `segvoc segment`: each is labeled, named in a line, or counted.

    python -m hardening.corpora NAME=GIT:FOLDER ... [--options "--tile 1024 --polygons"] [--keep]

    python -m hardening.corpora pillow=/tmp/Pillow/.git:Tests/images rasterio=/tmp/rasterio/.git:tests/data

GIT is the git directory of a clone, of which FOLDER is taken as of its last commit; files that the clone lacks are left
out. A folder is put through in one call with `tiny`. Whatever else is on standard error, another exit code than the
contract's, and a file that is neither labeled nor named nor counted, is unexpected. Results are opened by the format's
own library: label maps by Pillow, those of GeoTIFFs by rasterio, which must find the coordinates of the image. --keep
adds the rows to benchmarks/results/hardening_corpora.json in place of those of the same name and options.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from segvoc.imaging.tiff_place import TiffPlace
from segvoc.storage.json_files import read_json, write_json

Image.MAX_IMAGE_PIXELS = None  # label maps are as large as images may be here
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "hardening_corpora.json"
_EXPECTED = (
    r"segvoc: (error|warning): '(?P<file>.+?)'[ :]",
    r"segvoc: passed over (?P<count>\d+) files? ",
    r"segvoc: labeling: ",
    r"segvoc: \d+ of \d+ (images|videos) failed",
)
"""What may be on standard error."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What was found of a folder."""

    name: str
    commit: str
    options: str
    files: int
    """Files of the folder, without hidden ones."""
    labeled: int
    named: int
    """Files that an error line names."""
    counted: int
    """Files that are passed over by their suffix."""
    unexpected: tuple[str, ...]
    """Lines, exit codes, files and results that shouldn't be."""


def extract(git: str, folder: str, out: Path) -> str:
    """Write the files of a folder of a repository; returns the commit."""
    run = ("git", "--git-dir", git)
    commit = subprocess.run([*run, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    listed = subprocess.run([*run, "ls-tree", "-r", "-z", "HEAD", folder], check=True, capture_output=True).stdout
    with subprocess.Popen([*run, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as blobs:
        assert blobs.stdin is not None and blobs.stdout is not None
        for entry in filter(None, listed.split(b"\0")):
            about, name = entry.split(b"\t", 1)
            mode, kind, digest = about.split()
            if kind != b"blob" or mode == b"120000":
                continue
            blobs.stdin.write(digest + b"\n")
            blobs.stdin.flush()
            head = blobs.stdout.readline().split()
            if head[-1] == b"missing":
                continue
            content = blobs.stdout.read(int(head[2]))
            blobs.stdout.read(1)
            path = out / name.decode("utf-8", "surrogateescape")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        blobs.stdin.close()
    return commit


def put_through(name: str, git: str, folder: str, options: Sequence[str]) -> Corpus:
    """Label a folder in one call, and account for each of its files."""
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place, "in"), Path(place, "out")
        commit = extract(git, folder, source)
        command = [sys.executable, "-m", "segvoc", "segment", str(source), "--words", "cat, wall", "--no-overlay"]
        done = subprocess.run(
            [*command, "--json", "--out", str(out), *options],
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
        )
        reports = [json.loads(line) for line in done.stdout.splitlines()]
        unexpected = [] if done.returncode in (0, 1) else [f"exit code {done.returncode}"]
        named, counted = set(), 0
        for line in done.stderr.splitlines():
            found = next(filter(None, (re.match(pattern, line) for pattern in _EXPECTED)), None)
            if found is None or "unexpected" in line:
                unexpected.append(line[:300])
            elif "count" in found.re.groupindex:
                counted += int(found["count"])
            elif line.startswith("segvoc: error"):
                named.add(found["file"])
        unexpected += [problem for report in reports for problem in problems(Path(report["image"]), source, out)]
        files = [path for path in source.rglob("*") if path.is_file()]
        visible = [path for path in files if not any(part.startswith(".") for part in path.relative_to(source).parts)]
        if (left := len(visible) - len(reports) - len(named) - counted) != 0:
            unexpected.append(f"{left} files are neither labeled nor named nor counted")
    return Corpus(
        name=name,
        commit=commit[:10],
        options=shlex.join(options),
        files=len(visible),
        labeled=len(reports),
        named=len(named),
        counted=counted,
        unexpected=tuple(unexpected),
    )


def problems(image: Path, source: Path, out: Path) -> Iterator[str]:
    """What is wrong with the label map of an image."""
    stem = out / image.relative_to(source).with_suffix("")
    choices = [
        stem.with_name(stem.name + end) for end in (".tif", ".png", f"{image.suffix}.tif", f"{image.suffix}.png")
    ]
    path = next((one for one in choices if one.is_file()), None)
    if path is None:
        yield f"{image.name} has no label map"
    elif path.suffix == ".png":
        with Image.open(path) as label_map:
            label_map.load()
    elif TiffPlace.of(image) is not None:
        import rasterio

        with rasterio.open(image) as one, rasterio.open(path) as other:
            other.read(1)
            if (one.crs, one.shape) != (other.crs, other.shape) or not one.transform.almost_equals(other.transform):
                yield f"{path.name} lies elsewhere than its image"


def main() -> int:
    """Put all folders through and print a table; the exit code is 1 if something was unexpected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="NAME=GIT:FOLDER")
    parser.add_argument("--options", default="", help="further options of segvoc segment")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for given in tqdm(arguments.corpora, unit="corpus"):
        name, _, place = given.partition("=")
        git, _, folder = place.rpartition(":")
        rows.append(put_through(name, git, folder, shlex.split(arguments.options)))
        row = rows[-1]
        tqdm.write(
            f"| {row.name} ({row.commit}) {row.options} | {row.files} | {row.labeled} | {row.named} | {row.counted} |"
        )
        for problem in row.unexpected:
            tqdm.write(f"  unexpected: {problem}")
    if arguments.keep:
        before = read_json(RESULTS)["corpora"] if RESULTS.exists() else []
        new = [asdict(row) for row in rows]
        keys = {(row["name"], row["options"]) for row in new}
        kept = [row for row in before if (row["name"], row["options"]) not in keys]
        write_json(RESULTS, {"corpora": [*kept, *new]})
    return int(any(row.unexpected for row in rows))


if __name__ == "__main__":
    sys.exit(main())
