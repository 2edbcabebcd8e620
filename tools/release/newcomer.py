"""Do what the tutorial says, as a newcomer with nothing but a wheel would, and write down what happened and when.

    PYTHONPATH=src:. python -m tools.release.newcomer [DIST] [--folder FOLDER] [--keep-environment]

All commands of docs/tutorials/own_model.md run as printed, in their order, in an environment that its first one
installs into. The hub is the tests' stand-in on loopback. Writes docs/dev/newcomer.md.
"""

import argparse
import os
import platform
import re
import shutil
import sys
import time
from pathlib import Path

from tests.loopback_hub import loopback_hub
from tools.release.files import version
from tools.release.installed import Ended, Installation
from tools.release.page_commands import ROOT, Step, steps

PAGE = "docs/tutorials/own_model.md"
TRANSCRIPT = ROOT / "docs" / "dev" / "newcomer.md"

MINUTES = 15
"""The most that it may take, on a machine that does nothing else."""

LINES = 14
"""Lines of a command's output that are kept."""

HEAD = """# The tutorial, as a newcomer does it

Written by `python -m tools.release.newcomer`, which has nothing but the wheel of {version} and {environment}, and runs
all that [the tutorial](../tutorials/own_model.md) says, as printed. The hub is a stand-in on this machine.

{date}, {machine}. The load was {before:.1f} programs when it began and {after:.1f} when it ended.

**{verdict}**

| step | command | seconds | seconds of a core |
|---|---|---|---|
"""


def main() -> int:
    """Run all and write the transcript; the exit code is 1 if a command failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", nargs="?", type=Path, default=ROOT / "dist")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "release" / "newcomer")
    parser.add_argument("--keep-environment", action="store_true", help="use what an earlier call has installed")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    kept = arguments.keep_environment and folder.exists()
    installation = Installation(folder, arguments.dist, keep=arguments.keep_environment)
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    before = os.getloadavg()[0]
    done: list[tuple[Step, Ended]] = []
    with loopback_hub() as hub:
        # who is logged in has a token in a file; here it is a variable
        variables = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": hub.repositories.token,
            "HF_HUB_DISABLE_XET": "1",
            "COLUMNS": "100",
        }
        for step in steps((ROOT / PAGE).read_text(encoding="utf-8")):
            ended = installation.run(step.text, work, variables)
            done.append((step, ended))
            print(f"{'ok' if ended.code == 0 else 'FAILED'}: {step.text} ({ended.seconds:.1f} s)", flush=True)
            if ended.code:
                print(ended.text)
                return 1
            environment = "an environment with PyTorch in it" if kept else "an empty environment"
            page = transcript(done, environment, (before, os.getloadavg()[0]), str(folder))
            (folder / TRANSCRIPT.name).write_text(page, encoding="utf-8")
    shutil.copy(folder / TRANSCRIPT.name, TRANSCRIPT)
    print(TRANSCRIPT)
    return 0


def transcript(done: list[tuple[Step, Ended]], environment: str, load: tuple[float, float], folder: str) -> str:
    """The page of what happened.

    Args:
        done: the commands, in order.
        environment: what there was before.
        load: of the machine, when they began and when they ended.
        folder: where they ran, which isn't named.
    """
    seconds = sum(ended.seconds for _, ended in done)
    cpu = sum(ended.cpu_seconds or 0.0 for _, ended in done)
    verdict = f"{len(done)} commands, from the wheel to a shared model: {seconds / 60:.1f} minutes"
    verdict += f", {cpu / 60:.1f} minutes of a core"
    verdict += "." if seconds <= 60 * MINUTES else f": more than {MINUTES}."
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    page = HEAD.format(
        version=version(),
        environment=environment,
        date=time.strftime("%Y-%m-%d"),
        machine=machine,
        before=load[0],
        after=load[1],
        verdict=verdict,
    )
    for step, ended in done:
        page += f"| {step.heading} | `{step.text}` | {ended.seconds:.1f} | {ended.cpu_seconds or 0.0:.1f} |\n"
    for step, ended in done:
        page += f"\n```text\n$ {step.text}\n{shortened(ended.text.replace(folder, '...'))}```\n"
    return page


def shortened(text: str) -> str:
    """What a command wrote, without the states of progress bars and without most lines of long outputs."""
    lines = [line.rpartition("\r")[2].rstrip() for line in re.sub(r"\r\n", "\n", text).splitlines()]
    lines = [line for line in lines if line and not re.search(r"\d+%\|", line)]
    if len(lines) > LINES:
        half = LINES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} lines ...", *lines[-half:]]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
