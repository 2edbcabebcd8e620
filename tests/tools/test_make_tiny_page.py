"""The page of what tiny can and can't do: every figure comes from the record, the drawn images or the benchmark."""

from pathlib import Path

import pytest

from segvoc.errors import UsageError
from tools.make_tiny_page import check_outside, check_size


def test_photographs_may_not_be_written_into_the_repository(tmp_path: Path):
    check_outside(tmp_path / "elsewhere", root=tmp_path / "repository")
    check_outside(tmp_path / "repository" / "build" / "x", root=tmp_path / "repository")
    with pytest.raises(UsageError, match="is in the repository, where no photograph may be"):
        check_outside(tmp_path / "repository" / "build" / ".." / "docs", root=tmp_path / "repository")


def test_maps_that_are_too_large_are_refused(tmp_path: Path):
    (tmp_path / "01.png").write_bytes(b"x" * 100)
    check_size(tmp_path, most=100)
    with pytest.raises(UsageError, match="draw fewer or smaller ones"):
        check_size(tmp_path, most=99)
