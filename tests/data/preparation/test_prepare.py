"""Preparation of every benchmark from replicas of its original files: special cases, damage, kills and resuming."""

import itertools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.data.benchmarks import BENCHMARKS, Manifest, find_benchmark, prepared
from segvoc.data.preparation import prepare as preparation
from segvoc.data.preparation.prepare import prepare
from segvoc.errors import UsageError
from tests.data.original_files import pack, save_ids
from tests.data.replicas import IGNORED, Replica, draw, halves, replica
from tests.images import one_line_error
from tests.processes import survivors

KINDS = ("a-847", "pc-59", "pas-20", "ade20k-part-234")
"""Benchmarks of the kinds of originals that `make test` tries: an index, masks, maps and parts."""


def run(name, root, **options) -> Manifest:
    return prepare(find_benchmark(name), root, **{"allow_missing": True, **options})


def assert_prepared(name: str, root, expected: Replica) -> None:
    benchmark = find_benchmark(name)
    images = prepared(benchmark, root)
    assert {image.stem for image in images.images} == set(expected.labels)
    for number, image in enumerate(images.images):
        labels = images.read(number).labels
        assert labels.shape == expected.labels[image.stem].shape
        assert (labels == expected.labels[image.stem]).all(), image.stem
        with Image.open(image.labels) as file:
            assert file.mode == ("L" if benchmark.ignored == 255 else "I;16")
            raw = np.array(file)
        assert (raw[labels == IGNORED] == benchmark.ignored).all()
        if expected.objects:
            assert image.object == expected.objects[image.stem]
            with Image.open(image.mask) as file:
                inside = np.array(file) == 0
            # all objects of the replicas fill one half of their image
            halves = np.hsplit(inside, 2)
            assert {half.all() for half in halves} == {half.any() for half in halves} == {True, False}
            assert (labels[~inside] == IGNORED).all()
    assert images.background == benchmark.background
    assert images.vocabulary.words == tuple(word.strip() for word in benchmark.classes)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_unpacked_downloads_are_prepared_and_a_second_run_does_nothing(tmp_path, name):
    expected = replica(name, tmp_path)
    first = run(name, tmp_path, on_failure=pytest.fail)
    assert expected.left_out <= set(first.left_out)
    assert_prepared(name, tmp_path, expected)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert run(name, tmp_path, on_failure=pytest.fail) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_several_processes_write_the_same_manifest(tmp_path):
    for jobs in (1, 2):
        replica("pc-59", tmp_path / f"{jobs}")
        run("pc-59", tmp_path / f"{jobs}", jobs=jobs, on_failure=pytest.fail)
    first, second = (Manifest.path(tmp_path / f"{jobs}", "pc-59").read_bytes() for jobs in (1, 2))
    assert first == second


def test_the_manifest_lists_missing_and_left_out_images(tmp_path):
    replica("pc-459", tmp_path)
    manifest = run("pc-459", tmp_path)
    content = json.loads(Manifest.path(tmp_path, "pc-459").read_text())
    assert content["images"] == len(manifest.records) == 2
    assert all(value is not None for record in content["records"] for value in record.values())
    assert list(manifest.left_out.values()) == ["it has no MATLAB file"]
    assert len(manifest.missing) == 5101  # of the list of 5104
    assert manifest.sources == {"VOCdevkit/VOC2010/JPEGImages/*.jpg": 3, "VOCdevkit/VOC2010/trainval/*.mat": 2}
    assert manifest.partial and len(manifest.sha256) == 64 and set(manifest.versions) == {"segvoc", "pillow", "numpy"}


ANNOTATIONS = "ADEChallengeData2016/annotations/validation"
IMAGES = "ADEChallengeData2016/images/validation"


def cut(path):
    path.write_bytes(path.read_bytes()[:-60])


