"""Batches without Ray: what is read, what is written, and what a stopped run leaves."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason='needs the extra "batch"')
from pycocotools import mask as coco

from segvoc.errors import OutputError, UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.labeling.batch.work import Batch, Worker, find_facts
from segvoc.vocabulary import PartVocabulary, Vocabulary
from tests.images import one_line_error
from tests.labeling.batch.runs import (
    BAD,
    WORDS,
    Loop,
    Stopped,
    contents,
    folder_of,
    jpeg,
    label,
    quick,
    rows_of,
    table_of,
    tar_of,
)
from tests.lazy_modules import LazyModule

parquet = LazyModule("pyarrow.parquet")

NAMES = ["a.jpg", "b.jpg", "bad.jpg", "sub/c.jpg", "sub/d.jpg"]


def labels_in(row: dict[str, Any]) -> np.ndarray:
    labels = np.full((row["height"], row["width"]), 65535, np.uint16)
    for entry in row["classes"]:
        found = coco.decode({"size": list(labels.shape), "counts": entry["counts"].encode()})
        assert found.sum() == entry["pixels"]
        labels[found.astype(bool)] = entry["id"]
    return labels


def test_rows_have_the_masks_of_each_image_or_its_error(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", NAMES)
    done = label(source, tmp_path / "out")
    assert (done.images, done.before, done.failed) == (5, 0, 1)
    rows = rows_of(tmp_path / "out")
    assert [row["key"] for row in rows] == NAMES
    for row in rows:
        if row["key"] == "bad.jpg":
            assert "not an image" in row["error"] and row["classes"] is None
            continue
        expected = quick().segment(source / row["key"], WORDS)
        np.testing.assert_array_equal(labels_in(row), expected.labels)
        report = expected.report(compact=True)
        assert row["image"] == f"{source}/{row['key']}"
        for found, entry in zip(row["classes"], report["classes"], strict=True):
            assert all(found[name] == entry[name] for name in ("name", "fraction", "confidence"))
        assert row["unlabeled"] == report["unlabeled"]


def test_parts_and_objects_have_masks_too(tmp_path: Path) -> None:
    source, parts = folder_of(tmp_path / "in", ["a.jpg"]), PartVocabulary({"cat": ["head", "leg"]})
    options = LabelOptions(threshold=0.1, objects=True)
    label(source, tmp_path / "out", parts=parts, options=options)
    (row,) = rows_of(tmp_path / "out")
    expected = quick().segment(source / "a.jpg", WORDS, parts=parts, options=options)
    listed = expected.report(compact=True)["parts"]
    assert [(part["name"], part["pixels"]) for part in row["parts"]] == [(p["name"], p["pixels"]) for p in listed]
    objects = [(one.word, one.box, one.mask["counts"]) for one in expected.objects]
    assert len(objects) > 1
    assert [(one["name"], tuple(one["box"]), one["counts"]) for one in row["objects"]] == objects


def test_files_are_those_of_segment_and_every_image_has_its_own(tmp_path: Path) -> None:
    stems = {"sub/c.jpg": "sub/c", "a.jpg": "a.jpg", "a.png": "a.png", "a.jpg.png": "a.jpg.png"}
    stems |= {"B.jpg": "B.jpg", "b.png": "b.png", "_DSC0001.jpg": "_DSC0001"}  # a name that cameras give
    source = folder_of(tmp_path / "in", [*stems, "bad.jpg"])
    assert label(source, tmp_path / "out", sink="files").images == 8
    for name, stem in stems.items():
        quick().segment(source / name, WORDS).save(tmp_path / "expected", stem, overlay=None)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")
    label(source, tmp_path / "out", again := Loop(), sink="files")
    assert again.labeled == 0


@pytest.mark.parametrize("sink", ["parquet", "files"])
def test_names_that_are_not_utf_8_are_escaped_in_results(tmp_path: Path, sink: str) -> None:
    source = folder_of(tmp_path / "in", ["a.jpg", os.fsdecode(b"\xff.jpg")])
    done = label(source, tmp_path / "out", sink=sink)
    assert (done.images, done.failed) == (2, 0)
    if sink == "parquet":
        assert [row["key"] for row in rows_of(tmp_path / "out")] == ["\\xff.jpg", "a.jpg"]
    else:
        assert (tmp_path / "out" / "\\xff.json").exists()
    label(source, tmp_path / "out", again := Loop(), sink=sink)
    assert again.labeled == 0


def test_samples_of_tars(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    members = {"x/a.json": b"{}", "x/a.jpg": jpeg(0), "x/b.seg.png": jpeg(3), "x/c.jpg": BAD, "x/d.JPEG": jpeg(1)}
    (folder / "0.tar").write_bytes(tar_of(members))
    (folder / "1.tar").write_bytes(tar_of({f"{n}.jpg": jpeg(n) for n in range(5)})[:4000])
    done = label(folder, tmp_path / "out")
    rows = {row["key"]: row["error"] for row in rows_of(tmp_path / "out")}
    assert rows["x/a"] is rows["x/d"] is None and "has no image file" in rows["x/b"]
    assert "not an image" in rows["x/c"]
    (damaged,) = [error for error in rows.values() if error and "damaged after" in error]
    assert f"{folder}/1.tar" in damaged and done.images == len(rows)
    assert done.failed == 3
    label(folder, tmp_path / "png", image_column="seg.png")
    assert {row["key"] for row in rows_of(tmp_path / "png") if not row["error"]} == {"x/b"}


def test_samples_with_one_path_have_files_of_their_own(tmp_path: Path) -> None:
    names = ["b.jpg", "./b.jpg", "c.jpg", "B.jpg", "damaged.jpg"]
    members = {name: jpeg(number) for number, name in enumerate(names)}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.tar").write_bytes(tar_of(members))
    label(tmp_path / "in", tmp_path / "out", sink="files")
    found = {name: report for name, report in contents(tmp_path / "out").items() if name.endswith(".json")}
    images = {report["image"].partition("#")[2]: name for name, report in found.items()}
    assert sorted(images) == sorted(names) and len(found) == len(names)
    assert images["b.jpg"] == "t/b.json" and images["c.jpg"] == "t/c.json"


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_rows_of_parquet(tmp_path: Path, form: str) -> None:
    images = [jpeg(n) for n in range(4)]
    values: list[Any] = [*images, BAD, None]
    if form == "struct":
        values = [None if value is None else {"bytes": value, "path": "x"} for value in values]
    table_of(tmp_path / "in" / "t.parquet", {"image": values, "id": list("uvwxyz")}, rows=4)
    for name in ("u.parquet", "_u.parquet"):  # the latter is internal
        (tmp_path / "in" / name).write_bytes(BAD)
    done = label(tmp_path / "in", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [row["key"] for row in rows] == [*(f"t.parquet#{n}" for n in range(6)), "u.parquet#0"]
    assert [row["error"] is None for row in rows] == [True] * 4 + [False] * 3
    assert done.failed == 3
    for row, content in zip(rows, images, strict=False):
        np.testing.assert_array_equal(labels_in(row), quick().segment(content, WORDS).labels)
    assert "is empty" in rows[5]["error"] and "not a readable Parquet file" in rows[6]["error"]
    table_of(tmp_path / "in" / "v.parquet", {"image": [str(tmp_path / "in" / "t.jpg")]})  # a path isn't followed
    label(tmp_path / "in", tmp_path / "more", image_column="image")
    assert "no column 'image' with bytes" in rows_of(tmp_path / "more")[-1]["error"]
    label(tmp_path / "in" / "t.parquet", tmp_path / "one")
    assert len(rows_of(tmp_path / "one")) == 6


def test_shards_are_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segvoc.labeling.batch.plan.SHARD_BYTES", 1)
    source = folder_of(tmp_path / "in", ["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises(Stopped):
        label(source, tmp_path / "out", engine := Loop(1))
    assert engine.labeled == 1  # image of a shard, which would have two


@pytest.mark.parametrize(
    ("kind", "sink", "rows"),
    [
        *(("images", "parquet", rows) for rows in (2, 4, 50_000)),
        *(("images", "files", 50_000), ("tars", "parquet", 50_000), ("parquet", "parquet", 50_000)),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_results(tmp_path: Path, sink: str, kind: str, rows: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):  # one shard each
        images = {f"{n}.jpg": jpeg(n) for n in range(2 * number, min(2 * number + 2, 5))}
        if kind == "parquet":
            table_of(folder / f"{number}.parquet", {"image": list(images.values())})
        elif kind == "tars":
            (folder / f"{number}.tar").write_bytes(tar_of(images))
        else:
            folder_of(folder, images.keys())
    label(folder, tmp_path / "whole", sink=sink, rows_a_file=rows)
    seen = 0
    for stop in (0, 1):
        engine = Loop(stop, before_record=True)
        with pytest.raises(Stopped):
            label(folder, tmp_path / "out", engine, sink=sink, rows_a_file=rows)
        seen += engine.labeled
    done = label(folder, tmp_path / "out", last := Loop(), sink=sink, rows_a_file=rows)
    # the tables of the two shards that each stop left without a record aren't made again
    assert (done.images, seen, last.labeled) == ((5, 2, 3) if sink == "files" else (5, 2, 0))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not [name for name in Path(tmp_path / "out").glob(".segvoc/parts/*")]


@pytest.mark.parametrize("sink", ["parquet", "files"])
def test_what_is_done_is_by_content(tmp_path: Path, sink: str) -> None:
    source = folder_of(tmp_path / "in", NAMES)
    label(source, tmp_path / "out", sink=sink)
    folder_of(source, ["aa.jpg"])  # a new one, in the middle
    (source / "b.jpg").write_bytes(jpeg(77))  # a changed one
    (source / "sub" / "d.jpg").unlink()  # one that is gone keeps its results
    done = label(source, tmp_path / "out", engine := Loop(), sink=sink)
    assert (done.images, engine.labeled) == (6, 2)
    for _ in range(2):  # and is done for good
        done = label(source, tmp_path / "out", engine := Loop(), sink=sink)
        assert (done.images, done.before, done.failed, engine.labeled) == (6, 6, 1, 0)
    if sink == "parquet":
        rows = rows_of(tmp_path / "out")
        assert [row["key"] for row in rows] == sorted([*NAMES, "aa.jpg"])
        expected = quick().segment(source / "b.jpg", WORDS)
        np.testing.assert_array_equal(labels_in(rows[2]), expected.labels)


def test_a_changed_tar_is_labeled_again_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        tar = tar_of({f"{number}{n}.jpg": jpeg(n) for n in range(3)})
        (tmp_path / "in" / f"{number}.tar").write_bytes(tar)
    label(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "1.tar").write_bytes(tar_of({"1x.jpg": jpeg(5)}))
    done = label(tmp_path / "in", tmp_path / "out", engine := Loop())
    assert (done.images, engine.labeled) == (4, 1)
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["00", "01", "02", "1x"]


def test_a_file_has_so_many_rows_and_the_words_and_the_model(tmp_path: Path) -> None:
    names = [f"{n:02}.jpg" for n in range(11)]
    label(folder_of(tmp_path / "in", names), tmp_path / "out", rows_a_file=5)
    tables = [parquet.read_table(path) for path in (tmp_path / "out").glob("*.parquet")]
    assert sorted(table["key"].to_pylist() for table in tables) == [names[:5], names[5:10], names[10:]]
    for table in tables:
        settings = json.loads(table.schema.metadata[b"segvoc"])
        assert settings["words"].startswith("cat, sofa, wall [") and settings["model"] == "tiny" and settings["weights"]
    pandas = pytest.importorskip("pandas")
    assert sorted(pandas.read_parquet(tmp_path / "out")["key"]) == names


@pytest.mark.parametrize(
    ("damage", "redone"),
    [
        (lambda result: result.unlink(), (2, 3)),
        (lambda result: result.write_bytes(result.read_bytes()[:-1]), (2, 3)),
        (lambda result: shutil.copy(result, result.with_name(f"part-{'0' * 32}.parquet")), (0,)),
    ],
    ids=["gone", "cut", "stray"],
)
def test_damaged_results_are_made_again(tmp_path, damage, redone):
    source = folder_of(tmp_path / "in", NAMES)
    label(source, tmp_path / "out", rows_a_file=3)
    before = contents(tmp_path / "out")
    damage(next((tmp_path / "out").glob("*.parquet")))
    done = label(source, tmp_path / "out", engine := Loop(), rows_a_file=3)
    assert (done.images, done.failed) == (5, 1)
    assert label(source, tmp_path / "out", rows_a_file=3).before == 5
    assert contents(tmp_path / "out") == before and engine.labeled in redone


@pytest.mark.parametrize("sink", ["parquet", "files"])
def test_failed_images_are_tried_again_if_asked(tmp_path: Path, sink: str) -> None:
    source = folder_of(tmp_path / "in", NAMES)
    label(source, tmp_path / "out", sink=sink)
    status = (source / "bad.jpg").stat()
    (source / "bad.jpg").write_bytes(jpeg(9)[: len(BAD)].ljust(len(BAD)))
    os.utime(source / "bad.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert label(source, tmp_path / "out", engine=(plain := Loop()), sink=sink).failed
    done = label(source, tmp_path / "out", again := Loop(), sink=sink, retry_failed=True)
    assert (plain.labeled, again.labeled, done.images, done.failed) == (0, 1, 5, 1)  # it still is no image
    done = label(source, tmp_path / "out", engine=(plain := Loop()), sink=sink)
    assert (plain.labeled, done.images, done.failed) == (0, 5, 1)
    if sink == "parquet":
        assert len(rows_of(tmp_path / "out")) == 5


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        ("in", {"words": Vocabulary(["cat", "dog"])}, "words: cat, sofa, wall ["),
        ("in", {"options": LabelOptions(threshold=0.5)}, "threshold: none, now 0.5"),
        ("in", {"sink": "files"}, "results: parquet, now files"),
        ("other", {}, "source: "),
    ],
)
def test_other_settings_are_named(tmp_path: Path, source: str, options: dict[str, Any], told: str) -> None:
    label(folder_of(tmp_path / "in", ["a.jpg"]), tmp_path / "out")
    before = contents(tmp_path / "out")
    with one_line_error(UsageError, "has results of another call", told, "--out"):
        label(folder_of(tmp_path / source, ["a.jpg"]), tmp_path / "out", **options)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        ("missing", {}, "does not exist"),
        ("", {}, "the address is empty"),
        ("nosuch://bucket/a", {}, "nosuch"),
        ("empty", {}, "is empty"),
        ("mixed", {}, "1 images and 1 tars"),
        ("in", {"image_column": "x"}, "no columns"),
        ("two", {}, "columns with files: a, b"),
        ("two", {"image_column": "n"}, "--image-column"),
        ("in", {"out": "in"}, "source folder"),
        ("in/sub", {"out": "in"}, "source folder"),
        ("in", {"out": "two"}, "aren't of segvoc batch"),
        ("in", {"options": LabelOptions(window="tcl")}, "window='tcl' is unknown"),
        ("in", {"words": None}, "no words"),
        ("in", {"shard_images": 0}, "not positive"),
        ("in", {"rows_a_file": 0}, "not positive"),
        ("in", {"workers": 0}, "not positive"),
        ("in", {"cpus": 0.0}, "not positive"),
        ("in", {"gpus": -1.0}, "not positive"),
        ("in", {"out": "file/out"}, "file"),
    ],
)
def test_a_wrong_call_is_one_line(tmp_path: Path, source: str, options: dict[str, Any], told: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    folder_of(Path("in"), NAMES)
    Path("empty").mkdir()
    table_of(Path("two/t.parquet"), {"a": [b""], "b": [b""], "n": [1]})
    folder_of(Path("mixed"), ["a.jpg", "b.tar"])
    with one_line_error((OutputError, UsageError), told):
        label(source, options.pop("out", "out"), **options)


def test_a_model_that_differs_between_nodes_is_refused(tmp_path: Path) -> None:
    batch = Batch(source="in", out="out", words=WORDS, load=quick)
    facts = find_facts(batch)
    other = replace(facts, settings={**facts.settings, "dtype": "bfloat16"})
    with one_line_error(UsageError, "dtype: bfloat16, now ", "differs between nodes"):
        Worker(batch, other)
