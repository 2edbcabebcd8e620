"""A thousand kills, and disks that fail: every command is ended at its writes or at any time, and goes on.

python -m tests.hardening.kills [--kills 1000] [--faults 240] [--seed 0] [--only train]
"""

import argparse
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from segvoc.errors import SegvocError
from tests.hardening.faults import ERRORS, SIGNALS, Fault, faults
from tests.hardening.works import WORKS, Work, import_all, inside

PATIENCE = 120
"""Time that a call may take [s]."""


class Ending(NamedTuple):
    """How a child ended: exit code (negative for a signal), standard error, and number of writes that it made."""

    code: int
    said: str
    calls: int = 0

    @property
    def is_killed(self) -> bool:
        """Whether a signal ended it, or it stopped because of one."""
        return self.code < 0 or self.code == 130 or "stopped" in self.said or "interrupted" in self.said


def run(work: Work, fault: Fault | None = None, after: float | None = None) -> Ending:
    """Call a work in a forked child, in the working folder.

    A fault happens at one of its writes, or SIGKILL comes from outside `after` some time [s].
    """
    fault = fault or Fault(kind="", moment=0)
    pid = os.fork()
    if pid == 0:
        _child(work, fault)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + PATIENCE
    while (waited := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Ending(-signal.SIGALRM, f"unexpected: it takes more than {PATIENCE} s")
        time.sleep(0.002)
    # neither file is there if it was killed before it began
    said, calls = (file.read_text(errors="replace") if file.exists() else "" for file in (Path("said"), Path("calls")))
    return Ending(os.waitstatus_to_exitcode(waited[1]), said, int(calls or 0))


def _child(work: Work, fault: Fault) -> None:
    code = 1
    try:
        said = os.open("said", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        os.dup2(said, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with faults(fault):
            work.call()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except SegvocError as error:
        os.write(2, f"segvoc: error: {error}\n".encode())
        code = 2
    except KeyboardInterrupt:
        os.write(2, b"segvoc: error: interrupted\n")
        code = 130
    except BaseException as error:
        os.write(2, f"unexpected {type(error).__name__}: {error}\n".encode())
    finally:
        sys.stderr.flush()
        Path("calls").write_text(str(fault.calls))
        os._exit(code)


def torn(result: Mapping[str, Any], whole: Mapping[str, Any]) -> list[str]:
    """The names of results that are neither as the unbroken run made them nor absent; those of a run may be younger."""
    return [name for name, value in result.items() if name != "weights" and value != whole.get(name)]


def goes_on(work: Work, expected: Mapping[str, Any]) -> str:
    """Let a work go on undisturbed; what is wrong then, or nothing."""
    ending = run(work)
    if ending.code:
        return f"can't go on: {ending.said[-300:]}"
    result = work.result()
    different = sorted(name for name in {**expected, **result} if expected.get(name) != result.get(name))
    return f"another result: {different[:3]}" if different else ""


def unbroken(work: Work, folder: Path) -> tuple[dict[str, Any], int, float]:
    """The result of a run that nothing ends, the number of its writes, and its time [s]."""
    with inside(folder):
        work.set_up()
        start = time.monotonic()
        ending = run(work)
        if ending.code:
            raise RuntimeError(f"{work.name} fails by itself: {ending.said}")
        return work.result(), ending.calls, time.monotonic() - start


def jump_clock(inputs: Set[Path], seconds: int) -> None:
    """Give what a work has written in the working folder the times of a clock that was so far ahead, or behind."""
    for path in set(Path().rglob("*")) - inputs:
        stat = path.stat()
        os.utime(path, (stat.st_atime + seconds, max(0.0, stat.st_mtime + seconds)))


def kill(
    work: Work,
    whole: tuple[dict[str, Any], int, float],
    folder: Path,
    rng: random.Random,
    *,
    timed: float,
    signals: Sequence[str] = SIGNALS,
    most: int = 3,
) -> tuple[int, str]:
    """End a work once to `most` times, let it go on, and compare.

    Each time at a write that is drawn, or, with the probability `timed`, after seconds that are drawn.

    Returns:
        How often it was ended, and what is wrong; empty if nothing is.
    """
    expected, writes, seconds = whole
    with inside(folder):
        work.set_up()
        inputs = set(Path().rglob("*"))
        killed = 0
        for _ in range(min(most, rng.choice((1, 1, 2, 3)))):
            if rng.random() < timed:
                ending = run(work, after=rng.uniform(0, seconds))
            else:
                moment = rng.randrange(1, writes + 1)
                ending = run(work, Fault(kind=rng.choice(signals), moment=moment))
            killed += ending.is_killed
            if "unexpected" in ending.said or "Traceback" in ending.said:
                return killed, f"says {ending.said[-300:]}"
            if lost := torn(work.result(), expected):
                return killed, f"torn after {ending.code}: {lost[:3]}"
            if rng.random() < 0.25:
                jump_clock(inputs, rng.choice((-1, 1)) * rng.choice((3600, 86400, 3650 * 86400)))
        return killed, goes_on(work, expected)


def fail(work: Work, whole: tuple[dict[str, Any], int, float], folder: Path, rng: random.Random) -> tuple[int, str]:
    """Let a write of a work fail, once or from then on; then let it go on with a whole disk, and compare."""
    expected, writes, _ = whole
    with inside(folder):
        work.set_up()
        kind, moment = rng.choice(sorted(ERRORS)), rng.randrange(1, writes + 1)
        ending = run(work, Fault(kind=kind, moment=moment, lasts=rng.random() < 0.5))
        problem = ""
        if ending.code < 0 or "unexpected" in ending.said or "Traceback" in ending.said:
            problem = f"ends with {ending.code}, says {ending.said[-300:]}"
        elif ending.code and "error: " not in ending.said:
            problem = f"exit code {ending.code}, and no error says why"
        elif lost := torn(work.result(), expected):
            problem = f"torn: {lost[:3]}"
        problem = problem or goes_on(work, expected)
        return 1, f"{kind} at {moment} of {writes}: {problem}" if problem else ""


def trials(
    works: Sequence[Work], kills: int, failures: int, rng: random.Random, seconds: float, **options: Any
) -> list[dict[str, Any]]:
    """A row per command: kills, failing writes, and all problems; those that fit into some time [s].

    `options` are those of `kill`.
    """
    share = seconds / len(works) / 2
    rows = []
    import_all()
    # a cache elsewhere would be a result that outlives the folder
    os.environ["SEGVOC_CACHE"] = "off"
    tqdm.monitor_interval = 0  # no thread, since the works are forked
    bar = tqdm(total=kills + failures, unit="ending", mininterval=5)
    with tempfile.TemporaryDirectory(prefix="segvoc-kills-") as folder, bar:
        for work in works:
            bar.set_description(work.name)
            whole = unbroken(work, Path(folder) / "whole")
            counts, problems = Counter[str](), []
            endings = (("kills", kills, partial(kill, **options)), ("failing writes", failures, fail))
            for name, most, attempt in endings:
                tried, end = 0, time.monotonic() + share
                while counts[name] < most / len(works) and tried < 4 * most and time.monotonic() < end:
                    count, problem = attempt(work, whole, Path(folder) / "broken", rng)
                    tried += 1
                    counts[name] += count
                    bar.update(count)
                    if problem:
                        problems.append(f"{work.name}: {problem}")
            told = {"losses": len(problems), "problems": problems}
            rows.append({"command": work.name, "writes": whole[1], **counts, **told})
    return rows


def main() -> None:
    """Kill, fail, compare; print a line of JSON for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=240)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timed", type=float, default=0.25, help="share of kills after a drawn time, not at a write")
    parser.add_argument("--signals", default=",".join(SIGNALS), help="ways to end a command, with commas")
    parser.add_argument("--most", type=int, default=3, help="most ends of a command before it is left to go on")
    parser.add_argument("--only", default="", help="commands, with commas")
    arguments = parser.parse_args()
    works = [work for work in WORKS if not arguments.only or work.name in arguments.only.split(",")]
    rng, seconds = random.Random(arguments.seed), arguments.minutes * 60
    options = {"timed": arguments.timed, "signals": arguments.signals.split(","), "most": arguments.most}
    rows = trials(works, arguments.kills, arguments.faults, rng, seconds, **options)
    for row in rows:
        print(json.dumps(row))
    sys.exit(1 if any(row["losses"] for row in rows) else 0)


if __name__ == "__main__":
    main()
