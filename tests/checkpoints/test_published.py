"""The manifest of published files, its licenses and the lists without PyTorch are complete; NOTICE says the same."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from segvoc.checkpoints import terms
from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, HubPlace, PublishedFile
from segvoc.cli.info import describe
from segvoc.models.catalog import catalog
from segvoc.storage.files import SHIPPED
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


def test_each_license_has_its_words_and_each_shipped_network_its_sources() -> None:
    for file in (*PUBLISHED.values(), *UNCONFIRMED.values()):
        assert file.license in {**terms.ALLOWED, **terms.OTHERS}, file.name
    found: list[str] = []
    for path in SHIPPED.glob("*.json"):
        record = json.loads(path.read_text())
        if "license" in record:
            assert record["license"] in terms.ALLOWED and terms.sources_of(record), path.name
            found += terms.sources_of(record).values()
    assert len(terms.to_know(found)) == len(terms.TO_KNOW) - 1  # nothing that ships is from the internet at large
    # terms other than those of a license that allows commercial use, and asks for no more than a name
    other = [text for text in found if any(word in text for word in ("research", "BY-SA", "terms of use", "ImageNet"))]
    assert other and all(terms.to_know([text]) for text in other)


@pytest.mark.parametrize(
    ("model", "weights", "commercial_use", "to_know"),
    [
        ("tiny", "Apache-2.0: commercial use is allowed", "yes by the licenses of code and weights; whether", "PASCAL"),
        ("clipseg", "Apache-2.0: commercial use is allowed", "unclear by the licenses", "images from the internet"),
        ("err-seg-b", "MIT: commercial use is allowed", "yes by the licenses", "COCO's"),
        ("cat-seg-eva-b", "not stated: its authors state no license", "unclear by the licenses", None),
        ("mobileclip-s1", "apple-amlr: commercial use is not allowed (for research alone)", "no by the", None),
        ("dinov3-l", "DINOv3 License: Meta's own terms", "unclear by the licenses", None),
        ("pca-seg-b", "that of what they started from", "yes by the license of the code; for weights", None),
    ],
)
def test_info_says_whether_a_model_may_be_used_commercially(model, weights, commercial_use, to_know) -> None:
    said = describe(model)["terms"]
    assert said["code"].startswith("Apache-2.0: ") and said["weights"].startswith(weights)
    assert said["commercial_use"].startswith(commercial_use)
    assert said["commercial_use"].endswith("(this is no legal advice)")
    assert (to_know is None and "to_know" not in said) or any(to_know in text for text in said["to_know"])
