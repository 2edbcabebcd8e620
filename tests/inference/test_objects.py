"""Objects of results, and as an option of calls."""

import numpy as np
import pytest
from pycocotools import mask as coco

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.objects import with_objects
from tests.inference.numpy_engine import NumpySegmenter
from tests.labeling.formats.drawn_results import drawn_result

WORDS = ("dog", "cat", "stone wall")


def test_objects_are_listed_with_masks_and_cut_out_by_number() -> None:
    labels = np.full((20, 30), UNLABELED, np.uint16)
    labels[2:8, 3:9], labels[10:18, 12:20], labels[0], labels[19] = 0, 0, 2, 2
    result = drawn_result(labels, WORDS)
    dogs, wall = [("dog", (3, 2, 9, 8), 36), ("dog", (12, 10, 20, 18), 64)], ("stone wall", (0, 0, 30, 20), 60)
    # by default, the components
    for shown, expected, inside in (
        (result, [*dogs, wall], labels != UNLABELED),
        (with_objects(result), dogs, labels == 0),
    ):
        assert [(one.word, one.box, one.area) for one in shown.objects] == expected
        assert {one.score for one in shown.objects} == {0.5}
        np.testing.assert_array_equal(sum(coco.decode(one.mask) for one in shown.objects), inside)
        table = shown.to_dataframe(objects=True)
        assert table.columns.tolist() == ["word", "x0", "y0", "x1", "y1", "score", "area"]
        assert table.iloc[1].tolist() == ["dog", 12, 10, 20, 18, 0.5, 64]
    cut = result.crop("dog", 2)
    assert cut.size == (8, 8) and result.crop("dog").size == (17, 16)
    for wrong in (0, 3):
        with pytest.raises(UsageError, match="'dog' has 2 objects"):
            result.crop("dog", wrong)


def test_what_is_listed_is_what_is_counted() -> None:
    """Surfaces and specks that are far from all objects are neither."""
    labels = np.full((200, 300), 2, np.uint16)
    labels[2:28, 3:29], labels[100, 200], labels[150, 150] = 0, 0, 1
    result = with_objects(drawn_result(labels, WORDS), least=30)
    assert result.object_counts == (1, 0, 0) and [one.word for one in result.objects] == ["dog"]
    assert len(result.to_dataframe(objects=True)) == 1
    assert [box.word for box in result.boxes("stone wall")] == ["stone wall"]
    numbered = with_objects(result, ["stone wall"])
    assert numbered.object_counts == (0, 0, 1) and [one.word for one in numbered.objects] == ["stone wall"]


def test_they_are_an_option_of_every_call() -> None:
    model, image = NumpySegmenter(), drawn_result().image
    plain = model.segment(image, WORDS)
    for options in ({}, {"tile": 32}):
        whole = model.segment(image, WORDS, **options)
        counted = model.segment(image, WORDS, objects=True, **options)
        np.testing.assert_array_equal(counted.labels, whole.labels)
        np.testing.assert_array_equal(counted.object_map, with_objects(whole).object_map)
    assert plain.object_map is None
    small = model.segment(image, WORDS, objects=True, least_object=5)
    np.testing.assert_array_equal(small.object_map, with_objects(plain, least=5).object_map)
    options = {"objects": "split"}, {"least_object": 5}, {"objects": True, "least_object": 0}
    for wrong, said in zip(options, ("true or false, not 'split'", "add objects", "1 or more"), strict=True):
        with pytest.raises(UsageError, match=said):
            LabelOptions(**wrong)
