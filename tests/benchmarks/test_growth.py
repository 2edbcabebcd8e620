"""The folders whose labeling is measured."""

from pathlib import Path

import pytest

from benchmarks import growth


def test_a_folder_of_one_image_has_few_names_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "LINKS", 4)
    (tmp_path / "000000.jpg").write_bytes(b"image")
    growth.fill(tmp_path, 11)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"{number:06}.jpg" for number in range(11)]
    assert {file.read_bytes() for file in files} == {b"image"}
    assert [file.stat().st_nlink for file in files] == 8 * [4] + 3 * [3]
