"""`segvoc segment --format`, and datasets that `segvoc evaluate` and `segvoc train` read."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

import segvoc
from segvoc.imaging.label_maps import read_label_map
from tests.cli.command import Command, draw_photos, result_files

WORDS = ("--words", "cat, stone wall, road")
COCO = Path("out/annotations/instances_default.json")


def _files() -> dict[str, bytes]:
    return {name: Path("out", name).read_bytes() for name in result_files()}


def test_dataset_in_place_of_the_usual_results(segment: Command) -> None:
    """It has the labels of the label maps, and the images to the byte; tests/labeling/formats has every format."""
    draw_photos("in/a.jpg", "in/sub/b.png")
    assert segment("in", *WORDS, "--out", "plain").code == 0
    done = segment("in", *WORDS, "--format", "coco-instances").ok()
    assert len(done.out.splitlines()) == 2
    dataset = segvoc.read_dataset("out")
    assert dataset.vocabulary.words == ("cat", "stone wall", "road")
    for image, file in zip(dataset.images, ("in/a.jpg", "in/sub/b.png"), strict=True):
        assert image.image.read_bytes() == Path(file).read_bytes()
        expected = read_label_map(Path("plain") / Path(file).relative_to("in").with_suffix(".png"))
        np.testing.assert_array_equal(image.read(3).labels, expected)
    assert not [file for file in result_files() if file.endswith("overlay.png")]


def test_resumed_shards_and_processes_make_one_dataset(segment: Command, labeled: list[object]) -> None:
    draw_photos(*(f"in/{index}.jpg" for index in range(5)))
    segment("in", *WORDS, "--format", "coco-instances")
    whole = _files()
    for shard in ("1/2", "2/2"):
        segment("in", *WORDS, "--format", "coco-instances", "--out", "shards", "--shard", shard)
    assert {name: Path("shards", name).read_bytes() for name in result_files("shards")} == whole
    Path("out/images/3.jpg").unlink()
    COCO.unlink()
    del labeled[:]
    again = segment("in", *WORDS, "--format", "coco-instances", "--resume", "--json")
    assert len(labeled) == 1 and len(again.out.splitlines()) == 5
    assert _files() == whole


def _coco_images(folder: str = "out") -> list[str]:
    content = json.loads(Path(folder, "annotations/instances_default.json").read_text())
    return [image["file_name"] for image in content["images"]]


def test_an_image_is_in_the_dataset_once_and_only_while_it_is_in_its_folder(segment: Command) -> None:
    draw_photos("in/p0.jpg", "in/p1.jpg", "more/p2.jpg")
    coco = (*WORDS, "--format", "coco-instances")
    segment("in", *coco).ok()
    segment("more", *coco).ok()
    assert _coco_images() == ["p0.jpg", "p1.jpg", "p2.jpg"]
    draw_photos("in/p0.png")  # from now on, suffixes tell the two apart
    segment("in", *coco, "--resume").ok()
    assert _coco_images() == ["p0.jpg.jpg", "p0.png.png", "p1.jpg", "p2.jpg"]
    Path("in/p1.jpg").unlink()
    segment("in", *coco, "--resume").ok()
    assert _coco_images() == ["p0.jpg.jpg", "p0.png.png", "p2.jpg"]
    Path("in/p0.jpg").unlink()
    segment("in", *coco).ok()
    assert _coco_images() == ["p0.png", "p2.jpg"]
    # the images of all shards stay, and those of a folder that this call isn't about
    Path("more/p2.jpg").unlink()
    draw_photos(*(f"in/{number}.jpg" for number in range(4)))
    for shard in ("1/2", "2/2"):
        segment("in", *coco, "--resume", "--shard", shard).ok()
    assert _coco_images() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "p0.png", "p2.jpg"]


def test_removed_images_leave_a_dataset_without_an_index(segment: Command) -> None:
    draw_photos("in/a.jpg", "in/b.jpg")
    segment("in", *WORDS, "--format", "labelme").ok()
    Path("in/b.jpg").unlink()
    segment("in", *WORDS, "--format", "labelme", "--resume").ok()
    assert [image.stem for image in segvoc.read_dataset("out").images] == ["a"]


def test_options_that_would_change_nothing_are_refused(segment: Command) -> None:
    draw_photos("in/a.jpg")
    for options, said in (
        (["--opacity", "0.3", "--no-overlay"], "--opacity is for overlays; leave it out, or --no-overlay"),
        (["--no-legend", "--no-overlay"], "--no-legend is for overlays; leave it out, or --no-overlay"),
        (["--overlay", "--format", "voc"], "--overlay is for overlays, which datasets don't have; leave it out"),
        (["--no-names", "--format", "voc"], "--no-names is for overlays, which datasets don't have; leave it out"),
        (["--no-copy-images"], "--no-copy-images is for datasets; leave it out, or add --format"),
        (["--copy-images"], "--copy-images is for datasets; leave it out, or add --format"),
    ):
        segment("in", *WORDS, *options).refused(said)
    assert not Path("out").exists()
    segment("in", *WORDS, "--no-overlay", "--format", "coco-panoptic").ok()  # which has none anyway


def test_refused_calls(segment: Command) -> None:
    draw_photos("in/a.jpg", "in/b.jpg")
    segment("in", *WORDS)
    before = _files()
    for options, told in (
        (["--format", "tfrecord"], "'tfrecord' is not one of 'coco-panoptic'"),
        (["--format", "voc", "--parts", "cat: head"], "voc has no place for parts"),
        (["--format", "voc", "--out", "in"], "is in 'in', where the dataset is to be; choose another --out"),
        (["--format", "voc", "--resume"], "format: none, now name=voc, images=True"),
    ):
        segment("in/a.jpg", "in/b.jpg", *WORDS, *options).refused(told)
    assert _files() == before


def test_objects_are_counted_in_reports_and_datasets(segment: Command) -> None:
    draw_photos("in/a.jpg")
    done = segment("in", *WORDS, "--objects", "--least-object", "4", "--json").ok()
    counts = {entry["name"]: entry["objects"] for entry in json.loads(done.out)["classes"]}
    assert counts["stone wall"] == counts["road"] == 0 < counts["cat"]
    assert len(np.unique(np.array(Image.open("out/a.objects.png")))) == 1 + counts["cat"]
    done = segment("in", *WORDS, "--objects", "--least-object", "4", "--format", "coco-instances", "--out", "coco")
    assert f"({counts['cat']} object" in done.out
    entries = json.loads(Path("coco/annotations/instances_default.json").read_text())["annotations"]
    assert [entry["iscrowd"] for entry in entries if entry["category_id"] == 1].count(0) == counts["cat"]
    # without them, the map of an earlier call goes
    assert segment("in", *WORDS).code == 0
    assert "a.objects.png" not in result_files()
    for wrong in (("--least-object", "4"), ("--objects", "--tile", "64")):
        assert segment("in", *WORDS, *wrong).code == 2


def test_images_may_be_left_out_and_those_of_other_words_are_in_yolo(segment: Command) -> None:
    draw_photos("in/a.jpg", "in/b.jpg")
    segment("in/a.jpg", *WORDS, "--format", "coco-instances", "--no-copy-images", "--out", "bare")
    assert result_files("bare") == ["annotations/instances_default.json"]
    assert segvoc.read_dataset("bare", images="in").read(0).labels.shape == (40, 60)
    for image, words in (("in/a.jpg", "cat, road"), ("in/b.jpg", "road, cat")):
        segment(image, "--words", words, "--format", "yolo-seg").ok()
    assert [image.stem for image in segvoc.read_dataset("out").images] == ["b"]
