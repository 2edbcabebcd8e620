"""The checksum of a file."""

import hashlib
from pathlib import Path

from segvoc.storage.checksums import file_sha256


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights" * 100_000)
    assert file_sha256(tmp_path / "w") == hashlib.sha256(b"weights" * 100_000).hexdigest()
