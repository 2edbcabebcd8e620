"""Every format is written, read again and found by its files; tools' own rules give the same labels."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import segvoc
from segvoc.errors import OutputError, UsageError
from segvoc.imaging.connected_regions import connected_regions, polygon_of
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.dataset import FORMAT_NAMES, DatasetWriter, FormatName
from tests.labeling.formats.drawn_results import WORDS, drawn_result, hard_labels

STEMS = ("photo", "sub/images/other one", "sub/ü")
SIZE = (48, 64)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset in each format."""
    folder = tmp_path_factory.mktemp("datasets")
    for name in FORMAT_NAMES:
        with DatasetWriter(folder / name, name) as dataset:
            for seed, stem in enumerate(STEMS):
                dataset.add(drawn_result(seed=seed), stem)
    return folder


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_labels_and_images_come_back(datasets: Path, name: FormatName) -> None:
    """Also without the name of the format, which its files tell."""
    read = segvoc.read_dataset(datasets / name)
    words = [word for word in read.vocabulary.words if word != "background"]
    assert sorted(words) == sorted(WORDS)
    assert len(read) == len(STEMS)
    table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
    for label, word in enumerate(read.vocabulary.words):
        table[label] = WORDS.index(word) if word in WORDS else UNLABELED
    for index, image in enumerate(read.images):
        seed = STEMS.index(image.stem)
        pixels, labels = read.read(index)
        if name == "voc":  # whose images are JPEGs; these are noise
            assert np.abs(pixels.astype(int) - drawn_result(seed=seed).image).mean() < 4
        else:
            np.testing.assert_array_equal(pixels, drawn_result(seed=seed).image)
        np.testing.assert_array_equal(table[labels], hard_labels(seed))


@pytest.mark.parametrize("image_set", ["train", "val", "trainval"])
def test_torchvision_reads_voc(datasets: Path, image_set: str) -> None:
    datasets_of_torchvision = pytest.importorskip("torchvision.datasets", exc_type=ImportError)
    read = datasets_of_torchvision.VOCSegmentation(datasets / "voc", year="2012", image_set=image_set)
    assert len(read) == len(STEMS)
    for seed, (image, labels) in enumerate(read):
        with labels:
            assert image.size == labels.size == SIZE[::-1]
            expected = np.where(hard_labels(seed) == UNLABELED, 255, hard_labels(seed) + 1)
            np.testing.assert_array_equal(np.array(labels), expected)


def _painted(masks: list[tuple[str, np.ndarray]]) -> np.ndarray:
    labels = np.full(SIZE, UNLABELED, np.uint16)
    for word, mask in masks:
        labels[mask.astype(bool)] = WORDS.index(word)
    return labels


