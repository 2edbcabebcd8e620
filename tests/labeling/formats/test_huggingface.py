"""Hugging Face `datasets` as labeled images: in memory, in folders of `save_to_disk`, odd and damaged ones."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.errors import InputError, UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.huggingface import read_huggingface
from tests.labeling.formats.published_layouts import turn
from tests.lazy_modules import lazily

datasets = lazily("datasets", "datasets is missing")

NAMES = ["ground", "cat", "dog"]
LABELS = np.repeat(np.array([0, 1, 2, 255], np.uint8), 4)[None].repeat(12, axis=0)


def png(values: np.ndarray) -> dict[str, Any]:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def rows(count: int = 3, **columns: list[Any]) -> Any:
    """Noisy images of 16 x 12 pixels, each with the same label map."""
    rng = np.random.default_rng(0)
    pictures = [png(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)) for _ in range(count)]
    content = {"image": pictures, "label": [png(LABELS)] * count} | columns
    kinds = {name: datasets.Image() for name in content if name in ("image", "label", "depth")}
    plain = datasets.Dataset.from_dict(content)
    return plain.cast(datasets.Features(plain.features | kinds))


def test_rows_are_read_as_they_are_stored_also_in_other_processes() -> None:
    dataset = rows(caption=["a", "b", "c"])
    images = segvoc.read_huggingface(dataset, NAMES, background="ground", name="pets")
    assert (images.name, images.vocabulary.words, len(images)) == ("pets", tuple(NAMES), 3)
    expected = np.where(LABELS == 255, np.uint16(UNLABELED), LABELS)
    for index, read in enumerate([images, pickle.loads(pickle.dumps(images)), images]):
        image, labels = read.read(index)
        np.testing.assert_array_equal(image, np.array(dataset[index]["image"]))
        np.testing.assert_array_equal(labels, expected)
    assert len({image.stamp() for image in images.images}) == 3
    unnamed = segvoc.read_huggingface(dataset, NAMES)
    assert (unnamed.name, unnamed.images[0].stamp()) == ("dataset", images.images[0].stamp())
    by_id = segvoc.read_huggingface(dataset.with_format("numpy"), {"2": "dog", "1": "cat", "0": "ground"})
    assert by_id.vocabulary.words == tuple(NAMES)
    np.testing.assert_array_equal(by_id.read(0).labels, expected)


def test_a_map_of_a_wrong_mode_isnt_to_be_saved_as_jpeg_and_1_bit_is_one() -> None:
    wrong = segvoc.read_huggingface(rows(1, label=[png(np.full((12, 16, 3), (1, 2, 3), np.uint8))]), NAMES)
    with pytest.raises(InputError, match="'label map of row 0' is a color mask, but the class table") as error:
        wrong.read(0)
    assert "JPEG" not in str(error.value)
    inside = LABELS > 0
    found = segvoc.read_huggingface(rows(1, label=[png(inside)]), NAMES).read(0).labels
    np.testing.assert_array_equal(found, inside.astype(np.uint16))


def test_maps_and_images_are_read_upright() -> None:
    plain = rows(1)
    lying = {"image": io.BytesIO(), "label": io.BytesIO()}
    for column, content in lying.items():
        plain[0][column].save(content, "PNG")
        turn(content)
    turned = rows(1, **{column: [{"bytes": content.getvalue(), "path": None}] for column, content in lying.items()})
    found, expected = (segvoc.read_huggingface(dataset, NAMES).read(0) for dataset in (turned, plain))
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.usefixtures("as_users_call")
def test_what_is_not_plain_is_asked_for_and_what_is_damaged_is_named() -> None:
    dataset = rows()
    for arguments, problem in (
        ({"dataset": datasets.DatasetDict(train=dataset, test=dataset), "classes": NAMES}, "splits train, test"),
        ({"dataset": dataset, "classes": {"bg", "cat"}}, "the classes are a set, which has no order"),
        ({"dataset": dataset.to_iterable_dataset(), "classes": NAMES}, "without streaming"),
        ({"dataset": rows(number=[1, 2, 3]), "classes": NAMES, "labels": "number"}, "has no images; cast it"),
        ({"dataset": rows(depth=[png(LABELS)] * 3), "classes": NAMES}, "set labels="),
        ({"dataset": dataset, "classes": NAMES, "labels": "mask"}, "no column 'mask'"),
        ({"dataset": dataset.remove_columns("image"), "classes": NAMES, "image": "x"}, "no column 'x'"),
        ({"dataset": dataset, "classes": {"cat": "0"}}, "is not an id"),
    ):
        with pytest.raises(UsageError, match=problem):
            read_huggingface(**arguments)  # pyright: ignore[reportArgumentType]
    odd = rows(5, label=[png(LABELS[:5]), png(LABELS + 3), {"bytes": b"no image", "path": None}, None, png(LABELS)])
    images = read_huggingface(odd, NAMES)
    problems = "16 x 5 pixels.*; correct the row", "index 3", "not an image", "no value in the column 'label'"
    for index, problem in enumerate(problems):
        with pytest.raises(InputError, match=problem):
            images.read(index)
    assert images.read(4).labels.shape == (12, 16)
