"""Errors and warnings: one line each, which says what is wrong and how to fix it."""

import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial


class SegvocError(Exception):
    """Base class of all errors that the caller can fix, with one-line messages."""


class InputError(SegvocError):
    """An image, folder or file can't be read; other inputs of the same call are unaffected."""


class ImageTooLargeError(InputError):
    """An image has more pixels than are allowed."""


class OutputError(SegvocError):
    """A result can't be written; an earlier one is unchanged."""


class DiskFullError(OutputError):
    """There is no space left for a result, and none for those after it."""


class LongNameError(OutputError):
    """A result's name is longer than its file system allows; other results are unaffected."""


class UnavailableError(SegvocError):
    """A storage backend doesn't respond after several retries; finished work is kept."""


class ProcessError(SegvocError):
    """A worker process failed; its finished work is kept."""


class TrainingError(SegvocError):
    """A training run can't continue; its last good checkpoint is kept."""


class UsageError(SegvocError, ValueError):
    """A call is wrong as a whole: words, names or options are invalid or conflict."""


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged, unsafe to load, or for another network."""


WriteOption = Callable[[str, object], str]
"""Writes an option and its value: `python_option` as in Python, the command line as its flag."""


def python_option(name: str, value: object) -> str:
    """An option as a keyword argument."""
    return f"{name}={value!r}"


@dataclass(frozen=True)
class Hint:
    """A line about labels that are probably not what was meant."""

    pieces: tuple[str | tuple[str, object], ...]
    """Pieces of text, and options with their values."""

    def written(self, option: WriteOption) -> str:
        """The line, with options as they are written where it is read."""
        return "".join(piece if isinstance(piece, str) else option(*piece) for piece in self.pieces)

    def __str__(self) -> str:
        return self.written(python_option)

    __repr__ = __str__  # so that `print(result.hints)` shows sentences


class LabelingWarning(UserWarning):
    """Labels are probably not what was meant: words mean something else, or don't cover the image."""

    def __init__(self, hint: Hint, images: int = 1, total: int = 1) -> None:
        super().__init__(hint, images, total)
        self.hint, self.images, self.total = hint, images, total

    def written(self, option: WriteOption) -> str:
        """The hint, after the number of images that it is about, if the call had several."""
        count = f"{self.images} of {self.total} images: " if self.total > 1 else ""
        return f"{count}{self.hint.written(option)}"

    def __str__(self) -> str:
        return self.written(python_option)


class PromptTruncatedWarning(UserWarning):
    """A word exceeds the text encoder's context length and was truncated."""


class DamagedJournalWarning(UserWarning):
    """A journal line can't be read; its content is lost or recomputed."""


class UnknownWordWarning(UserWarning):
    """The text encoder probably doesn't know a word, for example because it isn't English."""


class SkippedShapesWarning(UserWarning):
    """Some annotations of a dataset have zero area, or are of images that it doesn't list."""


class ActivationWarning(UserWarning):
    """A checkpoint doesn't say which activation its network was trained with."""


class DarkImageWarning(UserWarning):
    """A 16-bit image uses a small part of its range, so that it is nearly black without a stretch."""


class ColorProfileWarning(UserWarning):
    """An image's color profile can't be used; its colors are read as sRGB."""


class FirstFrameWarning(UserWarning):
    """An image file has several frames or pages; only the first is read."""


_INSIDE = ("segvoc", "dataclasses", "jaxtyping", "beartype")
"""Modules between a caller and a warning."""


def warn_caller(warning: Warning) -> None:
    """Warn at the line outside of segvoc that called it."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(warning, stacklevel=level)


def install_line(extra: str) -> str:
    """The command that adds one of segvoc's extras: from the clone that it was installed from, if that is there."""
    folder = _source_folder()
    if folder is None:
        return f'pip install "segvoc[{extra}]"'
    return f'pip install "{folder}/annotate"' if extra == "annotate" else f'pip install "{folder}[{extra}]"'


@cache
def _source_folder() -> str | None:
    """The clone that pip installed segvoc from; None: it came from the package index or as a file."""
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    try:
        record = json.loads(distribution("segvoc").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    folder = unquote(urlsplit(record.get("url", "")).path)
    return folder if "dir_info" in record and os.path.isfile(os.path.join(folder, "pyproject.toml")) else None


def missing_extra(package: str, extra: str) -> UsageError:
    """The error for a missing package (named as on PyPI) that one of segvoc's extras installs, for example "data"."""
    return UsageError(f"this needs {package}, which isn't installed; install it with: {install_line(extra)}")


def missing_package(package: str) -> UsageError:
    """The error for a missing package (named as on PyPI) that none of segvoc's extras installs."""
    return UsageError(f"this needs {package}, which isn't installed; install it with: pip install {package}")


TORCH_PACKAGES = frozenset(("huggingface_hub", "open_clip", "safetensors", "timm", "torch", "torchvision"))
"""Modules that the extra `torch` installs."""


@contextmanager
def naming_extra(package: str, extra: str, modules: Collection[str] | None = None) -> Iterator[None]:
    """Turn a failed import (of one of these modules) into a one-line error that names the package and its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if modules is None or (error.name or "").partition(".")[0] in modules:
            raise missing_extra(package, extra) from None
        raise


naming_torch = partial(naming_extra, "PyTorch", "torch", TORCH_PACKAGES)


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 image", "2 images"."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str], most: int) -> str:
    """The first names, and the number of the others: "a, b, c and 5 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def human_size(size: int) -> str:
    """Format a size [B] like the hub's pages: three digits and a decimal unit, "819 MB"."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} PB"


_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
"""Colors of a terminal, which Ray puts into messages."""


def one_line(error: BaseException) -> str:
    """Another library's error as part of a one-line message: its first line, or its name if it has no message."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is no {error.encoding.upper()} text"
    lines = _ESCAPES.sub("", str(error)).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
