"""Objects of results: how they are made, and that every format with instances keeps them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import segvoc
from segvoc.errors import UsageError
from segvoc.imaging.connected_regions import connected_regions
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.dataset import FORMAT_NAMES, DatasetWriter, FormatName
from segvoc.labeling.formats.objects import with_objects
from tests.labeling.formats.drawn_results import drawn_result

PEOPLE = ("person", "tree", "stone wall", "dog")


def crowded() -> segvoc.Segmentation:
    """Persons who touch, one in two pieces, a crowd; trees that were counted, walls and a dog that weren't."""
    labels = np.full((40, 60), UNLABELED, np.uint16)
    objects = np.zeros(labels.shape, np.uint16)
    labels[5:20, 5:25] = 0
    objects[5:20, 5:14], objects[5:20, 14:25] = 7, 3  # touch
    labels[5:12, 30:40] = labels[16:20, 30:40] = 0
    objects[5:12, 30:40] = objects[16:20, 30:40] = 9  # behind something
    labels[35:38, 5:9] = labels[35:38, 12:14] = 0  # in no object
    labels[25:33, 5:15] = 1
    objects[25:33, 5:10], objects[25:33, 10:15] = 3, 4  # 3 is also a person's number
    labels[25:33, 30:34] = labels[25:33, 44:48] = 2
    labels[2:8, 50:56] = labels[12:15, 50:56] = 3
    return replace(drawn_result(labels, PEOPLE), objects=objects)