def test_pycocotools_reads_instances(datasets: Path) -> None:
    coco = COCO(datasets / "coco-instances/annotations/instances_default.json")
    by_name = {image["file_name"]: image["id"] for image in coco.dataset["images"]}
    for seed, stem in enumerate(STEMS):
        found = coco.loadAnns(coco.getAnnIds(imgIds=[by_name[f"{stem}.png"]]))
        names = {entry["id"]: entry["name"] for entry in coco.dataset["categories"]}
        masks = [(names[entry["category_id"]], coco.annToMask(entry)) for entry in found]
        np.testing.assert_array_equal(_painted(masks), hard_labels(seed))
        for entry, (_, mask) in zip(found, masks, strict=True):
            rows, columns = np.nonzero(mask)
            left, top = columns.min(), rows.min()
            assert entry["area"] == mask.sum()
            assert entry["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]


def test_panoptic_pngs_follow_the_rules_of_panopticapi(datasets: Path) -> None:
    content = json.loads((datasets / "coco-panoptic/annotations/panoptic_default.json").read_text(encoding="utf-8"))
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    for entry in content["annotations"]:
        pixels = np.array(Image.open(datasets / "coco-panoptic/annotations/panoptic_default" / entry["file_name"]))
        ids = pixels[..., 0] + 256 * pixels[..., 1].astype(int) + 256 * 256 * pixels[..., 2].astype(int)
        segments = {segment["id"]: segment for segment in entry["segments_info"]}
        assert set(np.unique(ids).tolist()) - {0} == set(segments)
        assert all(segment["area"] == np.count_nonzero(ids == number) for number, segment in segments.items())
        masks = [(names[segment["category_id"]], ids == number) for number, segment in segments.items()]
        seed = STEMS.index(files[entry["image_id"]].removesuffix(".png"))
        np.testing.assert_array_equal(_painted(masks), hard_labels(seed))


def test_labelme_draws_the_same(datasets: Path) -> None:
    """It draws polygons with Pillow, lines around them included."""
    content = json.loads((datasets / "labelme/sub/ü.json").read_text(encoding="utf-8"))
    assert content["imagePath"] == "ü.png"
    masks = []
    for shape in content["shapes"]:
        image = Image.new("L", (SIZE[1], SIZE[0]))
        ImageDraw.Draw(image).polygon([(x, y) for x, y in shape["points"]], outline=1, fill=1)
        masks.append((shape["label"], np.array(image)))
    np.testing.assert_array_equal(_painted(masks), hard_labels(2))
    assert (datasets / "labelme/labels.txt").read_text(encoding="utf-8").splitlines() == ["__ignore__", *WORDS]


def test_yolo_lines_are_polygons_of_fractions(datasets: Path) -> None:
    masks = []
    for line in (datasets / "yolo-seg/labels/photo.txt").read_text(encoding="utf-8").splitlines():
        label, *corners = line.split()
        points = np.array(corners, float).reshape(-1, 2) * [SIZE[1], SIZE[0]]
        polygons = coco_mask.frPyObjects([points.ravel().tolist()], *SIZE)
        masks.append((WORDS[int(label)], coco_mask.decode(polygons)[..., 0]))
    np.testing.assert_array_equal(_painted(masks), hard_labels())


def test_cvat_counts_runs_row_by_row(datasets: Path) -> None:
    root = ElementTree.parse(datasets / "cvat/annotations.xml").getroot()
    assert [label.text for label in root.iterfind("meta/task/labels/label/name")] == list(WORDS)
    assert [image.get("name") for image in root.iterfind("image")] == [f"{stem}.png" for stem in STEMS]
    masks = []
    for element in root.findall("image")[0].iterfind("mask"):
        place = {name: int(element.get(name, "")) for name in ("left", "top", "width", "height")}
        runs = [int(run) for run in element.get("rle", "").split(",")]
        inside = np.concatenate([np.full(run, index % 2, bool) for index, run in enumerate(runs)])
        mask = np.zeros(SIZE, bool)
        rows = slice(place["top"], place["top"] + place["height"])
        mask[rows, place["left"] : place["left"] + place["width"]] = inside.reshape(place["height"], place["width"])
        masks.append((element.get("label", ""), mask))
    np.testing.assert_array_equal(_painted(masks), hard_labels())


@pytest.mark.parametrize("seed", range(4))
def test_polygons_of_noise_with_holes_in_holes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 2, (20, 20)), np.ones((seed + 1, 2), int)).astype(np.uint16)
    labels[labels == 0] = UNLABELED
    drawn = np.zeros(labels.shape, bool)
    for region in connected_regions(labels, 2):
        flat = polygon_of(region).ravel().tolist()
        drawn |= coco_mask.decode(coco_mask.frPyObjects([flat], *labels.shape))[..., 0].astype(bool)
    np.testing.assert_array_equal(drawn, labels == 1)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_many_words(tmp_path: Path, name: FormatName) -> None:
    words = tuple(f"word {index}" for index in range(300))
    labels = np.arange(300, dtype=np.uint16).reshape(15, 20)
    result = drawn_result(labels, words)
    if name == "voc":
        with pytest.raises(UsageError, match=r"voc has room for \d+ words .* coco-panoptic"):
            DatasetWriter(tmp_path, name).add(result, "photo")
        return
    with DatasetWriter(tmp_path, name) as dataset:
        dataset.add(result, "photo")
    read = segvoc.read_dataset(tmp_path)
    assert read.vocabulary.words == words
    np.testing.assert_array_equal(read.read(0).labels, labels)


def test_background_is_index_0_of_voc(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, "voc", background="road") as dataset:
        dataset.add(drawn_result(), "photo")
    voc = np.array(Image.open(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/photo.png"))
    np.testing.assert_array_equal(voc == 0, hard_labels() == 3)


def test_writer_refuses_what_would_not_be_one_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="format 'tfrecord' is unknown"):
        DatasetWriter(tmp_path, "tfrecord")  # type: ignore[arg-type]
    dataset = DatasetWriter(tmp_path, "coco-instances")
    with pytest.raises(UsageError, match="no name"):
        dataset.add(drawn_result())
    dataset.add(drawn_result(), "photo")
    with pytest.raises(UsageError, match="two images 'photo'"):
        dataset.add(drawn_result(), "photo")
    with pytest.raises(UsageError, match="words differ"):
        dataset.add(drawn_result(words=("b", *WORDS[1:])), "other")
    for stem in ("../photo", "/photo", ""):
        with pytest.raises(UsageError, match="is not a name"):
            dataset.add(drawn_result(), stem)


def test_nothing_is_finished_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), DatasetWriter(tmp_path, "cvat") as dataset:
        dataset.add(drawn_result(), "photo")
        _ = 1 / 0
    assert not (tmp_path / "annotations.xml").exists()


def test_damaged_piece_is_named(tmp_path: Path) -> None:
    dataset = DatasetWriter(tmp_path, "cvat")
    dataset.add(drawn_result(), "photo")
    (tmp_path / ".segvoc/cvat/photo.json").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match=r"photo\.json' can't be read"):
        dataset.finish()


def test_missing_library_is_told_before_the_first_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segvoc.labeling.formats.dataset.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"scikit-image, which isn.t installed; .*segvoc\[data\]"):
        DatasetWriter(tmp_path, "cvat").add(drawn_result(), "photo")
    DatasetWriter(tmp_path, "voc").add(drawn_result(), "photo")
