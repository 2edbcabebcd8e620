"""Our networks beside the official code of CAT-Seg, PCA-Seg and ERR-Seg, in one process.

    git clone https://github.com/cvlab-kaist/CAT-Seg /tmp/CAT-Seg    # or PixelSegTech/PCA-Seg, lchen1019/ERR-Seg
    python -m benchmarks.against_official --official /tmp/CAT-Seg [--rows KIND ...] [--words N ...] [--keep N]
        [--repeats N] [--dtype bfloat16] [--device cuda]

Both codes have the same random weights and inputs and take turns call by call, with 2 threads. Before that, their
float32 results have to agree to 1e-4 of the largest value. The official code computes in float32, ours in --dtype.
Kinds of rows:
- network: from a square image of the preset's own size to the logits of all words, whose embeddings are cached
- protocol: from a 640x640 image to its labels by the published test protocol of CAT-Seg and PCA-Seg (five views, class
  pooling (1, 1)), with cached words
- training: forward and backward pass of a 384x384 image, which trains what the recipes train, text encoder included;
  all gradients have to agree. PCA-Seg's released step fails; it is measured with its two wrong calls fixed
--keep lets our network refine only that many words, which is not exact.

"ratio" is the median over the turns of official time by ours, "spread" the range of a code's times by their median.
"share" is the arithmetic that a code does by the time that it needs (multiply-adds are counted in a call of each), in
units of the machine's rate for a 2048x2048 matrix product in the same dtype, measured right before and after the turns.
Memory is the peak of a process that makes two calls of one code alone.

On a GPU (--device cuda) both codes multiply in TF32, as the official programs do, the machine's rate is that of
8192x8192 matrices, a step of training has `BATCH` images, and memory is that of a code's weights and the peak of what a
call allocates.

Rows are added to `results/against_official_INSTRUCTIONS.json`, a file for each set of instructions or each GPU, in the
place of earlier ones of the same setting; `python tools/make_tables.py` renews the tables of README and of
docs/explanation/speed.md. Measure on an otherwise idle machine.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch

from benchmarks import machine
from benchmarks.machine import matrix_rate
from benchmarks.official.calls import OFFICIAL, OURS, RECIPE, Call, Dtype, Kind, Setting, difference, equal_labels
from benchmarks.official.checkout import find_model, official_file
from benchmarks.official.multiply_adds import multiply_adds_of
from segvoc.errors import SegvocError, UsageError
from segvoc.runtime.hardware import bfloat16_instructions, peak_gigabytes
from segvoc.runtime.process_settings import float32_products
from segvoc.storage.files import file_sha256

LARGEST_DIFFERENCE = 1e-4
WARM_UPS = 5
"""Calls of ours on a GPU before they are measured, which record graphs."""
BATCH = 4
"""Images of a step of training on a GPU."""

Side = Literal["official", "ours"]
Line = dict[str, object]
"""A measured row."""

WORDS: dict[Kind, dict[str, tuple[int, ...]]] = {
    "network": {"cat-seg-b": (20, 59, 171), "pca-seg-b": (20, 59, 171), "err-seg-b": (150, 847)},
    "protocol": dict.fromkeys(RECIPE, (171,)),
    "training": dict.fromkeys(RECIPE, (59,)),
}
"""Numbers of words, by the kind of row and the model."""
KEY = ("model", "kind", "words", "keep", "dtype")
"""What tells rows apart."""


def settings_of(model: str, options: argparse.Namespace) -> list[Setting]:
    """The rows to measure for a preset.

    Raises:
        UsageError: there are none.
    """
    kinds: list[Kind] = [kind for kind in options.rows if model in WORDS[kind]]
    on_gpu = options.device != "cpu"
    if (options.dtype != "float32" and not on_gpu) or options.keep:
        kinds = [kind for kind in kinds if kind != "training"]
    if not kinds:
        raise UsageError(f"{model} has no such rows as {', '.join(options.rows)}; choose network")
    several = {"training": BATCH} if on_gpu else {}
    return [
        Setting(model, words, kind, options.keep, options.device, several.get(kind, 1))
        for kind in kinds
        for words in options.words or WORDS[kind][model]
    ]


def measured(folder: Path, setting: Setting, dtype: Dtype, repeats: int) -> Line:
    """Measure one row in this process.

    Raises:
        SegvocError: the two codes disagree.
    """
    official, ours = OFFICIAL[setting.kind](folder, setting), OURS[setting.kind](replace(setting, keep=0))
    ours.take(official)
    with float32_products(tf32=False):
        official_count = multiply_adds_of(official)
        ours()
        count = multiply_adds_of(ours.plainly)
        apart = difference(official.result(), ours.result())
    if not apart <= LARGEST_DIFFERENCE:
        raise SegvocError(
            f"{setting.model}, {setting.kind}, {setting.words} words: our results differ from the official ones by "
            f"{apart:.1e} of the largest, which is more than {LARGEST_DIFFERENCE:.0e}; make them agree before measuring"
        )
    if dtype != "float32" or setting.keep:
        ours = OURS[setting.kind](setting, dtype)
        ours.take(official)
        count = multiply_adds_of(ours.plainly) if setting.keep else count
    with float32_products(tf32=setting.device != "cpu"):
        tensors = tensor_memory(official, ours) if setting.device != "cpu" else {}
        for _ in range(WARM_UPS if setting.device != "cpu" else 0):
            ours()
        rates = matrix_rates(dtype, setting.device)
        times = alternate(official, ours, repeats)
        rates |= {name: (rates[name] + rate) / 2 for name, rate in matrix_rates(dtype, setting.device).items()}
    return {
        **asdict(setting),
        "dtype": dtype,
        **tensors,
        **compared(times),
        **rates,
        "official_share": reached(official_count, min(times[0]), rates["float32_gflops"]),
        "share": reached(count, min(times[1]), rates[f"{dtype}_gflops"]),
        "official_gigamacs": official_count / 1e9,
        "gigamacs": count / 1e9,
        "difference": apart,
        "equal_labels": None if setting.kind == "training" else equal_labels(official.labels(), ours.labels()),
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
            machine.synchronize()
            into.append(time.perf_counter() - start)
    return times


def tensor_memory(official: Call, ours: Call) -> dict[str, float]:
    """Memory on the GPU of each network, and of what a plain call of it adds at most [GB]."""
    found = {}
    for name, call in (("official_gigabytes", official), ("gigabytes", ours)):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call.plainly()
        weights = sum(value.nbytes for value in call.network.state_dict().values())
        found[name] = (torch.cuda.max_memory_allocated() - before + weights) / 1e9
    return found


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


def matrix_rates(dtype: Dtype, device: str = "cpu") -> dict[str, float]:
    """The machine's speed for matrix products now [GFLOP/s]; in bfloat16 where it matters: others take minutes."""
    rates = {"float32_gflops": matrix_rate(device=device)}
    if dtype == "bfloat16" or device != "cpu" or bfloat16_instructions() is not None:
        rates["bfloat16_gflops"] = matrix_rate(torch.bfloat16, device)
    return rates


