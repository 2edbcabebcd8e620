"""The options of commands that label images: which network, how it looks, where it runs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import click

from segvoc.configuration import parse_settings, plain_value
from segvoc.errors import UsageError
from segvoc.inference.window_names import WINDOWS, Window

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What `model_options` reads from the command line, under the options' names."""

    weights: str | None
    options: tuple[str, ...]
    window: Window
    keep_classes: str | None
    background: str | None
    threshold: float | None
    device: str
    dtype: Literal["float32", "bfloat16"]

    @property
    def kept(self) -> int | Literal["auto", "all"] | None:
        """What --keep-classes stands for.

        Raises: UsageError: it is neither a number from 1, nor auto or all.
        """
        text = self.keep_classes
        if text is None:
            return None
        if text == "auto":
            return "auto"
        if text == "all":
            return "all"
        try:
            number = int(text)
        except ValueError:
            number = 0
        if number < 1:
            raise UsageError(f"--keep-classes {text!r} is no number of classes; give one from 1, auto or all")
        return number

    def departures(self) -> Mapping[str, object]:
        """What --set chooses by name.

        Raises: UsageError: a text without "=", or one name twice.
        """
        return {name: plain_value(text) for name, text in parse_settings(self.options).items()}

    def load(self, model: str, device: str | None = None) -> "Segmenter":
        """The network, on `device` or where --device says.

        Raises: UsageError, CheckpointError: see `segvoc.load`.
        """
        from segvoc.models.loading import load

        departures = self.departures()
        return load(model, weights=self.weights, device=device or self.device, dtype=self.dtype, options=departures)


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `ModelOptions`, and their values as its argument `chosen`."""
    return _with_options(function, tuple(_OPTIONS))


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same without what is asked of labels: for commands that look into a network."""
    return _with_options(function, tuple(name for name in _OPTIONS if name not in _OF_LABELS))


def _with_options(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    @functools.wraps(function)
    def with_options(**given: Any) -> Any:
        chosen = {field.name: given.pop(field.name, None) for field in fields(ModelOptions)}
        return function(**given, chosen=ModelOptions(**chosen))

    # decorators apply from the last one up, and the help lists them in the order of the table
    return functools.reduce(lambda command, name: _OPTIONS[name](command), reversed(names), with_options)


_OF_LABELS = ("keep_classes", "background", "threshold")
_OPTIONS: Mapping[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "weights": click.option(
        "--weights", metavar="FILE", help="Weights for the model: of segvoc, or an official checkpoint."
    ),
    "options": click.option(
        "--set", "options", multiple=True, metavar="NAME=VALUE", help="Depart from the model: dense=qq, ..."
    ),
    "window": click.option(
        "--window", type=click.Choice(WINDOWS), default="auto", show_default=True, help="How the model looks."
    ),
    "keep_classes": click.option(
        "--keep-classes", metavar="P", help="Refine the P words most voted for; auto: by their votes; all."
    ),
    "background": click.option(
        "--background", metavar="NAME", help="The word for pixels where no other word is likely enough."
    ),
    "threshold": click.option(
        "--threshold", type=float, metavar="T", help="Less likely pixels are unlabelled (or background)."
    ),
    "device": click.option(
        "--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ..."
    ),
    "dtype": click.option("--dtype", default="float32", show_default=True, type=click.Choice(["float32", "bfloat16"])),
}
"""Every option by its name in `ModelOptions`."""
