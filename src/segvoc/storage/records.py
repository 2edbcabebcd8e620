"""Records: frozen dataclasses of plain values, written as JSON and read back strictly, and changed by settings.

A setting, NAME=VALUE, names a field by its dotted path, or by any unique suffix of it: "aggregation.blocks=2" or
"blocks=2". For a field with several kinds, it selects the kind: "aggregation=none".

A field holds a bool, int, float, str, a name of a `Literal`, a tuple, a mapping, another record, or a union of these.
Unions of records are tagged by the field `kind`, a `Literal`; an abstract record stands for the union of those that
inherit from it.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from inspect import isabstract
from typing import Any, Literal, TypeVar

from segvoc.errors import UsageError

KIND = "kind"
"""The tag field of records in a union."""

LARGEST_AMOUNT = 1 << 31
"""Upper limit of image sides, counts and token ids in a record."""

Plain = bool | int | float | str | None | list[Any] | dict[str, Any]
"""A JSON value."""

Instance = TypeVar("Instance")


def to_json(record: object) -> dict[str, Any]:
    """All values of a record, ready for `json.dumps`; tuples become lists."""
    return {name: plain(getattr(record, name)) for name in field_types(type(record))}


def plain(value: Any) -> Plain:
    """A value of a record, ready for `json.dumps`."""
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def from_json(cls: type[Instance], content: object, place: str = "") -> Instance:
    """Restore a record written by `to_json`, the output of `json.loads`.

    Missing fields get their defaults, so files from before a field was added still load. `UsageError` with the dotted
    path, which starts at `place`, if a field is unknown or missing, or a value has the wrong type or is out of range.
    """
    if not isinstance(content, Mapping):
        raise UsageError(f"{place or 'the content'} is {shortened(content)}, not an object of named values")
    types_of = field_types(cls)
    if unknown := [dotted(place, str(name)) for name in content if name not in types_of]:
        raise UsageError(f"{unknown[0][:100]!r} is unknown; there are {', '.join(types_of)}")
    values = {name: field_value(types_of[name], value, dotted(place, name)) for name, value in content.items()}
    if missing := [dotted(place, name) for name in required_fields(cls) if name not in values]:
        raise UsageError(f"{missing[0]!r} is missing")
    return cls(**values)


def field_value(annotation: Any, value: object, place: str) -> Any:
    """Convert a JSON value to the type of a field: lists to tuples, objects to records; other values have their type.

    `UsageError` with its place, a dotted path, if the value has another type.
    """
    members = union_members(annotation)
    classes: list[Any] = [member for member in members if dataclasses.is_dataclass(member)]
    if classes and not (value is None and types.NoneType in members):
        kind = value.get(KIND) if isinstance(value, Mapping) else None
        fitting = classes if len(classes) == 1 else [cls for cls in classes if kind in kinds(cls)]
        if fitting:
            return from_json(fitting[0], value, place)
        raise UsageError(f"{dotted(place, KIND)} is {shortened(kind)}; it is one of {', '.join(kinds(annotation))}")
    for member in members:
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if origin is tuple and isinstance(value, tuple | list):
            entries = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
            if len(entries) == len(value):
                pairs = enumerate(zip(entries, value, strict=True))
                return tuple(field_value(kind, entry, f"{place}[{number}]") for number, (kind, entry) in pairs)
        elif origin in (dict, Mapping) and isinstance(value, Mapping):
            return {
                field_value(arguments[0], key, place): field_value(arguments[1], entry, dotted(place, str(key)))
                for key, entry in value.items()
            }
        elif _fits(member, value):
            return float(typing.cast(float, value)) if member is float else value
    raise UsageError(f"{place}={shortened(value)} is not {' or '.join(map(_described, members))}")


def _fits(annotation: Any, value: object) -> bool:
    if annotation is Any:
        return True
    if literal := choices(annotation):
        return any(value == choice and type(value) is type(choice) for choice in literal)
    if annotation in (int, float):
        number = isinstance(value, int | float if annotation is float else int) and not isinstance(value, bool)
        return number and abs(typing.cast(float, value)) < 1e300 and value == value
    return isinstance(value, annotation) if isinstance(annotation, type) else False


def parse(annotation: Any, text: str) -> Any:
    """Parse text as a value of a type, for `field_value`: "2", "true", "384,512", "none".

    Text that doesn't parse is returned unchanged.
    """
    values: list[object] = [text, *([_WORDS[text]] if text in _WORDS else [])]
    for kind in (int, float):
        with suppress(ValueError):
            values.append(kind(text))
    for member in union_members(annotation):
        if typing.get_origin(member) is tuple:
            arguments = typing.get_args(member)
            pieces = [piece.strip() for piece in text.split(",")] if text.strip() else []
            entries = arguments[:1] * len(pieces) if arguments[-1] is Ellipsis else arguments
            return [parse(entry, piece) for entry, piece in zip(entries, pieces, strict=False)] + pieces[len(entries) :]
        if fitting := [value for value in values if _fits(member, value)]:
            return fitting[0]
    return text


_WORDS = {"true": True, "false": False, "none": None}


def check_amounts(record: Instance) -> Instance:
    """Return a record whose numbers are all from 0 to `LARGEST_AMOUNT`; `UsageError` with the path of another."""
    for name, value in leaves(to_json(record)):
        if isinstance(value, int | float) and not 0 <= value <= LARGEST_AMOUNT:
            raise UsageError(f"{name}={shortened(value)} is out of range; give a number from 0 to {LARGEST_AMOUNT}")
    return record


def leaves(content: Any, place: str = "", *, whole_lists: bool = False) -> Iterator[tuple[str, Any]]:
    """The scalars in a JSON value, and with `whole_lists` its lists, with their dotted paths."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from leaves(value, dotted(place, str(name)), whole_lists=whole_lists)
    elif isinstance(content, list) and not whole_lists:
        for number, value in enumerate(content):
            yield from leaves(value, f"{place}[{number}]")
    else:
        yield place, content


