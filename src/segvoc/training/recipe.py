"""A recipe: everything that a training run depends on but its data, its weights and its seed."""

import typing
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from segvoc.configuration import parse_settings, setting_names, with_settings
from segvoc.data.captions.cleaning import Match, SameHead
from segvoc.data.captions.phrases import Extractor
from segvoc.errors import UsageError
from segvoc.models.builders import NetworkConfig
from segvoc.models.presets import find_preset
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
    """How a network is trained."""

    model: str
    """A preset, or a file of segvoc."""
    network: NetworkConfig | None = None
    """The network's whole configuration; None: that of the weights it starts from, or the preset's."""
    tuned: Tuned = "published"
    """The towers' parameters that are trained (CAT-Seg, Table 3): those of the published recipe, none, all, all of the
    attention, or the weights of the projections q, k, v."""
    towers: Towers = "both"
    """In which of the two towers."""
    tower_rate: float = 0.01
    """Factor of their learning rate."""
    trunk_rate: float = 0.0
    """Factor of the learning rate of the image encoder's other parameters; 0: they are frozen."""

    steps: int = 80_000
    """Optimiser steps."""
    batch: int = 4
    """Images of a step, over all processes."""
    passes: int = 1
    """Forward passes over which a process accumulates the gradients of a step."""
    learning_rate: float = 2e-4
    """Peak learning rate of AdamW."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW; norms and embeddings have none."""
    warm_up: int = 0
    """Steps of a linear warm-up, before the cosine to zero."""
    warm_up_start: float = 0.001
    """Factor of the learning rate at which the warm-up starts."""
    clip_norm: float = 0.01
    """Largest norm of all gradients together; 0: any."""
    ema: float = 0.0
    """Decay of the moving average of the weights, which is then what is saved; 0: none."""

    loss: Loss = "released"
    """What pixels without a label are: "released" trains them as none of the classes, "masked" leaves them out, and so
    does "competing", which has one softmax over all classes in place of a sigmoid for each."""
    fod: float = 0.0
    """Weight of the orthogonality loss (lambda of PCA-Seg's Eq. 10); 0: none."""
    watch_streams: bool = False
    """Whether what that loss would see is logged even where its weight is 0 (PCA-Seg, Fig. 6)."""
    kept_classes: int = 0
    """Classes of an image that go on (P of ERR-Seg), the labelled ones first; 0: all."""
    fill: Fill = "released"
    """Which other classes fill them up, see `GroundTruthFirst`."""
    words: int = 0
    """Classes that a step looks at: those in its images and random others; 0: all."""

    learns: Source = "labels"
    """What it learns from: label maps, or captions (SynSeg)."""
    align: float = 1.0
    """Weight of SynSeg's loss l1."""
    cont: float = 1.0
    """Weight of SynSeg's loss l2."""
    back: float = 1.0
    """Weight of SynSeg's loss l3."""
    sep: float = 1.0
    """Weight of SynSeg's loss l4."""
    synergy: Version = "v3"
    """The version of the paper that these losses are from."""
    eps: float = 5e-3
    """Their margin, see `SynergyLosses`."""
    active: float = 0.1
    """Their threshold, see `SynergyLosses`."""
    extractor: Extractor = "rules"
    """How noun phrases are found in captions, see `phrase_extractor`."""
    phrases: int = 8
    """Noun phrases of an image, at most."""
    match: Match = "word"
    """Which of its captions' phrases an image keeps, see `CleaningRules`."""
    same_head: SameHead = "keep"
    """Which phrases with the same head an image keeps, see `CleaningRules`."""
    mirror: bool = True
    """Whether half of the captioned images are mirrored."""
    cached: bool = True
    """Whether features of captioned images are computed once and kept; else whenever an image comes up."""

    data: str = "coco-stuff-train"
    """The data set that it was made for."""
    shortest: tuple[int, ...] = (384,)
    """Lengths to draw from that the shorter side is resized to [px]."""
    longest: int = 1333
    """Bound of the longer side [px]."""
    crop: int = 384
    """Side of the square that is cut out [px]."""
    input_size: int = 0
    """Side of the square that the network sees [px]; 0: the crop."""
    single_class: float = 1.0
    """The largest share of a crop that one class may have; 1: any."""
    colour: bool = True
    """Whether colours are jittered (SSD's augmentation)."""
    flip: float = 0.5
    """Probability of the mirror image."""
    squash: float = 0.0
    """Probability that the whole image is squashed to the square, not cropped."""
    swap_sides: bool = False
    """Whether the "left door" is the "right door" in the mirror, where both are classes."""

    precision: Precision = "float32"
    """Type of the arithmetic; weights stay float32."""
    chunk: int = 0
    """Classes that are worked on at a time; 0: all."""
    recompute: bool = False
    """Whether the backward pass computes a chunk's intermediate values again, which are then not kept."""
    sync_norm: bool = True
    """Whether batch norm takes its statistics over all processes."""
    parallel: Parallel = "ddp"
    """How several processes hold the network: a copy each, or one in shards."""
    compile: bool = False
    """Whether the network's modules are compiled."""
    workers: int = 4
    """Processes that read images."""

    save_every: int = 500
    """Steps between checkpoints."""
    watch_every: int = 5000
    """Steps between two validations; 0: only at the end."""
    held_out: int = 0
    """Images that are kept out of the training, for validation."""
    bad_steps: int = 5
    """So many steps in a row without a finite loss end the run."""

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

    def network_config(self) -> NetworkConfig:
        """The network's configuration; where the recipe has none, its preset's.

        Raises: UsageError: no such preset.
        """
        return self.network or find_preset(self.model).configuration

    def with_settings(self, assignments: Iterable[str]) -> "Recipe":
        """The recipe with some fields set, of itself or of its network: "learning_rate=1e-4", "aggregation.blocks=2".

        Raises:
            UsageError: a text without "=", an unknown name (all are listed), one name twice, or a value of the wrong
                type or range.
        """
        settings, own = parse_settings(assignments), setting_names(self, FIXED)
        rest = {name: value for name, value in settings.items() if name not in own}
        recipe = with_settings(self, {name: settings[name] for name in settings if name in own}, "a recipe", FIXED)
        if not rest:
            return recipe
        what = f"a recipe has the settings {', '.join(own)}; its network, {self.model},"
        return replace(recipe, network=with_settings(self.network_config(), rest, what))

    @property
    def side(self) -> int:
        """Of the square that the network sees [px]."""
        return self.input_size or self.crop


FIXED = ("model", "network")
"""Fields that no setting changes as a whole."""

_AMOUNTS = tuple(name for name, kind in typing.get_type_hints(Recipe).items() if kind in (int, float))
