"""Digests of content: settings and files."""

import hashlib
import os


def digest_of(*parts: object) -> str:
    """A short digest of values, in hexadecimal: equal for values of equal `repr`."""
    return hashlib.blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=16).hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises: OSError: the file can't be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