def flattened(content: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested JSON objects to values by dotted path; lists stay whole."""
    return dict(leaves(content, whole_lists=True))


@cache
def field_types(cls: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields, by name."""
    annotations = typing.get_type_hints(cls)
    return {field.name: annotations[field.name] for field in dataclasses.fields(cls)}


@cache
def required_fields(cls: type) -> tuple[str, ...]:
    """The names of a dataclass's fields without a default."""
    missing = dataclasses.MISSING
    return tuple(f.name for f in dataclasses.fields(cls) if f.default is missing and f.default_factory is missing)


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself; in place of an abstract record, the records that inherit from it."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    members = typing.get_args(annotation) if is_union else (annotation,)
    return tuple(one for member in members for one in (member.__subclasses__() if isabstract(member) else (member,)))


def choices(annotation: Any) -> tuple[Any, ...]:
    """The names of a `Literal`."""
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()


def kinds(annotation: Any) -> tuple[str, ...]:
    """The kinds of a record, or of all records in a union."""
    records = (member for member in union_members(annotation) if dataclasses.is_dataclass(member))
    return tuple(kind for record in records for kind in choices(field_types(record).get(KIND)))


def dotted(place: str, name: str) -> str:
    """The path of a field below a place."""
    return f"{place}.{name}" if place else name


def shortened(value: object) -> str:
    """A value, shortened for an error."""
    return (value if isinstance(value, str) else repr(value))[:100]


def _described(annotation: Any) -> str:
    if literal := choices(annotation):
        return f"one of {', '.join(map(str, literal))}"
    return _DESCRIBED.get(typing.get_origin(annotation) or annotation, "a value that it may have")


_DESCRIBED: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    types.NoneType: "none",
    tuple: "a list, for example 384,512",
    dict: "an object of named values",
    Mapping: "an object of named values",
}


def parse_settings(assignments: Iterable[str]) -> dict[str, str]:
    """Parse assignments such as "blocks=2" into names and values.

    `UsageError` if a text has no "=", or a name occurs twice.
    """
    settings: dict[str, str] = {}
    for text in assignments:
        name, equals, value = (piece.strip() for piece in text.partition("="))
        if not equals or not name:
            raise UsageError(f"{text!r} sets nothing; write it as NAME=VALUE, for example blocks=2")
        if name in settings:
            raise UsageError(f"{name!r} is set twice; set it once")
        settings[name] = value
    return settings


def with_settings(
    configuration: Instance, settings: Mapping[str, object], what: str, fixed: Sequence[str] = ()
) -> Instance:
    """Return a copy of a configuration, called `what` in errors, with some fields changed.

    Settings are values by name, typed or as text ("2", "true", "384,512"); `fixed` fields can't be set. `UsageError` if
    a name is unknown or ambiguous, or a value has the wrong type or is out of range.
    """
    # kinds are set first, because they determine which fields exist
    for name, value in settings.items():
        known = _settings(configuration, fixed)
        path = _find(known, name)
        if path is not None and dataclasses.is_dataclass(known[path][1]):
            configuration = _with_values(configuration, {path: _of_kind(*known[path], value, name)})
    known, names, values = _settings(configuration, fixed), dict[_Path, str](), dict[_Path, object]()
    for name, value in settings.items():
        if (path := _find(known, name)) is None:
            raise UsageError(f"{what} has no setting {name[:100]!r}; {_suggestion(known, name)}")
        if path in names:
            raise UsageError(f"{names[path]!r} and {name!r} are the same setting; set it once")
        names[path], (annotation, old) = name, known[path]
        if not dataclasses.is_dataclass(old):
            typed = parse(annotation, value) if isinstance(value, str) else value
            values[path] = field_value(annotation, typed, path[-1])
    return _with_values(configuration, values)


def differences(configuration: object, base: object) -> dict[str, Plain]:
    """Settings that turn `base` into the configuration, by their shortest names."""
    paths = _settings(configuration)
    changed = _changes(configuration, base, ())
    return {_shortest(path, paths): plain(value) for path, value in changed.items()}


