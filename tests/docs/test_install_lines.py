"""Every line of README and docs that installs something does so as it stands: in a clone, into an empty environment."""

import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "annotate" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def install_lines() -> dict[str, str]:
    """What follows `pip install` on the pages of users, and the page that has it first."""
    found: dict[str, str] = {}
    for page in PAGES:
        if "dev" in page.relative_to(ROOT).parts:
            continue
        for line in re.findall(r"pip install ([^`\n#;]+)", page.read_text(encoding="utf-8")):
            found.setdefault(line.strip().removesuffix(" command in the message"), page.name)
    return found


LINES = {line: page for line, page in install_lines().items() if not line.startswith("spacy")}


def test_pages_install_what_a_clone_has() -> None:
    assert {".", ". ./annotate", '".[torch]"', '. "./annotate[cvat]"'} <= LINES.keys()
    assert not [line for line in LINES if re.search(r"\bsegvoc\b", line) and "/" not in line]


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_pages_can_be_installed(tmp_path: Path, line: str) -> None:
    venv.create(tmp_path / "empty", with_pip=False, symlinks=True)
    arguments = [argument.replace("/home/ray/segvoc", ".") for argument in shlex.split(line)]
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "empty/bin/python"), "install"]
    call = [*pip, "--dry-run", "--quiet", "--report", str(tmp_path / "report.json"), *arguments]
    resolved = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert resolved.returncode == 0, resolved.stderr
    assert (tmp_path / "report.json").stat().st_size > 100


@pytest.mark.slow
def test_the_base_makes_boxes_polygons_and_coco(tmp_path: Path) -> None:
    venv.create(tmp_path / "base", with_pip=False, symlinks=True)
    python = str(tmp_path / "base/bin/python")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "."], cwd=ROOT, check=True)
    code = (
        "import segvoc; result = segvoc.load('tiny').segment('samples/dogs.jpg', 'dog');"
        "print(len(result.boxes()), len(result.polygons()), len(result.to_coco()['annotations']))"
    )
    done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(int(number) > 0 for number in done.stdout.split())
