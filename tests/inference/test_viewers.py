"""A result goes to other programs' types, which their own libraries read."""

import dataclasses
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.objects import with_objects
from tests.labeling.formats.drawn_results import WORDS, drawn_result, hard_labels, outline_differences


def test_supervision_gets_words_or_their_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings(action="ignore"):  # it says that OpenCV isn't there, where that is so
        import supervision
    ramp = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    result = dataclasses.replace(drawn_result(), confidence=ramp)
    found = result.to_supervision()
    assert isinstance(found, supervision.Detections) and found.class_id is not None and found.mask is not None
    assert found.data["class_name"].tolist() == [WORDS[index] for index in found.class_id]
    assert sorted(found.class_id) == list(range(len(WORDS)))
    for index, (box, mask, confidence, label, _, _) in enumerate(found):
        assert confidence == pytest.approx(ramp[hard_labels() == label].mean())
        np.testing.assert_array_equal(found.mask[index], hard_labels() == label)
        np.testing.assert_array_equal(box, supervision.mask_to_xyxy(mask[None])[0] + [0, 0, 1, 1])
    counted = with_objects(result, ["cat"], least=30)
    assert counted.objects is not None
    several = counted.to_supervision()
    cats = several[several.class_id == 0]
    assert len(cats) == counted.objects.max() and len(several) == len(cats) + len(WORDS) - 1
    np.testing.assert_array_equal(np.any(np.asarray(cats.mask), axis=0), counted.objects > 0)
    shown = supervision.MaskAnnotator().annotate(result.image.copy(), several)
    assert (shown != result.image).any()
    nothing = drawn_result(np.full((4, 5), UNLABELED, np.uint16)).to_supervision()
    assert nothing.is_empty() and nothing["class_name"].shape == (0,)
    monkeypatch.setitem(sys.modules, "supervision", None)  # as where it isn't installed
    with pytest.raises(UsageError, match="pip install supervision"):
        result.to_supervision()


@pytest.mark.parametrize(("masks", "of_call", "background"), [("rle", "road", None), ("polygons", None, "road")])
def test_pycocotools_takes_a_result_as_data_set_and_as_predictions(
    masks: Any, of_call: str | None, background: str | None, tmp_path: Path
) -> None:
    result = dataclasses.replace(with_objects(drawn_result(), ["cat"], least=30), background=of_call)
    content = result.to_coco(masks=masks, background=background, image_id=7)
    (tmp_path / "coco.json").write_text(json.dumps(content), encoding="utf-8")
    coco = COCO(tmp_path / "coco.json")
    labels = np.full((48, 64), UNLABELED, np.uint16)
    for entry in sorted(coco.loadAnns(coco.getAnnIds(imgIds=[7])), key=lambda entry: -entry["area"]):
        assert entry["score"] == 0.5
        labels[coco.annToMask(entry).astype(bool)] = entry["category_id"] - 1
    assert outline_differences(hard_labels(), labels)[1] == 0
    if masks == "rle":
        np.testing.assert_array_equal(labels, hard_labels())
    assert {one["name"] for one in coco.cats.values() if not one["isthing"]} == {"stone wall", "road"}
    crowds = [one for one in content["annotations"] if one["iscrowd"]]
    assert [one["category_id"] for one in crowds] == [1] and isinstance(crowds[0]["segmentation"], dict)
    assert len(coco.loadRes([one for one in content["annotations"] if not one["iscrowd"]]).anns) > 5
