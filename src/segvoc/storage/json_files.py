"""Strict JSON: no NaN or infinity, which other programs can't read, and atomic files."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segvoc.storage.atomic_writes import write_bytes


def strict_json(value: object, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Encode a value as strict JSON on one line (or indented); NaN and infinity become null."""
    options: dict[str, Any] = {"indent": indent, "sort_keys": sort_keys, "allow_nan": False}
    try:
        return json.dumps(value, **options)
    except ValueError:
        # the search for NaN is slow in Python, and hardly any value needs it
        return json.dumps(_without_nan(value), **options)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write an indented file of strict JSON, atomically."""
    write_bytes(path, f"{strict_json(content, indent=1)}\n".encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a UTF-8 JSON file, with or without a byte order mark; raises `OSError` and `ValueError`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _without_nan(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return value
