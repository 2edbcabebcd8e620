"""Files: untrusted names, scratch folders, the user's cache, the shipped weights, digests, base64, and strict JSON."""

import base64
import hashlib
import json
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from segvoc.errors import OutputError
from segvoc.storage.atomic_writes import write_bytes


def digest_of(*parts: object) -> str:
    """A short hexadecimal digest of values: equal for values of equal `repr`."""
    return hashlib.blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=16).hexdigest()


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SHIPPED = Path(__file__).parents[1] / "weights"
"""Folder of the weights and programs that ship with the package."""

CACHE_VARIABLE = "SEGVOC_CACHE"
"""Environment variable with the cache folder, or "off"."""


def cache_folder() -> Path | None:
    """The cache folder, which need not exist: SEGVOC_CACHE, or "segvoc" in the platform's user cache.

    On Linux ~/.cache/segvoc, on macOS ~/Library/Caches/segvoc; None if caching is off.
    """
    setting = os.environ.get(CACHE_VARIABLE)
    if setting:
        return None if setting.lower() == "off" else Path(setting).expanduser().absolute()
    folder = user_cache_path("segvoc", appauthor=False)
    return folder if folder.is_absolute() else None  # a user without a home


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Create a folder in the system's temporary directory, deleted on exit."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="segvoc-", ignore_cleanup_errors=True)
    except OSError as error:
        problem = f"no temporary folder can be made: {error.strerror or error}"
        raise OutputError(f"{problem}; free some space, or set TMPDIR to another folder") from error
    with folder as path:
        yield path


def safe_path(name: str) -> Path:
    """Validate a file name from a dataset or archive as a relative path that can't escape its folder.

    `ValueError` if it is a URL, absolute, or points outside the folder.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", name):
        raise ValueError(f"{name[:100]!r} is a URL, which isn't fetched")
    pieces = re.split(r"[/\\]", name)
    if "\0" in name or "\n" in name or any(len(piece.encode("utf-8", "replace")) > 255 for piece in pieces):
        raise ValueError(f"{name[:100]!r} is not a file name")
    path = Path(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[a-zA-Z]:", name):
        raise ValueError(f"{name[:100]!r} points outside the folder")
    return path


def named_alike(path: Path, *, any_case: bool = False) -> Path | None:
    """The file at a path, or the one whose name differs by the encoding of accents or the case of its suffix alone.

    macOS and archives made there spell "é" as two characters. With `any_case`, all letters may differ in case, as in
    lists that were made on Windows. None: there is neither, or several are alike.
    """
    try:
        return _alike(path, os.path.isfile, any_case)
    except OSError:
        return None


def _alike(path: Path, is_there: Callable[[Path], bool], any_case: bool) -> Path | None:
    if is_there(path):
        return path
    folder = None if path.parent == path else _alike(path.parent, os.path.isdir, any_case)
    if folder is None:
        return None
    form = common_form(path.name).casefold() if any_case else common_form(path.name)
    same = _names_by_form(folder, folder.stat().st_mtime_ns, any_case).get(form, [])
    found = [folder / name for name in same if is_there(folder / name)]
    return found[0] if len(found) == 1 else None


JUNK_FOLDERS = frozenset(
    ("@eadir", "#recycle", "@recycle", "#snapshot", "$recycle.bin", "system volume information", "__macosx")
)
"""Folders of thumbnails and trash that network storages and other systems put between the user's, in lower case."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out of listings: it is hidden, or one of `JUNK_FOLDERS`."""
    return name.startswith(".") or name.lower() in JUNK_FOLDERS


def base64_bytes(text: str) -> bytes:
    """Decode base64, in lines or not (MIME), or in its alphabet for URLs; `ValueError` names the first wrong place."""
    # piece by piece, so that other threads have a turn
    pieces = [text[at : at + _BASE64_PIECE] for at in range(0, len(text), _BASE64_PIECE)]
    for number, piece in enumerate(pieces):
        if wrong := re.search(r"[^A-Za-z0-9+/_=\s-]", piece):
            raise ValueError(f"there is {wrong[0]!r} at {number * _BASE64_PIECE + wrong.start()}")
        if re.search(r"[-_\s]", piece):
            pieces[number] = re.sub(r"\s+", "", piece).translate(str.maketrans("-_", "+/"))
    plain = "".join(pieces)
    if early := re.search(r"=(?=[^=])", plain):
        raise ValueError(f"there is '=' at {early.start()}")
    if plain != text:
        plain += "=" * (-len(plain) % 4)
    groups = (plain[at : at + _BASE64_PIECE] for at in range(0, len(plain), _BASE64_PIECE))
    return b"".join(base64.b64decode(group, validate=True) for group in groups)


_BASE64_PIECE = 1 << 20


def composed(name: str) -> str:
    """A name whose accented letters are one character each, as on Linux and Windows."""
    return unicodedata.normalize("NFC", name)


def common_form(name: str) -> str:
    """A file's name with composed letters, and its suffix in lower case."""
    stem, suffix = os.path.splitext(composed(name))
    return stem + suffix.lower()


@lru_cache(maxsize=64)
def _names_by_form(folder: Path, changed: int, any_case: bool) -> dict[str, list[str]]:
    """The names in a folder by their common form; `changed` is the time of its last change."""
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        names.setdefault(common_form(name).casefold() if any_case else common_form(name), []).append(name)
    return names


def strict_json(value: object, *, indent: int | None = None, sort_keys: bool = False, readable: bool = False) -> str:
    """Encode a value as strict JSON on one line (or indented); NaN and infinity become null.

    Characters beyond ASCII are escaped unless it is to be `readable`.
    """
    encoded = partial(json.dumps, indent=indent, sort_keys=sort_keys, allow_nan=False, ensure_ascii=not readable)
    try:
        return encoded(value)
    except ValueError:
        # the search for NaN is slow in Python, and hardly any value needs it
        return encoded(_without_nan(value))


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write an indented file of strict JSON in UTF-8, atomically; lone surrogates are escaped."""
    write_bytes(path, f"{strict_json(content, indent=1, readable=True)}\n".encode("utf-8", "backslashreplace"))


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
