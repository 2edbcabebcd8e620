"""Options of commands that label images: the model, its weights, device and precision, and `LabelOptions`."""

import functools
import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from segvoc.errors import UsageError, one_line
from segvoc.inference.label_options import OPTION_TEXTS, LabelKeywords, LabelOptions
from segvoc.runtime.hardware import DtypeName
from segvoc.storage.records import parse, parse_settings
from segvoc.vocabulary import PartVocabulary, Vocabulary

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter
    from segvoc.models.network_segmenter import NetworkSegmenter
    from segvoc.networks.base import SegmentationNetwork


def own_network(place: str) -> "SegmentationNetwork":
    """Build a network, or a model, by a function of a Python file ("mine.py:build"), or raise `UsageError`."""
    from segvoc.models.network_segmenter import NetworkSegmenter
    from segvoc.networks.base import SegmentationNetwork

    path, _, name = place.rpartition(":")
    if not Path(path).is_file() or not name.isidentifier():
        raise UsageError(f"--network {place!r} names no function in a Python file; for example mine.py:build")
    spec = importlib.util.spec_from_file_location("segvoc_own_network", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--network {place!r}: {path!r} is no Python file; for example mine.py:build")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        built = getattr(module, name)()
    except Exception as error:
        raise UsageError(f"--network {place!r} fails ({type(error).__name__}: {one_line(error)})") from error
    network = built.network if isinstance(built, NetworkSegmenter) else built
    if not isinstance(network, SegmentationNetwork):
        raise UsageError(
            f"--network {place!r} gives a {type(built).__name__}; return a network of segvoc, or its model"
        )
    return network


@dataclass(frozen=True, kw_only=True)
class WordOptions:
    """The values of --words and --words-file."""

    words: tuple[str, ...] = ()
    """Each is a list of words, separated by commas."""
    words_file: str | None = None

    def vocabulary(self) -> Vocabulary | None:
        """The words from either option; None if neither is given, `UsageError` if both are."""
        if self.words and self.words_file is not None:
            raise UsageError("both --words and --words-file are given; give one of them")
        if self.words_file is not None:
            return Vocabulary.read(self.words_file)
        lines = [Vocabulary(line) for line in self.words]
        if len(lines) == 1:
            return lines[0]
        return Vocabulary([word for line in lines for word in line.words]) if lines else None


AnyModel = TypeVar("AnyModel", bound="Segmenter")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The values of the options that `model_options` adds; the model is loaded as by `segvoc.load`."""

    weights: str | None = None
    options: tuple[str, ...] = ()
    device: str = "auto"
    dtype: DtypeName = "float32"
    taught: tuple[str, ...] = ()
    network: str | None = None
    """--network: the file and function that build a custom network."""

    def departures(self) -> Mapping[str, object]:
        """The settings of --set by name."""
        return {name: parse(bool | int | float, text) for name, text in parse_settings(self.options).items()}

    def open(self, model: str, device: str | None = None, dtype: DtypeName | None = None) -> "Segmenter":
        """Load any model as `segvoc.load` does, with the words of --taught; by default onto --device, in --dtype."""
        from segvoc.models.opening import load

        device, dtype = device or self.device, dtype or self.dtype
        return self.with_taught(load(model, device=device, dtype=dtype, **self._changes()))

    def open_network(self, model: str, device: str | None = None) -> "NetworkSegmenter":
        """The same for commands that need the modules of a PyTorch network."""
        from segvoc.models.opening import load_network

        return self.with_taught(load_network(model, device=device or self.device, dtype=self.dtype, **self._changes()))

    def _changes(self) -> dict[str, Any]:
        network = None if self.network is None else own_network(self.network)
        return {"weights": self.weights, "options": self.departures(), "network": network}

    def with_taught(self, model: AnyModel) -> AnyModel:
        """Add the words of --taught to a model; `CheckpointError` if a file is for another model."""
        if not self.taught:
            return model
        from segvoc.inference.taught.taught_words import TaughtWords

        return model.with_taught(*map(TaughtWords.load, self.taught))


NETWORK_OPTIONS = ("weights", "options", "device", "dtype")
"""Options of a command that inspects a network or compares its outputs."""


def bundle_options(
    options: Mapping[str, Decorator], argument: str, value: Callable[[dict[str, Any]], Any]
) -> Decorator:
    """Add options to a command, which gets one argument in place of their values: `value` of the values by name."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_options(**values: Any) -> Any:
            chosen = {name: values.pop(name) for name in options}
            return function(**values, **{argument: value(chosen)})

        # decorators apply bottom-up
        return functools.reduce(lambda command, option: option(command), reversed([*options.values()]), with_options)

    return add


def model_options(*names: str, dtype: DtypeName = "float32") -> Decorator:
    """Add these fields of `ModelOptions`, and the default of --dtype, to a command, which gets them as `chosen`."""
    precision = click.option(
        "--dtype",
        default=dtype,
        type=click.Choice(get_args(DtypeName)),
        help="Precision; auto: the fastest that preserves labels for tiny's shipped weights, otherwise float32.",
    )
    options = {**_OPTIONS, "dtype": precision}
    return bundle_options({name: options[name] for name in names}, "chosen", lambda given: ModelOptions(**given))


word_options = bundle_options(
    {
        "words": click.option(
            "--words",
            metavar="WORDS",
            multiple=True,
            help='One word per class, separated by commas: "cat, sofa=couch, wall" (= before a synonym); repeatable.',
        ),
        "words_file": click.option(
            "--words-file",
            metavar="FILE",
            help="One class per line, with = between synonyms; or a classes.json: a list, or a name for each id.",
        ),
    },
    "words",
    lambda given: WordOptions(**given),
)
"""Add --words and --words-file to a command, which gets a `WordOptions`, its argument `words`."""


def _parts(given: dict[str, Any]) -> PartVocabulary | None:
    """The parts from either option; None if neither is given, `UsageError` if both are."""
    if given["parts"] is not None and given["parts_file"] is not None:
        raise UsageError("both --parts and --parts-file are given; give one of them")
    if given["parts_file"] is not None:
        return PartVocabulary.read(given["parts_file"])
    return None if given["parts"] is None else PartVocabulary(given["parts"])


part_options = bundle_options(
    {
        "parts": click.option(
            "--parts",
            metavar="PARTS",
            help='Objects and their parts: "dog: head, leg; cat: head"; "*: head" is the head of any object.',
        ),
        "parts_file": click.option(
            "--parts-file", metavar="FILE", help='A JSON file with the parts: {"dog": ["head", "leg"], "cat": []}.'
        ),
    },
    "parts",
    _parts,
)
"""Add --parts and --parts-file to a command, which gets a `PartVocabulary | None`, its argument `parts`."""


def setting_option(help: str) -> Decorator:
    """Add --set to a command, which gets its values as `options`."""
    return click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help=help)


