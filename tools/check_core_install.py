"""Prove the core install: segvoc labels images with its core dependencies alone, and does the rest with PyTorch.

Usage: python -m tools.check_core_install [FOLDER]; prints a line per check and exits 1 if any fails.

The two environments (FOLDER/light and FOLDER/torch, build/core by default, made anew each time) download nothing. Their
site-packages hold links to the distributions that the core dependencies of pyproject.toml require, directly or not, and
the second one to those of its extra `torch` too, as this environment has them, and segvoc itself from a wheel built
here; where that can't be built, an editable installation of it.
Whatever only another extra brings is not there at all.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from tools.build_hook import problems

REPOSITORY = Path(__file__).resolve().parents[1]
WORDS = "cat, blanket, wall"
PHOTO = str(REPOSITORY / "samples" / "chelsea.jpg")

LABEL = """
import segvoc, sys
model = segvoc.load("tiny")
result = model.segment({photo!r}, ["cat", "wall"], return_probabilities=True)
assert result.labels.shape == result.probabilities.shape[1:] and (result.labels == 0).mean() > 0.3
assert "torch" not in sys.modules
"""

IMPORT_ALL = """
import importlib, pkgutil, segvoc
extras = ("segvoc.exporting.", "segvoc.serving.", "segvoc.batch.engine")  # they need export, serve and cluster
for module in pkgutil.walk_packages(segvoc.__path__, "segvoc."):
    if not module.name.startswith(extras):
        importlib.import_module(module.name)
for name in segvoc.__all__:
    getattr(segvoc, name)
"""

SIZE = """
import os, site
total = 0
for folder, _, files in os.walk(site.getsitepackages()[0], followlinks=True):
    # bytecode of another kind (".opt-") isn't installed: the tests leave it, with instrumented annotations
    total += sum(os.path.getsize(os.path.join(folder, file)) for file in files if ".opt-" not in file)
print(total // 2**20)
"""

LARGEST_LIGHT = 250
"""Largest size of what is installed without PyTorch [MiB], with the bytecode of all modules."""


def requirements(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a distribution requires on this machine, with some of its extras."""
    for line in package.requires or ():
        requirement = Requirement(line)
        environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
        if requirement.marker is None or any(requirement.marker.evaluate(one) for one in environments):
            yield requirement


def closure(package: Distribution, extras: frozenset[str]) -> set[str]:
    """Names of all distributions that segvoc requires with some extras, directly or not."""
    found: set[tuple[str, frozenset[str]]] = set()
    pending = [*requirements(package, frozenset()), *requirements(package, extras)]
    while pending:
        requirement = pending.pop()
        current = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if current not in found:
            found.add(current)
            pending += requirements(distribution(current[0]), current[1])
    return {name for name, _ in found}


def make_environment(folder: Path, extras: frozenset[str]) -> Path:
    """Make an environment with some extras; returns its Python."""
    venv.EnvBuilder(clear=True, symlinks=True).create(folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    kind = "wheel" if is_complete() else "editable"
    code = f"import sys; from hatchling import build; print(build.build_{kind}(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    )
    wheel = folder / built.stdout.split()[-1]
    run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)])
    wheel.unlink()
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (ours,) = packages.glob("segvoc-*.dist-info")
    for name in sorted(closure(Distribution.at(ours), extras)):
        installed = distribution(name)
        for entry in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            link = packages / entry
            if not link.exists():
                link.symlink_to(Path(str(installed.locate_file(entry))))
    return python


def is_complete() -> bool:
    """Whether a wheel can be built here."""
    for problem in problems(REPOSITORY):
        print(f"no wheel, so an editable installation is checked: {problem}", flush=True)
        return False
    return True


def run(command: list[str], cwd: Path | None = None) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, cwd=cwd)


class Checks:
    """Calls of the installed segvoc in a folder of its own, with what each must give."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder, self.failures = python, folder, 0
        folder.mkdir(parents=True, exist_ok=True)
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self.environment["HF_HUB_OFFLINE"] = "1"

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment's bin folder."""
        program = str(self.python.with_name(command[0]))
        return subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment,
            timeout=600,
        )

    def report(self, what: str, call: subprocess.CompletedProcess[str], good: bool) -> None:
        """Print whether a check passed, and of one that failed all output."""
        print(f"{'ok' if good else 'FAILED'}: {what}", flush=True)
        if not good:
            self.failures += 1
            print(f"exit code {call.returncode}\n{call.stdout}{call.stderr}", flush=True)

    def works(self, what: str, *command: str, then: Callable[[], bool] = lambda: True) -> None:
        """Check that a command ends well without a traceback, and what is true after it."""
        call = self.call(*command)
        self.report(what, call, call.returncode == 0 and "Traceback" not in call.stderr and then())

    def names_extra(self, what: str, package: str, extra: str, *command: str) -> None:
        """Check that a command is refused in one line that says which extra to install."""
        call = self.call(*command)
        lines = call.stderr.strip().splitlines()
        named = len(lines) == 1 and package in lines[0] and f"segvoc[{extra}]" in lines[0]
        self.report(f"{what} names {package} and segvoc[{extra}]", call, call.returncode == 2 and named)


