"""LabelMe's own reader takes what `to_labelme` writes; see `make viewers-check`."""

import dataclasses
import io
from pathlib import Path

import pytest
from PIL import Image

from tests.formats.drawn_results import WORDS, drawn_result


@pytest.mark.parametrize("from_memory", [False, True])
def test_labelme_reads_the_file(from_memory: bool, tmp_path: Path) -> None:
    reader = pytest.importorskip("labelme._label_file", reason="LabelMe isn't installed: make viewers-check")
    result = drawn_result()
    if not from_memory:
        Image.fromarray(result.image).save(tmp_path / "photo.png")
        result = dataclasses.replace(result, source=str(tmp_path / "photo.png"))
    content = result.to_labelme(tmp_path / "photo.json")
    found = reader.read_label_file(str(tmp_path / "photo.json"))
    assert [shape["label"] for shape in found.shapes] == [shape["label"] for shape in content["shapes"]]
    assert {shape["label"] for shape in found.shapes} == set(WORDS)
    assert all(shape["shape_type"] == "polygon" and len(shape["points"]) >= 3 for shape in found.shapes)
    assert Image.open(io.BytesIO(found.image_data)).size == (64, 48)
