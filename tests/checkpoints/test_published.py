"""The manifest of published files is complete, and NOTICE and the docs say the same."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, HubPlace, PublishedFile, WebPlace

REPOSITORY = Path(__file__).resolve().parents[2]
NOTICE = (REPOSITORY / "NOTICE").read_text(encoding="utf-8")
MAY_LACK = ("size", "exact_size", "license_note")

every_file = pytest.mark.parametrize("file", PUBLISHED.values(), ids=list(PUBLISHED))


@every_file
def test_every_record_is_complete(file: PublishedFile) -> None:
    assert PUBLISHED[file.name] is file
    assert all(getattr(file, field.name) for field in fields(file) if field.name not in MAY_LACK)
    assert re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert file.filename in file.place.page
    if isinstance(file.place, HubPlace):
        assert re.fullmatch("[0-9a-f]{40}", file.place.revision)
        assert file.place.repository in file.place.page
        assert file.size is not None
    else:
        assert isinstance(file.place, WebPlace) and file.place.url.startswith("https://")
    assert file.exact_size == (file.size is not None and file.size % 100_000 > 0)


@every_file
def test_notice_quotes_hash_revision_and_sources(file: PublishedFile) -> None:
    (entry,) = re.findall(rf"^- {re.escape(file.name)}: .*\n(?:  .*\n)*", NOTICE, re.MULTILINE)
    words = " ".join(entry.split())
    assert file.sha256 in words and file.license in words and file.license_note in words
    assert file.place.origin in words and file.filename in words
    assert not isinstance(file.place, HubPlace) or file.place.revision in words
    for source in file.sources:
        assert source.page in words and source.states in words


def test_notice_names_no_other_published_file() -> None:
    section = NOTICE[NOTICE.index("Weights that are fetched") : NOTICE.index("Weights that are not fetched")]
    assert re.findall(r"^- ([\w-]+): ", section, re.MULTILINE) == list(PUBLISHED)
    assert set(re.findall(r"\b[0-9a-f]{64}\b", NOTICE)) == {file.sha256 for file in PUBLISHED.values()}


@pytest.mark.parametrize("name", UNCONFIRMED)
def test_what_is_not_confirmed_is_told_and_not_fetched(name: str) -> None:
    file = UNCONFIRMED[name]
    assert name not in PUBLISHED
    assert f"- {name}: " in NOTICE and file.page in NOTICE and file.reason in " ".join(NOTICE.split())