_OPTIONS: Mapping[str, Decorator] = {
    "weights": click.option(
        "--weights", metavar="FILE", help="Weights for the model: a segvoc file or an official checkpoint."
    ),
    "options": setting_option("Change a setting of the model, such as dense=qq; repeatable."),
    "device": click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or 1, ..."),
    "taught": click.option(
        "--taught", multiple=True, metavar="FILE", help="Words taught by `segvoc teach` for this model; repeatable."
    ),
    "network": click.option(
        "--network", metavar="FILE.py:FUNCTION", help="Build a custom network by running this function."
    ),
}
"""The options by their names in `ModelOptions`, except for --dtype, which has several defaults."""


class FiniteRange(click.FloatRange):
    """A range of finite numbers: NaN isn't below or above anything, and infinity is no limit."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType.convert`."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


def label_options(*names: str) -> Decorator:
    """Add fields of `LabelOptions` as options to a command, which gets a `LabelOptions`, its argument `labels`."""
    options = {name: _label_option(name, "auto" if name == "window" else None) for name in names}
    return bundle_options(options, "labels", lambda values: _checked(_given(values)))


def given_options(*names: str) -> Decorator:
    """Like `label_options`, but the command gets only the given options, its argument `given` (`LabelKeywords`)."""

    def checked(values: dict[str, Any]) -> LabelKeywords:
        _checked(_given(values))
        return _given(values)

    return bundle_options({name: _label_option(name, None) for name in names}, "given", checked)


def _given(values: dict[str, Any]) -> Any:
    return {name: value for name, value in values.items() if value is not None}


def _checked(given: LabelKeywords) -> LabelOptions:
    """Validate options; errors name the command-line flags."""
    try:
        return LabelOptions(**given)
    except UsageError as error:
        text = str(error)
        for name in given:
            text = text.replace(f"{name}=", f"{_flag(name)} ")
        raise UsageError(text) from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _label_option(name: str, default: str | None) -> Decorator:
    text, flag = OPTION_TEXTS[name], _flag(name)
    if text.parse is None:
        both = f"{flag}/--no-{flag.removeprefix('--')}" if text.has_opposite else flag
        return click.option(both, is_flag=True, default=None, help=text.help)
    return click.option(
        flag,
        type=click.Choice(text.choices) if text.choices else FiniteRange() if text.parse is float else text.parse,
        default=default,
        metavar=text.metavar,
        help=text.help,
    )
