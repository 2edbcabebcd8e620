"""Prove the core install: segvoc labels images with its core dependencies alone, and does the rest with PyTorch.

Usage: python -m tools.check_core_install [FOLDER]; prints a line per check and exits 1 if any fails. The environments
in FOLDER download nothing: they have segvoc from a wheel built here, and links to what it requires.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
SEGMENT = f"segvoc segment '{REPOSITORY}/samples/chelsea.jpg' --words 'cat, blanket, wall' --out labeled"
LABEL = f"""import segvoc, sys
result = segvoc.load('tiny').segment('{REPOSITORY}/samples/chelsea.jpg', ['cat', 'wall'], return_probabilities=True)
assert result.labels.shape == result.probabilities.shape[1:] and (result.labels == 0).mean() > 0.3
assert 'torch' not in sys.modules"""
IMPORT_ALL = """import importlib, pkgutil, segvoc
for module in pkgutil.walk_packages(segvoc.__path__, 'segvoc.'):
    if not module.name.startswith(('segvoc.exporting.', 'segvoc.serving.', 'segvoc.labeling.batch.engine')):  # extras
        importlib.import_module(module.name)
[getattr(segvoc, name) for name in segvoc.__all__]"""
DRAW = """import pathlib, numpy as np, PIL.Image as image
for name in ('images', 'labels'):
    pathlib.Path('set', name).mkdir(parents=True, exist_ok=True)
for number in range(3):
    labels = np.kron(np.random.default_rng(number).integers(0, 2, (2, 3)), np.ones((40, 40))).astype(np.uint8)
    image.fromarray(np.stack([200 * labels, 90 + labels, 255 - 200 * labels], -1)).save(f'set/images/{number}.png')
    image.fromarray(labels).save(f'set/labels/{number}.png')
pathlib.Path('set/classes.json').write_text('[\\"blue\\", \\"red\\"]')"""
SET = "--images set/images --labels set/labels --classes set/classes.json"
SHORT = "--steps 2 --set num_workers=0 --set batch_size=1 --set crop_size=64 --set short_sides=64"
CHECKS: dict[str, dict[str, str]] = {
    "segvoc": {
        # bytecode of another kind isn't installed: the tests leave it, with instrumented annotations
        "test $(du -smL --apparent-size --exclude='*.opt-*' lib | cut -f 1) -le 450": "",
        f"{SEGMENT} --parts 'cat: head, leg' --background other && test -s labeled/chelsea.parts.png": "",
        f'python -c "{LABEL}"': "",
        f"segvoc export tiny exported && {SEGMENT} --model exported": "",
        "segvoc models && segvoc fetch --list && segvoc info cat-seg-b": "",
        f"{SEGMENT} --model cat-seg-b": "PyTorch segvoc[torch]",
    },
    "segvoc[torch]": {
        f'python -c "{IMPORT_ALL}"': "",
        f"{SEGMENT} && test -s labeled/chelsea.png && segvoc models && segvoc info tiny": "",
        f'python -c "{DRAW}"': "",
        f'segvoc evaluate tiny {SET} --out report && grep "miou.: [0-9]" report/report.json': "",
        f"segvoc train finetune --model tiny {SET} {SHORT} --out run && {SEGMENT} --model run/model.safetensors": "",
        "segvoc export tiny exported": "onnxscript segvoc[export]",
        "segvoc serve": "FastAPI segvoc[serve]",
    },
}
"""Commands by what is installed. Those with words must be refused in one line that has them, the others must work."""


def needed(requirement: Requirement, seen: set[tuple[str, frozenset[str]]]) -> None:
    """Add the distributions that a requirement needs on this machine, with their extras, directly or not."""
    name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    for other in map(Requirement, distribution(name).requires or ()):
        if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            needed(other, seen)


def main() -> int:
    """Make the environments and check them; the exit code."""
    top, failures = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "build" / "core").resolve(), 0
    pip = (sys.executable, "-m", "pip", "--quiet")
    for installed, commands in CHECKS.items():
        folder = top / installed
        venv.create(folder, clear=True, symlinks=True)
        options = ("--no-deps", "--no-index", "--no-build-isolation")
        subprocess.run([*pip, "wheel", *options, f"--wheel-dir={folder}", REPOSITORY], check=True)
        python = str(folder / "bin" / "python")
        subprocess.run([*pip, "--python", python, "install", *options[:2], *folder.glob("*.whl")], check=True)
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        seen: set[tuple[str, frozenset[str]]] = set()
        needed(Requirement(installed), seen)
        for package in map(distribution, sorted({name for name, _ in seen} - {"segvoc"})):
            for entry in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
                if not (packages / entry).exists():
                    (packages / entry).symlink_to(Path(str(package.locate_file(entry))))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
        environment |= {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
        for command, words in commands.items():
            call = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
            good = call.returncode == 0 and "Traceback" not in call.stderr
            if words:
                named = all(word in call.stderr for word in words.split())
                good = call.returncode == 2 and call.stderr.count("\n") == 1 and named
            print(f"{'ok' if good else 'FAILED'}: {installed}: {command.splitlines()[0]}", flush=True)
            if not good:
                failures += 1
                print(f"exit code {call.returncode}\n{call.stdout}{call.stderr}", flush=True)
    print(f"core install: {failures} checks failed" if failures else "core install: all checks passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
