"""Files of classes mean the same as a dataset's table, beside folders of images and label maps, and as words."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.data.labeled_images import LabeledImages
from segvoc.imaging.label_maps import UNLABELED
from tests.images import made_photograph, one_line_error

VALUES = np.repeat(np.arange(3, dtype=np.uint8), 10)[None].repeat(16, axis=0)
"""A map with the values 0, 1 and 2."""

TABLES = {
    "index before": ("1 sky\n0 mountain\n2 lake\n", None),
    "index before, with punctuation": ("2: lake\n1: sky\n0: mountain\n", None),
    "index after": ("sky 1\nmountain 0\nlake 2\n", None),
    "index after, with punctuation": ("sky;1\nmountain;0\nlake;2\n", None),
    "no index": ("mountain\nsky\nlake\n", None),
    "comments and empty lines": ("# id name\n1 sky\n\n0 mountain\n2 lake\n", None),
    "a comment": ("# from top to bottom\nmountain\nsky\nlake\n", None),
    "called unlabeled": ("mountain\nVoid\nlake\n", ["mountain", None, "lake"]),
    "names with numbers": ("boeing 747\nairbus 380\ntarmac\n", ["boeing 747", "airbus 380", "tarmac"]),
    "numbers of no index": ("boeing 747\nairbus 380\nfokker 100\n", ["boeing 747", "airbus 380", "fokker 100"]),
    "numbers as an index": ("room 0\nroom 1\nroom 2\n", ["room 0", "room 1", "room 2"]),
}
"""Files, and the class of each value of the map where that isn't mountain, sky and lake."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, pixels in {"images/a.png": made_photograph(*VALUES.shape[::-1]), "masks/a.png": VALUES}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def names(images: LabeledImages) -> list[str | None]:
    """The class of each value of the map."""
    labels = images.read(0).labels[0, ::10].tolist()
    return [None if label == UNLABELED else images.vocabulary.words[label] for label in labels]


def by_each_door(folder: Path, text: str) -> list[list[str | None]]:
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    beside = LabeledImages.from_folders(folder / "images", folder / "masks", folder / "classes.txt")
    return [names(segvoc.read_dataset(folder)), names(beside)]


@pytest.mark.parametrize(("text", "expected"), TABLES.values(), ids=TABLES)
def test_a_table_means_the_same_everywhere(folder: Path, text: str, expected: list[str | None] | None) -> None:
    assert by_each_door(folder, text) == [expected or ["mountain", "sky", "lake"]] * 2
    if expected is None:
        assert segvoc.Vocabulary.read(folder / "classes.txt").words == ("mountain", "sky", "lake")


@pytest.mark.parametrize("text", ['["mountain", "sky", "lake"]', '{"0": "mountain",\n "1": "sky",\n "2": "lake"}\n'])
def test_json_in_a_text_file_is_no_name(folder: Path, text: str) -> None:
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    with one_line_error(segvoc.UsageError, "classes.txt", "is JSON; end its name with .json"):
        LabeledImages.from_folders(folder / "images", folder / "masks", folder / "classes.txt")
    with one_line_error(segvoc.UsageError, "classes.txt", "is JSON"):
        segvoc.Vocabulary.read(folder / "classes.txt")


@pytest.mark.parametrize(
    "text", ["mountain:128,0,0::\nsky:0,128,0::\nlake:0,0,128::\n", "128,0,0 mountain\n0,128,0 sky\n0,0,128 lake\n"]
)
def test_colors_mean_the_same_everywhere(folder: Path, text: str) -> None:
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    colors = np.zeros((*VALUES.shape, 3), np.uint8)
    for value in range(3):
        colors[VALUES == value, value] = 128
    Image.fromarray(colors).save(folder / "masks/a.png")
    assert by_each_door(folder, text) == [["mountain", "sky", "lake"]] * 2
    assert segvoc.Vocabulary.read(folder / "classes.txt").words == ("mountain", "sky", "lake")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 mountain\n0 sky\n", "two classes have the index 0"),
        ("mountain\n\nsky\n", "line 2 is empty"),
        ("1 mountain\n3 sky\n", "a.png' has the undefined index 0; the classes are 1, 3"),
    ],
)
def test_gaps_are_refused(folder: Path, text: str, problem: str) -> None:
    """A value that no class has is one of a map; the table itself may have gaps."""
    for door in range(2):
        with one_line_error(segvoc.SegvocError, problem):
            by_each_door(folder, text)[door]


def test_words_that_begin_with_numbers_are_not_taken_for_ids(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("2 dogs\n3 cats\n", encoding="utf-8")
    with one_line_error(segvoc.UsageError, "words.txt", "begin with numbers", "in quotes"):
        segvoc.Vocabulary.read(tmp_path / "words.txt")
    (tmp_path / "words.json").write_text('["2 dogs", "3 cats"]', encoding="utf-8")
    assert segvoc.Vocabulary.read(tmp_path / "words.json").words == ("2 dogs", "3 cats")


@pytest.mark.parametrize("text", ["names:\n  0: cat\n  0: dog\n", "names: [cat]\nnames: [dog]\n"])
def test_a_key_given_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "images").mkdir()
    for read in (segvoc.Vocabulary.read, segvoc.read_dataset):
        with one_line_error(segvoc.UsageError, "data.yaml", "is given twice"):
            read(tmp_path / "data.yaml")


