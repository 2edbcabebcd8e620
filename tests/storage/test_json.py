"""Strict JSON: what is written can be read by any program."""

import json

import pytest

from segvoc.errors import OutputError
from segvoc.storage.files import read_json, strict_json, write_json


def test_values_without_a_form_in_json_are_null():
    assert strict_json({"a": float("nan"), "b": [float("inf"), 1.0], "c": (2, {"d": -float("inf")})}) == (
        '{"a": null, "b": [null, 1.0], "c": [2, {"d": null}]}'
    )
    with pytest.raises(TypeError):
        strict_json({"a": object()})


def test_a_file_is_written_whole_and_read_again(tmp_path):
    write_json(tmp_path / "folder/file.json", {"name": "Zoë", "score": float("nan")})
    assert read_json(tmp_path / "folder/file.json") == {"name": "Zoë", "score": None}
    json.loads((tmp_path / "folder/file.json").read_bytes())
    with pytest.raises(OutputError):
        write_json(tmp_path / "folder/file.json/other.json", {})


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 200_000])
def test_what_is_no_json_is_a_value_error(tmp_path, content):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "file.json")
