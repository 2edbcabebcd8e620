"""Every format is written, read again and found by its files; tools' own rules give the same labels and objects."""

import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from skimage.measure import approximate_polygon

import segvoc
from segvoc.errors import OutputError, UsageError
from segvoc.imaging.connected_regions import connected_regions, simplified
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.objects import with_objects
from segvoc.labeling.formats.dataset import DatasetWriter
from segvoc.labeling.formats.table import writers
from segvoc.labeling.formats.voc import VOC_SETS
from tests.labeling.formats.drawn_results import WORDS, drawn_result, hard_labels

STEMS = ("photo", "sub/images/other one", "sub/ü")
SIZE = (48, 64)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset in each format, and below objects/ one with counted objects."""
    folder = tmp_path_factory.mktemp("datasets")
    for name in writers():
        with DatasetWriter(folder / name, name) as dataset:
            for seed, stem in enumerate(STEMS):
                dataset.add(drawn_result(seed=seed), stem)
        with DatasetWriter(folder / "objects" / name, name) as dataset:
            dataset.add(crowded(), "photo")
            dataset.add(replace(crowded(), object_map=None), "uncounted")
    return folder


@pytest.mark.parametrize("name", list(writers()))
def test_labels_and_images_come_back(datasets: Path, name: str) -> None:
    """Also without the name of the format, which its files tell."""
    read = segvoc.read_dataset(datasets / name)
    assert sorted({*read.vocabulary.words} - {"background"}) == sorted(WORDS)
    assert len(read) == len(STEMS)
    for index, image in enumerate(read.images):
        seed = STEMS.index(image.stem)
        pixels, labels = read.read(index)
        if name == "voc":  # whose images are JPEGs; these are noise
            assert np.abs(pixels.astype(int) - drawn_result(seed=seed).image).mean() < 4
        else:
            np.testing.assert_array_equal(pixels, drawn_result(seed=seed).image)
        np.testing.assert_array_equal(_by_place_in(WORDS, read.vocabulary.words)[labels], hard_labels(seed))


def _by_place_in(words: tuple[str, ...], stored: tuple[str, ...]) -> np.ndarray:
    """A table from a dataset's labels to places in `words`; its other words, as a background, are unlabeled."""
    table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
    table[: len(stored)] = [words.index(word) if word in words else UNLABELED for word in stored]
    return table


@pytest.mark.parametrize("image_set", VOC_SETS)
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
    names = {entry["id"]: entry["name"] for entry in coco.dataset["categories"]}
    for seed, stem in enumerate(STEMS):
        found = coco.loadAnns(coco.getAnnIds(imgIds=[by_name[f"{stem}.png"]]))
        np.testing.assert_array_equal(
            _painted([(names[entry["category_id"]], coco.annToMask(entry)) for entry in found]), hard_labels(seed)
        )
        for entry in found:
            assert entry["area"] == coco.annToMask(entry).sum()
            assert entry["bbox"] == coco_mask.toBbox(coco.annToRLE(entry)).tolist()


def test_panoptic_pngs_follow_the_rules_of_panopticapi(datasets: Path) -> None:
    content = json.loads((datasets / "coco-panoptic/annotations/panoptic_default.json").read_bytes())
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
    content = json.loads((datasets / "labelme/sub/ü.json").read_bytes())
    assert content["imagePath"] == "ü.png"
    masks = []
    for shape in content["shapes"]:
        image = Image.new("L", (SIZE[1], SIZE[0]))
        ImageDraw.Draw(image).polygon([(x, y) for x, y in shape["points"]], outline=1, fill=1)
        masks.append((shape["label"], np.array(image)))
    np.testing.assert_array_equal(_painted(masks), hard_labels(2))
    assert (datasets / "labelme/labels.txt").read_text(encoding="utf-8").splitlines() == ["__ignore__", *WORDS]


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
def test_a_path_is_simplified_as_scikit_image_does_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(0, 2, (size, 2)).cumsum(axis=0) for size in (1, 2, 3, 50, 400)]
    pieces.append(np.concatenate((pieces[-1], pieces[-1][:1])))  # closed
    expected = [approximate_polygon(piece, 1.5) for piece in pieces[:-1]]
    farthest = int(np.square(pieces[-1] - pieces[-1][0]).sum(axis=1).argmax())
    expected += [approximate_polygon(pieces[-1][: farthest + 1], 1.5)]
    expected += [approximate_polygon(pieces[-1][farthest:], 1.5)[1:]]
    np.testing.assert_array_equal(simplified(pieces, 1.5), np.concatenate(expected))


