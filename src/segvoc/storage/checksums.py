"""The checksum of a file, apart from `segvoc.storage.digests`, which imports PyTorch."""

import hashlib
import os


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises: OSError: the file can't be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
