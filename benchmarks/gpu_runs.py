"""The runs of the papers that would give most trust, in pieces: each call goes on where the last one was stopped.

    python -m benchmarks.gpu_runs --data ROOT [--files DIR] [--out DIR] [--minutes 10] [--only NAME,NAME] [--list]

Each run is a call of `papers.reproduce`. A call of this program gives its minutes to the first run that isn't finished
and whose data is there, and what is left of them to the next; then it sends SIGTERM, upon which a training saves its
step. What a run lacks is one line, and the other runs go on. DIR/progress.json has the time that each took so far,
DIR/NAME the report, DIR/NAME.log what it says. docs/papers/researcher.md says what each costs and what it would
prove.

--files has what segvoc can't fetch, under the names in `FILES`. Exit codes: 0: every run is finished; 1: one failed or
lacks something, and no other can go on; 3: there is more to do, so call it again:

    until python -m benchmarks.gpu_runs --data ROOT; [ $? -ne 3 ]; do :; done
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from papers.verdicts import title
from segvoc.checkpoints.published import UNCONFIRMED
from segvoc.storage.files import read_json, write_json

FILES: Mapping[str, str] = {"err-seg-b.pth": "err-seg", "declip-b.pt": "declip-b"}
"""Files that no page gives a SHA-256 for, under the names that they must have, and their entries in the manifest."""

GRACE = 120.0
"""Time to save after SIGTERM; then comes SIGKILL, which loses the steps since the last checkpoint [s]."""

MORE_TO_DO = 3
"""Exit code if a run isn't finished."""

State = Literal["finished", "unfinished", "missing", "failed"]


class Run(NamedTuple):
    """A call of `papers.reproduce` that takes hours."""

    name: str
    """Folder of its report."""
    words: str
    """The call, without --data, --out and --device; "FILES/" stands for the folder of files."""
    purpose: str
    """What it would prove."""
    batch: int = 0
    """Images of a training step, over which several GPUs are spread; 0: there is no training."""


RUNS = (
    Run(
        "cat-seg-b",
        "cat-seg-b",
        "published weights give the published scores: preparation, network and protocol are right",
    ),
    Run("err-seg", "err-seg-b --weights FILES/err-seg-b.pth", "the same of ERR-Seg, with P for each benchmark"),
    Run(
        "cat-seg-b-trained",
        "cat-seg-b --train",
        "80,000 steps give the published score, 31.8 on A-150: training is right",
        batch=4,
    ),
    Run(
        "serial",
        "cat-seg-eva-b --train --encoder-weights FILES/declip-b.pt",
        "with `parallel`: PCA-Seg is better than its serial baseline, as its Table 1 says",
        batch=8,
    ),
    Run("parallel", "pca-seg-b --train --encoder-weights FILES/declip-b.pt", "see `serial`", batch=8),
    Run(
        "pca-part-b",
        "pca-part-b --train",
        "PCA-Seg's part mode, for which no code was released, gives Table 2",
        batch=8,
    ),
)
"""All runs, the cheapest first."""


class Progress(NamedTuple):
    """How far a run has come: the state of its last piece, the time of all [s], and what the last one said."""

    state: State = "unfinished"
    seconds: float = 0.0
    pieces: int = 0
    told: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where runs find and leave their files, and what they run on."""

    data: Path
    """The data folder."""
    files: Path
    """Folder of the files that segvoc can't fetch."""
    out: Path
    """Folder of reports and progress."""
    device: str = "cuda"
    """Where networks run."""
    gpus: int = 1
    """Number of GPUs, which trainings share."""
    program: tuple[str, ...] = ("-m", "papers.reproduce")
    """What Python runs."""

    def command(self, run: Run) -> list[str]:
        """The command of a run; a training on several GPUs that divide its batch is started by torchrun."""
        python = [sys.executable]
        if run.batch and self.gpus > 1 and run.batch % self.gpus == 0:
            python += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(self.gpus)]
        words = [word.replace("FILES/", f"{self.files}/") for word in run.words.split()]
        places = ["--data", str(self.data), "--out", str(self.out / run.name), "--device", self.device]
        return [*python, *self.program, *words, *places]

    def lacking(self, run: Run) -> str:
        """A line about the first file that a run needs, isn't there and can't be fetched; empty if there is none."""
        for word in run.words.split():
            name = word.removeprefix("FILES/")
            if name != word and not (self.files / name).is_file():
                file = UNCONFIRMED[FILES[name]]
                return f"{str(self.files / name)!r} is missing ({file.summary}); get it from {file.page}"
        return ""