def check_range(configuration: object, limits: Mapping[str, tuple[int | float, int | float]]) -> None:
    """Check that numbers, or those in tuples, are in range, for use in `__post_init__`; raises `UsageError`.

    Limits are minimum and maximum by field name, both inclusive. None is always valid, infinite numbers never.
    """
    for name, (least, most) in limits.items():
        value = getattr(configuration, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not (least <= number <= most and math.isfinite(number)):
                to = "" if math.isinf(most) else f" to {most}"
                raise UsageError(f"{name}={number} is out of range; give a number from {least}{to}")


_Path = tuple[str, ...]
"""The names from the outermost field to the field itself."""


def _settings(configuration: Any, fixed: Sequence[str] = (), above: _Path = ()) -> dict[_Path, tuple[Any, Any]]:
    """Type and value of everything in a configuration that can be set; a record stands for its kind."""
    settings: dict[_Path, tuple[Any, Any]] = {}
    for name, annotation in field_types(type(configuration)).items():
        value, path = getattr(configuration, name), (*above, name)
        is_set = name != KIND and ".".join(path) not in fixed
        if is_set and (not dataclasses.is_dataclass(value) or len(kinds(annotation)) > 1):
            settings[path] = annotation, value
        if dataclasses.is_dataclass(value):
            settings |= _settings(value, fixed, path)
    return settings


def _shortest(path: _Path, paths: Iterable[_Path]) -> str:
    """The shortest suffix of a path that no other path shares."""
    others = [other for other in paths if other != path]
    ends = (path[-length:] for length in range(1, len(path)))
    return ".".join(next((end for end in ends if all(other[-len(end) :] != end for other in others)), path))


def _find(paths: Collection[_Path], name: str) -> _Path | None:
    """Resolve a name: an exact match, otherwise the only path that ends with it."""
    wanted = tuple(name.split("."))
    ends = [path for path in paths if path[-len(wanted) :] == wanted]
    if len(ends) > 1 and wanted not in ends:
        raise UsageError(f"{name!r} is ambiguous; did you mean {' or '.join(_shortest(path, paths) for path in ends)}?")
    return wanted if wanted in ends else next(iter(ends), None)


def _suggestion(paths: Collection[_Path], name: str) -> str:
    """The settings that an unknown name may mean, otherwise all settings."""
    shortest = {path: _shortest(path, paths) for path in paths}
    ends = {path: {".".join(path[start:]) for start in range(len(path))} for path in paths}
    close = difflib.get_close_matches(name, set().union(*ends.values()), n=1, cutoff=0.75)
    last = name.rpartition(".")[2]
    similar = [
        shortest[path]
        for path in paths
        if path[-1] == last or ends[path].intersection(close) or any(f"{name}_" in end for end in ends[path])
    ]
    return f"did you mean {' or '.join(similar)}?" if similar else f"it has {', '.join(shortest.values())}"


def _with_values(configuration: Any, values: Mapping[_Path, object]) -> Any:
    """Set all values at once: some are only valid together."""
    changes: dict[str, Any] = {}
    for name in dict.fromkeys(path[0] for path in values):
        below = {path[1:]: value for path, value in values.items() if path[0] == name}
        changes[name] = below[()] if () in below else _with_values(getattr(configuration, name), below)
    return dataclasses.replace(configuration, **changes) if changes else configuration


def _of_kind(annotation: Any, old: Any, kind: object, name: str) -> Any:
    """Switch to another kind: the same class keeps all other values, a new class starts from its defaults."""
    if kind in kinds(type(old)):
        return dataclasses.replace(old, kind=kind)
    for member in union_members(annotation):
        if kind in kinds(member):
            return _new(member, kind, old)
    raise UsageError(f"{name}={shortened(kind)} is not one of {', '.join(kinds(annotation))}")


def _new(cls: type, kind: object, old: Any) -> Any:
    """A record of another kind with its defaults; fields without a default are copied from the old record."""
    missing = [name for name in required_fields(cls) if not hasattr(old, name)]
    if missing:
        raise UsageError(f"{kind} needs {' and '.join(missing)}, which {old.kind} doesn't have; take another model")
    return cls(kind=kind, **{name: getattr(old, name) for name in required_fields(cls)})


def _changes(configuration: Any, base: Any, above: _Path) -> dict[_Path, Any]:
    """Values that differ from `base`, a configuration of the same class, by path."""
    changed: dict[_Path, Any] = {}
    for name in field_types(type(configuration)):
        ours, theirs, path = getattr(configuration, name), getattr(base, name), (*above, name)
        if dataclasses.is_dataclass(ours) and dataclasses.is_dataclass(theirs):
            kind = getattr(ours, KIND, None)
            if kind != getattr(theirs, KIND, None):
                changed[path] = kind
            changed |= _changes(ours, theirs if type(ours) is type(theirs) else _new(type(ours), kind, theirs), path)
        elif ours != theirs and name != KIND:
            changed[path] = ours
    return changed