def write_map(root, values):
    save_ids(root / ANNOTATIONS / "ADE_val_00000002.png", values)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda root: write_map(root, halves(0, 151)), "the id 151"),
        (lambda root: cut(root / ANNOTATIONS / "ADE_val_00000002.png"), "damaged"),
        (lambda root: cut(root / IMAGES / "ADE_val_00000002.jpg"), "damaged"),
        (lambda root: draw(root / IMAGES / "ADE_val_00000002.jpg", (30, 20)), "is 30 x 20 pixels, but its"),
        (lambda root: write_map(root, np.zeros((16, 24, 3))), "not a map of ids"),
    ],
)
def test_a_damaged_image_is_reported_and_the_others_are_prepared(tmp_path, harm, said):
    whole = replica("a-150", tmp_path)
    harm(tmp_path)
    failures: list[str] = []
    result = run("a-150", tmp_path, on_failure=failures.append)
    (message,) = failures
    assert said in message and "ADE_val_00000002" in message and "\n" not in message
    assert result.failed == ("ADE_val_00000002",)
    assert [record.stem for record in result.records] == ["ADE_val_00000001"]
    assert len(prepared(find_benchmark("a-150"), tmp_path)) == 1
    replace(result, partial=False).write(tmp_path)  # as if no image were missing
    with pytest.raises(UsageError, match=r"1 image of A-150 failed when it was prepared, .*'ADE_val_00000002'"):
        prepared(find_benchmark("a-150"), tmp_path)
    # the next call tries the failed image again, and only that one
    label = tmp_path / "ADEChallengeData2016/annotations_detectron2/validation/ADE_val_00000001.png"
    before = label.stat().st_mtime_ns
    replica("a-150", tmp_path)
    assert run("a-150", tmp_path, on_failure=pytest.fail).failed == ()
    assert label.stat().st_mtime_ns == before
    assert_prepared("a-150", tmp_path, whole)


def test_a_damaged_file_in_an_archive_is_read_again_after_the_archive_is_replaced(tmp_path):
    expected = replica("a-150", tmp_path)
    pack("a-150", tmp_path)
    archive = tmp_path / "ADEChallengeData2016.zip"
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        first = file.read(f"{IMAGES}/ADE_val_00000001.jpg")
    # the images are alike, so that this damages the first one
    archive.write_bytes(whole.replace(first[100:200], bytes(100), 1))
    failures: list[str] = []
    for _ in range(2):
        manifest = run("a-150", tmp_path, on_failure=failures.append)
        assert manifest.failed == ("ADE_val_00000001",) and len(manifest.records) == 1
    assert len(failures) == 2 and "ADE_val_00000001.jpg' in " in failures[0]
    archive.write_bytes(whole)
    assert run("a-150", tmp_path, on_failure=pytest.fail).failed == ()
    assert_prepared("a-150", tmp_path, expected)


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("a-150", f"{ANNOTATIONS}/ADE_val_00000001.png", r"lacks files of 6 images: .*0003\.png.* and 3 more;"),
        ("a-847", "ADE20K_2021_17_01/images/ADE/validation/urban/street/ADE_val_00000001_seg.png", "of 1 image:"),
        ("ade20k-part-234", "ADE20KPart234/images/validation/ADE_val_00000001.jpg", "ADE20KPart234/images"),
        ("pc-59", "VOCdevkit/VOC2010/trainval_merged.json", "trainval_merged.json' is missing; download it from"),
    ],
)
def test_missing_files_are_named(tmp_path, name, path, said):
    replica(name, tmp_path)
    if name == "a-150":  # of many, three are named
        for number in range(3, 8):
            draw(tmp_path / IMAGES / f"ADE_val_0000000{number}.jpg")
    (tmp_path / path).unlink()
    with one_line_error(UsageError, path, "http", match=said):
        run(name, tmp_path, allow_missing=False)
    assert not Manifest.path(tmp_path, name).exists()


def test_a_set_with_too_few_images_is_refused_unless_a_partial_one_is_requested_which_grows(tmp_path):
    replica("a-150", tmp_path)
    foreign = tmp_path / "ADEChallengeData2016/annotations_detectron2/validation/ADE_val_00000001.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"something else")  # what no journal of ours names may be anything
    for _ in range(2):
        with pytest.raises(UsageError, match=r"A-150 has 2 images in .* and should have 2000; .*--partial"):
            run("a-150", tmp_path, allow_missing=False)
        assert len(run("a-150", tmp_path).records) == 2
    assert foreign.read_bytes().startswith(b"\x89PNG")
    draw(tmp_path / IMAGES / "ADE_val_00000003.jpg")
    save_ids(tmp_path / ANNOTATIONS / "ADE_val_00000003.png", halves(3, 4))
    assert len(run("a-150", tmp_path).records) == 3


