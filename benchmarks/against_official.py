"""Our aggregations beside the official code of CAT-Seg, PCA-Seg and ERR-Seg, in one process.

    git clone https://github.com/cvlab-kaist/CAT-Seg /tmp/CAT-Seg    # or PixelSegTech/PCA-Seg, lchen1019/ERR-Seg
    python -m benchmarks.against_official --official /tmp/CAT-Seg [--words N ...] [--repeats N] [--dtype bfloat16]

A call goes from the encoders' features to the logits of all words. Both codes have the same random weights and features
and take turns call by call, with 2 threads. Before that, their float32 logits have to agree to 1e-4 of the largest. The
official code computes in float32, ours in --dtype. Rows: "single" is one square image at the preset's own size with
class pooling (2, 2), "sliding" the five views of CAT-Seg's and PCA-Seg's published test protocol with pooling (1, 1).

"ratio" is the median over the turns of official time by ours, "spread" the range of a code's times by their median.
"share" is the arithmetic that a code does by the time that it needs (multiply-adds are counted in a call of each), in
units of the machine's rate for a 2048x2048 matrix product in the same dtype, measured right before and after the turns.
Memory is the peak of a process that makes two calls of one code alone.

Rows are added to `results/against_official.json` in the place of earlier ones of the same setting, unless those were
measured on another machine, and `results/against_official.md` has the table. Measure on an otherwise idle machine.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch

from benchmarks import machine
from benchmarks.machine import matrix_rate
from benchmarks.official_code import (
    OurAggregation,
    Setting,
    build_official,
    difference,
    equal_labels,
    fill,
    find_model,
    official_file,
    random_features,
)
from segvoc.analysis.multiply_adds import multiply_adds_of
from segvoc.errors import SegvocError, UsageError
from segvoc.process_settings import keep_freed_memory
from segvoc.storage.checksums import file_sha256

ROOT = Path(__file__).resolve().parents[1]
NAME = "against_official"
START, END = "<!-- against-official -->", "<!-- /against-official -->"
"""Marks before and after the table on a page."""
LARGEST_DIFFERENCE = 1e-4
THREADS = 2

Side = Literal["official", "ours"]
Line = dict[str, object]
"""A measured row."""

WORDS = {"cat-seg-b": (20, 59, 171), "pca-seg-b": (20, 59, 171), "err-seg-b": (150, 847)}
"""Numbers of classes in rows of kind "single"."""
SLIDING = {"cat-seg-b": (171,), "pca-seg-b": (171,), "err-seg-b": ()}
"""Numbers of classes in rows of kind "sliding", which ERR-Seg doesn't have."""
KEY = ("model", "views", "words", "dtype")
"""What tells rows apart."""


def settings_of(model: str, rows: Sequence[str], words: Sequence[int] | None) -> list[Setting]:
    """The rows to measure for a preset.

    Raises:
        UsageError: there are none.
    """
    settings = [Setting(model, number) for number in words or WORDS[model] if "single" in rows]
    if "sliding" in rows and SLIDING[model]:
        settings += [Setting(model, number, views=5, pooling=1) for number in words or SLIDING[model]]
    if not settings:
        raise UsageError(f"{model} has no rows of kind {' or '.join(rows)}; choose single")
    return settings


def measured(folder: Path, setting: Setting, dtype: str, repeats: int) -> Line:
    """Measure one row in this process.

    Raises:
        SegvocError: the two codes disagree.
    """
    precision: torch.dtype = getattr(torch, dtype)
    official = build_official(folder, setting)
    ours = OurAggregation(setting).eval()
    ours.load_official(official)
    features = random_features(setting)
    with torch.no_grad():
        theirs, exact = official(features), ours(features)
        apart = difference(theirs, exact)
        if not apart <= LARGEST_DIFFERENCE:
            raise SegvocError(
                f"{setting.model}, {setting.words} words: our logits differ from the official ones by {apart:.1e} of "
                f"the largest, which is more than {LARGEST_DIFFERENCE:.0e}; make them agree before measuring"
            )
        counts = [multiply_adds_of(lambda: official(features)), multiply_adds_of(lambda: ours(features))]
        converted = features.to(precision)
        ours.to(precision)
        same = equal_labels(theirs, ours(converted))
        rates = matrix_rates()
        times = alternate(lambda: official(features), lambda: ours(converted), repeats)
        after = matrix_rates()
        rates = {name: (rate + after[name]) / 2 for name, rate in rates.items()}
    return {
        **{key: value for key, value in asdict(setting).items() if key != "pooling"},
        "dtype": dtype,
        **compared(times),
        **rates,
        "official_share": reached(counts[0], min(times[0]), rates["float32_gflops"]),
        "share": reached(counts[1], min(times[1]), rates[f"{dtype}_gflops"]),
        "official_gigamacs": counts[0] / 1e9,
        "gigamacs": counts[1] / 1e9,
        "difference": apart,
        "equal_labels": same,
        "repeats": repeats,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "official_sha256": file_sha256(official_file(folder)),
    }


