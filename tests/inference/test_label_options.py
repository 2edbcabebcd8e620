"""One value for how images are labeled: what it refuses, how it is changed, and what resume keys say of it."""

import json
from typing import Any, get_type_hints

import numpy as np
import pytest

from segvoc import LabelOptions, UsageError
from segvoc.inference.label_options import LabelKeywords
from segvoc.inference.tile_grid import DEFAULT_TILE
from segvoc.storage.files import strict_json


def test_keyword_arguments_are_the_fields() -> None:
    assert get_type_hints(LabelKeywords) == get_type_hints(LabelOptions)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keep_classes": 0}, "keep_classes=0 is invalid; give a number of classes from 1"),
        ({"keep_classes": "most"}, "keep_classes='most' is invalid"),
        *(({"keep_classes": value}, "keep_classes=.* is invalid") for value in (True, -4, 1.5, "", float("nan"))),
        ({"background": "  "}, "the background's name '  ' is empty"),
        ({"threshold": 1.5}, "threshold=1.5 is not a probability; give a number from 0 to 1"),
        ({"threshold": -0.1}, "threshold=-0.1 is not a probability"),
        *(({"threshold": value}, "threshold=.* is not a number") for value in (float("nan"), float("inf"), True, "1")),
        ({"tile": 256.5}, "tile=256.5 is not a whole number"),
        ({"overlap": 1.5}, "overlap=1.5 is not a whole number"),
        ({"stretch": 5}, "stretch=5 is not a text"),
        *(({name: "no"}, f"{name}=no is not true or false") for name in ("wrap", "edges", "return_probabilities")),
        *(({"smooth": value}, "smooth=.* is not a number") for value in (None, "0.5", True)),
        ({"tile": 8}, "tile=8 is too small"),
        ({"overlap": DEFAULT_TILE}, f"overlap={DEFAULT_TILE} doesn't fit tiles of {DEFAULT_TILE} pixels"),
        ({"smooth": 1.0}, "smooth=1.0 is out of range; give the weight of earlier frames"),
        *(({"stretch": value}, "is not a stretch") for value in ("", "5")),
        ({"tile": 64, "smooth": 0.5}, "tiles don't support smoothing"),
        ({"wrap": True, "return_probabilities": True}, "tiles don't support probabilities"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelOptions(**values)


def test_equal_options_have_equal_records() -> None:
    asked: dict[str, Any] = {"keep_classes": np.int64(3), "threshold": np.float64(0.5), "background": " other "}
    plain = LabelOptions(keep_classes=3, threshold=0.5, background="other", tile=800)
    numpy = LabelOptions(**asked, tile=800, overlap=100)
    assert plain.record() == numpy.record()
    assert json.loads(strict_json(plain.record())) == plain.record()


def test_every_option_that_changes_labels_is_in_the_record() -> None:
    selected = {"window": "single", "keep_classes": 3, "background": "other", "threshold": 0.5, "edges": True}
    changed = LabelOptions(**selected, tile=800, overlap=200, wrap=True, stretch="0,4095")  # type: ignore[arg-type]
    before, after = LabelOptions().record(), changed.record()
    assert {name for name in before if before[name] != after[name]} == set(before) - {"smooth"}
    assert LabelOptions(smooth=0.5).record()["smooth"] == 0.5
    assert set(before) == set(get_type_hints(LabelOptions)) - {"return_probabilities"}
    assert LabelOptions(return_probabilities=True).record() == before


def test_a_background_without_a_class_has_no_name() -> None:
    assert [LabelOptions(background=given).background_name for given in (None, " auto ", "other")] == [
        None,
        None,
        "other",
    ]