def test_yolos_number_of_classes_is_that_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("nc: 3\nnames: [cat, dog]\n", encoding="utf-8")
    with one_line_error(segvoc.UsageError, "data.yaml", "nc is '3', but it has 2 names"):
        segvoc.read_dataset(tmp_path / "data.yaml")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes("cup\nsaucer\n".encode("utf-16-le"))
    with one_line_error(segvoc.UsageError, "null character", "UTF-8"):
        segvoc.Vocabulary.read(tmp_path / "words.txt")


# ---- drawn files, through every entrance

NAMES = ("sky", "traffic light", "sofa = couch", "boeing 747", "crème brûlée", "driver's cabin", "猫", "grass")


def _drawn_file(seed: int) -> tuple[list[str], bytes, bool]:
    """The names by value, a file of them, and whether it can be read in one way alone."""
    random = np.random.default_rng(seed)

    def one_of(*choices: str) -> str:
        return choices[int(random.integers(len(choices)))]

    words = [NAMES[place] for place in random.permutation(len(NAMES))[: random.integers(2, len(NAMES))]]
    colors = random.integers(1 << 24, size=len(words)) if random.integers(2) else None
    index, separator, quote = one_of("", "before", "after"), one_of(" ", ",", ";", "\t", ", "), one_of("", "", '"', "'")
    is_hex, is_first, titles = bool(random.integers(2)), bool(random.integers(2)), bool(random.integers(2))
    order = random.permutation(len(words)) if index else np.arange(len(words))
    rows, columns = list[list[str]](), list[str]()
    for place in order.tolist():
        # a name with an apostrophe can't be in such quotes
        around = '"' if quote == "'" and "'" in words[place] else quote
        cells, columns = [f"{around}{words[place]}{around}"], ["name"]
        if colors is not None:
            red_green_blue = [str(value) for value in int(colors[place]).to_bytes(3)]
            color = [f"#{int(colors[place]):06x}"] if is_hex else red_green_blue
            titled = ["color"] if is_hex else ["r", "g", "b"]
            cells, columns = ([*color, *cells], [*titled, *columns]) if is_first else (cells + color, columns + titled)
        if index == "before":
            cells, columns = [str(place), *cells], ["id", *columns]
        elif index == "after":
            cells, columns = [*cells, str(place)], [*columns, "id"]
        rows.append(cells)
    has_titles = titles and len(columns) > 1
    lines = [separator.join(cells) for cells in ([columns] if has_titles else []) + rows]
    is_plain = not (separator == " " and has_titles and not quote and any(" " in word for word in words))
    if random.integers(2):
        lines.insert(int(random.integers(len(lines))) * (not has_titles), "# drawn by a test")
    if empty := not random.integers(6):
        lines.insert(int(random.integers(1, len(lines))), "")
    encoding = one_of("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-8-sig", "latin-1", "utf-16")
    text = one_of("\n", "\r\n", "\r").join([*lines, *[""] * int(random.integers(3))])
    is_plain = is_plain and encoding.startswith("utf-8") and (not empty or len(columns) > 1)
    content = text.encode("utf-16" if encoding == "latin-1" and "猫" in text else encoding)
    return words, content, is_plain


def _by_each_entrance(folder: Path, content: bytes) -> list[tuple[str, ...] | str]:
    """The words, or the error without its path, of --words-file, --classes, and --dataset of masks, YOLO and VOC."""
    for name in ("masks/classes.txt", "yolo/classes.txt", "VOC2012/class_names.txt"):
        (folder / name).write_bytes(content)
    table = folder / "masks/classes.txt"
    read = (
        lambda: segvoc.Vocabulary.read(table),
        lambda: LabeledImages.from_folders(folder / "masks/images", folder / "masks/masks", table).vocabulary,
        *(lambda place=place: segvoc.read_dataset(folder / place).vocabulary for place in ("masks", "yolo", "VOC2012")),
    )
    found = list[tuple[str, ...] | str]()
    for each in read:
        try:
            found.append(each().words)
        except segvoc.UsageError as error:
            found.append(re.sub("'/[^']*'", "FILE", str(error)))
    return found


def test_drawn_files_are_the_same_words_at_every_entrance(tmp_path: Path) -> None:
    for name in ("masks/images/a.png", "masks/masks/a.png", "yolo/images/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(VALUES).save(tmp_path / name)
    (tmp_path / "yolo/labels").mkdir()
    (tmp_path / "yolo/labels/a.txt").write_text("0 0 0 0.5 0 0.5 0.5\n")
    for name in ("JPEGImages/a.jpg", "SegmentationClass/a.png"):
        (tmp_path / "VOC2012" / name).parent.mkdir(parents=True)
        Image.fromarray(VALUES).save(tmp_path / "VOC2012" / name)
    refused = list[int]()
    for seed in range(150):
        words, content, is_plain = _drawn_file(seed)
        first, *others = _by_each_entrance(tmp_path, content)
        assert others == [first] * 4, (seed, content)
        expected = segvoc.Vocabulary(words).words
        assert first == expected or (isinstance(first, str) and not is_plain), (seed, content, first)
        refused += [seed] * isinstance(first, str)
    assert 15 < len(refused) < 75
