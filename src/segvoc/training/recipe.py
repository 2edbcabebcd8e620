"""Training recipes: everything that a run depends on except its data and initial weights."""

import typing
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from segvoc.configuration import parse_settings, setting_names, with_settings
from segvoc.data.captions.cleaning import EXCLUDED, Match, SameHead
from segvoc.data.captions.phrases import Extractor
from segvoc.errors import UsageError
from segvoc.models.builders import NetworkConfig
from segvoc.models.presets import find_preset
from segvoc.training.objectives.synergy_losses import Version

Loss = Literal["released", "masked", "competing"]
Precision = Literal["float32", "bfloat16", "float16"]
Tuned = Literal["published", "none", "all", "attention", "prompts", "q", "k", "v", "qk", "qv", "kv", "qkv"]
Towers = Literal["both", "image", "text"]
Fill = Literal["strongest", "released"]
Parallel = Literal["ddp", "fsdp"]
Source = Literal["labels", "captions"]
StartsFrom = Literal["encoders", "network"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    model: str
    """A preset, or a weights file written by segvoc."""
    network: NetworkConfig | None = None
    """The network's full configuration. None: taken from the initial weights, or else from the preset."""
    tuned: Tuned = "published"
    """Which encoder parameters are trained (CAT-Seg, arXiv v1, Table 3): those of the published recipe, none, all, all
    attention parameters and position embeddings, visual prompts (with the network's setting `visual_prompts=100`), or
    the weights of the q, k and v projections. "qv" is PCA-Seg's paper to the letter: as released, it
    also trains the keys of EVA's text tower."""
    towers: Towers = "both"
    """The encoders to which `tuned` applies."""
    tower_rate: float = 0.01
    """Learning rate factor for these parameters."""
    trunk_rate: float = 0.0
    """Learning rate factor for the image encoder's other parameters; 0 freezes them."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the runs whose mean score is the published one. A run without a seed of its own takes the first."""
    starts_from: StartsFrom = "encoders"
    """What is fetched if no weights are given and none ship: the encoders that the network's authors started from, or
    the whole network as they trained it (if that isn't published, the encoders)."""

    steps: int = 80_000
    """Number of optimizer steps."""
    batch: int = 4
    """Images per step, over all processes."""
    passes: int = 1
    """Gradient accumulation: forward passes per process and step."""
    learning_rate: float = 2e-4
    """Peak learning rate of AdamW."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW, not applied to norms and embeddings."""
    warm_up: int = 0
    """Steps of linear warm-up before the cosine decay to zero."""
    warm_up_start: float = 0.001
    """Learning rate factor at the start of the warm-up."""
    clip_norm: float = 0.01
    """Maximum global gradient norm; 0: no clipping."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights. With one, the averaged weights are saved; 0: none."""

    loss: Loss = "released"
    """How unlabeled pixels are treated: "released" trains them as negatives for every class, "masked" ignores them.
    "competing" also ignores them, and uses one softmax over all classes instead of a sigmoid per class."""
    fod: float = 0.0
    """Weight of the orthogonality loss (lambda of PCA-Seg's Eq. 10); 0: none."""
    watch_streams: bool = False
    """Whether to log the similarity of the streams, squared and signed, even if the weight of that loss is 0 (PCA-Seg,
    Fig. 6)."""
    kept_classes: int = 0
    """Classes kept for each image (P of ERR-Seg), the labeled ones first; 0: all."""
    fill: Fill = "released"
    """How the remaining classes are chosen, see `GroundTruthFirst`."""
    words: int = 0
    """Classes used in a step: those in its images, plus random others; 0: all."""

    learns: Source = "labels"
    """Type of supervision: label maps, or captions (SynSeg)."""
    align: float = 1.0
    """Weight of SynSeg's loss l1."""
    cont: float = 1.0
    """Weight of SynSeg's loss l2."""
    back: float = 1.0
    """Weight of SynSeg's loss l3."""
    sep: float = 1.0
    """Weight of SynSeg's loss l4."""
    synergy: Version = "v3"
    """Version of the paper that defines these losses."""
    eps: float = 5e-3
    """Margin of these losses, see `SynergyLosses`."""
    active: float = 0.1
    """Threshold of these losses, see `SynergyLosses`."""
    extractor: Extractor = "rules"
    """How noun phrases are found in captions, see `phrase_extractor`."""
    phrases: int = 8
    """Maximum number of noun phrases per image."""
    excluded: tuple[str, ...] = EXCLUDED
    """Words that exclude a phrase, see `CleaningRules`."""
    match: Match = "word"
    """Which of its captions' phrases an image keeps, see `CleaningRules`."""
    same_head: SameHead = "keep"
    """Which phrases with the same head an image keeps, see `CleaningRules`."""
    mirror: bool = True
    """Whether to flip half of the captioned images horizontally."""
    cached: bool = True
    """Whether to compute the features of captioned images once and cache them, or every time an image is used."""

    data: str = "coco-stuff-train"
    """The data set that the recipe was made for."""
    shortest: tuple[int, ...] = (384,)
    """Lengths to which the shorter side is resized, drawn at random [px]."""
    longest: int = 1333
    """Maximum length of the longer side [px]."""
    crop: int = 384
    """Side of the square crop [px]."""
    input_size: int = 0
    """Side of the network's square input [px]; 0: that of the crop."""
    single_class: float = 1.0
    """Maximum fraction of a crop that one class may cover; 1: no limit."""
    color: bool = True
    """Whether to apply color jitter (SSD's augmentation)."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    squash: float = 0.0
    """Probability of resizing the whole image to the square instead of cropping it."""
    swap_sides: bool = False
    """Whether a flip swaps classes such as "left door" and "right door", if both exist."""

    precision: Precision = "float32"
    """Data type for computation; weights stay float32."""
    chunk: int = 0
    """Number of classes processed at a time; 0: all."""
    recompute: bool = False
    """Activation checkpointing: whether the backward pass recomputes a chunk's activations instead of storing them."""
    sync_norm: bool = True
    """Whether batch norm statistics are synchronized over all processes."""
    parallel: Parallel = "ddp"
    """How the network is distributed: replicated in each process, or sharded over them."""
    compile: bool = False
    """Whether to compile the network's modules."""
    workers: int = 4
    """Number of data loader processes."""

    save_every: int = 500
    """Steps between checkpoints."""
    watch_every: int = 5000
    """Steps between validations; 0: only at the end."""
    held_out: int = 0
    """Number of images held out for validation."""
    bad_steps: int = 5
    """The run stops after this many consecutive steps without a finite loss."""

    def __post_init__(self) -> None:
        """Check that all values are valid."""
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
        self._check_tuples()

    def _check_tuples(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds={self.seeds} are no different seeds; give some, for example 42,43,44")
        if not self.shortest or min(self.shortest) < 1:
            raise UsageError(f"shortest={self.shortest} names no sides; give some in pixels, for example 384,512")

    def network_config(self) -> NetworkConfig:
        """The network's configuration, by default that of the preset.

        Raises: UsageError: no such preset.
        """
        return self.network or find_preset(self.model).configuration

    def with_settings(self, assignments: Iterable[str]) -> "Recipe":
        """A copy with changed fields of the recipe or its network: "learning_rate=1e-4", "aggregation.blocks=2".

        Raises:
            UsageError: an assignment has no "=", a name is unknown (the message lists all names) or occurs twice, or a
                value has the wrong type or is out of range.
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
        """Side of the network's square input [px]."""
        return self.input_size or self.crop


FIXED = ("model", "network")
"""Fields that a setting can't replace as a whole."""

_AMOUNTS = tuple(name for name, kind in typing.get_type_hints(Recipe).items() if kind in (int, float))