def same_objects(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two maps have the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    zero = (pairs == 0).any(axis=0)
    firsts, seconds = pairs
    return bool((pairs[:, zero] == 0).all() and len(set(firsts)) == len(set(seconds)) == pairs.shape[1])


def test_each_object_is_a_region_and_the_rest_of_its_word_a_crowd() -> None:
    result = crowded()
    regions = connected_regions(result.labels, 4, result.objects)
    found = [(region.label, region.number, region.area) for region in regions]
    persons, trees = [(0, 0, 18), (0, 3, 165), (0, 7, 135), (0, 9, 110)], [(1, 3, 40), (1, 4, 40)]
    assert found == [*persons, *trees, (2, None, 32), (2, None, 32), (3, None, 36), (3, None, 18)]
    assert [region.is_crowd for region in regions] == [True] + 9 * [False]
    # numbers where nothing is labeled are of no object
    nowhere = np.where(result.labels == UNLABELED, 5, 0).astype(np.uint16)
    assert all(region.number is None for region in connected_regions(result.labels, 4, nowhere))
    assert result.object_counts == (3, 2, 0, 0)
    assert [entry["objects"] for entry in result.report()["classes"]] == [3, 2, 0, 0]
    assert "objects" not in drawn_result().report()["classes"][0]


def test_connected_regions_of_things_become_objects_and_specks_join_the_nearest() -> None:
    labels = np.full((100, 200), 2, np.uint16)  # a wall
    labels[10:20, 10:20] = labels[50:60, 150:160] = 0
    labels[20, 20] = 0  # touches at a corner
    labels[12, 23] = labels[90, 100] = 0  # one speck is near
    labels[40:42, 40:42] = 3
    result = with_objects(drawn_result(labels, PEOPLE))
    assert result.objects is not None and result.object_counts == (2, 0, 0, 0)
    assert result.objects[12, 23] == result.objects[20, 20] == 1 and result.objects[55, 155] == 2
    assert result.objects[90, 100] == 0 and not result.objects[labels != 0].any()
    small = with_objects(result, least=4)
    assert small.object_counts == (2, 0, 0, 1)
    assert with_objects(result, ["stone wall"]).object_counts == (0, 0, 1, 0)
    assert with_objects(result, background="person").object_counts == (0, 0, 0, 0)
    with pytest.raises(UsageError, match="no word 'cat'"):
        with_objects(result, ["cat"])


def test_more_objects_than_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segvoc.labeling.formats.objects.UNLABELED", 20)
    labels = np.full((10, 10), UNLABELED, np.uint16)
    labels[::2, ::2] = 0
    with pytest.raises(UsageError, match=r"there are 25 objects, more than 20"):
        with_objects(drawn_result(labels, PEOPLE), least=1)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset in each format."""
    folder = tmp_path_factory.mktemp("objects")
    for name in FORMAT_NAMES:
        with DatasetWriter(folder / name, name) as dataset:
            dataset.add(crowded(), "photo")
            dataset.add(replace(crowded(), objects=None), "uncounted")
    return folder


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_labels_and_objects_come_back(datasets: Path, name: FormatName) -> None:
    read = segvoc.read_dataset(datasets / name)
    index = next(index for index, image in enumerate(read.images) if image.stem.endswith("photo"))
    table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
    for label, word in enumerate(read.vocabulary.words):
        table[label] = PEOPLE.index(word) if word in PEOPLE else UNLABELED
    stored = read.read(index).labels
    labels, objects = table[stored], read.read_objects(index, stored.shape)
    truth = crowded()
    np.testing.assert_array_equal(labels, truth.labels)
    assert objects is not None and truth.objects is not None
    persons = truth.labels == 0
    # which regions are crowds only COCO and VOC can say
    is_told = name in ("coco-panoptic", "coco-instances", "voc")
    chosen = persons if is_told else persons & (truth.objects > 0)
    assert same_objects(objects[chosen], truth.objects[chosen])


def test_pycocotools_counts_objects_and_crowds(datasets: Path) -> None:
    coco = COCO(datasets / "coco-instances/annotations/instances_default.json")
    images = {entry["file_name"]: entry["id"] for entry in coco.dataset["images"]}

    def count(file: str, word: str, **crowd: bool) -> int:
        return len(coco.getAnnIds(imgIds=[images[file]], catIds=coco.getCatIds([word]), **crowd))

    assert [count("photo.png", "person", iscrowd=crowd) for crowd in (False, True)] == [3, 1]
    assert count("uncounted.png", "person") == 5
    # trees are stuff by name, but these were counted
    assert [count(file, "tree") for file in ("photo.png", "uncounted.png")] == [2, 1]
    assert count("photo.png", "stone wall") == 1
    things = {entry["name"]: entry["isthing"] for entry in coco.dataset["categories"]}
    assert things == {"person": 1, "tree": 1, "stone wall": 0, "dog": 1}
    panoptic = json.loads((datasets / "coco-panoptic/annotations/panoptic_default.json").read_text(encoding="utf-8"))
    segments = panoptic["annotations"][0]["segments_info"]
    assert [(one["category_id"], one["iscrowd"]) for one in segments[:4]] == [(1, 1), (1, 0), (1, 0), (1, 0)]


def test_voc_has_maps_of_objects(datasets: Path, tmp_path: Path) -> None:
    truth = crowded()
    voc = np.array(Image.open(datasets / "voc/VOCdevkit/VOC2012/SegmentationObject/photo.png"))
    assert not (datasets / "voc/VOCdevkit/VOC2012/SegmentationObject/uncounted.png").exists()
    assert voc[10, 20] == 1 and voc[10, 10] == 2 and set(np.unique(voc)) == {0, 1, 2, 3, 4, 5, 255}
    np.testing.assert_array_equal(voc == 0, (truth.labels == 2) | (truth.labels == 3))
    assert (voc[35:38, 5:9] == 255).all()
    for result in (crowded(), replace(crowded(), objects=None)):
        with DatasetWriter(tmp_path, "voc") as dataset:
            dataset.add(result, "photo")
        file = tmp_path / "VOCdevkit/VOC2012/SegmentationObject/photo.png"
        assert file.is_file() == (result.objects is not None)


def test_labelme_groups_the_pieces_of_an_object(datasets: Path) -> None:
    shapes = json.loads((datasets / "labelme/photo.json").read_text(encoding="utf-8"))["shapes"]
    groups = sorted((shape["label"], shape["group_id"] or 0) for shape in shapes)
    persons = [("person", number) for number in (0, 0, 3, 7, 9, 9)]
    assert groups == [*[("dog", 0)] * 2, *persons, *[("stone wall", 0)] * 2, ("tree", 3), ("tree", 4)]


def test_maps_of_objects_are_saved_and_removed(tmp_path: Path) -> None:
    paths = crowded().save(tmp_path, "photo")
    assert paths.object_map == tmp_path / "photo.objects.png"
    np.testing.assert_array_equal(np.array(Image.open(paths.object_map)), crowded().objects)
    replace(crowded(), objects=None).save(tmp_path, "photo")
    assert not paths.object_map.exists()
