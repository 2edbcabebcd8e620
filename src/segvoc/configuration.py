"""Settings: NAME=VALUE overrides of a configuration, which is a record (`segvoc.records`).

A setting names a field by its dotted path, or by any unique suffix of it: "aggregation.blocks=2" or "blocks=2".
For a field with several kinds, it selects the kind: "aggregation=none".
"""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, TypeVar

from segvoc.errors import UsageError
from segvoc.records import (
    KIND,
    Plain,
    field_types,
    field_value,
    kinds,
    parse,
    plain,
    required_fields,
    shortened,
    union_members,
)

Configuration = TypeVar("Configuration")


def parse_settings(assignments: Iterable[str]) -> dict[str, str]:
    """Parse assignments such as "blocks=2" into names and values.

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
    """Convert the text of a setting to a JSON value: a bool or number if it parses as such, else a string."""
    return parse(bool | int | float, text)


def with_settings(
    configuration: Configuration, settings: Mapping[str, object], what: str, fixed: Sequence[str] = ()
) -> Configuration:
    """Return a copy of the configuration with some fields changed.

    Args:
        configuration: the configuration to change.
        settings: values by name, typed or as text ("2", "true", "384,512").
        what: name of the configuration in errors, for example "cat-seg-b".
        fixed: fields that can't be set.

    Raises:
        UsageError: a name is unknown or ambiguous, or a value has the wrong type or is out of range.
    """
    # kinds are set first, because they determine which fields exist
    for name, kind in settings.items():
        found = _settings(configuration, fixed)
        path = _find(found, name)
        if path is not None and found[path].is_kind:
            configuration = _with_values(configuration, {path: _of_kind(found[path], kind, name)})
    found = _settings(configuration, fixed)
    values: dict[_Path, object] = {}
    names: dict[_Path, str] = {}
    for name, value in settings.items():
        path = _find(found, name)
        if path is None:
            raise UsageError(f"{what} has no setting {name[:100]!r}; {_suggestion(found, name)}")
        if path in names:
            raise UsageError(f"{names[path]!r} and {name!r} are the same setting; set it once")
        names[path] = name
        if not found[path].is_kind:
            annotation = found[path].annotation
            values[path] = field_value(
                annotation, parse(annotation, value) if isinstance(value, str) else value, path[-1]
            )
    return _with_values(configuration, values)


def setting_names(configuration: object, fixed: Sequence[str] = ()) -> tuple[str, ...]:
    """The shortest unique name of each field that can be set."""
    paths = _settings(configuration, fixed)
    return tuple(_shortest(path, paths) for path in paths)


def differences(configuration: object, base: object) -> dict[str, Plain]:
    """Settings that turn `base` into the configuration, by their shortest names."""
    paths = _settings(configuration)
    changed = _changes(configuration, base, ())
    return {_shortest(path, paths): plain(value) for path, value in changed.items()}


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


_Path = tuple[str, ...]
"""The names from the outermost field to the field itself."""


@dataclass(frozen=True)
class _Setting:
    """A field that can be set, or the kind of a field with several kinds."""

    annotation: Any
    value: Any

    @property
    def is_kind(self) -> bool:
        """Whether a kind is set."""
        return is_dataclass(self.value)


def _settings(configuration: Any, fixed: Sequence[str] = (), above: _Path = ()) -> dict[_Path, _Setting]:
    """Everything in a configuration that can be set."""
    settings: dict[_Path, _Setting] = {}
    for name, annotation in field_types(type(configuration)).items():
        value, path = getattr(configuration, name), (*above, name)
        is_set = name != KIND and ".".join(path) not in fixed
        if is_set and (not is_dataclass(value) or len(kinds(annotation)) > 1):
            settings[path] = _Setting(annotation, value)
        if is_dataclass(value):
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
    similar = [short for path, short in shortest.items() if path[-1] == name.rpartition(".")[2]]
    for length in range(1, 1 + max(map(len, paths), default=0)):
        ends = {path: ".".join(path[-length:]) for path in paths}
        close = difflib.get_close_matches(name, ends.values(), n=1, cutoff=0.75)
        similar += [shortest[path] for path, end in ends.items() if end in close or f"{name}_" in end]
    if similar:
        return f"did you mean {' or '.join(dict.fromkeys(similar))}?"
    return f"it has {', '.join(shortest.values())}"


def _with_values(configuration: Any, values: Mapping[_Path, object]) -> Any:
    """Set all values at once: some are only valid together."""
    changes: dict[str, Any] = {}
    for name in dict.fromkeys(path[0] for path in values):
        own = {path[1:]: value for path, value in values.items() if path[0] == name}
        changes[name] = own[()] if () in own else _with_values(getattr(configuration, name), own)
    return replace(configuration, **changes) if changes else configuration


def _of_kind(setting: _Setting, kind: object, name: str) -> Any:
    """Switch to another kind: the same class keeps all other values, a new class starts from its defaults."""
    if kind in kinds(type(setting.value)):
        return replace(setting.value, kind=kind)
    for member in union_members(setting.annotation):
        if kind in kinds(member):
            return _new(member, kind, setting.value)
    raise UsageError(f"{name}={shortened(kind)} is not one of {', '.join(kinds(setting.annotation))}")


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
        if name == KIND or ours == theirs:
            continue
        if not is_dataclass(ours) or not is_dataclass(theirs):
            changed[path] = ours
            continue
        kind = getattr(ours, KIND, None)
        if kind != getattr(theirs, KIND, None):
            changed[path] = kind
        if type(ours) is not type(theirs):
            theirs = _new(type(ours), kind, theirs)
        changed |= _changes(ours, theirs, path)
    return changed
