"""What a wrong name or call probably meant: close names, and those of other libraries and tools."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import SequenceMatcher
from functools import cache, update_wrapper, wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import MethodType, NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from segvoc.errors import UsageError

_P = ParamSpec("_P")
_R = TypeVar("_R")

MOST_APART = 2
"""Letters by which a close name may differ, in names of six letters or more; one in three of shorter ones."""


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """Suggest close names, to append to an error: " (did you mean tiny?)"; "" if none is close."""
    names = list(known)
    close = [one for one in names if len(name) > 2 and one.startswith(name)]
    if not close:
        apart = {one: _letters_apart(name.lower(), one.lower()) for one in names}
        close = sorted((one for one in apart if apart[one] <= min(MOST_APART, len(name) // 3)), key=apart.__getitem__)
    close = close[:most]
    listed = " or ".join(filter(None, (", ".join(close[:-1]), *close[-1:])))
    return f" (did you mean {listed}?)" if close else ""


def _letters_apart(one: str, other: str) -> int:
    """Letters of the longer name that the other lacks, if these may be few."""
    longer = max(len(one), len(other))
    if abs(len(one) - len(other)) > MOST_APART:
        return longer
    return longer - sum(block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())


@cache
def _other_names() -> dict[str, dict[str, str]]:
    """What to do instead, each with the names that other libraries and tools have for it.

    By where they stand: names of the "module", a "model", a "result" and its "boxes"; an "option", by our name;
    arguments of something "elsewhere". And what objects of a class are "made by".
    """
    return json.loads(Path(__file__).with_name("other_names.json").read_text(encoding="utf-8"))


def _instead(where: str, name: str) -> str:
    """What to do instead of `name`, to append to an error; "" if nothing is known."""
    known = [ours for ours, others in _other_names()[where].items() if name in others.split()]
    return f"; {known[0]}" if known else ""


def option_meant(name: str, known: Collection[str]) -> str | None:
    """Our name, among `known`, of an option or argument that other tools call `name`; None if there is none."""
    other = name.lstrip("-").replace("_", "-")
    ours = {one.lstrip("-").replace("_", "-"): one for one in known}
    named = _other_names()["option"].items()
    return next((ours[one] for one, others in named if one in ours and other in (one, *others.split())), None)


def no_attribute(what: str, name: str, kind: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that a "module", "model", "result" or its "boxes" lack, with what to do instead."""
    meant = _instead(kind, name) or did_you_mean(name, known)
    listed = f"; dir({'segvoc' if kind == 'module' else kind}) lists its names"
    return AttributeError(f"{what} has no attribute {name!r}{meant or listed}")


def argument_meant(name: str, known: Sequence[str]) -> str:
    """What to append to the error of an unknown keyword argument."""
    if ours := option_meant(name, known):
        return f" (did you mean {ours}?)"
    meant = _instead("elsewhere", name.replace("_", "-")) or did_you_mean(name, known)
    return meant or f"; it takes {', '.join(known) or 'none'}"


class Called:
    """A method of results that is an attribute elsewhere, whose own attributes are answered with the call.

    Args:
        method: the method.
    """

    def __init__(self, method: Callable[..., object]) -> None:
        self._method = method
        update_wrapper(self, method)

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call the method."""
        return self._method(*args, **kwargs)

    def __get__(self, result: object, kind: type | None = None) -> object:
        return self if result is None else MethodType(self, result)

    def __getattr__(self, name: str) -> object:
        method = self.__dict__.get("__name__", "")
        raise no_attribute(f"result.{method}", name, method, ())


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