def draw_labeled_images(folder: Path, count: int = 3) -> list[str]:
    """Images and label maps to evaluate and fine-tune on; returns the options that name them."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        labels = np.kron(np.random.default_rng(number).integers(0, 2, (2, 3)), np.ones((40, 40))).astype(np.uint8)
        Image.fromarray(np.stack([200 * labels, 90 + labels, 255 - 200 * labels], -1)).save(
            folder / f"images/{number}.png"
        )
        Image.fromarray(labels).save(folder / f"labels/{number}.png")
    (folder / "classes.json").write_text(json.dumps(["blue", "red"]))
    return ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]


def check_light(python: Path, folder: Path) -> int:
    """Run the checks without PyTorch; returns how many failed."""
    checks = Checks(python, folder)
    size = checks.call("python", "-c", SIZE)
    mebibytes = int(size.stdout)
    checks.report(f"{mebibytes} MiB are installed", size, mebibytes <= LARGEST_LIGHT)
    checks.works(
        "segment a photograph with tiny, parts and a background",
        *("segvoc", "segment", PHOTO, "--words", WORDS, "--parts", "cat: head, leg", "--background", "other"),
        *("--out", "labeled"),
        then=lambda: (folder / "labeled" / "chelsea.parts.png").exists(),
    )
    checks.works("label it from Python", "python", "-c", LABEL.format(photo=PHOTO))
    checks.works("export tiny", "segvoc", "export", "tiny", "exported")
    checks.works("label it with the export", "segvoc", "segment", PHOTO, "--words", WORDS, "--model", "exported")
    checks.works("list the models", "segvoc", "models")
    checks.works("list the published files", "segvoc", "fetch", "--list")
    checks.works("describe a model", "segvoc", "info", "cat-seg-b")
    large = ["segment", PHOTO, "--words", WORDS, "--model", "cat-seg-b"]
    checks.names_extra("segvoc segment", "PyTorch", "torch", "segvoc", *large)
    return checks.failures


def check(python: Path, folder: Path) -> int:
    """Run the checks with PyTorch and no other extra; returns how many failed."""
    checks, photo = Checks(python, folder), PHOTO
    checks.works("every module and public name imports", "python", "-c", IMPORT_ALL)
    checks.works(
        "segment a photograph with tiny",
        *("segvoc", "segment", photo, "--words", WORDS, "--out", "labeled"),
        then=lambda: (folder / "labeled" / "chelsea.png").exists(),
    )
    checks.works("list the models", "segvoc", "models")
    checks.works("describe a model", "segvoc", "info", "tiny")
    options = draw_labeled_images(folder / "set")
    checks.works(
        "evaluate on labeled images",
        *("segvoc", "evaluate", "tiny", *options, "--out", "report"),
        then=lambda: json.loads((folder / "report" / "report.json").read_text())["miou"] is not None,
    )
    short = ["--set", "num_workers=0", "--set", "batch_size=1", "--set", "crop_size=64", "--set", "short_sides=64"]
    checks.works(
        "fine-tune two steps, without curves and TensorBoard",
        *("segvoc", "train", "finetune", "--model", "tiny", *options, "--steps", "2", *short, "--out", "run"),
        then=lambda: (folder / "run" / "model.safetensors").exists(),
    )
    checks.works(
        "segment with that checkpoint",
        *("segvoc", "segment", photo, "--words", WORDS, "--model", "run/model.safetensors", "--out", "again"),
        then=lambda: (folder / "again" / "chelsea.png").exists(),
    )
    checks.names_extra("segvoc export", "onnxscript", "export", "segvoc", "export", "tiny", "exported")
    checks.names_extra("segvoc serve", "FastAPI", "serve", "segvoc", "serve")
    checks.works("segvoc bench", "segvoc", "bench", "--words", "4", "--size", "64x48", "--repeat", "1")
    return checks.failures


def main() -> int:
    """Make the environment and check it; the exit code."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "build" / "core").resolve()
    light, torch = frozenset(), frozenset(("torch",))
    failures = check_light(make_environment(folder / "light", light), folder / "light" / "checks")
    failures += check(make_environment(folder / "torch", torch), folder / "torch" / "checks")
    print(f"core install: {failures} checks failed" if failures else "core install: all checks passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
