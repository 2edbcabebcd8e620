"""Training recipes: everything that a run depends on except its data and initial weights."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from segvoc.data.captions.phrases import CleaningRules
from segvoc.data.training.augmentations import Augmentation
from segvoc.errors import UsageError
from segvoc.models.presets import PRESETS, find_preset
from segvoc.networks.base import NetworkConfig
from segvoc.storage.records import check_range, parse_settings, with_settings

Loss = Literal["released", "masked", "competing", "cross-entropy"]
Precision = Literal["float32", "bfloat16", "float16"]
Trainable = Literal["published", "none", "all", "q", "k", "v", "qk", "qv", "kv", "qkv"]
Encoders = Literal["both", "image", "text"]
Fill = Literal["strongest", "released"]
Supervision = Literal["labels", "captions"]
Method = Literal["network", "words"]
InitFrom = Literal["encoders", "network"]
Version = Literal["v3", "v2"]
"""Version of SynSeg's paper, for its losses (`segvoc.training.losses`).

v3: b maps [-1, 1] linearly to [eps, 1 - eps]; cont ignores pairs whose cosine is not above a threshold; back and sep
sum over ordered pairs j != k, M = N (N - 1). v2: b clips the cosine to [eps, 1 - eps]; all pairs count, M = N².
"""


_COUNTS = (
    *("steps", "batch_size", "grad_accum_steps", "max_phrases", "short_sides", "max_long_side", "crop_size"),
    *("save_every", "max_bad_steps", "views", "pyramid_channels"),
)
_SHARES = ("flip_prob", "squash_prob", "dropout", "class_weight_power")
_LIMITS: Mapping[str, tuple[float, float]] = dict.fromkeys(_COUNTS, (1, math.inf)) | dict.fromkeys(_SHARES, (0, 1))
"""Ranges of settings; all other numbers must be >= 0."""


@dataclass(frozen=True)
class _Group:
    """A group of settings."""

    def __post_init__(self) -> None:
        numbers = [one.name for one in dataclasses.fields(self) if one.type in (int, float) or one.name in _LIMITS]
        check_range(self, {name: _LIMITS.get(name, (0, math.inf)) for name in numbers})


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(_Group):
    """AdamW: its steps and learning rates, and the parameters that it trains."""

    steps: int = 80_000
    """Number of optimizer steps."""
    batch_size: int = 4
    """Images per step, over all processes."""
    grad_accum_steps: int = 1
    """Forward and backward passes per process and step, whose gradients are accumulated."""
    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 1e-4
    """Weight decay, not applied to norms and embeddings."""
    warmup_steps: int = 0
    """Steps of linear warm-up before the cosine decay to zero."""
    warmup_start_factor: float = 0.001
    """Learning rate factor at the start of the warm-up."""
    max_grad_norm: float = 0.01
    """Global gradient norm to which gradients are clipped; 0: no clipping."""
    trainable: Trainable = "published"
    """Which encoder parameters are trained (CAT-Seg, arXiv v1, Table 3): those of the published recipe, none, all, or
    the weights of the q, k and v projections. "qv" is PCA-Seg's paper to the letter: as released, it
    also trains the keys of EVA's text tower."""
    trainable_encoders: Encoders = "both"
    """The encoders to which `trainable` applies."""
    encoder_lr_scale: float = 0.01
    """Learning rate factor for these parameters."""
    trunk_lr_scale: float = 0.0
    """Learning rate factor for the image encoder's other parameters; 0 freezes them."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(_Group):
    """The objective of a network trained on label maps."""

    loss: Loss = "released"
    """How unlabeled pixels are treated: "released" trains them as negatives for every class, "masked" ignores them.
    "competing" also ignores them, and uses one softmax over all classes and "none of them", whose logit is 0, instead
    of a sigmoid per class; "cross-entropy" is the same without "none of them" (ERR-Seg's paper). Losses that ignore
    unlabeled pixels average over the labeled pixels of all passes and processes; a part network's "released" averages
    per pass, as in its released code."""
    fod_weight: float = 0.0
    """Weight of the orthogonality loss (lambda of PCA-Seg's Eq. 10); 0: none."""
    log_stream_similarity: bool = False
    """Whether to log the similarity of the streams, squared and signed, even if the weight of that loss is 0 (PCA-Seg,
    Fig. 6)."""
    num_kept_classes: int = 0
    """Classes kept for each image (P of ERR-Seg), the labeled ones first; 0: all."""
    fill_classes: Fill = "released"
    """How the remaining classes are chosen, see `GroundTruthFirst`."""
    num_sampled_classes: int = 0
    """Classes used in a step: those in its images, plus random others; 0: all."""


@dataclass(frozen=True, kw_only=True)
class CaptionConfig(CleaningRules, _Group):
    """The objective of a network trained on captions (SynSeg), and its noun phrases; see `CleaningRules` for these."""

    align_weight: float = 1.0
    """Weight of SynSeg's loss l1."""
    cont_weight: float = 1.0
    """Weight of SynSeg's loss l2."""
    back_weight: float = 1.0
    """Weight of SynSeg's loss l3."""
    sep_weight: float = 1.0
    """Weight of SynSeg's loss l4."""
    loss_version: Version = "v3"
    """Version of the paper that defines these losses."""
    loss_eps: float = 5e-3
    """Distance that b keeps from 0 and 1."""
    active_threshold: float = 0.1
    """Cosine above which a pair counts in cont (v3)."""
    flip: bool = True
    """Whether to flip half of the captioned images horizontally. Phrases are unchanged: a "left hand" doesn't
    become a right hand."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _Group.__post_init__(self)
        if not 0 < self.loss_eps < 0.5:
            raise UsageError(f"loss_eps={self.loss_eps} leaves no range for the cosine; it must be between 0 and 0.5")


@dataclass(frozen=True, kw_only=True)
class DataConfig(Augmentation, _Group):
    """Labeled images and their augmentation; see `Augmentation` for its settings."""

    dataset: str = "coco-stuff-train"
    """The data set that the recipe was made for."""
    resize_crop_to: int = 0
    """Network input size to which the crop is resized [px]; 0: no resize."""
    num_val_images: int = 0
    """Number of images held out for validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.short_sides:
            raise UsageError("short_sides is empty; give lengths in pixels, for example 384,512")

    @property
    def input_size(self) -> int:
        """Side of the network's square input [px]."""
        return self.resize_crop_to or self.crop_size


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(_Group):
    """How a run uses the machine, and how often it saves and validates."""

    precision: Precision = "float32"
    """Data type for computation; weights stay float32."""
    tf32: bool = True
    """Whether float32 products on a GPU may use TF32, as in CAT-Seg's and PCA-Seg's code.
    Validation is in float32."""
    class_chunk_size: int = 0
    """Number of classes processed at a time; 0: all."""
    activation_checkpointing: bool | Literal["auto"] = False
    """Whether the backward pass recomputes a chunk's activations instead of storing them. "auto": on a GPU only if they
    don't fit into the memory that is free at the first step; where they do, classes aren't processed in chunks either.
    """
    cuda_graph: bool = True
    """Whether a step's passes are recorded on a GPU as a CUDA graph and replayed, which saves the time in which the GPU
    waits for Python. Steps with recomputation, several processes, accumulated gradients or hooks run as they are."""
    sync_batch_norm: bool = True
    """Whether batch norm statistics are synchronized over all processes."""
    compile: bool = False
    """Whether to compile the network's modules."""
    num_workers: int = 4
    """Number of data loader processes."""
    save_every: int = 500
    """Steps between checkpoints."""
    eval_every: int = 5000
    """Steps between validations; 0: only at the end."""
    eval_first: bool = False
    """Whether to validate before the first step, too."""
    patience: int = 0
    """Early stopping: validations in a row without a better sum of mean IoU and pixel accuracy; the best weights are
    saved. 0: run to the end and save the last weights."""
    max_bad_steps: int = 5
    """Stop the run after this many consecutive steps without a finite loss."""

    @property
    def recomputes(self) -> bool:
        """Whether activations are recomputed; with "auto", until it is known that they fit into memory."""
        return self.activation_checkpointing is not False


@dataclass(frozen=True, kw_only=True)
class TunedWordsConfig(_Group):
    """Tuning of words with a frozen network (`method=words`)."""

    views: int = 4
    """Augmented views per image, whose features are cached."""
    pyramid_channels: int = 64
    """Channels of the feature pyramid; a multiple of 8."""
    dropout: float = 0.1
    """Probability of dropping a channel of its features."""
    class_weight_power: float = 0.25
    """A word's weight is its number of labeled cells to the power of minus this; 0: equal weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pyramid_channels % 8:
            raise UsageError(f"pyramid_channels={self.pyramid_channels} is not a multiple of 8; take 64, for example")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    model: str
    """A preset, or another model that `segvoc.load` takes."""
    init_from: InitFrom = "encoders"
    """What to fetch if no weights are given or shipped: the encoders that the authors started from, or their trained
    network (the encoders if it isn't published)."""
    supervision: Supervision = "labels"
    """Supervision: label maps, or captions (SynSeg)."""
    method: Method = "network"
    """What is trained: the network's weights, or "words": a small pyramid on the frozen network's features with a
    classifier per word (`segvoc.training.tuning`)."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the runs whose mean score is published. A run without an explicit seed uses the first."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Steps, learning rates and trained parameters."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """The losses of a network that learns from label maps."""
    captions: CaptionConfig = CaptionConfig()
    """The losses and phrases of a network that learns from captions."""
    data: DataConfig = DataConfig()
    """Labeled images and their augmentation."""
    words: TunedWordsConfig = TunedWordsConfig()
    """How words are tuned, with `method=words`."""
    runtime: RuntimeConfig = RuntimeConfig()
    """Precision, memory, processes, checkpoints and validation."""
    network: NetworkConfig | None = None
    """The network's full configuration. None: taken from the initial weights, or else from the preset."""

    def __post_init__(self) -> None:
        preset = PRESETS.get(self.model)
        if self.method == "words" and preset is not None and self.network not in (None, preset.configuration):
            raise UsageError("method=words freezes the network, so its settings can't be changed; add method=network")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds={self.seeds} are not distinct; give different seeds, for example 42,43,44")

    def network_config(self) -> NetworkConfig:
        """The network's configuration, by default that of the preset.

        Raises: UsageError: the preset is unknown.
        """
        return self.network or find_preset(self.model).configuration

    def with_settings(self, assignments: Iterable[str] = (), /, **values: object) -> "Recipe":
        """Return a copy with changed settings of the recipe or its network.

        Another encoder also sets its input size, unless a size is given.

        Args:
            assignments: settings as on the command line, by their name or its dotted path: "steps=10",
                "optimizer.lr=1e-4", "aggregation.blocks=2".
            values: settings by their name, as values: `steps=10`.

        Raises:
            UsageError: an assignment has no "=", a name is unknown, ambiguous or occurs twice, or a value has the wrong
                type or is out of range.
        """
        network = self.network or (PRESETS[self.model].configuration if self.model in PRESETS else None)
        settings = parse_settings(assignments) | values
        recipe = with_settings(
            replace(self, network=network), settings, f"a recipe for {self.model}", ("model", "network")
        )
        if recipe.network == network:
            return replace(recipe, network=self.network)
        sides = [one.input_size if one else 0 for one in (recipe.network, network)]
        if sides[0] != sides[1] and not any(name.endswith(("crop_size", "resize_crop_to")) for name in settings):
            resized = 0 if sides[0] == recipe.data.crop_size else sides[0]
            recipe = replace(recipe, data=replace(recipe.data, resize_crop_to=resized))
        return recipe
