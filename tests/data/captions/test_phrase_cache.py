"""Phrases that are extracted once."""

from collections.abc import Iterator

import pytest

from segvoc.data.captions import phrase_cache
from segvoc.data.captions.phrase_cache import CachedExtractor
from segvoc.data.captions.phrases import PhraseExtractor, phrase_extractor
from segvoc.errors import OutputError


class Counting:
    """The last word of each caption; it counts the captions that it has read."""

    def __init__(self, identity="one", fails_at=None):
        self.identity, self.fails_at, self.read = identity, fails_at, 0

    def __call__(self, captions) -> Iterator[list[str]]:
        for caption in captions:
            if self.read == self.fails_at:
                raise KeyboardInterrupt
            self.read += 1
            yield [caption.split()[-1]]


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(phrase_cache, "CAPTIONS_OF_A_FILE", 4)


CAPTIONS = [f"a dog{number}" for number in range(10)]
EXPECTED = [[f"dog{number}"] for number in range(10)]


def test_what_was_read_before_a_kill_is_not_read_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        list(CachedExtractor(folder=tmp_path, extractor=Counting(fails_at=6))(CAPTIONS))
    for expected_reads in (6, 0):
        counting = Counting()
        assert list(CachedExtractor(folder=tmp_path, extractor=counting)(iter(CAPTIONS))) == EXPECTED
        assert counting.read == expected_reads


def test_another_extractor_another_caption_and_a_damaged_file_are_read_anew(tmp_path):
    list(CachedExtractor(folder=tmp_path, extractor=Counting())(CAPTIONS))
    other = Counting("two")
    list(CachedExtractor(folder=tmp_path, extractor=other)(CAPTIONS))
    assert other.read == 10
    changed = Counting()
    list(CachedExtractor(folder=tmp_path, extractor=changed)([*CAPTIONS[:9], "a cat"]))
    assert changed.read == 2
    for path in tmp_path.glob("captions-000001-*"):
        path.write_text("[[")
    damaged = Counting()
    assert list(CachedExtractor(folder=tmp_path, extractor=damaged)(CAPTIONS)) == EXPECTED
    assert damaged.read == 4


def test_it_stands_for_the_extractor_and_says_where_it_can_not_write(tmp_path):
    rules = phrase_extractor("rules")
    assert rules.identity.startswith("rules ")
    cached = CachedExtractor(folder=tmp_path / "file", extractor=rules)
    assert isinstance(cached, PhraseExtractor) and cached.identity == rules.identity
    assert list(cached(["A dog and a cat"])) == [["A dog", "a cat"]]
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError):
        list(CachedExtractor(folder=tmp_path / "taken", extractor=rules)(["A dog"]))
