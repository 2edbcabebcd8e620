"""Bad inputs: how each is made, which part of segvoc reads it, and what becomes of it."""

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Build = Callable[[Path], object]
"""Writes the files of an input into a folder that is there and empty."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A bad, or a doubtful, input."""

    family: str
    """Row of the table ("images: truncated")."""
    what: str
    """How it was made, for people ("png_rgb cut at 17")."""
    reader: str
    """Name of the reader in `hardening.readers.READERS`."""
    build: Build
    """Writes the input."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of a case."""

    family: str
    what: str
    reader: str
    digest: str
    """Of the reader's name and the files, so that distinct inputs are counted once."""
    verdict: str
    """"refused", "accepted" or "defect"."""
    detail: str
    """The error's line, or what is wrong."""
    seconds: float
    """Time that the reader took [s]."""


def file(name: str, content: bytes) -> Build:
    """An input of one file."""
    return lambda folder: (folder / name).write_bytes(content)


def files(contents: Mapping[str, bytes]) -> Build:
    """An input of several files, by their paths in the folder."""

    def build(folder: Path) -> None:
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return build


def digest(reader: str, folder: Path) -> str:
    """A digest of a reader's name and all files, links and names in a folder."""
    total = hashlib.sha256(reader.encode())
    for parent, folders, names in os.walk(os.fsencode(folder)):
        folders.sort()
        for name in sorted([*names, *folders]):
            path = os.path.join(parent, name)
            total.update(os.path.relpath(path, os.fsencode(folder)) + b"\0")
            if os.path.islink(path):
                total.update(b"link " + os.readlink(path))
            elif os.path.isfile(path):
                with open(path, "rb") as content:
                    total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()[:24]


def cuts(length: int, most: int, rng: random.Random) -> list[int]:
    """Lengths to cut a file of `length` bytes to: all of them, or `most`, with those near both ends."""
    if length <= most:
        return list(range(length))
    near = most // 4
    chosen = {*range(near), *range(length - near, length)}
    return sorted(chosen | set(rng.sample(range(near, length - near), most - 2 * near)))


def mutated(content: bytes, rng: random.Random, *, first: int = 0, last: int | None = None) -> bytes:
    """A file with a few bytes or a number in it changed, removed, doubled or swapped.

    Args:
        content: the file.
        rng: chooses.
        first: where changes may begin [bytes].
        last: where they end; None for the end of the file.
    """
    data = bytearray(content)
    end = max(first + 1, min(len(data), len(data) if last is None else last))
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(first, end)
        kind = rng.randrange(7)
        if kind == 0:
            data[at : at + 1] = bytes([data[at] ^ (1 << rng.randrange(8))]) if at < len(data) else b""
        elif kind == 1:
            data[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))])
        elif kind == 2:
            data[at : at + 2] = rng.choice((b"\0\0", b"\xff\xff", b"\x7f\xff", b"\xff\x7f", b"\x80\0"))
        elif kind == 3:
            data[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
        elif kind == 4:
            del data[at : at + rng.choice((1, 2, 4, 16))]
        elif kind == 5:
            data[at:at] = data[at : at + rng.choice((1, 4, 16))]
        else:
            other, size = rng.randrange(len(data)) if data else 0, rng.choice((1, 4, 12))
            data[at : at + size] = data[other : other + size]
        if not data:
            return b""
        end = min(end, len(data))
        if end <= first:
            return bytes(data)
    return bytes(data)


def spread(items: Iterator[Case], most: int, rng: random.Random) -> list[Case]:
    """At most so many cases, chosen evenly over all of them."""
    found = list(items)
    return found if len(found) <= most else [found[i] for i in sorted(rng.sample(range(len(found)), most))]
