"""Rows of tensors in files: what is left after kills, changes and full disks."""

import pytest
import torch

from segvoc.data.feature_cache import FeatureCache
from segvoc.errors import InputError
from tests.images import one_line_error


def opened(folder, contents=range(6), *settings):
    """A cache with four rows in a file."""
    return FeatureCache.of(folder, "rows", contents, 4, *settings)


def filled(folder, contents=range(6), *settings):
    cache = opened(folder, contents, *settings)
    for shard in cache.missing():
        cache.write(shard, {"x": torch.tensor([[float(row)] * 200 for row in cache.span(shard)])}, {1: "no image"})
    return cache


def test_rows_are_read_as_they_were_written_and_made_again_only_where_contents_change(tmp_path):
    cache = filled(tmp_path)
    assert (len(cache.digests), cache.rows) == (2, 6)
    assert [cache.read(row)["x"][0].item() for row in range(6)] == list(range(6))
    assert [cache.problem(row) for row in (0, 1, 5)] == [None, "no image", "no image"]
    assert opened(tmp_path).missing() == []
    assert opened(tmp_path, range(6), "another encoder").missing() == [0, 1]
    assert opened(tmp_path, [0, 1, 2, 3, 4, "changed"]).missing() == [1]
    assert opened(tmp_path, range(9)).missing() == [1, 2]
    cache.path(0).unlink()
    assert opened(tmp_path).missing() == [0]


@pytest.mark.parametrize(
    "damage", [lambda content: content[:300], lambda content: content.replace(b'{\\"1\\"', b'{\\"x\\"')]
)
def test_a_damaged_file_is_made_anew_and_reading_it_is_an_error_of_one_line(tmp_path, damage):
    cache = filled(tmp_path)
    path = cache.path(1)
    path.write_bytes(damage(path.read_bytes()))
    with one_line_error(InputError, "rows-000001", "run the same command again"):
        cache.problem(5)
    assert cache.missing() == [1]
    assert filled(tmp_path).read(5)["x"][0] == 5
