"""Configurations: frozen, keyword-only dataclasses of plain values, stored as JSON and changed by NAME=VALUE settings.

A field holds an int, a float, a bool, a str, one of the names of a `Literal`, a tuple, another such dataclass, or a
union of these. Dataclasses in a union are distinguished by their field `kind`, a `Literal`. A setting names a field by
its dotted path, or by any end of the path that is unique: "aggregation.blocks=2", "blocks=2". The name of a field with
several kinds selects the kind: "aggregation=none".
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from segvoc.errors import UsageError

KIND = "kind"
"""Field that distinguishes the dataclasses in a union."""

Plain = bool | int | float | str | None | list[Any] | dict[str, Any]
"""A JSON value."""

Configuration = TypeVar("Configuration")


def to_json(configuration: object) -> dict[str, Any]:
    """All values of a configuration, ready for `json.dumps`; tuples become lists."""
    return {field.name: _plain(getattr(configuration, field.name)) for field in _fields(configuration)}


def _plain(value: Any) -> Plain:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def from_json(cls: type[Configuration], content: object, place: str = "") -> Configuration:
    """Restore a configuration written by `to_json`.

    Missing fields get their defaults, so files from before a field was added still load.

    Args:
        cls: the dataclass.
        content: the output of `json.loads`.
        place: dotted path of the content, for errors.

    Raises:
        UsageError: a field is unknown, a field without a default is missing, or a value has the wrong type or is out of
            range; the error contains the dotted path.
    """
    if not isinstance(content, Mapping):
        raise UsageError(f"{place or 'the configuration'} is {_shown(content)}, not an object of named values")
    types_of = typing.get_type_hints(cls)
    unknown = [_dotted(place, str(name)) for name in content if name not in types_of]
    if unknown:
        raise UsageError(f"{unknown[0][:100]!r} is unknown; there are {', '.join(types_of)}")
    values = {name: _value(types_of[name], value, _dotted(place, name)) for name, value in content.items()}
    missing = [_dotted(place, f.name) for f in _fields(cls) if f.name not in values and _is_required(f)]
    if missing:
        raise UsageError(f"{missing[0]!r} is missing")
    return cls(**values)


def parse_settings(assignments: Iterable[str]) -> dict[str, str]:
    """Parse texts such as "blocks=2" into names and values.

    Raises:
        UsageError: a text has no "=", or a name occurs twice.
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


def plain_value(text: str) -> bool | int | float | str:
    """Convert the text of a setting to a JSON value: a bool or a number if it reads as one."""
    for kind in (bool, int, float):
        value = _simple(kind, text)
        if value is not _NO_VALUE and value == value:  # JSON has no NaN
            return value
    return text


def with_settings(
    configuration: Configuration, settings: Mapping[str, object], what: str, fixed: Sequence[str] = ()
) -> Configuration:
    """Return a copy of the configuration with some fields changed.

    Args:
        configuration: the configuration to change.
        settings: values by name, as they are or as text ("2", "true", "384,512").
        what: name of the configuration in errors, for example "cat-seg-b".
        fixed: fields that can't be set.

    Raises:
        UsageError: a name is unknown or ambiguous, or a value has the wrong type or is out of range.
    """
    # kinds are set first, because they determine which fields exist
    rest = dict(settings)
    for name, value in settings.items():
        path = _find(configuration, name, kinds=True, fixed=fixed)
        if path is not None:
            configuration = _replaced(configuration, path, lambda old, t, v=value, n=name: _of_kind(old, t, v, n))
            del rest[name]
    found: dict[tuple[str, ...], tuple[str, object]] = {}
    for name, value in rest.items():
        path = _find(configuration, name, kinds=False, fixed=fixed)
        if path is None:
            raise UsageError(f"{what} has no setting {name[:100]!r}; {_suggestion(configuration, name, fixed)}")
        if path in found:
            raise UsageError(f"{found[path][0]!r} and {name!r} are one setting; set it once")
        found[path] = name, value
    return _with_values(configuration, {path: value for path, (_, value) in found.items()})


def setting_names(configuration: object, fixed: Sequence[str] = ()) -> tuple[str, ...]:
    """The shortest unique name of each field that can be set."""
    paths = _paths(configuration, fixed=fixed)
    return tuple(_shortest(path, paths) for path in paths)


def _suggestion(configuration: object, name: str, fixed: Sequence[str]) -> str:
    """The settings that an unknown name may mean, otherwise all settings."""
    paths = _paths(configuration, fixed=fixed)
    shortest = [_shortest(path, paths) for path in paths]
    similar: list[str] = []
    for length in range(1, 1 + max(map(len, paths), default=0)):
        ends = [".".join(path[-length:]) for path in paths]
        close = difflib.get_close_matches(name, ends, n=1, cutoff=0.75)
        similar += [short for short, end in zip(shortest, ends, strict=True) if end in close or f"{name}_" in end]
    if similar:
        return f"did you mean {' or '.join(dict.fromkeys(similar))}?"
    return f"it has {', '.join(shortest)}"


