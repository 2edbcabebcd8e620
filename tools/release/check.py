"""Prove that what `make release` has built is a release, as far as one machine can.

    python -m tools.release.check [DIST] [--only NAME ...] [--folder FOLDER]

Prints a line for each check, with what it measured, and exits 1 if any fails. DIST (default: dist) has the wheel and
the source archive. The checks, in this order:

    archives   twine reads them; each has all its files, and the source archive gives the same wheel
    workflows  GitHub's schema, and zizmor's rules of security
    audit      no locked package has a known vulnerability; skipped where the database can't be reached
    light      an empty environment, without PyTorch: size and time of the installation, first masks, page, service
    pages      another one: every command and script of the README and the quick start, as printed, in their order
"""

import argparse
import json
import math
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tools.release import files
from tools.release.files import ROOT
from tools.release.installed import Ended, Installation, ask_for_labels, last_line

PAGES = ("README.md", "docs/quick_start.md")
"""The pages whose commands a newcomer types first."""

LIGHT_SECONDS, LIGHT_BYTES, MASK_SECONDS = 60.0, 300e6, 60.0
"""The most that an installation without PyTorch may take, and the first labels after it, also on a busy machine."""

HUB = ("huggingface.co", 443)
"""Where published weights come from."""

PUBLISHED = ROOT / files.PACKAGE / "checkpoints" / "published.json"


OF_A_CLONE = ("make", "git", "cd")
"""Programs that only a clone has a use for."""

_BLOCK = re.compile(r"^```(?P<kind>[^\n`]*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_SNIPPET = re.compile(r'^--8<-- "(?P<name>[\w.]+)"$', re.MULTILINE)
_CODE = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'#][^\s"']*|\s)*""")
_HEADING = re.compile(r"^#+ (.*)", re.MULTILINE)


class Checks:
    """Prints what was checked, and counts what failed."""

    def __init__(self) -> None:
        self.failures = 0

    def say(self, what: str, problems: Sequence[str] = ()) -> bool:
        """Print a line for something that was looked at, and a line for each problem; whether there is none."""
        self.failures += bool(problems)
        print("\n  ".join([f"{'FAILED' if problems else 'ok'}: {what}", *problems]), flush=True)
        return not problems

    def report(self, what: str, ended: Ended, *, most_seconds: float = math.inf, also: Sequence[str] = ()) -> bool:
        """Print a line for a command that has ended, and of one that failed what it wrote, and what `also` is wrong."""
        problems = [f"exit code {ended.code}", *ended.text.splitlines()] if ended.code else []
        slow = [f"it may take {most_seconds:g} s"] if ended.seconds > most_seconds else []
        return self.say(f"{what} ({ended.seconds:.1f} s)", [*also, *slow, *problems])

    def tool(self, what: str, module: str, *arguments: object) -> subprocess.CompletedProcess[str] | None:
        """Run a tool of this environment; None: it isn't there, which is a failure."""
        program = shutil.which(module, path=str(Path(sys.executable).parent))
        if program is None:
            self.say(what, [f"{module} isn't installed here: run 'make release-tools'"])
            return None
        return subprocess.run([program, *map(str, arguments)], capture_output=True, encoding="utf-8", check=False)

    def lint(self, what: str, module: str, *arguments: object) -> None:
        """Run a tool that ends with 0 if all is well."""
        if (ended := self.tool(what, module, *arguments)) is not None:
            self.say(what, (ended.stdout + ended.stderr).splitlines() if ended.returncode else [])


def archives(checks: Checks, dist: Path, _: Path) -> None:
    """Look into the wheel and the source archive."""
    (wheel,), (source,) = dist.glob("segvoc-*.whl"), dist.glob("segvoc-*.tar.gz")
    for archive, problems in ((wheel, files.wheel_problems(wheel)), (source, files.source_problems(source))):
        checks.lint(f"twine check {archive.name}", "twine", "check", "--strict", archive)
        checks.say(f"{archive.name} has all files, {archive.stat().st_size / 1e6:.1f} MB", list(problems))
    checks.say("the source archive gives the same wheel", list(files.same_wheel_problems(wheel, source)))


def workflows(checks: Checks, *_: Path) -> None:
    """Check the workflows, without asking anyone."""
    found = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    checks.lint("GitHub's schema", "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *found)
    checks.lint("zizmor", "zizmor", "--offline", "--quiet", "--no-progress", *found)


def audit(checks: Checks, *_: Path) -> None:
    """Ask the database of vulnerabilities for all locked packages."""
    options = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")
    ended = checks.tool("audit", "pip-audit", "--requirement", ROOT / "requirements.lock", *options)
    if ended is None:
        return
    try:
        packages = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"skipped: audit: {last_line(ended.stderr)}", flush=True)
        return
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print(f"skipped: audit: none of {len(packages)} packages could be looked up in the database here", flush=True)
        return
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {flaw['fix_versions'] or 'no version'}"
        for package in audited
        for flaw in package["vulns"]
    ]
    checks.say(f"{len(audited)} of {len(packages)} locked packages were audited", found)


