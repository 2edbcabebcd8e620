"""Options of commands that label images: those of `LabelOptions`, by their own names."""

import functools
from collections.abc import Callable
from typing import Any

import click

from segvoc.errors import UsageError
from segvoc.inference.label_options import OPTION_TEXTS, LabelKeywords, LabelOptions

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def label_options(*names: str) -> Decorator:
    """Add options to a command, which gets the value of all of them as its argument `labels`.

    Args:
        names: fields of `LabelOptions`.
    """
    return _with_options(names, lambda labels, given: {"labels": labels}, window="auto")


def given_options(*names: str, prefix: str = "") -> Decorator:
    """Add options to a command, which gets those that are there as its argument `given` (`LabelKeywords`).

    Args:
        names: fields of `LabelOptions`.
        prefix: of their names, for the options of a second model, which are by default those of the first.
    """
    return _with_options(names, lambda labels, given: {"given": given}, prefix)


def _with_options(
    names: tuple[str, ...],
    arguments: Callable[[LabelOptions, LabelKeywords], dict[str, Any]],
    prefix: str = "",
    **defaults: str,
) -> Decorator:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_options(**values: Any) -> Any:
            options = {name: values.pop(f"{prefix}{name}") for name in names}
            given: Any = {name: value for name, value in options.items() if value is not None}
            return function(**values, **arguments(_checked(given, prefix), given))

        # decorators apply bottom-up
        return functools.reduce(
            lambda command, name: _option(name, prefix, defaults.get(name))(command), reversed(names), with_options
        )

    return add


def _checked(given: LabelKeywords, prefix: str) -> LabelOptions:
    """The value of some options, whose errors name them as they are typed."""
    try:
        return LabelOptions(**given)
    except UsageError as error:
        text = str(error)
        for name in given:
            text = text.replace(f"{name}=", f"{_flag(prefix + name)} ")
        raise UsageError(text) from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _option(name: str, prefix: str, default: str | None) -> Decorator:
    text, flag = OPTION_TEXTS[name], _flag(prefix + name)
    about = f"Its {_flag(name)}; by default that of the first." if prefix else text.help
    if text.parse is None:
        return click.option(flag, is_flag=True, default=None, help=about)
    return click.option(
        flag,
        type=click.Choice(text.choices) if text.choices else text.parse,
        default=default,
        show_default=default is not None,
        metavar=text.metavar,
        help=about,
    )