def differences(configuration: object, base: object) -> dict[str, Plain]:
    """Settings that turn `base` into the configuration, by their shortest names."""
    paths = _paths(configuration)
    changed = _changes(configuration, base, ())
    return {_shortest(path, paths): _plain(value) for path, value in changed.items()}


def check_range(configuration: object, limits: Mapping[str, tuple[int | float, int | float]]) -> None:
    """Check that numbers are in range; for use in `__post_init__`.

    Args:
        configuration: the configuration to check. All entries of a tuple are checked; None is always valid.
        limits: minimum and maximum by field name, both inclusive. Infinite numbers are never valid.

    Raises:
        UsageError: a number is out of range.
    """
    for name, (least, most) in limits.items():
        value = getattr(configuration, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not (least <= number <= most and math.isfinite(number)):
                to = "" if math.isinf(most) else f" to {most}"
                raise UsageError(f"{name}={number} is out of range; give a number from {least}{to}")


def _fields(configuration: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(configuration)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _dotted(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(value: object) -> str:
    return repr(value)[:100]


# ---- values


def _members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _dataclasses(annotation: Any) -> list[type]:
    return [member for member in _members(annotation) if isinstance(member, type) and dataclasses.is_dataclass(member)]


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The names of a `Literal`."""
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()


def _kinds(cls: type) -> tuple[Any, ...]:
    return _choices(typing.get_type_hints(cls).get(KIND))


def _value(annotation: Any, value: object, place: str) -> Any:
    """Convert a JSON value or a setting; settings may give numbers and lists as text."""
    members = _members(annotation)
    classes = _dataclasses(annotation)
    if classes:
        return None if value is None and type(None) in members else _instance(classes, value, place)
    for member in members:
        with_value = _simple(member, value)
        if with_value is not _NO_VALUE:
            return with_value
    raise UsageError(f"{place}={str(value)[:100]} is not {' or '.join(map(_described, members))}")


def _instance(classes: Sequence[type], value: object, place: str) -> Any:
    if any(type(value) is cls for cls in classes):
        return value
    if len(classes) == 1:
        return from_json(classes[0], value, place)
    kind = value.get(KIND) if isinstance(value, Mapping) else None
    for cls in classes:
        if kind in _kinds(cls):
            return from_json(cls, value, place)
    kinds = [name for cls in classes for name in _kinds(cls)]
    raise UsageError(f"{_dotted(place, KIND)} is {_shown(kind)}; it is one of {', '.join(kinds)}")


_NO_VALUE = object()


def _simple(annotation: Any, value: object) -> Any:
    """Convert a value to a type other than a dataclass; returns `_NO_VALUE` if it doesn't fit."""
    if annotation is type(None):
        return None if value is None or value == "none" else _NO_VALUE
    if choices := _choices(annotation):
        return value if isinstance(value, str) and value in choices else _NO_VALUE
    if typing.get_origin(annotation) is tuple:
        return _tuple(typing.get_args(annotation), value)
    if annotation is bool:
        return {"true": True, "false": False}.get(value, _NO_VALUE) if isinstance(value, str) else _same(bool, value)
    if annotation is str:
        return _same(str, value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _NO_VALUE
    if annotation is int and isinstance(value, float):
        return _NO_VALUE
    try:
        return annotation(value)
    except (ValueError, OverflowError):
        return _NO_VALUE


def _same(cls: type, value: object) -> object:
    return value if isinstance(value, cls) else _NO_VALUE


def _tuple(entries: tuple[Any, ...], value: object) -> Any:
    """Convert to a tuple of fixed length (int, int) or of any length (int, ...)."""
    if isinstance(value, str):
        value = [piece.strip() for piece in value.split(",")] if value.strip() else []
    if not isinstance(value, Sequence):
        return _NO_VALUE
    types_of = [entries[0]] * len(value) if entries[-1] is Ellipsis else list(entries)
    if len(types_of) != len(value):
        return _NO_VALUE
    found = tuple(_simple(entry, one) for entry, one in zip(types_of, value, strict=True))
    return _NO_VALUE if _NO_VALUE in found else found


def _described(annotation: Any) -> str:
    if choices := _choices(annotation):
        return f"one of {', '.join(choices)}"
    if typing.get_origin(annotation) is tuple:
        return "a list, for example 384,512"
    return _DESCRIBED[annotation]


_DESCRIBED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "none",
}


# ---- paths: the names from the outermost field to the field itself


def _paths(configuration: Any, above: tuple[str, ...] = (), *, fixed: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """The path of every field that can be set; a dataclass with several kinds has its own path, for the kind."""
    paths: list[tuple[str, ...]] = []
    types_of = typing.get_type_hints(type(configuration))
    for field in _fields(configuration):
        value, path = getattr(configuration, field.name), (*above, field.name)
        if dataclasses.is_dataclass(value):
            if len(_all_kinds(types_of[field.name])) > 1:
                paths.append(path)
            paths += _paths(value, path)
        elif field.name != KIND:
            paths.append(path)
    return [path for path in paths if path[-1] not in fixed or above]


def _all_kinds(annotation: Any) -> list[str]:
    return [name for member in _dataclasses(annotation) for name in _kinds(member)]


def _shortest(path: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> str:
    """The shortest end of a path that no other path shares."""
    for length in range(1, len(path)):
        if sum(other[-length:] == path[-length:] for other in paths) == 1:
            return ".".join(path[-length:])
    return ".".join(path)


def _find(configuration: Any, name: str, *, kinds: bool, fixed: Sequence[str]) -> tuple[str, ...] | None:
    """Find the path that a name stands for: an exact match, otherwise the only path that ends with it.

    Args:
        configuration: the configuration to search.
        name: dotted path, or its end.
        kinds: whether to search the dataclasses or the values.
        fixed: fields that can't be set.

    Raises:
        UsageError: the name is ambiguous.
    """
    wanted = tuple(name.split("."))
    every = _paths(configuration, fixed=fixed)
    ends = [path for path in every if path == wanted] or [path for path in every if path[-len(wanted) :] == wanted]
    if len(ends) > 1:
        raise UsageError(f"{name!r} is ambiguous; did you mean {' or '.join('.'.join(path) for path in ends)}?")
    found = [path for path in ends if dataclasses.is_dataclass(_at(configuration, path)) == kinds]
    return found[0] if found else None


def _at(configuration: Any, path: Sequence[str]) -> Any:
    for name in path:
        configuration = getattr(configuration, name)
    return configuration


def _replaced(configuration: Any, path: Sequence[str], change: Any) -> Any:
    """Return a copy with `change` (old value, annotation) applied at a path."""
    name, *below = path
    old = getattr(configuration, name)
    new = _replaced(old, below, change) if below else change(old, typing.get_type_hints(type(configuration))[name])
    return dataclasses.replace(configuration, **{name: new})


def _of_kind(old: Any, annotation: Any, kind: object, name: str) -> Any:
    """Switch to another kind: within the same class all other values are kept, a new class starts from its defaults."""
    if kind in _kinds(type(old)):
        return dataclasses.replace(old, kind=kind)
    for member in _dataclasses(annotation):
        if kind in _kinds(member):
            return _new(member, kind, old)
    raise UsageError(f"{name}={str(kind)[:100]} is not one of {', '.join(_all_kinds(annotation))}")


def _new(cls: type, kind: object, old: Any) -> Any:
    """A dataclass of another kind with its own defaults; fields without one are copied from the old dataclass."""
    kept = {field.name: getattr(old, field.name) for field in _fields(cls) if _is_required(field)}
    return cls(kind=kind, **kept)


def _with_values(configuration: Any, values: Mapping[tuple[str, ...], object], place: str = "") -> Any:
    """Set all values at once: some values are valid together but not one by one."""
    types_of = typing.get_type_hints(type(configuration))
    changes: dict[str, Any] = {}
    for name in dict.fromkeys(path[0] for path in values):
        own = {path[1:]: value for path, value in values.items() if path[0] == name}
        where = _dotted(place, name)
        if () in own:
            changes[name] = _value(types_of[name], own[()], name)
        else:
            changes[name] = _with_values(getattr(configuration, name), own, where)
    return dataclasses.replace(configuration, **changes) if changes else configuration


def _changes(configuration: Any, base: Any, above: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
    """Values that differ from those of `base`, a configuration of the same class, by path."""
    changed: dict[tuple[str, ...], Any] = {}
    for field in _fields(configuration):
        ours, theirs, path = getattr(configuration, field.name), getattr(base, field.name), (*above, field.name)
        if field.name == KIND or ours == theirs:
            continue
        if not dataclasses.is_dataclass(ours) or not dataclasses.is_dataclass(theirs):
            changed[path] = ours
            continue
        kind = getattr(ours, KIND, None)
        if kind != getattr(theirs, KIND, None):
            changed[path] = kind
        if type(ours) is not type(theirs):
            theirs = _new(type(ours), kind, theirs)
        changed |= _changes(ours, theirs, path)
    return changed
