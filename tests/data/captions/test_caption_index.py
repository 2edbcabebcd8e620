"""The index of a caption set: built once, reused by content, and small in every process that reads it."""

import os
import pickle
import tarfile

import pytest
import spacy  # tests/stand_ins

from segvoc.data.captions import caption_index, sources
from segvoc.data.captions.caption_index import PROBLEMS_KEPT, CaptionDataset, build_index
from segvoc.data.captions.phrases import CleaningRules
from segvoc.data.captions.sources import CaptionChunk, CaptionedImage, CaptionSource, ImageLocation, find_captions
from segvoc.errors import InputError, OutputError, UsageError
from tests.data.captions.test_sources import member, png, samples
from tests.images import one_line_error

RULES = CleaningRules()


def captioned(tmp_path, *captions, chunk=1024):
    images = [CaptionedImage(str(n), ImageLocation(f"{tmp_path}/{n}.png"), own) for n, own in enumerate(captions)]
    chunks = [CaptionChunk(images=tuple(images[start : start + chunk])) for start in range(0, len(images), chunk)]
    return CaptionSource(path="sets/drawn", chunks=tuple(chunks))


def tars(folder, *counts):
    """Tars of so many samples; each caption names its tar and sample."""
    for tar, count in enumerate(counts):
        samples(folder / f"{tar}.tar", range(count), f"A dog{tar} and a cat{{}}.".format)
    return folder / "*.tar"


@pytest.fixture
def extracted(monkeypatch):
    """The captions that spaCy parses."""
    asked, pipe = [], spacy.Language.pipe

    def noted(self, captions):
        return pipe(self, (asked.append(caption) or caption for caption in captions))

    monkeypatch.setattr(spacy.Language, "pipe", noted)
    return asked


def test_a_set_has_the_images_that_keep_a_phrase(tmp_path):
    source = captioned(tmp_path, ("A dog.", "A dog and a cat"), ("It is the background",), ("two cats",))
    dataset = CaptionDataset(build_index(source, tmp_path, RULES))
    assert len(dataset) == 2 and dataset.facts["name"] == "drawn"
    assert dataset.phrase_texts() == ["dog", "cat", "cats"] and dataset.phrase_texts(1, 2) == ["cat"]
    assert {entry.name: dataset.phrases(entry) for entry in dataset.entries()} == {"0": ("dog", "cat"), "2": ("cats",)}
    assert [dataset.facts[name] for name in ("images", "captions", "with_phrases", "phrases")] == [3, 4, 2, 3]
    with pytest.raises(IndexError):
        dataset.entry(2)


def test_captions_without_a_phrase_are_a_wrong_call_and_a_full_disk_is_one_line(tmp_path):
    with one_line_error(UsageError, "drawn", "no caption", "--set match=word"):
        build_index(captioned(tmp_path, ("the background",)), tmp_path, RULES)
    assert not list(tmp_path.glob("index-*")) and not list(tmp_path.glob(".segvoc-*"))
    (tmp_path / "taken").write_text("")
    with one_line_error(OutputError, "captions-"):
        build_index(captioned(tmp_path, ("A dog",)), tmp_path / "taken", RULES)


def test_tars_are_scanned_and_captions_extracted_once(tmp_path, extracted, monkeypatch):
    pattern = tars(tmp_path, 3, 2)
    first = build_index(find_captions(pattern), tmp_path / "index", RULES)
    assert len(extracted) == 5
    with monkeypatch.context() as patch:
        patch.setattr(sources, "images_in_tar", pytest.fail)
        assert build_index(find_captions(pattern), tmp_path / "index", RULES) == first
        fewer = build_index(find_captions(pattern), tmp_path / "index", CleaningRules(max_phrases=1))
    assert len(extracted) == 5
    assert fewer != first and CaptionDataset(fewer).phrase_texts() == ["dog0", "dog1"]
    # a changed or added tar costs itself alone
    os.utime(tmp_path / "1.tar", (1, 1))
    (tmp_path / "2.tar").write_bytes((tmp_path / "0.tar").read_bytes())
    dataset = CaptionDataset(build_index(find_captions(pattern), tmp_path / "index", RULES))
    assert len(extracted) == 5 + 2 + 3 and len(dataset) == 8
    assert [int(entry.location.read()[0, 0, 0]) for entry in dataset.entries()] == [0, 1, 2, 0, 1, 0, 1, 2]


