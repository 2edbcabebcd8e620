"""A recipe: everything that a training run depends on but its data, its weights and its seed."""

import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from segvoc.data.captions.cleaning import Match, SameHead
from segvoc.data.captions.phrases import Extractor
from segvoc.errors import UsageError
from segvoc.networks.options import Options
from segvoc.training.objectives.synergy_losses import Version

Loss = Literal["released", "masked", "competing"]
Precision = Literal["float32", "bfloat16", "float16"]
Tuned = Literal["published", "none", "all", "attention", "q", "k", "v", "qk", "qv", "kv", "qkv"]
Towers = Literal["both", "image", "text"]
Fill = Literal["strongest", "released"]
Parallel = Literal["ddp", "fsdp"]
Source = Literal["labels", "captions"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    What is trained:
    model: a preset. options: departures from it; `with_settings` takes their names too. tuned: the towers' parameters
    that learn (CAT-Seg, Table 3): those of the published recipe, none, all, all of the attention, or the weights of the
    projections q, k, v. towers: in which of the two towers. tower_rate: factor of their learning rate. trunk_rate: the
    same for the image tower's other parameters (0: they stay).

    Optimiser:
    steps. batch: pictures a step, of all processes. passes: forward passes that a process splits its share into.
    learning_rate, weight_decay: of AdamW. warm_up: steps of a linear rise from warm_up_start times the rate, before
    the cosine to zero. clip_norm: largest norm of all gradients (0: any). ema: decay of the running mean of the
    weights, which is then what is saved (0: none).

    Losses:
    loss: of pixels without a label: "released" trains them as no class, "masked" leaves them out; "competing" too, and
    takes one softmax over all classes in place of a sigmoid for each. fod: weight of the orthogonality loss (lambda of
    PCA-Seg's Eq. 10; 0: none). watch_streams: what that loss would see is logged even where its weight is 0 (PCA-Seg,
    Fig. 6). kept_classes: classes of a picture that go on (ERR-Seg's P; 0: all), the labelled ones first. fill: which
    others, see `GroundTruthFirst`. words: classes that a step looks at, those in its pictures and random others (0:
    all).

    Captions (SynSeg; `labels` are all other recipes):
    learns: from label maps or from captions. align, cont, back, sep: weights of its four losses, l1 to l4. synergy:
    which version of the paper they are of. eps, active: their margin and threshold, see `SynergyLosses`. extractor: of
    noun phrases, see `phrase_extractor`. phrases: of an image, at most. match, same_head: which of its captions'
    phrases it keeps, see `CleaningRules`. mirror: whether half of the images are mirrored. cached: features of images
    are computed once and kept; without, whenever an image comes.

    Pictures:
    data: the set that it was made for. shortest: sides to draw from that the shorter side is resized to [px]. longest:
    bound of the longer side [px]. crop: side of the square that is cut out [px]. input_size: side that the network
    sees [px] (0: the crop). single_class: the largest share of a crop that one class may have (1: any). colour: jitter
    (SSD's). flip, squash: probability of the mirror image; of the whole picture squashed to the square, not cropped.
    swap_sides: in the mirror the "left door" is the "right door", where both are classes.

    Machine:
    precision: of the arithmetic; weights stay float32. chunk: classes worked on at a time (0: all). recompute: their
    inner values are computed twice rather than kept. sync_norm: batch norm over all processes. parallel: copies of the
    network, or one in shards. compile: its parts. workers: processes that read pictures.

    Watching:
    save_every, watch_every: steps between checkpoints, and between looks at pictures (0: only at the end). held_out:
    pictures that are kept out of the training and looked at instead. bad_steps: so many steps in a row without a
    finite loss end the run.
    """

    model: str
    options: Options = field(default_factory=Options)
    tuned: Tuned = "published"
    towers: Towers = "both"
    tower_rate: float = 0.01
    trunk_rate: float = 0.0

    steps: int = 80_000
    batch: int = 4
    passes: int = 1
    learning_rate: float = 2e-4
    weight_decay: float = 1e-4
    warm_up: int = 0
    warm_up_start: float = 0.001
    clip_norm: float = 0.01
    ema: float = 0.0

    loss: Loss = "released"
    fod: float = 0.0
    watch_streams: bool = False
    kept_classes: int = 0
    fill: Fill = "released"
    words: int = 0

    learns: Source = "labels"
    align: float = 1.0
    cont: float = 1.0
    back: float = 1.0
    sep: float = 1.0
    synergy: Version = "v3"
    eps: float = 5e-3
    active: float = 0.1
    extractor: Extractor = "rules"
    phrases: int = 8
    match: Match = "word"
    same_head: SameHead = "keep"
    mirror: bool = True
    cached: bool = True

    data: str = "coco-stuff-train"
    shortest: tuple[int, ...] = (384,)
    longest: int = 1333
    crop: int = 384
    input_size: int = 0
    single_class: float = 1.0
    colour: bool = True
    flip: float = 0.5
    squash: float = 0.0
    swap_sides: bool = False

    precision: Precision = "float32"
    chunk: int = 0
    recompute: bool = False
    sync_norm: bool = True
    parallel: Parallel = "ddp"
    compile: bool = False
    workers: int = 4

    save_every: int = 500
    watch_every: int = 5000
    held_out: int = 0
    bad_steps: int = 5

    def __post_init__(self) -> None:
        """Refuse values that can't be trained with."""
        for name in ("steps", "batch", "passes", "crop", "longest", "bad_steps", "save_every", "phrases"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} is too small; give a whole number from 1")
        for name in _AMOUNTS:
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name}={getattr(self, name)} is no amount; give a number from 0")
        for name in ("flip", "squash", "single_class", "ema"):
            if getattr(self, name) > 1:
                raise UsageError(f"{name}={getattr(self, name)} is no share; give a number from 0 to 1")
        if not 0 < self.eps < 0.5:
            raise UsageError(f"eps={self.eps} leaves no cosine inside; give a number between 0 and 0.5")
        if self.learns == "captions" and self.parallel == "fsdp" and not self.cached:
            raise UsageError("cached=false needs whole towers, and parallel=fsdp splits them; leave one of the two out")
        if not self.shortest or min(self.shortest) < 1:
            raise UsageError(f"shortest={self.shortest} names no sides; give some in pixels, for example 384,512")

    def with_settings(self, assignments: Iterable[str]) -> "Recipe":
        """The recipe with what texts as "learning_rate=1e-4" or "blocks=2" (an option of the network) set.

        Raises:
            UsageError: a text without "=", an unknown name (all are listed), one name twice, or no such value.
        """
        settings = dict(_split(assignments))
        kinds = typing.get_type_hints(Recipe)
        options = {name: value for name, value in settings.items() if name in _OPTIONS}
        changes: dict[str, Any] = {}
        for name, text in settings.items():
            if name in options:
                continue
            if name not in _SETTINGS:
                raise UsageError(f"{name!r} is no setting; it is one of {', '.join((*_SETTINGS, *_OPTIONS))}")
            changes[name] = _value(name, kinds[name], text)
        if options:
            changes["options"] = Options.of(options).over(self.options)
        return replace(self, **changes)

    def plain(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; options as far as they depart from the preset."""
        return {**asdict(self), "options": self.options.chosen(), "shortest": list(self.shortest)}

    @property
    def side(self) -> int:
        """Of the square that the network sees [px]."""
        return self.input_size or self.crop


_SETTINGS = tuple(entry.name for entry in fields(Recipe) if entry.name not in ("options", "model"))
_OPTIONS = tuple(entry.name for entry in fields(Options))
_AMOUNTS = tuple(name for name, kind in typing.get_type_hints(Recipe).items() if kind in (int, float))


def _split(assignments: Iterable[str]) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for text in assignments:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise UsageError(f"{text!r} sets nothing; write it as NAME=VALUE, for example learning_rate=1e-4")
        if name in seen:
            raise UsageError(f"{name!r} is set twice; set it once")
        seen.add(name)
        yield name, value


def _value(name: str, kind: Any, text: str) -> object:
    """The value that a text stands for."""
    if choices := typing.get_args(kind) if typing.get_origin(kind) is Literal else ():
        if text not in choices:
            raise UsageError(f"{name}={text} is unknown; it is one of {', '.join(choices)}")
        return text
    try:
        return _READERS.get(kind, _whole_numbers)(text)
    except (ValueError, KeyError):
        raise UsageError(f"{name}={text} is no {_NAMES.get(kind, 'list of whole numbers')}") from None


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


_READERS: Mapping[Any, Callable[[str], object]] = {
    int: int,
    float: float,
    str: str,
    bool: {"true": True, "false": False}.__getitem__,
}
_NAMES = {int: "whole number", float: "number", bool: "truth value; write true or false"}
