"""Errors and warnings: one line each, which says what is wrong and how to fix it."""

import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial, wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

_P = ParamSpec("_P")
_R = TypeVar("_R")


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


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """Suggest close names, to append to an error: " (did you mean tiny?)"; "" if none is close."""
    names = list(known)
    longer = [one for one in names if len(name) > 2 and one.startswith(name)]
    close = (longer or get_close_matches(name, names, n=most))[:most]
    listed = " or ".join(filter(None, (", ".join(close[:-1]), *close[-1:])))
    return f" (did you mean {listed}?)" if close else ""


@cache
def _other_names() -> dict[str, dict[str, str]]:
    """Our names, each with those that other libraries and tools use, for a module, models, results and options."""
    return json.loads(Path(__file__).with_name("other_names.json").read_text(encoding="utf-8"))


def option_meant(name: str, known: Collection[str]) -> str | None:
    """Our name, among `known`, of an option or argument that other tools call `name`; None if there is none."""
    other = name.lstrip("-").replace("_", "-")
    ours = {one.lstrip("-").replace("_", "-"): one for one in known}
    named = _other_names()["option"].items()
    return next((ours[one] for one, others in named if one in ours and other in (one, *others.split())), None)


def no_attribute(what: str, name: str, kind: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that a "module", "model" or "result" lacks, with ours if other libraries have it."""
    ours = [one for one, others in _other_names()[kind].items() if name in others.split()]
    listed = did_you_mean(name, known) or f"; dir({'segvoc' if kind == 'module' else kind}) lists its names"
    return AttributeError(f"{what} has no attribute {name!r}{f'; use {ours[-1]}' if ours else listed}")


def argument_meant(name: str, known: Sequence[str]) -> str:
    """What to append to the error of an unknown keyword argument."""
    if ours := option_meant(name, known):
        return f" (did you mean {ours}?)"
    other = name.replace("_", "-")
    places = [place for place, names in _other_names()["elsewhere"].items() if other in names.split()]
    return f"; use {places[0]}" if places else did_you_mean(name, known) or f"; it takes {', '.join(known) or 'none'}"


def checked_call(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a function so that a wrong call is a `UsageError` that names the argument, and what to give."""
    shape = signature(function)
    arguments = {name: one.annotation for name, one in shape.parameters.items() if name not in ("self", "cls")}
    known = [name for name in arguments if shape.parameters[name].kind != Parameter.VAR_KEYWORD]
    for keywords in arguments.keys() - known:  # `**options: Unpack[Keywords]`
        known += get_args(arguments.pop(keywords))[0].__annotations__

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if unknown := [name for name in kwargs if name not in known]:
            raise UsageError(f"{function.__name__} has no argument {unknown[0]!r}{argument_meant(unknown[0], known)}")
        try:
            given = shape.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise UsageError(f"{function.__name__}: {error}; it takes {', '.join(known) or 'none'}") from None
        for name, annotation in arguments.items():
            several = shape.parameters[name].kind == Parameter.VAR_POSITIONAL
            for value in given.get(name, ()) if several else [given[name]] if name in given else ():
                if wanted := _wanted(annotation, value):
                    shown = " ".join(repr(value).split())
                    raise UsageError(f"{function.__name__}: {name} is {shown:.60}; give {wanted}")
        return function(*args, **kwargs)

    return checked


def _wanted(annotation: Any, value: object) -> str | None:
    """What an argument has to be, if the value is something else, as far as classes, numbers and names tell."""
    union = isinstance(annotation, UnionType) or get_origin(annotation) is Union
    described: dict[str, None] = {}
    for kind in get_args(annotation) if union else (annotation,):
        plain = get_origin(kind) or kind
        if plain is Literal:
            fits, text = isinstance(value, str) and value in get_args(kind), " or ".join(map(repr, get_args(kind)))
        elif plain in _NUMBERS:
            fits, text = isinstance(value, _NUMBERS[plain]) and not isinstance(value, bool), "a number"
        elif plain in (str, PathLike, NoneType) or getattr(plain, "__module__", "").startswith("segvoc."):
            fits, text = isinstance(value, plain), _other_names()["made by"].get(plain.__name__, f"a {plain.__name__}")
        else:
            return None
        if fits:
            return None
        described[text] = None
    return " or ".join(described)


_NUMBERS: dict[Any, Any] = {int: Integral, float: Real}


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


_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
"""Colors of a terminal, which Ray puts into messages."""


def one_line(error: BaseException) -> str:
    """Another library's error as part of a one-line message: its first line, or its name if it has no message."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is no {error.encoding.upper()} text"
    lines = _ESCAPES.sub("", str(error)).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
