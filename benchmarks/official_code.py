"""The aggregators of the repositories of CAT-Seg, PCA-Seg and ERR-Seg, and ours, for the same weights and features.

Only the files of the aggregator are imported from a checkout. Libraries that these files import without using them in a
forward pass (cca_zoo, cv2) are replaced by stand-ins while they are missing.
"""

import ast
import importlib
import importlib.util
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.checkpoints.official_cost_aggregation import aggregation_state
from segvoc.checkpoints.official_err_seg import err_head_state
from segvoc.encoders.base import ImageEncoder
from segvoc.errors import UsageError
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import DROPPED, ClassSelection, MostSimilar, Voted, scatter_to_all
from segvoc.models.presets import find_preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.err_seg import PUBLISHED_KEPT, own_kept

CLIP_FILE = Path("cat_seg/modeling/transformer/model.py")
ERR_FILE = Path("err_seg/modeling/modules/decoder.py")
EXPERTS = "class DualFeatureMoE"
"""What PCA-Seg's file has and CAT-Seg's, from which it is derived, has not."""
LONGEST = 256
"""The number of classes that CAT-Seg's and PCA-Seg's blocks see at most."""
CHUNK = 8
"""Classes that our network refines at a time, as `segvoc.inference.segmenter.Segmenter` does on a CPU."""


@dataclass(frozen=True)
class Setting:
    """What an aggregator is given."""

    model: str
    """Name of our preset."""
    words: int
    """Number of classes."""
    views: int = 1
    """Number of images in a batch."""
    pooling: int = 2
    """Cells over which class aggregation pools along each axis; ERR-Seg has its own."""

    @property
    def kept(self) -> int:
        """Number of classes that the blocks see."""
        if self.model.startswith("err-seg"):
            return min(self.words, PUBLISHED_KEPT.get(self.words, own_kept(self.words)))
        return min(self.words, LONGEST)


@dataclass(frozen=True)
class Features:
    """The output of both encoders."""

    maps: Sequence[Tensor]
    """Dense feature maps in the words' space."""
    text: Tensor
    """Embeddings of the classes (B T 1 C)."""
    taps: Sequence[Tensor]
    """Intermediate maps of the image encoder, from coarse to fine."""

    def to(self, dtype: torch.dtype) -> "Features":
        """A copy with another dtype."""
        maps, taps = ([one.to(dtype) for one in some] for some in (self.maps, self.taps))
        return Features(maps, self.text.to(dtype), taps)


def find_model(folder: Path) -> str:
    """The preset whose official code a folder contains.

    Raises:
        UsageError: it contains none of the three repositories.
    """
    if (folder / ERR_FILE).is_file():
        return "err-seg-b"
    if not (folder / CLIP_FILE).is_file():
        raise UsageError(
            f"{folder} has neither {CLIP_FILE} nor {ERR_FILE}; give a checkout of CAT-Seg, PCA-Seg or ERR-Seg"
        )
    return "pca-seg-b" if EXPERTS in (folder / CLIP_FILE).read_text(encoding="utf-8") else "cat-seg-b"


def official_file(folder: Path) -> Path:
    """The file of a checkout that defines the aggregator."""
    return folder / (ERR_FILE if find_model(folder).startswith("err-seg") else CLIP_FILE)


def import_official(folder: Path) -> ModuleType:
    """Import the file that defines the aggregator, and what it imports from its own folder."""
    file = official_file(folder)
    package = ModuleType(f"official_{find_model(folder).replace('-', '_')}")
    package.__path__ = [str(file.parent)]  # the __init__ of their packages would import all of detectron2
    sys.modules[package.__name__] = package
    with missing_libraries(sorted(file.parent.glob("*.py"))), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about deprecated names of timm
        return importlib.import_module(f"{package.__name__}.{file.stem}")


@contextmanager
def missing_libraries(files: Sequence[Path]) -> Iterator[None]:
    """Provide stand-ins for the libraries that these files import and that aren't installed."""
    stand_ins: dict[str, ModuleType] = {}
    for name in sorted(set().union(*(_imported(file) for file in files))):
        library = name.partition(".")[0]
        if library in stand_ins or importlib.util.find_spec(library) is None:
            parts = name.split(".")
            stand_ins |= {place: StandIn(place) for place in (".".join(parts[: n + 1]) for n in range(len(parts)))}
        else:  # before there are stand-ins, which a library that looks for optional ones would take for real
            importlib.import_module(library)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name)


def _imported(file: Path) -> set[str]:
    """Names of the modules that a file imports by absolute names."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}


class StandIn(ModuleType):
    """A module in the place of a library that isn't installed; its names can be imported, but not called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # a package, so that its modules can be imported too

    def __getattr__(self, name: str) -> Any:
        """A function that says which library is missing."""
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*arguments: object, **options: object) -> None:
            library = self.__name__.partition(".")[0]
            raise UsageError(f"the official code calls {self.__name__}.{name}; install {library}")

        return missing


