"""Options of commands that use a model: its weights and settings, and the device and precision it runs in."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from segvoc.configuration import parse_settings, plain_value
from segvoc.errors import UsageError

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter
    from segvoc.models.network_segmenter import NetworkSegmenter
    from segvoc.models.opening import DtypeName


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The values of the options that `model_options` adds, or of some of them."""

    weights: str | None = None
    """--weights: a weights file."""
    options: tuple[str, ...]
    """--set: each NAME=VALUE."""
    device: str = "auto"
    """--device: where the network runs."""
    dtype: "DtypeName" = "float32"
    """--dtype: the precision it runs in."""
    trust_code: bool = False
    """--trust-code: whether archives of `torch.export` are opened."""

    def departures(self) -> Mapping[str, object]:
        """The settings of --set by name.

        Raises:
            UsageError: A setting has no "=", or a name occurs twice.
        """
        return {name: plain_value(text) for name, text in parse_settings(self.options).items()}

    def load(self, model: str, device: str | None = None) -> "NetworkSegmenter":
        """Load a network onto `device`, by default the one of --device, for commands that look into it.

        Raises:
            UsageError: See `segvoc.load`, or the model is an exported one.
            CheckpointError: See `segvoc.load`.
        """
        from segvoc.models.loading import load_network
        from segvoc.models.opening import means_exported_folder

        if means_exported_folder(model):
            raise UsageError(f"{model!r} is an exported model, which only labels images; name the model it was made of")
        departures = self.departures()
        return load_network(
            model, weights=self.weights, device=device or self.device, dtype=self.dtype, options=departures
        )

    def open(self, model: str) -> "Segmenter":
        """Load any model that labels images.

        Raises:
            UsageError: See `segvoc.load`.
            CheckpointError: See `segvoc.load`.
        """
        from segvoc.models.opening import load

        return load(
            model,
            weights=self.weights,
            device=self.device,
            dtype=self.dtype,
            options=self.departures(),
            trust_code=self.trust_code,
        )


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options in `ModelOptions` to a command, which gets their values as its argument `chosen`."""
    return _with_options(function, (*_OPTIONS, "trust_code"), dtype="auto")


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options without --trust-code, for a command that looks into a network, or compares its numbers.

    --dtype is float32 by default.
    """
    return _with_options(function, tuple(_OPTIONS))


def export_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --weights and --set, for a command that decides the rest itself."""
    return _with_options(function, ("weights", "options"))


def speed_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --set and --device, for a command that takes several models and tries the other options itself."""
    return _with_options(function, ("options", "device"))


def _with_options(
    function: Callable[..., Any], names: Sequence[str], dtype: "DtypeName" = "float32"
) -> Callable[..., Any]:
    @functools.wraps(function)
    def with_options(**given: Any) -> Any:
        chosen = {name: given.pop(name) for name in names}
        return function(**given, chosen=ModelOptions(**chosen))

    # decorators apply bottom-up, and the help lists options in the order of the table
    options = {**_OPTIONS, "dtype": _dtype_option(dtype), "trust_code": _TRUST_CODE}
    return functools.reduce(lambda command, name: options[name](command), reversed(names), with_options)


def _dtype_option(default: "DtypeName") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--dtype",
        default=default,
        show_default=True,
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        help="Precision; auto: bfloat16 for tiny's own weights where the hardware multiplies it, else float32.",
    )


_TRUST_CODE = click.option(
    "--trust-code", is_flag=True, help="Open a MODEL of torch.export, which can run any code of its maker."
)
_OPTIONS: Mapping[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "weights": click.option(
        "--weights", metavar="FILE", help="Weights for the model: a segvoc file or an official checkpoint."
    ),
    "options": click.option(
        "--set",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Change a setting of the model, such as dense=qq; repeatable.",
    ),
    "device": click.option(
        "--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ..."
    ),
    "dtype": _dtype_option("float32"),
}
"""The options by their names in `ModelOptions`."""