def reached(multiply_adds: int, seconds: float, gflops: float) -> float:
    """Share of a rate that so many multiply-adds in so many seconds make."""
    return 2 * multiply_adds / seconds / (gflops * 1e9)


def peak_memory(folder: Path, setting: Setting, dtype: Dtype, side: Side) -> float:
    """Peak resident memory of this process after two calls of one code [GB]."""
    kind = setting.kind
    call = OFFICIAL[kind](folder, setting) if side == "official" else OURS[kind](setting, dtype)
    call()
    call()
    return peak_gigabytes()


def save(row: Line) -> None:
    """Add a row to the results of machines with these instructions, or of this GPU."""
    device = str(row["device"])
    described = machine.described(device)
    name = f"against_official_{str(described.get('gpu', described['instructions'])).lower().replace(' ', '-')}"
    machine.update(name, [row], KEY, device)


def main() -> None:
    """Measure the rows of each checkout; print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, nargs="+", required=True, help="checkouts of the official code")
    parser.add_argument("--rows", nargs="+", choices=tuple(WORDS), default=tuple(WORDS), help="kinds of rows")
    parser.add_argument("--words", type=int, nargs="+", help="numbers of classes")
    parser.add_argument("--keep", type=int, default=0, help="number of classes that our network refines")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="that of our network")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where both codes compute")
    options = parser.parse_args()
    if min(options.repeats, *(options.words or [1])) < 1 or options.keep < 0:
        parser.error("--repeats and --words have to be 1 or more, --keep can't be negative")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line sets it
    try:
        measure_all([folder.resolve() for folder in options.official], options)
    except SegvocError as error:
        raise SystemExit(f"{parser.prog}: {error}") from None


def measure_all(folders: Sequence[Path], options: argparse.Namespace) -> None:
    """Measure all rows, each in processes of its own, and save them."""
    models = [(folder, find_model(folder)) for folder in folders]
    chosen = [(folder, row) for folder, model in models for row in settings_of(model, options)]
    for folder, setting in chosen:
        line = machine.alone(measured, folder, setting, options.dtype, options.repeats)
        if setting.device == "cpu":
            for prefix, side in (("official_", "official"), ("", "ours")):
                call = (peak_memory, folder, setting, options.dtype, side)
                line[f"{prefix}gigabytes"] = machine.alone(*call, keeps_memory=side == "ours")
        print(line, file=sys.stderr)
        save(line)  # after every row, so that nothing is lost when a long run is stopped


if __name__ == "__main__":
    main()