def alternate(
    official: Callable[[], object], ours: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Times of both [s], in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for work, into in zip((official, ours), times, strict=True):
            start = time.perf_counter()
            work()
            into.append(time.perf_counter() - start)
    return times


def compared(times: tuple[list[float], list[float]]) -> Line:
    """What the times of the official code and of ours, turn by turn, come to."""
    official, ours = times
    facts: Line = {
        "ratio": statistics.median(theirs / own for theirs, own in zip(official, ours, strict=True)),
        "ratio_of_minima": min(official) / min(ours),
    }
    for prefix, seconds in (("official_", official), ("", ours)):
        median = statistics.median(seconds)
        facts |= {
            f"{prefix}seconds": min(seconds),
            f"{prefix}median": median,
            f"{prefix}spread": (max(seconds) - min(seconds)) / median,
        }
    return facts


def matrix_rates() -> dict[str, float]:
    """The machine's speed for matrix products now [GFLOP/s]."""
    return {"float32_gflops": matrix_rate(), "bfloat16_gflops": matrix_rate(torch.bfloat16)}


def reached(multiply_adds: int, seconds: float, gflops: float) -> float:
    """Share of a rate that so many multiply-adds in so many seconds make."""
    return 2 * multiply_adds / seconds / (gflops * 1e9)


def peak_memory(folder: Path, setting: Setting, dtype: str, side: Side) -> float:
    """Peak resident memory of this process after two calls of one code [GB]."""
    features = random_features(setting)
    if side == "official":
        work = build_official(folder, setting)
    else:
        work, features = fill(OurAggregation(setting)).to(getattr(torch, dtype)), features.to(getattr(torch, dtype))
    with torch.no_grad():
        work(features)
        work(features)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def in_process(folder: Path, setting: Setting, *options: str) -> str:
    """The last line that this command prints for one row in a process of its own; its errors are shown."""
    command = [sys.executable, "-m", "benchmarks.against_official", "--official", str(folder), *options]
    environment = {"GOMP_SPINCOUNT": "1000"} | os.environ  # as the command line sets it
    run = subprocess.run(
        [*command, "--one", json.dumps(asdict(setting))], stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    if run.returncode:
        raise SystemExit(run.returncode)
    return run.stdout.splitlines()[-1]


def with_earlier(rows: list[Line], earlier: Path) -> list[Line]:
    """Rows, and those of other settings in an earlier file, if the machine was the same; ordered by setting."""
    known: list[Line] = []
    if earlier.is_file():
        before = json.loads(earlier.read_text(encoding="utf-8"))
        if all(before["machine"].get(fact) == value for fact, value in machine.described().items()):
            known = before["rows"]
    merged = {tuple(row[key] for key in KEY): row for row in (*known, *rows)}
    return sorted(merged.values(), key=_place)


def _place(row: Line) -> tuple[bool, int, int, int]:
    model = list(WORDS).index(str(row["model"]))
    return row["dtype"] != "float32", model, int(str(row["views"])), int(str(row["words"]))


def save(rows: list[Line]) -> None:
    """Add rows to the results, and write their page."""
    every = with_earlier(rows, machine.RESULTS / f"{NAME}.json")
    machine.save(NAME, every)
    (machine.RESULTS / f"{NAME}.md").write_text(report(every), encoding="utf-8")


def table(rows: Sequence[Line]) -> str:
    """The rows as Markdown: ratios first, seconds beside them."""
    heads = ("", "words", "times as fast", "seconds", "official", "GB", "official", "of the matrix rate", "official")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        label = f"`{row['model']}`" + (f", {row['views']} views" if row["views"] != 1 else "")
        label += "" if row["dtype"] == "float32" else f", {row['dtype']}"
        sizes = [f"{row[key]:.3g}" for key in ("seconds", "official_seconds", "gigabytes", "official_gigabytes")]
        shares = [f"{row[key]:.0%}" for key in ("share", "official_share")]
        cells = [label, str(row["words"]), f"**{row['ratio']:.1f}**", *sizes, *shares]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def show(rows: Sequence[Line], page: Path) -> None:
    """Write the table between the marks on a page.

    Raises:
        UsageError: the page doesn't have the marks.
    """
    text = page.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise UsageError(f"{page} has no place for the table; add the lines {START} and {END}")
    text = text.split(START)[0] + f"{START}\n{table(rows)}{END}" + text.split(END)[1]
    page.write_text(text, encoding="utf-8")


def report(rows: Sequence[Line]) -> str:
    """The page of the results."""
    least = min(float(str(row["repeats"])) for row in rows)
    widest = max(float(str(row[key])) for row in rows for key in ("spread", "official_spread"))
    apart = max(float(str(row["difference"])) for row in rows)
    return f"""# Beside the official code

From the encoders' features to the logits, with the same random weights and features, in turns in one process with
{THREADS} threads. The official code computes in float32. "Times as fast" is the median ratio over {least:.0f} or
more turns, seconds are the shortest. The times of one code range over up to {widest:.0%} of their median. The logits
of the two in float32 differ by up to {apart:.0e} of the largest. `benchmarks/against_official.py` measures all of it.

{table(rows)}"""


def main() -> None:
    """Measure the rows of each checkout; print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, nargs="+", required=True, help="checkouts of the official code")
    parser.add_argument("--rows", nargs="+", choices=("single", "sliding"), default=("single", "sliding"))
    parser.add_argument("--words", type=int, nargs="+", help="numbers of classes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="that of our network")
    parser.add_argument("--page", type=Path, help="also write the table between the marks on this page")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--memory", choices=("official", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.repeats < 1 or min(options.words or [1]) < 1:
        parser.error("--repeats and --words have to be 1 or more")
    try:
        if options.one:
            measure_one(options.official[0], Setting(**json.loads(options.one)), options)
        else:
            measure_all([folder.resolve() for folder in options.official], options)
    except SegvocError as error:
        raise SystemExit(f"{parser.prog}: {error}") from None


def measure_one(folder: Path, setting: Setting, options: argparse.Namespace) -> None:
    """Print what is measured of one row in this process."""
    torch.set_num_threads(THREADS)
    if options.memory != "official":
        keep_freed_memory()  # as our command line does; with one process for both, the official code profits as well
    if options.memory:
        print(json.dumps(peak_memory(folder, setting, options.dtype, options.memory)))
    else:
        print(json.dumps(measured(folder, setting, options.dtype, options.repeats)))


def measure_all(folders: Sequence[Path], options: argparse.Namespace) -> None:
    """Measure all rows, each in processes of its own, and save them."""
    models = [(folder, find_model(folder)) for folder in folders]
    chosen = [(folder, row) for folder, model in models for row in settings_of(model, options.rows, options.words)]
    torch.set_num_threads(THREADS)
    for folder, setting in chosen:
        shared = ("--dtype", options.dtype, "--repeats", str(options.repeats))
        line: Line = json.loads(in_process(folder, setting, *shared))
        for prefix, side in (("official_", "official"), ("", "ours")):
            line[f"{prefix}gigabytes"] = float(in_process(folder, setting, *shared, "--memory", side))
        print(line, file=sys.stderr)
        save([line])  # after every row, so that nothing is lost when a long run is stopped
    if options.page:
        results = machine.RESULTS / f"{NAME}.json"
        show(json.loads(results.read_text(encoding="utf-8"))["rows"], options.page)


if __name__ == "__main__":
    main()
