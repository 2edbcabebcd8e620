"""Are the values of a record, which a stranger may have written, of the types that its dataclass says?"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

LARGEST_NUMBER = 1 << 31
"""Whole numbers of a record lie between 0 and this: they are sides of images, counts and token ids."""


def check_types(value: Any, annotation: Any, place: str) -> None:
    """Compare a value, and all that it holds, with an annotation.

    Args:
        value: a value, such as an instance of a dataclass whose fields came from JSON.
        annotation: its type: a plain one, a `Literal`, a tuple, a mapping, a dataclass, or a union of these.
        place: where it stands, for the error.

    Raises:
        TypeError: it is of another type, or a number is out of range; the message names the place.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return
    if origin in (typing.Union, types.UnionType):
        _check_union(value, arguments, place)
    elif origin is Literal:
        _check(value in arguments, value, place)
    elif origin is tuple:
        _check(isinstance(value, tuple), value, place)
        types_of = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        _check(len(types_of) == len(value), value, place)
        for entry, type_of in zip(value, types_of, strict=True):
            check_types(entry, type_of, place)
    elif origin is not None and issubclass(origin, Mapping):
        _check(isinstance(value, Mapping), value, place)
        for key, entry in value.items():
            check_types(key, arguments[0], place)
            check_types(entry, arguments[1], f"{place}.{key}")
    elif dataclasses.is_dataclass(annotation):
        _check(isinstance(value, typing.cast(type, annotation)), value, place)
        for name, type_of in typing.get_type_hints(annotation).items():
            check_types(getattr(value, name), type_of, f"{place}.{name}")
    else:
        _check_plain(value, annotation, place)


def _check_union(value: Any, members: tuple[Any, ...], place: str) -> None:
    problems: list[str] = []  # an error that is kept here would keep this frame, and with it all callers' values
    for member in members:
        try:
            return check_types(value, member, place)
        except TypeError as error:
            problems.append(str(error))
    raise TypeError(max(problems, key=len))  # that of the dataclass that it is meant to be says most


def _check_plain(value: Any, annotation: Any, place: str) -> None:
    if annotation is float:
        _check(isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e9, value, place)
    elif annotation is int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        _check(whole and 0 <= value <= LARGEST_NUMBER, value, place)
    else:
        _check(isinstance(value, types.NoneType if annotation is None else annotation), value, place)


def _check(fits: bool, value: Any, place: str) -> None:
    if not fits:
        raise TypeError(f"{place} is {repr(value)[:60]}")
