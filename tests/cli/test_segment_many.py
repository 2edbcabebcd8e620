"""`segvoc segment` with many images: going on, shares, processes, and what is written of each image."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from segvoc.imaging.label_maps import read_label_map
from segvoc.storage.resume import RESUME_FOLDER
from tests.cli.command import WORDS, Command, draw_photos, read_json, result_files


def test_resume_skips_what_is_done(segment: Command, labeled: list[object]) -> None:
    draw_photos("in/a.jpg", "in/ü.jpg", "in/sub/c.jpg")
    Path("in/bad.jpg").write_text("no image")
    first = segment("in", *WORDS, "--json")
    assert first.code == 1
    again = segment("in", *WORDS, "--json", "--resume")
    assert (again.out, len(again.out.splitlines()), len(labeled)) == (first.out, 3, 3)
    del labeled[:]
    draw_photos("in/new.jpg")
    done = segment("in", *WORDS, "--resume")
    assert done.code == 1  # the damaged one is tried again
    assert "3 of 5 images were already done" in done.err
    assert done.labeled == ["in/new.jpg"]
    assert len(labeled) == 1
    assert segment("in", *WORDS, "--resume").out == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda segment: Path("out/a.png").unlink(),
        lambda segment: Path("out/a.overlay.png").write_bytes(b""),
        lambda segment: os.utime("in/a.jpg", (0, 0)),
        lambda segment: segment("in/a.jpg", "--words", "dog, cat"),
    ],
    ids=["result removed", "result replaced", "image changed", "other words meanwhile"],
)
def test_what_is_no_longer_as_the_journal_says_is_done_again(segment, labeled, change):
    draw_photos("in/a.jpg", "in/b.jpg")
    segment("in", *WORDS)
    change(segment)
    del labeled[:]
    assert segment("in", *WORDS, "--resume").labeled == ["in/a.jpg"]
    assert len(labeled) == 1
    assert [entry["name"] for entry in read_json("out/a.json")["classes"]] == ["cat", "sofa", "wall"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--words", "cat, dog, wall"], "words: cat, sofa, wall ["),
        ([*WORDS, "--threshold", "0.5", "--compact"], "threshold: none, now 0.5; reports: complete, now compact"),
    ],
)
def test_resume_with_other_settings_says_what_differs(segment: Command, options: list[str], told: str) -> None:
    draw_photos("in/a.jpg", "in/b.jpg")
    segment("in", *WORDS)
    before = {name: Path("out", name).read_bytes() for name in result_files()}
    segment("in", *options, "--resume").refused("'out' has results of another call", told, "leave out --resume")
    assert {name: Path("out", name).read_bytes() for name in result_files()} == before


def test_shares_are_all_images_once(segment: Command) -> None:
    names = [f"in/{index}.jpg" for index in range(12)]
    draw_photos(*names)
    shares = [segment("in", *WORDS, "--shard", f"{number}/3").labeled for number in (1, 2, 3)]
    assert sorted(name for share in shares for name in share) == sorted(names) and all(shares)
    Path(names[0]).unlink()  # an image's share doesn't depend on the others
    again = segment("in", *WORDS, "--shard", "2/3", "--out", "again").labeled
    assert again == [name for name in shares[1] if name != names[0]]
    # the journals of all shares are one
    assert segment("in", *WORDS, "--resume").out == ""


def test_compact_lists_only_what_was_found(segment: Command) -> None:
    draw_photos("a.jpg")
    Path("words.txt").write_text("\n".join(f"word {index}" for index in range(40)))
    options = ("a.jpg", "--words-file", "words.txt", "--keep-classes", "3", "--parts", "word 1: head, leg")
    segment(*options, "--out", "complete")
    done = segment(*options, "--compact", "--json")
    assert len(read_json("complete/a.json")["classes"]) == 40
    for report in (read_json("out/a.json"), json.loads(done.out)):
        for kind in ("classes", "parts"):
            expected = [entry for entry in read_json("complete/a.json")[kind] if entry["pixels"]]
            assert report[kind] == expected
    assert 1 <= len(report["classes"]) <= 3
    assert (read_label_map("out/a.png") == read_label_map("complete/a.png")).all()


LONG = 82 * chr(0x732B)
"""The name of an image that exists, although that of its overlay can't: three bytes for each letter."""


@pytest.mark.parametrize(
    ("stem", "options"),
    [
        (LONG, ()),
        (LONG, ("--tile", "64")),
        # without an overlay, a label map of 250 bytes may exist, and of a format of 255 too
        (251 * "n", ("--format", "coco-panoptic")),
        pytest.param(251 * "n", ("--no-overlay", "--jobs", "2"), marks=pytest.mark.slow),
    ],
    ids=["images", "tiles", "datasets", "processes"],
)
def test_a_name_too_long_for_its_results_fails_alone(segment: Command, stem: str, options: tuple[str, ...]) -> None:
    draw_photos("in/a.jpg", f"in/{stem}.jpg", "in/z.jpg")
    for resumed in [()] if "--jobs" in options else [(), ("--resume",)]:
        done = segment("in", *WORDS, *options, *resumed)
        done.failed(1, "File name too long; give the input a shorter name", stem)
        assert "segvoc: 1 of 3 images failed, the others are done" in done.err
    found = [file.name for file in Path().rglob("*.png")]
    assert {"a.png", "z.png"} <= set(found) and not any(stem in name for name in found)


def test_a_long_name_whose_results_can_exist_is_labeled(segment: Command) -> None:
    draw_photos(f"in/{LONG}.png", f"in/{251 * 'n'}.png")  # the second would have a longer report than a file may be
    segment("in", *WORDS, "--no-overlay").failed(1, 251 * "n", "File name too long; give the input a shorter name")
    assert result_files() == [f"{LONG}.json", f"{LONG}.png"]


def test_processes_share_the_images(segvoc_command: Command) -> None:
    names = [f"{number}.png" for number in range(3)]
    draw_photos(*names)
    words = ("--words", "tax return, inflation", "--no-overlay")
    segvoc_command("segment", *names, *words, "--out", "plain").ok()
    done = segvoc_command("segment", *names, "missing.png", *words, "--jobs", 2)
    assert (done.code, done.labeled) == (1, names)
    lines = [line for line in done.err.splitlines() if not line.startswith("segvoc: labeling: ")]
    assert lines[0] == "segvoc: error: 'missing.png' does not exist; check the path"
    assert "segvoc: 1 of 4 images failed, the others are done" in lines
    assert re.search("segvoc: hint: [23] of 4 images: ", done.err)  # of both processes
    for name in names:
        assert Path("out", name).read_bytes() == Path("plain", name).read_bytes()
    assert len(list(Path("out", RESUME_FOLDER).iterdir())) == 2


@pytest.mark.parametrize("tiles", [(), ("--tile", "64")])
def test_a_full_disk_ends_a_call_with_what_is_done(segment, monkeypatch, tiles):
    draw_photos(*(f"in/{name}.jpg" for name in "abcd"))
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target.name.startswith(("c.", "d.")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        ended = segment("in", *WORDS, *tiles)
    ended.failed(1, "out/c.png", "No space left", "2 of 4 images are done", "with --resume")
    assert len(ended.err.splitlines()) == 1
    resumed = segment("in", *WORDS, *tiles, "--resume")
    assert (resumed.code, resumed.labeled) == (0, ["in/c.jpg", "in/d.jpg"])
