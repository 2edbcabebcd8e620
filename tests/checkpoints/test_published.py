"""The manifest of published files and the lists without PyTorch are complete; NOTICE says the same."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, HubPlace, PublishedFile
from segvoc.models.catalog import catalog
from tools.make_catalog import made_catalog

REPOSITORY = Path(__file__).resolve().parents[2]
NOTICE = (REPOSITORY / "NOTICE").read_text(encoding="utf-8")
MAY_LACK = ("size", "license_note")

every_file = pytest.mark.parametrize("file", PUBLISHED.values(), ids=list(PUBLISHED))


@every_file
def test_every_record_is_complete(file: PublishedFile) -> None:
    assert PUBLISHED[file.name] is file and re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert all(getattr(file, field.name) for field in fields(file) if field.name not in MAY_LACK)
    if isinstance(file.place, HubPlace):
        assert re.fullmatch("[0-9a-f]{40}", file.place.revision) and file.place.repository in file.place.page
    else:
        assert file.place.url.startswith("https://") and file.filename in file.place.page


def test_notice_has_every_published_file_and_no_other() -> None:
    assert set(re.findall(r"\b[0-9a-f]{64}\b", NOTICE)) == {file.sha256 for file in PUBLISHED.values()}
    for file in PUBLISHED.values():
        (entry,) = re.findall(rf"^- {re.escape(file.name)}: .*\n(?:  .*\n)*", NOTICE, re.MULTILINE)
        words = " ".join(entry.split())
        assert all(text in words for text in (file.sha256, file.license, file.license_note, file.place.origin))
    assert not PUBLISHED.keys() & UNCONFIRMED.keys() and all(f"- {name}: " in NOTICE for name in UNCONFIRMED)


WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "huggingface_hub")))  # importing them fails
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("torch", "huggingface_hub") else find(name, *rest)
from segvoc.cli import main
sys.argv[0] = "segvoc"
main()
"""


def test_the_catalog_is_what_the_tables_say() -> None:
    assert catalog() == made_catalog(), "python -m tools.make_catalog writes it again"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["models"], 0, "hint: without PyTorch, tiny alone runs here"),
        (["fetch", "cat-seg-bb"], 2, "'cat-seg-bb' is unknown (did you mean cat-seg-b?)"),
        (["train", "pca-sg-b", "--out", "run"], 2, "'pca-sg-b' is unknown (did you mean pca-seg-b?)"),
    ],
)
def test_lists_and_names_need_no_pytorch(arguments: list[str], code: int, said: str) -> None:
    call = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == code and said in done.stdout + done.stderr
    assert "PyTorch, which" not in done.stderr
