"""Options of commands that label images: which network to use, how to run it, and where."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from segvoc.configuration import parse_settings, plain_value
from segvoc.errors import UsageError
from segvoc.inference.window_names import WINDOWS, Window

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
    window: Window = "auto"
    """--window: how images pass through the network."""
    keep_classes: str | None = None
    """--keep-classes as typed; see `kept`."""
    background: str | None = None
    """--background: the word for all other pixels."""
    threshold: float | None = None
    """--threshold: the lowest probability of labeled pixels."""
    device: str = "auto"
    """--device: where the network runs."""
    dtype: "DtypeName" = "float32"
    """--dtype: the precision it runs in."""
    trust_code: bool = False
    """--trust-code: whether archives of `torch.export` are opened."""

    @property
    def kept(self) -> int | Literal["auto", "all"] | None:
        """The parsed value of --keep-classes.

        Raises:
            UsageError: It is neither a positive number nor auto or all.
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
            raise UsageError(f"--keep-classes {text!r} is invalid; give a number of classes from 1, auto or all")
        return number

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
    """Add the options in `ModelOptions` to a command, which gets their values as its argument `chosen`.

    --dtype is float32 by default, for commands whose numbers are compared with others.
    """
    return _with_options(function, tuple(_OPTIONS))


def evaluation_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options; --window is an argument of its own, `window`, which is None unless it is given."""
    window = click.option(
        "--window",
        type=click.Choice(WINDOWS),
        help="How images are cut and resized; by default official on benchmarks, and auto on your own images.",
    )
    return window(_with_options(function, tuple(name for name in _OPTIONS if name != "window")))


def labeling_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options and --trust-code to a command that labels images; --dtype is auto by default."""
    return _with_options(function, (*_OPTIONS, "trust_code"), dtype="auto")


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options without those about labels, for commands that inspect a network."""
    return _with_options(function, tuple(name for name in _OPTIONS if name not in _LABEL_OPTIONS))


def export_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --weights and --set, for a command that decides the rest itself."""
    return _with_options(function, ("weights", "options"))


def serving_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --weights, --set, --device, --dtype and --trust-code, for a command whose callers choose the rest."""
    return _with_options(function, ("weights", "options", "device", "dtype", "trust_code"), dtype="auto")


def text_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --weights, --set, --device and --dtype, for a command that only encodes words."""
    return _with_options(function, ("weights", "options", "device", "dtype"))


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `network_options` and --keep-classes, for a command that inspects class selection."""
    return _with_options(function, tuple(name for name in _OPTIONS if name not in ("background", "threshold")))


def speed_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --set, --window and --device, for a command that takes several models and tries the other options itself."""
    return _with_options(function, ("options", "window", "device"))


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
_LABEL_OPTIONS = ("keep_classes", "background", "threshold")
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
    "window": click.option(
        "--window",
        type=click.Choice(WINDOWS),
        default="auto",
        show_default=True,
        help="How images are cut and resized.",
    ),
    "keep_classes": click.option(
        "--keep-classes", metavar="P", help="Refine only the P words with the most votes; or auto, or all."
    ),
    "background": click.option(
        "--background", metavar="NAME", help="The word for pixels where no other word is likely enough."
    ),
    "threshold": click.option(
        "--threshold", type=float, metavar="T", help="Leave pixels below this probability unlabeled (or background)."
    ),
    "device": click.option(
        "--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ..."
    ),
    "dtype": _dtype_option("float32"),
}
"""The options by their names in `ModelOptions`."""