def test_lost_label_maps_are_named_and_made_again_in_a_folder_with_another_common_name(tmp_path):
    expected = replica("coco-object", tmp_path)
    (tmp_path / "coco-stuff").rename(tmp_path / "coco")
    first = run("coco-object", tmp_path)
    (tmp_path / first.records[1].labels).unlink()
    with pytest.raises(UsageError, match=r"1 file of COCO-Object is missing, .*instanceTrainIds.*; run `segvoc prep"):
        prepared(find_benchmark("coco-object"), tmp_path)
    assert run("coco-object", tmp_path) == first
    assert_prepared("coco-object", tmp_path, expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index["objectnames"].insert(0, "one more"), "belongs to another release of ADE20K"),
        (lambda index: index.pop("folder"), "doesn't have the format that its page describes"),
        (lambda index: index["folder"].__setitem__(1, "../../outside"), "points outside the data folder"),
        (lambda index: index["folder"].__setitem__(1, "/etc"), "points outside the data folder"),
    ],
)
def test_an_invalid_index_of_ade20k_is_refused(tmp_path, change, said):
    replica("a-847", tmp_path)
    path = tmp_path / "ADE20K_2021_17_01/index_ade20k.pkl"
    index = pickle.loads(path.read_bytes())
    change(index)
    path.write_bytes(pickle.dumps(index))
    with pytest.raises(UsageError, match=said):
        run("a-847", tmp_path)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pc-60", "VOCdevkit/VOC2010/trainval_merged.json"),
        ("ade20k-part-234", "ADE20KPart234/ade20k_instance_val.json"),
    ],
)
@pytest.mark.parametrize("content", ["{", '{"images": [{}], "annos_segmentation": []}'])
def test_annotations_in_another_format_are_refused(tmp_path, name, path, content):
    replica(name, tmp_path)
    (tmp_path / path).write_text(content)
    with one_line_error(UsageError, match=path.rpartition("/")[2]):
        run(name, tmp_path)


@pytest.mark.parametrize(
    "name", [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in BENCHMARKS]
)
def test_interrupted_again_and_again_every_benchmark_comes_to_the_same_end(tmp_path, monkeypatch, name):
    """From archives, with Ctrl-C at every sixth write at the latest."""
    expected = replica(name, tmp_path / "whole")
    pack(name, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "interrupted")
    run(name, tmp_path / "whole", on_failure=pytest.fail)
    assert_prepared(name, tmp_path / "whole", expected)
    rename, writes, interrupts = Path.replace, itertools.count(1), 0

    def interrupted(path: Path, target: Path) -> None:
        if next(writes) % 6 == 0:
            raise KeyboardInterrupt
        rename(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    while interrupts < 20:
        try:
            run(name, tmp_path / "interrupted")
            break
        except KeyboardInterrupt:
            interrupts += 1
            with pytest.raises(UsageError, match="is not prepared"):
                prepared(find_benchmark(name), tmp_path / "interrupted")
    assert 0 < interrupts < 20
    folders = (tmp_path / "interrupted", tmp_path / "whole")
    files = [[path for path in folder.rglob("*.*") if path.is_file() and path.suffix != ".tmp"] for folder in folders]
    ours, theirs = (
        {path.relative_to(folder): path.read_bytes() for path in paths}
        for folder, paths in zip(folders, files, strict=True)
    )
    assert ours == theirs


def prepare_until_killed(root, pids):
    def killed(_):
        pids.write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()))
        os.kill(os.getpid(), signal.SIGKILL)

    preparation.to_json = killed
    run("coco-stuff", root, jobs=2)


def test_no_worker_outlives_a_killed_preparation(tmp_path):
    replica("coco-stuff", tmp_path)
    pids = tmp_path / "pids"
    process = multiprocessing.get_context("spawn").Process(target=prepare_until_killed, args=(tmp_path, pids))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    workers = [int(pid) for pid in pids.read_text().split()]
    assert len(workers) == 2
    assert survivors(workers) == []