def light(checks: Checks, dist: Path, folder: Path) -> None:
    """Install without PyTorch, and do what works then."""
    installation, work = Installation(folder, dist), prepared(folder / "work")
    ended = installation.run("pip install segvoc", work, {"PIP_NO_CACHE_DIR": "1"})
    size = installation.bytes() - installation.empty
    much = [f"{LIGHT_BYTES / 1e6:.0f} MB are allowed"] if size > LIGHT_BYTES else []
    if not checks.report(f"pip install segvoc: {size / 1e6:.0f} MB", ended, most_seconds=LIGHT_SECONDS, also=much):
        return
    first = 'segvoc segment photo.jpg --words "cat, blanket, wall"'
    checks.report(f"first masks: {first}", installation.run(first, work), most_seconds=MASK_SECONDS)
    named = installation.run("segvoc train finetune --model tiny --out run --steps 1", work)
    one_line = named.code == 2 and len(named.text.splitlines()) == 1 and "segvoc[torch]" in named.text
    checks.say("training names what it needs", [] if one_line else [named.text])
    for command in (
        "segvoc teach --images images --labels labels --classes classes.json --out facades.words.safetensors",
        "segvoc segment images --words 'window, car' --taught facades.words.safetensors --out taught",
        'pip install "segvoc[annotate]"',
        "segvoc page tiny site",
    ):
        checks.report(command, installation.run(command, work))
    wanted = ("index.html", "app.js", "worker.js", "licenses.txt", "model", "clicks")
    checks.say("the page is whole", [f"{name} is missing" for name in wanted if not (work / "site" / name).exists()])
    checks.report("segvoc serve", installation.serve("segvoc serve", work, lambda: ask_for_labels(work / "photo.jpg")))


def pages(checks: Checks, dist: Path, folder: Path) -> None:
    """Do what the pages say, in an environment that only they install into."""
    installation = Installation(folder, dist)
    for page in PAGES:
        work = prepared(folder / Path(page).stem)
        for step in steps((ROOT / page).read_text(encoding="utf-8")):
            run_step(checks, installation, work, page, step)
    if not list(folder.glob("*/out/*.overlay.png")):
        checks.say("the pages have labeled an image", ["there is no overlay"])


class Step(NamedTuple):
    """Something that a reader of a page types: a line for a shell without its comment, or a script."""

    kind: Literal["command", "python"]
    text: str
    heading: str
    """What it stands below."""


def steps(page: str) -> Iterator[Step]:
    """What a page in Markdown tells its reader to type, in order."""
    for block in _BLOCK.finditer(page):
        heading = ["", *_HEADING.findall(_BLOCK.sub("", page[: block.start()]))][-1]
        kind = block["kind"].strip("{ .}")
        if kind in ("", "sh", "bash", "console"):
            for line in re.sub(r"\s*\\\n\s*", " ", block["text"]).splitlines():
                if (command := _without_comment(line)) and shlex.split(command)[0] not in OF_A_CLONE:
                    yield Step("command", command, heading)
        elif kind == "python":
            script = _SNIPPET.sub(
                lambda found: (ROOT / "examples" / found["name"]).read_text(encoding="utf-8"), block["text"]
            )
            yield Step("python", script, heading)


def _without_comment(line: str) -> str:
    match = _CODE.match(line)
    assert match is not None  # it may be empty
    return match[0].strip()


def run_step(checks: Checks, installation: Installation, work: Path, page: str, step: Step) -> None:
    """Do one thing that a page says."""
    if step.kind == "python":
        (work / "script.py").write_text(step.text, encoding="utf-8")
        checks.report(f"{page}: the script below {step.heading!r}", installation.run("python script.py", work))
        return
    words = shlex.split(step.text)
    if words[:2] == ["segvoc", "serve"]:
        ended = installation.serve(step.text, work, lambda: ask_for_labels(work / "photo.jpg"))
    else:
        ended = installation.run(step.text, work)
    fetched = words[words.index("--model") + 1] if "--model" in words else ""
    if ended.code and names_weights(ended.text, fetched) and not hub_answers():
        print(f"skipped: {page}: {step.text}: the hub can't be reached here, and it says so: {last_line(ended.text)}")
    else:
        checks.report(f"{page}: {step.text}", ended)


def names_weights(text: str, model: str) -> bool:
    """Whether a command has failed with the one line that says which file of published weights to get."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))["published"]
    known = model in {file["name"] for file in published}
    return known and len(text.strip().splitlines()) == 1 and "can't be fetched" in text and HUB[0] in text


def hub_answers() -> bool:
    """Whether the hub of published weights can be reached."""
    try:
        socket.create_connection(HUB, timeout=10).close()
    except OSError:
        return False
    return True


def prepared(work: Path) -> Path:
    """A folder with what a reader has: photographs, a list of words, and labeled photographs."""
    samples = ROOT / "samples"
    shutil.copytree(samples / "facades" / "train", work)  # images and labels
    (work / "photos" / "more").mkdir(parents=True)
    for name, copy in (
        ("chelsea.jpg", "photo.jpg"),
        ("coffee.jpg", "photos"),
        ("rocket.jpg", "photos/more"),
        ("facades/classes.json", ""),
    ):
        shutil.copy(samples / name, work / copy)
    (work / "words.txt").write_text("cup\ntable\nsky\nrocket\n", encoding="utf-8")
    return work


CHECKS = {check.__name__: check for check in (archives, workflows, audit, light, pages)}
"""The checks by name, each with the folder of the archives and one of its own."""


def main() -> int:
    """Run the checks; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", nargs="?", type=Path, default=ROOT / "dist")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "release", help="for environments and results")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.platform(terse=True)}, {os.cpu_count()} cores", flush=True)
    checks = Checks()
    for name in arguments.only:
        CHECKS[name](checks, arguments.dist, (arguments.folder / name).resolve())
    print(f"release: {checks.failures} checks failed" if checks.failures else "release: all checks passed")
    return 1 if checks.failures else 0


if __name__ == "__main__":
    sys.exit(main())