class OfficialClipAggregation(nn.Module):
    """CAT-Seg's or PCA-Seg's aggregator, and the two layers before it that are part of their whole network."""

    def __init__(self, code: ModuleType, setting: Setting) -> None:
        super().__init__()
        self.upsample1 = nn.ConvTranspose2d(768, 256, kernel_size=2, stride=2)
        self.upsample2 = nn.ConvTranspose2d(768, 128, kernel_size=4, stride=4)
        layers, pooling = 2, (setting.pooling, setting.pooling)  # configs/vitb_384.yaml and configs/eva_vitb_384.yaml
        self.transformer = code.Aggregator(num_layers=layers, pooling_size=pooling, pad_len=LONGEST)
        self.others = (None,) if setting.model.startswith("pca-seg") else ()  # PCA-Seg's takes the image, for drawings

    def forward(self, features: Features) -> Tensor:
        """Logits of all classes."""
        guidance = [features.maps[0], self.upsample1(features.taps[0]), self.upsample2(features.taps[1])]
        return self.transformer(features.maps[0], features.text, guidance, *self.others)

    def our_state(self, ours: nn.Module) -> dict[str, Tensor]:
        """The weights under our names."""
        own = {name: value for name, value in self.state_dict().items() if name.startswith("upsample")}
        return aggregation_state(own | self.transformer.state_dict(), ours)


class OfficialErrAggregation(nn.Module):
    """ERR-Seg's decoder, as its authors call the aggregation."""

    def __init__(self, code: ModuleType, setting: Setting) -> None:
        super().__init__()
        self.decoder = code.Decoder(sample_classes_num=setting.kept)

    def forward(self, features: Features) -> Tensor:
        """Logits of all classes; `torch.histc`, with which the code counts votes, takes no integers on a CPU."""
        count = torch.histc
        with mock.patch.object(torch, "histc", lambda votes, **options: count(votes.float(), **options)):
            return self._logits(features)

    def _logits(self, features: Features) -> Tensor:
        return self.decoder(list(features.maps), features.text, list(features.taps), None)

    def our_state(self, ours: nn.Module) -> dict[str, Tensor]:
        """The weights under our names."""
        return err_head_state(self.decoder.state_dict(), ours)


OfficialAggregation = OfficialClipAggregation | OfficialErrAggregation


class OurAggregation(nn.Module):
    """The aggregation of our preset, with weights still to be set: `load_official` or `fill`."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.aggregation = described(setting.model).aggregation.to_empty(device="cpu").requires_grad_(False)
        selection: ClassSelection | None = None
        if setting.model.startswith("err-seg"):
            selection = Voted(setting.kept)
        elif setting.kept < setting.words:
            selection = MostSimilar(setting.kept)
        self.context = AggregationContext((setting.pooling, setting.pooling), selection, CHUNK)

    def forward(self, features: Features) -> Tensor:
        """Logits of all classes."""
        guidance = (features.maps[0], *features.taps)
        logits, kept = self.aggregation(features.maps, features.text, guidance, self.context)
        return scatter_to_all(logits, kept, features.text.shape[1])

    def load_official(self, official: OfficialAggregation) -> None:
        """Take the weights of the official aggregator."""
        self.aggregation.load_state_dict(official.our_state(self.aggregation))


def described(model: str) -> SegmentationNetwork:
    """The network of a preset without memory for its weights."""
    preset = find_preset(model)
    with torch.device("meta"):
        return preset.build(preset.configuration).eval()


def build_official(folder: Path, setting: Setting) -> OfficialAggregation:
    """The official aggregator with random weights.

    Its own start has zeros and ones (biases, padding, the statistics of batch norms), which would hide differences.
    """
    code = import_official(folder)
    kind = OfficialErrAggregation if setting.model.startswith("err-seg") else OfficialClipAggregation
    torch.manual_seed(0)
    official = kind(code, setting).eval()
    for name, value in official.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point() and not name.endswith("attn_mask"):
            value.add_(torch.randn_like(value), alpha=0.02)
    return official.requires_grad_(False)


def fill(ours: OurAggregation) -> OurAggregation:
    """Fill our aggregation with random weights, where there is no official one to take them from."""
    for value in ours.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.001, 0.02)
    return ours.eval()


def random_features(setting: Setting) -> Features:
    """Features in which each cell resembles three of the words that the blocks are to see.

    Were they independent of the words, many words would have equally many votes, and each code might keep others.
    """
    network, generator = described(setting.model), torch.Generator().manual_seed(0)
    encoder = cast(ImageEncoder, network.image_encoder)
    side = find_preset(setting.model).protocols["single"].size
    with torch.device("meta"):
        like = encoder(torch.empty(setting.views, 3, side, side))
    text = F.normalize(torch.randn(setting.words, encoder.channels, generator=generator), dim=-1)
    maps = []
    for one in like.maps:
        cells = (setting.views, *one.shape[2:])
        shown = torch.stack([torch.randint(setting.kept, cells, generator=generator) for _ in range(3)])
        share = torch.tensor([1.0, 0.8, 0.6])[:, None, None, None, None]
        mixed = (share * text[shown]).sum(dim=0) + 0.01 * torch.randn(*cells, encoder.channels, generator=generator)
        maps.append(mixed.permute(0, 3, 1, 2).contiguous())
    taps = [torch.randn(tap.shape, generator=generator) for tap in like.taps]
    return Features(maps, text[:, None].expand(setting.views, -1, -1, -1), taps)


def difference(official: Tensor, ours: Tensor) -> float:
    """Largest difference of two codes' logits, relative to the largest official logit.

    Only words that were kept count; it is infinite if the two kept different ones.
    """
    seen = official != DROPPED
    if not torch.equal(seen, ours != DROPPED):
        return math.inf
    official, ours = official[seen], ours[seen]
    return float((official - ours).abs().max() / official.abs().max())


def equal_labels(official: Tensor, ours: Tensor) -> float:
    """Share of the cells in which two codes' largest logits are those of one class."""
    return float((official.argmax(dim=1) == ours.argmax(dim=1)).float().mean())
