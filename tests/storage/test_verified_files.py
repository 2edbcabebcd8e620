"""A file that was verified is read again only when it may have changed."""

import hashlib
import os
from pathlib import Path

import pytest

from segvoc.checkpoints import fetching
from segvoc.checkpoints.fetching import has_sha256

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The files that are read."""
    seen: list[Path] = []
    inner = fetching.file_sha256
    monkeypatch.setattr(fetching, "file_sha256", lambda path: seen.append(path) or inner(path))
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path / "cache"))
    return seen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    return file


def test_it_is_read_once(path: Path, reads: list[Path]) -> None:
    assert has_sha256(path, DIGEST) and has_sha256(path, DIGEST)
    assert len(reads) == 1


def test_other_content_is_noticed_though_size_and_time_are_the_same(path: Path, reads: list[Path]) -> None:
    assert has_sha256(path, DIGEST)
    times = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not has_sha256(path, DIGEST)
