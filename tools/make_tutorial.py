"""Write the scores of docs/tutorials/own_model.md, between its comments, by running its commands: about five minutes.

Usage: python -m tools.make_tutorial
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from segvoc.storage.files import read_json
from tools.make_tables import ROOT, markdown, with_block

PAGE = ROOT / "docs" / "tutorials" / "own_model.md"
REPORTS = {"report-text": "by text alone", "report-taught": "taught", "report-tuned": "fine-tuned"}


def run(text: str, folder: Path) -> str:
    """Run the commands of the page that train and evaluate, in `folder`; what `teach` prints."""
    shutil.copytree(ROOT / "samples" / "facades", folder / "facades")
    taught = ""
    for line in re.findall(r"^segvoc (?:evaluate|teach|train) .*", text, re.MULTILINE):
        command = [sys.executable, "-m", *shlex.split(line)]
        print(line, flush=True)
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        taught += done.stdout if line.startswith("segvoc teach") else ""
    return taught


def main() -> None:
    """Run, and write."""
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as work:
        printed = run(text, Path(work))
        reports = {title: read_json(Path(work) / name / "report.json") for name, title in REPORTS.items()}
    table = printed[printed.index("IoU of") :].split("\n\n")[0].rstrip()
    rows = [(title, f"{one['miou']:.0f} %", f"{one['pixel_accuracy']:.0f} %") for title, one in reports.items()]
    scores = markdown(iter([("model", "mean IoU", "pixels right"), *rows]))
    text = with_block(text, "taught words", f"```text\n{table}\n```")
    PAGE.write_text(with_block(text, "scores", scores), encoding="utf-8")


if __name__ == "__main__":
    main()
