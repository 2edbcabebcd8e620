"""Runs cases in forked children with limits on time and memory, and says what became of each.

A child reads many cases, one after another; when one kills it, the rest go to the next child. A case is a defect if it
ends with an exception that isn't one of `segvoc.errors`, with a message of several lines, with a signal, beyond the
limits, with a file written outside of the folder for results, or with an input accepted that an independent reading
refuses.
"""

import faulthandler
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from hardening.cases import Case, Finding, digest
from hardening.readers import READERS
from segvoc.errors import SegvocError

SECONDS = 20
"""Time that a case may take [s]."""

MEMORY = 3 << 30
"""Memory that a child may take beyond what it was forked with [bytes]; the largest image allowed needs 1.8 GB."""

AT_ONCE = 64
"""Cases of a child."""

LONGEST_LINE = 1000
"""Characters that an error may have."""


def run_cases(cases: Sequence[Case], *, jobs: int = 1, seconds: int = SECONDS) -> list[Finding]:
    """Run cases in `jobs` processes, and return the findings in the order of the cases."""
    context = multiprocessing.get_context("fork")
    shares = [cases[number::jobs] for number in range(jobs)]
    ends = []
    for share in shares:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_share, args=(share, seconds, theirs))
        process.start()
        theirs.close()
        ends.append((process, mine))
    found: list[list[Finding]] = []
    for process, mine in ends:
        found.append(mine.recv())
        process.join()
    return [found[index % jobs][index // jobs] for index in range(len(cases))]


def _share(cases: Sequence[Case], seconds: int, sender) -> None:
    found: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="segvoc-hardening-") as folder:
        while len(found) < len(cases):
            batch = cases[len(found) : len(found) + AT_ONCE]
            found += _child(batch, seconds, Path(folder))
    sender.send(found)


def _child(batch: Sequence[Case], seconds: int, folder: Path) -> list[Finding]:
    """The findings of the cases up to the first that ends the child."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            _limit(folder)
            with os.fdopen(writing, "wb", buffering=0) as told:
                _examine_all(batch, seconds, folder, told)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        found = [Finding(**json.loads(line)) for line in told]
    _, status = os.waitpid(pid, 0)
    if len(found) < len(batch):
        case = batch[len(found)]
        ended = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
        detail = f"takes more than {seconds} s" if ended == "SIGALRM" else f"ended the process: {ended}"
        known = digest(case.reader, folder / "in") if (folder / "in").exists() else ""
        found.append(_finding(case, known, "defect", detail, float(seconds)))
    return found


def _limit(folder: Path) -> None:
    with open("/proc/self/statm") as statistics:
        pages = int(statistics.read().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    faulthandler.disable()  # under pytest it would write the stack of a child that dies past what follows
    nothing = os.open(os.devnull, os.O_WRONLY)
    # decoders in C write their complaints to the standard error of the process
    os.dup2(nothing, 2)
    os.dup2(nothing, 1)
    sys.stdout, sys.stderr = open(os.devnull, "w"), open(os.devnull, "w")
    os.environ["TMPDIR"] = str(folder / "tmp")


def _examine_all(batch: Sequence[Case], seconds: int, folder: Path, told: BinaryIO) -> None:
    for case in batch:
        for name in ("in", "out", "tmp", "here"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
        os.chdir(folder / "here")
        case.build(folder / "in")
        finding = _examine(case, seconds, folder)
        told.write(json.dumps(asdict(finding)).encode() + b"\n")


def _examine(case: Case, seconds: int, folder: Path) -> Finding:
    known = digest(case.reader, folder / "in")
    before = set(_entries(folder))
    reader = READERS[case.reader]
    start = time.monotonic()
    signal.alarm(seconds)
    try:
        reader.read(folder / "in", folder / "out")
    except SegvocError as error:
        verdict, detail = "refused", str(error)
        if not detail or len(detail.splitlines()) != 1 or len(detail) > LONGEST_LINE:
            verdict, detail = "defect", f"not one line: {detail[:2000]!r}"
    except BaseException as error:
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        verdict = "defect"
        detail = f"{type(error).__name__}: {str(error)[:300]} at {' < '.join(places[:0:-1][:5])}"
    else:
        verdict, detail = "accepted", ""
        if problem := reader.disagreement(folder / "in", folder / "out"):
            verdict, detail = "defect", f"accepted, but {problem}"
    finally:
        signal.alarm(0)
    if written := set(_entries(folder)) - before:
        verdict, detail = "defect", f"wrote {sorted(written)[:3]} outside of the results"
    return _finding(case, known, verdict, detail, time.monotonic() - start)


def _entries(folder: Path) -> Iterator[str]:
    """Everything in a folder but the results and temporary files."""
    for parent, folders, names in os.walk(folder):
        if Path(parent) == folder:
            folders[:] = [name for name in folders if name not in ("out", "tmp")]
        yield from (ascii(os.path.join(parent, name)) for name in [*folders, *names])


def _finding(case: Case, known: str, verdict: str, detail: str, seconds: float) -> Finding:
    return Finding(
        family=case.family,
        what=case.what,
        reader=case.reader,
        digest=known,
        verdict=verdict,
        detail=detail.encode("utf-8", "backslashreplace").decode(),
        seconds=round(seconds, 3),
    )
