"""A dataset format is added from outside of the package, by one value in the table."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.imaging.label_maps import LabelTable
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats import table
from segvoc.labeling.formats.base import DatasetEntry, DatasetFormat, Facts, FormatWriter, write_lines
from segvoc.labeling.formats.map_folders import MapFile
from segvoc.labeling.formats.opening import dataset_format
from segvoc.labeling.formats.parsed import AnnotatedImage, DatasetSource, ParsedDataset
from tests.images import saved, squares
from tests.labeling.formats.drawn_results import WORDS, drawn_result, hard_labels
from tests.processes import printed

ROOT = Path(__file__).parents[3]


class ArrayWriter(FormatWriter):
    """`maps/photo.npy`, and `words.arrays` with a word a line."""

    own_file = "maps/{stem}.npy"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        file = folder / self.files(stem)[0]
        file.parent.mkdir(exist_ok=True)
        np.save(file, result.labels)
        return {}

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        write_lines(folder / "words.arrays", self.words)


def read_arrays(source: DatasetSource) -> ParsedDataset:
    names = (source.folder / "words.arrays").read_text(encoding="utf-8").splitlines()
    labels, images = LabelTable.of(dict(enumerate(names))), []
    for path in sorted((source.folder / "images").iterdir()):
        annotation = MapFile(path=source.folder / f"maps/{path.stem}.npy", table=labels)
        images.append(AnnotatedImage(image=path, labels=annotation.path, stem=path.stem, annotation=annotation))
    return ParsedDataset(names=names, images=images, are_shapes=False)


ARRAYS = DatasetFormat(
    name="arrays",
    read=read_arrays,
    writer=ArrayWriter,
    marks=lambda folder: (folder / "words.arrays").is_file(),
    is_file=lambda path: path.suffix == ".arrays",
)


def test_a_format_is_written_found_and_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table, "FORMATS", (*table.FORMATS, ARRAYS))
    with segvoc.DatasetWriter(tmp_path, "arrays") as dataset:
        dataset.add(drawn_result(), "photo")
    for place in (tmp_path, tmp_path / "words.arrays"):
        assert dataset_format(place) is ARRAYS
        read = segvoc.read_dataset(place)
        assert read.vocabulary.words == WORDS
        np.testing.assert_array_equal(read.read(0).labels, hard_labels())
    with pytest.raises(segvoc.UsageError, match=r"format 'array' is unknown; it is one of .*, arrays$"):
        segvoc.read_dataset(tmp_path, "array")


CALLS = """
import sys
from segvoc.labeling.formats import table
from tests.labeling.formats.test_additions import ARRAYS

table.FORMATS += (ARRAYS,)

from segvoc.cli import command_line

photo, out = sys.argv[1:]
for call in (["segment", photo, "--words=cat, wall", "--format=arrays", f"--out={out}"], ["evaluate", "--help"]):
    command_line(call, prog_name="segvoc", standalone_mode=False)
"""


def test_options_follow_from_the_table(tmp_path: Path) -> None:
    photo = saved(Image.fromarray(squares()), tmp_path / "photo.png")
    told = printed("-c", CALLS, photo, tmp_path / "out", cwd=ROOT)
    assert np.load(tmp_path / "out/maps/photo.npy").shape == squares().shape[:2]
    assert "huggingface, arrays" in " ".join(told.split())


def test_the_documentation_has_all_formats() -> None:
    page = (ROOT / "docs/how_to/formats.md").read_text(encoding="utf-8")
    assert [name for name in table.readers() if f"`{name}`" not in page] == []