def test_what_was_extracted_before_a_kill_is_not_extracted_again(tmp_path, extracted, monkeypatch):
    source = captioned(tmp_path, *[(f"A dog{number}",) for number in range(10)], chunk=4)
    write, writes = caption_index.write_bytes, iter([1, 1])

    def killed(path, content):
        if next(writes, None) is None:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(caption_index, "write_bytes", killed)
        build_index(source, tmp_path / "index", RULES)
    extracted.clear()
    dataset = CaptionDataset(build_index(source, tmp_path / "index", RULES))
    assert extracted == ["A dog8", "A dog9"] and len(dataset) == 10


@pytest.mark.parametrize("damage", [b"", b"[[", b"SQLite format 3\0 and no more"])
def test_damaged_files_are_an_error_or_made_anew(tmp_path, damage):
    source = captioned(tmp_path, ("A dog",))
    index = build_index(source, tmp_path / "index", RULES)
    index.write_bytes(damage)
    with one_line_error(InputError, index.name, "run the same command again"):
        CaptionDataset(index)
    assert len(CaptionDataset(build_index(source, tmp_path / "index", RULES))) == 1
    (chunk,) = (tmp_path / "index").glob("captions-*")
    chunk.write_bytes(damage)
    index.unlink()
    with one_line_error(OutputError, chunk.name, "run the same command again"):
        build_index(source, tmp_path / "index", RULES)
    assert len(CaptionDataset(build_index(source, tmp_path / "index", RULES))) == 1


def test_workers_make_the_same_index(tmp_path):
    pattern = tars(tmp_path, 3, 2)
    alone = CaptionDataset(build_index(find_captions(pattern), tmp_path / "alone", RULES))
    together = CaptionDataset(build_index(find_captions(pattern), tmp_path / "together", RULES, workers=2))
    assert list(alone.entries()) == list(together.entries()) and alone.facts == together.facts


def test_problems_are_told_again_where_the_index_is_reused(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        member(archive, "0.png", png(0))
        member(archive, "0.txt", b"A dog")
        for number in range(PROBLEMS_KEPT + 5):
            member(archive, f"{number + 1}.png", png(0))
    for _ in range(2):
        problems = []
        build_index(find_captions(tmp_path / "0.tar"), tmp_path, RULES, on_problem=problems.append)
        assert len(problems) == PROBLEMS_KEPT + 1 and "'1.png' has no caption" in problems[0]
        assert problems[-1].startswith("5 more")


def test_what_a_reader_is_given_does_not_grow_with_the_set(tmp_path):
    """The fault that was: each row of the set was pickled into each reader."""
    sizes = []
    for count in (20, 500):
        source = captioned(tmp_path, *[(f"A dog{number} beside a cat{number}",) for number in range(count)])
        content = pickle.dumps(CaptionDataset(build_index(source, tmp_path / str(count), RULES)))
        reader = pickle.loads(content)
        assert reader.phrases(reader.entry(count - 1)) == (f"dog{count - 1}", f"cat{count - 1}")
        sizes.append(len(content))
    assert sizes[1] < sizes[0] + 100 < 2000


def test_a_data_set_is_read_in_a_forked_process_too(tmp_path):
    dataset = CaptionDataset(build_index(captioned(tmp_path, ("A dog",)), tmp_path, RULES))
    entries = dataset.entries()
    assert next(entries).name == "0"
    child = os.fork()
    if child == 0:
        os._exit(0 if dataset.entry(0).name == "0" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert dataset.entry(0).name == "0" and not list(entries)
