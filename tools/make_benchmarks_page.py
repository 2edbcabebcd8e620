"""Write docs/how_to/benchmarks.md: for each benchmark its sources, its scoring rule and published scores.

Usage: python tools/make_benchmarks_page.py.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from segvoc.data.benchmarks import BENCHMARKS, Benchmark
from segvoc.data.preparation.downloads import Download

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how_to" / "benchmarks.md"
HEAD = """# Benchmarks

```
segvoc prepare BENCHMARK [BENCHMARK ...] --data ROOT [--jobs N] [--partial]
```

makes label maps out of a benchmark's original downloads. Put the downloads into ROOT as they are (the archives), or
unpack them there; what is missing is told with its place and page. The command may be stopped at any moment and goes on
when it is given again; once all is done it does nothing. `ROOT/segvoc/BENCHMARK.json` says what was made: counts, a
digest of all files written, pictures left out, missing or damaged, where the originals lay, versions. Label maps that
another program made before, in the same place, are made anew.

A picture whose files are damaged is named, the others are done, and the exit code is 1; give the command again once the
file is replaced. A set with fewer pictures than it should have is refused, unless `--partial` is given.

Classes, ids and layouts are facts of the data sets and of the published evaluations; the table is
`segvoc.data.benchmarks.BENCHMARKS`. This page is made by `python tools/make_benchmarks_page.py`.
"""
NOTES = """## How labels are made

- COCO-Stuff: the ids of the "stuffthingmaps" count from 0 and have gaps; 255 and the ids in gaps are ignored.
- COCO-Object: things are one more than their place among the 80; everything else, unlabelled pixels included, is
  background.
- A-150: one less than the annotation's value; 0 is ignored.
- A-847: red / 10 * 256 + green of a `_seg.png` is an object's id; ids that aren't among the 847 are ignored. Pictures
  and labels are shrunk to a short side of 512 pixels (linear and nearest), and the pictures written anew as JPEG, as in
  the published preparation. The index, a pickle, is read so that nothing in it can run.
- PC-59, PC-60: the masks of the file are painted in its order on 0. In PC-59, 0 is ignored; in PC-60 it is background.
- PC-459: one less than the MATLAB file's value (both versions, 5 and 7.3, are read); 0 is ignored.
- PAS-20: one less than the annotation's value; background is ignored, and pictures without an object are left out.
  PAS-20b: background is class 20. VOC-21: the values as they are.
- Cityscapes: 19 of the label ids; the others are ignored.
- Pascal-Part-116, ADE20K-Part-234: a picture has a record for each object (class or instance). Its label map holds the
  parts in that object's mask and nothing else; a record without any part is left out, as nothing of it could be scored.
  The object's mask lies beside it (`.mask.png`: 0 in the mask, 255 elsewhere).

An id that a benchmark does not know, a picture of another size than its labels, and a picture that breaks off are
damage, and named.

## Names of classes

Names are kept to the letter, synonyms and trailing spaces included (A-150 has a `"bed "`). Where the toolboxes write
"diningtable", "pottedplant" and "tvmonitor", `Benchmark.classes_in_words` has them in English; published scores were
made with the names as they are.

## Words about the published scores

They are the papers' own; none was measured here. CAT-Seg's are those of its CVPR edition, whose weights are released;
the row "DeCLIP" of PCA-Seg's table is the serial network on PCA-Seg's towers. SynSeg's table calls PC-59 "Context" and
A-150 "ADE". No paper here reports PC-60.
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    yield HEAD
    yield "| name | as papers write it | classes | pictures | ignored | scored how | label maps |"
    yield "|---|---|---|---|---|---|---|"
    for benchmark in BENCHMARKS.values():
        pictures = "" if benchmark.image_count is None else f"{benchmark.image_count:,}"
        yield (
            f"| `{benchmark.name}` | {benchmark.title} | {len(benchmark.classes)} | {pictures} | {benchmark.ignored} | "
            f"{_protocol(benchmark)} | `{benchmark.label_folder}/*{benchmark.label_suffix}` |"
        )
    yield "\n## What to download\n"
    sharing: dict[tuple[Download, ...], list[Benchmark]] = {}
    for benchmark in BENCHMARKS.values():
        sharing.setdefault(benchmark.downloads, []).append(benchmark)
    for downloads, benchmarks in sharing.items():
        yield f"### {', '.join(benchmark.title for benchmark in benchmarks)}\n"
        yield from dict.fromkeys(f"{benchmark.citation}.\n" for benchmark in benchmarks)
        notes = [f"- {benchmark.title}: {benchmark.note}." for benchmark in benchmarks if benchmark.note]
        yield from [*notes, ""] if notes else []
        yield "| download | from | or, unpacked |\n|---|---|---|"
        for archives, files in groupby(downloads, key=lambda download: download.archives):
            yield _download(archives, list(files))
        yield ""
    yield "## Published scores\n"
    yield from _scores([benchmark for benchmark in BENCHMARKS.values() if benchmark.parts is None])
    yield "For parts: seen / unseen / harmonic mean.\n"
    yield from _scores([benchmark for benchmark in BENCHMARKS.values() if benchmark.parts is not None])
    yield NOTES.strip()


def _protocol(benchmark: Benchmark) -> str:
    return "for training" if benchmark.name.endswith("-train") else benchmark.protocol


def _download(archives: Sequence[str], files: Sequence[Download]) -> str:
    places = ", ".join(
        f"`{file.locations[0]}`" if file.is_file else f"`{file.locations[0]}/*{file.suffix}`" for file in files
    )
    name = archives[0] if archives else files[0].member
    return f"| `{name}` | {files[0].page} | {places} |"


def _scores(benchmarks: Sequence[Benchmark]) -> Iterator[str]:
    """A table with a row for each network and table that reports on these benchmarks, percent."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for benchmark in benchmarks:
        for score in benchmark.published:
            row = found.setdefault((score.preset, score.protocol or "mIoU", score.table), {})
            row[benchmark.name] = " / ".join(f"{value:.1f}" for value in score.scores.values())
    columns = [benchmark for benchmark in benchmarks if any(benchmark.name in row for row in found.values())]
    yield f"| network | score | {' | '.join(benchmark.title for benchmark in columns)} | from |"
    yield "|---" * (len(columns) + 3) + "|"
    for (preset, what, table), row in found.items():
        yield f"| `{preset}` | {what} | {' | '.join(row.get(benchmark.name, '') for benchmark in columns)} | {table} |"
    yield ""


def main() -> None:
    """Write the page anew."""
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