ODD_WORDS = ("🐱 x", "a\u2028b", "a\x0bb", "void", "Ignored", "__ignore__", "#1", "no", "é: \"'\\", "a\x7fb")


@pytest.mark.parametrize("name", list(writers()))
def test_odd_words_come_back_or_are_refused(tmp_path: Path, name: str) -> None:
    words = ["wall"]
    for word in ODD_WORDS:
        try:
            DatasetWriter(tmp_path / "set", name).add(drawn_result(np.zeros((4, 4), np.uint16), (word,)), "first")
            words.append(word)
            shutil.rmtree(tmp_path / "set")
        except UsageError as error:
            assert "can't hold the word" in str(error) and not (tmp_path / "set").exists()
    labels = np.arange(len(words), dtype=np.uint16)[:, None].repeat(9, axis=1)
    with DatasetWriter(tmp_path / "set", name) as dataset:
        dataset.add(drawn_result(labels.repeat(3, axis=0), tuple(words)), "a")
    read = segvoc.read_dataset(tmp_path / "set")
    found = _by_place_in(tuple(words), read.vocabulary.words)[read.read(0).labels]
    np.testing.assert_array_equal(found, labels.repeat(3, axis=0))


@pytest.mark.parametrize("name", list(writers()))
def test_many_words(tmp_path: Path, name: str) -> None:
    words = tuple(f"word {index}" for index in range(260))
    labels = np.arange(260, dtype=np.uint16).reshape(13, 20)
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
    for stem in ("../photo", "/photo", "", ".", "a/", "a/.", "a//b", "./a", ".hidden", "sub/.hidden/a"):
        with pytest.raises(UsageError, match="is not a name"):
            dataset.add(drawn_result(), stem)
    for stem in ("new\nline", "sub/new\rline", "line\u2028separator/photo"):
        with pytest.raises(UsageError, match="has a line break, which lists of images can't hold; rename the image"):
            dataset.add(drawn_result(), stem)
    with pytest.raises(UsageError, match=r"isn't UTF-8, which lists of images need; rename the image"):
        dataset.add(drawn_result(), "caf\udce9")
    assert [path.name for path in (tmp_path / "images").rglob("*")] == ["photo.png"]
    with pytest.raises(UsageError, match=r"'sub/end ' has a space at an end, which VOC's lists of images lose"):
        DatasetWriter(tmp_path / "voc", "voc").add(drawn_result(), "sub/end ")
    assert not any(path.is_file() for path in (tmp_path / "voc").rglob("*"))


def test_nothing_is_finished_after_an_error_and_a_damaged_piece_is_named(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), DatasetWriter(tmp_path, "cvat") as dataset:
        dataset.add(drawn_result(), "photo")
        _ = 1 / 0
    assert not (tmp_path / "annotations.xml").exists()
    (tmp_path / ".segvoc/cvat/photo.json").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match=r"photo\.json' can't be read"):
        dataset.finish()


# ---- objects


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
    return replace(drawn_result(labels, PEOPLE), object_map=objects)


