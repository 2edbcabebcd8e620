"""A file that was verified is read again only when it may have changed."""

import hashlib
import os
from pathlib import Path

import pytest

from segvoc.checkpoints import fetching
from segvoc.checkpoints.fetching import has_sha256

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_it_is_read_once_and_other_content_is_noticed_though_size_and_time_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    inner = fetching.file_sha256
    monkeypatch.setattr(fetching, "file_sha256", lambda path: reads.append(path) or inner(path))
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENT)
    assert has_sha256(path, DIGEST) and has_sha256(path, DIGEST)
    assert len(reads) == 1
    times = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not has_sha256(path, DIGEST)