def run_piece(run: Run, place: Place, is_over: Callable[[], bool], before: Progress) -> Progress:
    """Begin a run, or go on with it, until it ends or the time `is_over`, which is asked several times a second."""
    if lacking := place.lacking(run):
        return before._replace(state="missing", told=(lacking,))
    place.out.mkdir(parents=True, exist_ok=True)
    log, start, stopped = place.out / f"{run.name}.log", time.monotonic(), 0.0
    before_size = log.stat().st_size if log.exists() else 0
    with log.open("ab") as file, subprocess.Popen(place.command(run), stdout=file, stderr=file) as process:
        while process.poll() is None:
            if not stopped and is_over():
                stopped = time.monotonic()
                process.send_signal(signal.SIGTERM)
            elif stopped and time.monotonic() > stopped + GRACE:
                process.kill()
            time.sleep(0.1)
    said = log.read_bytes()[before_size:].decode(errors="replace")
    known = Progress("failed", before.seconds + time.monotonic() - start, before.pieces + 1)
    if process.returncode in (0, 1) and (results := _results(place.out / run.name / "report.json")):
        return known._replace(state="finished", told=results)
    if stopped:
        return known._replace(state="unfinished")
    errors = [line.removeprefix("segvoc: error: ") for line in said.splitlines() if line.startswith("segvoc: error: ")]
    told = (errors or [f"it ended with exit code {process.returncode}"])[-1:]
    return known._replace(state="missing" if process.returncode == 2 else "failed", told=told)


def _results(report: Path) -> list[str]:
    """A line for each network of a whole report; none if a benchmark waits for its turn."""
    content = read_json(report) if report.exists() else {"models": [], "means": []}
    entries = (*content["models"], *content["means"])
    waits = any(row["verdict"] == "waiting" for entry in entries for row in entry["benchmarks"])
    return [] if waits else [f"{title(entry)}: {entry['result']}" for entry in entries]


def work(runs: Sequence[Run], place: Place, minutes: float) -> dict[str, Progress]:
    """Give minutes to the runs that aren't finished, in order; their progress is kept after each piece."""
    path, end = place.out / "progress.json", time.monotonic() + 60 * minutes
    content = read_json(path) if path.exists() else {}
    known = {run.name: Progress() for run in runs} | {name: Progress(**one) for name, one in content.items()}
    for run in runs:
        if known[run.name].state == "finished" or time.monotonic() >= end:
            continue
        known[run.name] = run_piece(run, place, lambda: time.monotonic() >= end, known[run.name])
        write_json(path, {name: progress._asdict() for name, progress in known.items()})
    return {run.name: known[run.name] for run in runs}


def main() -> None:
    """Do a piece, say how far all runs are, and end with the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the data folder")
    parser.add_argument("--files", type=Path, help="folder of what segvoc can't fetch; by default ROOT/files")
    parser.add_argument("--out", type=Path, default=Path("build/gpu_runs"), help="folder of the reports")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long this call may take")
    parser.add_argument("--only", default="", help="names of runs, with commas")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--list", action="store_true", dest="lists", help="say what the runs are, and run none")
    arguments = parser.parse_args()
    chosen = [name for name in arguments.only.split(",") if name]
    if unknown := [name for name in chosen if name not in {run.name for run in RUNS}]:
        sys.exit(f"run {unknown[0]!r} is unknown; there are {', '.join(run.name for run in RUNS)}")
    runs = [run for run in RUNS if run.name in chosen or not chosen]
    if arguments.lists:
        print("\n".join(f"{run.name}: papers.reproduce {run.words}: {run.purpose}" for run in runs))
        return
    if arguments.data is None:
        sys.exit("the data folder is missing; name it with --data ROOT")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this machine has no GPU; --device cpu tries the runs without one")
    place = Place(
        data=arguments.data,
        files=arguments.files or arguments.data / "files",
        out=arguments.out,
        device=arguments.device,
        gpus=max(1, torch.cuda.device_count()),
    )
    known = work(runs, place, arguments.minutes)
    for name, progress in known.items():
        spent = f"{progress.seconds / 3600:.2f} h in {progress.pieces} pieces"
        print("; ".join([f"{name}: {progress.state}, {spent}", *progress.told]))
    states = {progress.state for progress in known.values()}
    sys.exit(MORE_TO_DO if "unfinished" in states else 0 if states == {"finished"} else 1)


if __name__ == "__main__":
    main()