def same_objects(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two maps have the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    zero = (pairs == 0).any(axis=0)
    firsts, seconds = pairs
    return bool((pairs[:, zero] == 0).all() and len(set(firsts)) == len(set(seconds)) == pairs.shape[1])


def test_each_object_is_a_region_and_the_rest_of_its_word_a_crowd() -> None:
    result = crowded()
    regions = connected_regions(result.labels, 4, result.object_map)
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
    assert result.object_map is not None and result.object_counts == (2, 0, 0, 0)
    assert result.object_map[12, 23] == result.object_map[20, 20] == 1 and result.object_map[55, 155] == 2
    assert result.object_map[90, 100] == 0 and not result.object_map[labels != 0].any()
    small = with_objects(result, least=4)
    assert small.object_counts == (2, 0, 0, 1)
    assert with_objects(result, ["stone wall"]).object_counts == (0, 0, 1, 0)
    assert with_objects(replace(result, background="person")).object_counts == (0, 0, 0, 0)
    with pytest.raises(UsageError, match="no word 'cat'"):
        with_objects(result, ["cat"])


def test_more_objects_than_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segvoc.inference.objects.UNLABELED", 20)
    labels = np.full((10, 10), UNLABELED, np.uint16)
    labels[::2, ::2] = 0
    with pytest.raises(UsageError, match=r"there are 25 objects, more than 20"):
        with_objects(drawn_result(labels, PEOPLE), least=1)


@pytest.mark.parametrize("name", list(writers()))
def test_labels_and_objects_come_back(datasets: Path, name: str) -> None:
    read = segvoc.read_dataset(datasets / "objects" / name)
    index = next(index for index, image in enumerate(read.images) if image.stem.endswith("photo"))
    stored, truth = read.read(index).labels, crowded()
    objects = read.read_objects(index, stored.shape)
    np.testing.assert_array_equal(_by_place_in(PEOPLE, read.vocabulary.words)[stored], truth.labels)
    assert objects is not None and truth.object_map is not None
    persons = truth.labels == 0
    # which regions are crowds only COCO and VOC can say
    is_told = name in ("coco-panoptic", "coco-instances", "voc")
    chosen = persons if is_told else persons & (truth.object_map > 0)
    assert same_objects(objects[chosen], truth.object_map[chosen])


def test_pycocotools_counts_objects_and_crowds(datasets: Path) -> None:
    coco = COCO(datasets / "objects/coco-instances/annotations/instances_default.json")
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
    panoptic = json.loads((datasets / "objects/coco-panoptic/annotations/panoptic_default.json").read_bytes())
    segments = panoptic["annotations"][0]["segments_info"]
    assert [(one["category_id"], one["iscrowd"]) for one in segments[:4]] == [(1, 1), (1, 0), (1, 0), (1, 0)]


def test_voc_has_maps_of_objects(datasets: Path, tmp_path: Path) -> None:
    truth = crowded()
    voc = np.array(Image.open(datasets / "objects/voc/VOCdevkit/VOC2012/SegmentationObject/photo.png"))
    assert not (datasets / "objects/voc/VOCdevkit/VOC2012/SegmentationObject/uncounted.png").exists()
    assert voc[10, 20] == 1 and voc[10, 10] == 2 and set(np.unique(voc)) == {0, 1, 2, 3, 4, 5, 255}
    np.testing.assert_array_equal(voc == 0, (truth.labels == 2) | (truth.labels == 3))
    assert (voc[35:38, 5:9] == 255).all()
    for result in (crowded(), replace(crowded(), object_map=None)):
        with DatasetWriter(tmp_path, "voc") as dataset:
            dataset.add(result, "photo")
        file = tmp_path / "VOCdevkit/VOC2012/SegmentationObject/photo.png"
        assert file.is_file() == (result.object_map is not None)


def test_labelme_groups_the_pieces_of_an_object(datasets: Path) -> None:
    shapes = json.loads((datasets / "objects/labelme/photo.json").read_bytes())["shapes"]
    groups = sorted((shape["label"], shape["group_id"] or 0) for shape in shapes)
    persons = [("person", number) for number in (0, 0, 3, 7, 9, 9)]
    assert groups == [*[("dog", 0)] * 2, *persons, *[("stone wall", 0)] * 2, ("tree", 3), ("tree", 4)]


def test_maps_of_objects_are_saved_and_removed(tmp_path: Path) -> None:
    paths = crowded().save(tmp_path, "photo")
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "photo.objects.png")), crowded().object_map)
    replace(crowded(), object_map=None).save(tmp_path, "photo")
    assert paths.object_map is not None and not paths.object_map.exists()


def test_masks_by_class_are_a_file_for_each_word_and_object(tmp_path: Path) -> None:
    result = replace(crowded(), words=("cat/dog", *crowded().words[1:]))
    with DatasetWriter(tmp_path / "masks", "masks-by-class") as dataset:
        dataset.add(drawn_result(), "photo")
    (left := tmp_path / "masks/photo/left.png").write_bytes(b"of an earlier call")
    with DatasetWriter(tmp_path / "masks", "masks-by-class") as dataset:
        dataset.add(result, "photo")
    assert not left.exists() and result.object_map is not None
    index = json.loads((tmp_path / "masks/masks.json").read_text(encoding="utf-8"))
    files = {mask["file"] for image in index["images"] for mask in image["masks"]}
    assert files == {f"photo/{file.name}" for file in (tmp_path / "masks/photo").iterdir()}
    for mask in index["images"][0]["masks"]:
        pixels = np.array(Image.open(tmp_path / "masks" / mask["file"]))
        expected = result.labels == mask["word"]
        if (number := mask["object"]) is not None:
            expected &= result.object_map == number
        np.testing.assert_array_equal(pixels, np.where(expected, 255, 0))
        name = index["words"][mask["word"]].replace("/", "%2F")
        assert mask["file"] == f"photo/{name}{'' if number is None else f'#{number}'}.png"
