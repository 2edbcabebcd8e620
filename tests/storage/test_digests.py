"""Digests tell contents apart."""

import hashlib
from pathlib import Path

from segvoc.storage.files import digest_of, file_sha256


def test_digest_of_values_tells_them_apart() -> None:
    assert digest_of("a", 1) == digest_of("a", 1) != digest_of("a", 2)
    assert digest_of("ab", "c") != digest_of("a", "bc")


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights" * 100_000)
    assert file_sha256(tmp_path / "w") == hashlib.sha256(b"weights" * 100_000).hexdigest()
