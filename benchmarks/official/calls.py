"""The calls that `against_official.py` compares: the official code's and ours, for the same weights and inputs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import segvoc
from benchmarks.official.checkout import LONGEST, build_official
from benchmarks.official.multiply_adds import err_seg_kept
from segvoc.encoders.word_encoder import EncodedWords
from segvoc.layers.class_selection import SelectedLogits, scatter_to_all
from segvoc.layers.selection import DROPPED, ClassSelection
from segvoc.models.presets import find_preset
from segvoc.models.weightless import weightless
from segvoc.networks.base import SegmentationNetwork
from segvoc.runtime.distributed import Processes
from segvoc.training.cuda_passes import CudaPasses
from segvoc.training.loop import Passes, TrainingTask
from segvoc.training.objectives import Objective
from segvoc.training.parameters import freeze_others, learning_rates
from segvoc.training.recipes import RECIPES
from segvoc.training.start import Start, build
from segvoc.vocabulary import Vocabulary

Kind = Literal["network", "protocol", "training"]
Dtype = Literal["float32", "bfloat16"]
RECIPE = {"cat-seg-b": "cat-seg-b", "pca-seg-b": "pca-seg-b-released"}
"""Our recipes that train as the official code does."""
CONTEXT = 77
"""Tokens of every prompt in the official code."""


@dataclass(frozen=True)
class Setting:
    """What is compared."""

    model: str
    """Name of our preset."""
    words: int
    """Number of classes."""
    kind: Kind = "network"
    """What a call does."""
    keep: int = 0
    """Number of classes that ours refines; 0: as many as the official code."""
    device: str = "cpu"
    """Where both compute."""
    images: int = 1
    """Batch size of a step of training: the same image so many times."""

    @property
    def kept(self) -> int:
        """Number of classes that the official blocks see."""
        if self.model.startswith("err-seg"):
            return err_seg_kept(self.words)
        return min(self.words, LONGEST)

    @property
    def names(self) -> list[str]:
        """The words."""
        return [f"word {number}" for number in range(self.words)]


def meta_network(model: str) -> SegmentationNetwork:
    """The network of a preset without memory for its weights."""
    preset = find_preset(model)
    with weightless():
        return preset.build(preset.configuration).eval()


def clear_words(map_: Tensor, words: int, kept: int) -> Tensor:
    """Embeddings (T 1 C) of which only the first `kept` get votes, by a dense map (1 C H W).

    With independent ones many words would have about equally many votes, and each code might keep others. These
    resemble cells of the map, and the rest the opposite of their mean.
    """
    cells, draw = map_[0].flatten(1).T, torch.Generator().manual_seed(0)
    mean = cells.mean(dim=0)
    own = cells[torch.linspace(0, len(cells) - 1, kept).long()] - mean
    noise = torch.randn(words - kept, len(mean), generator=draw).to(mean.device)
    return F.normalize(torch.cat((own, noise * mean.norm() / len(mean) ** 0.5 - mean)), dim=-1)[:, None]


class Call(ABC):
    """One code's half of a comparison, on the same random image, labels of its pixels, and words."""

    network: Any

    def __init__(self, setting: Setting) -> None:
        self.setting, draw = setting, torch.Generator().manual_seed(0)
        sides = {"protocol": 640, "network": find_preset(setting.model).protocols["single"].size, "training": 384}
        side = sides[setting.kind]
        self.image = torch.randint(256, (3, side, side), dtype=torch.uint8, generator=draw).to(setting.device)
        self.truth = torch.randint(setting.words, (side, side), generator=draw).to(setting.device)
        channels = cast(Any, meta_network(setting.model).image_encoder).channels
        self.text = F.normalize(torch.randn(setting.words, 1, channels, generator=draw), dim=-1).to(setting.device)
        """Embeddings of the words (T 1 C)."""
        self.logits = self.found = torch.empty(0)
        """Logits of the last call (B T h w), and the labels of the protocol (H W)."""

    @abstractmethod
    def __call__(self) -> None:
        """Do the work that is measured."""

    def plainly(self) -> None:
        """The same without graphs of a GPU, whose operations and memory can't be counted."""
        self()

    def result(self) -> Tensor:
        """What both codes have to agree about: the logits, or all gradients."""
        return self.logits

    def labels(self) -> Tensor:
        """Labels of the image's pixels, or of the logits' cells."""
        return self.found if self.setting.kind == "protocol" else self.logits.argmax(dim=1)

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of all weights by name, zeros for those that have none."""
        state = {name: torch.zeros_like(value) for name, value in self.network.state_dict().items()}
        return state | {name: one.grad for name, one in self.network.named_parameters() if one.grad is not None}


class OfficialCall(Call):
    """A call of the official code."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        super().__init__(setting)
        self.network = build_official(folder, setting.kept, 1 if setting.kind == "protocol" else 2).to(setting.device)
        if setting.kind != "training":
            self.network.requires_grad_(False)
        self.head = self.network.sem_seg_head
        self.predictor = getattr(self.head, "predictor", self.head)


class OfficialNetwork(OfficialCall):
    """From an image to logits, or by the published test protocol to labels."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        super().__init__(folder, setting)
        self.head.register_forward_hook(self._note)
        if setting.model.startswith("err-seg"):
            pixels = (self.image - self.network.clip_pixel_mean) / self.network.clip_pixel_std
            with torch.no_grad():
                features = self.head.clip_model.encode_image(pixels[None], dense=True)
            self.text = clear_words(features["os16_dense"], setting.words, setting.kept)
        self.predictor.cache = self.text
        side = self.image.shape[-1] // (1 if setting.kind == "protocol" else 4)
        self.request = [{"image": self.image, "height": side, "width": side}]
        self.network.sliding_window = setting.kind == "protocol"

    def __call__(self) -> None:
        """Run the meta-architecture's inference; detectron2's evaluator takes the largest probability."""
        with torch.no_grad(), countable_votes():
            probabilities = self.network(self.request)[0]["sem_seg"]
        if self.setting.kind == "protocol":
            self.found = probabilities.argmax(dim=0)

    def _note(self, module: nn.Module, inputs: object, logits: Tensor) -> None:
        self.logits = logits


class OfficialTraining(OfficialCall):
    """Forward and backward pass of an image.

    PCA-Seg's released code can't be trained: `CATSeg.forward` calls the head without one of its arguments, and
    `Aggregator.forward` hands `need_loss` to its layers in the place of another one. Both calls are fixed here.
    """

    def __init__(self, folder: Path, setting: Setting) -> None:
        super().__init__(folder, setting)
        self.network.train()
        if setting.model.startswith("pca-seg"):
            self.head.forward = partial(self.head.forward, batched_inputs=None)
            for layer in self.predictor.transformer.layers:
                layer.forward = partial(layer.forward, need_loss=True)
        tokens = cast(Any, meta_network(setting.model).text_encoder).tokenize(prompts(setting))
        self.predictor.tokens = F.pad(tokens, (0, CONTEXT - tokens.shape[1])).to(setting.device)
        self.request = [{"image": self.image, "sem_seg": self.truth}] * setting.images

    def __call__(self) -> None:
        """Run the meta-architecture's training."""
        self.network.zero_grad(set_to_none=True)
        torch.stack(list(self.network(self.request).values())).sum().backward()

    def result(self) -> Tensor:
        """All gradients, under our names."""
        return flat(our_state(self.setting.model, self.gradients()))


def countable_votes() -> AbstractContextManager[object]:
    """Lets `torch.histc`, with which ERR-Seg counts votes, take integers on a CPU."""
    count = torch.histc
    return mock.patch.object(torch, "histc", lambda votes, **options: count(votes.float(), **options))


class OurCall(Call):
    """A call of our code, with random weights until it takes those of the official code."""

    network: SegmentationNetwork

    def __init__(self, setting: Setting, dtype: Dtype = "float32") -> None:
        super().__init__(setting)
        self.dtype = dtype

    def take(self, official: OfficialCall) -> None:
        """Take the weights of the official network and the embeddings of its words."""
        self.network.load_state_dict(our_state(self.setting.model, official.network.state_dict()))
        self.text = official.text


class OurNetwork(OurCall):
    """From an image to logits."""

    def __init__(self, setting: Setting, dtype: Dtype = "float32") -> None:
        super().__init__(setting, dtype)
        self.segmenter = segvoc.load_network(setting.model, weights="random", device=setting.device, dtype=dtype)
        self.network = self.segmenter.network
        selection: ClassSelection | None = None
        if setting.keep or setting.model.startswith("err-seg"):
            selection = ClassSelection(keep=setting.keep or setting.kept)
        elif setting.kept < setting.words:
            selection = ClassSelection(keep=setting.kept, by="similarity")
        self.protocol = replace(self.segmenter.protocols["single"], selection=selection)

    def __call__(self) -> None:
        """Run the network as `segment` does."""
        features = self.segmenter.encode_views(self.image[None].float())
        logits, kept = self.segmenter.compare(features, cast(EncodedWords, self.text), self.protocol)
        self.logits = scatter_to_all(logits, kept, self.setting.words)

    def plainly(self) -> None:
        """Run the network's code as it is."""
        with torch.inference_mode():
            self.network(
                self.image[None].float(),
                self.text,
                pooling=self.protocol.pooling,
                selection=self.protocol.selection,
                chunk=self.segmenter.class_chunk,
            )


class _GivenWords(NamedTuple):
    """Gives these embeddings (T 1 C) to any words."""

    embeddings: Tensor
    templates: Sequence[str] = ()

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> EncodedWords:
        return cast(EncodedWords, self.embeddings)


class OurProtocol(OurNetwork):
    """From an image to labels, by the published test protocol."""

    def __init__(self, setting: Setting, dtype: Dtype = "float32") -> None:
        super().__init__(setting, dtype)
        self.views: list[Tensor] = []
        self.network.aggregation.register_forward_hook(self._note)

    def __call__(self) -> None:
        """Label the image."""
        self.views.clear()
        self.segmenter.encode_words = _GivenWords(self.text)
        image, keep = self.image.permute(1, 2, 0).cpu().numpy(), self.setting.keep or None
        result = self.segmenter.segment(image, self.setting.names, window="official", keep_classes=keep)
        self.found, self.logits = torch.from_numpy(result.labels.astype(np.int64)), torch.cat(self.views)

    def plainly(self) -> None:
        """Label the image."""
        self()

    def _note(self, module: nn.Module, inputs: object, output: SelectedLogits) -> None:
        self.views.append(scatter_to_all(*output, self.setting.words).float())


class OurTraining(OurCall):
    """Forward and backward pass of an image."""

    def __init__(self, setting: Setting, dtype: Dtype = "float32") -> None:
        super().__init__(setting, dtype)
        on_cpu = setting.device == "cpu"
        settings = ("class_chunk_size=16", "activation_checkpointing=true") if on_cpu else ()
        recipe = RECIPES[RECIPE[setting.model]]().with_settings((*settings, f"precision={dtype}"))
        built = build(recipe, Start(weights="random"), 0)
        self.network = built.network.to(setting.device)
        freeze_others(self.network, learning_rates(self.network, built.recipe))
        self.objective = Objective(self.network, built.recipe).train()
        task = cast(TrainingTask, None)  # the inputs are given, not read
        self.passes = (Passes if on_cpu else CudaPasses)(task, self.objective, Processes())
        self.tokens = cast(Any, self.network.text_encoder).tokenize(prompts(setting))[:, None].to(setting.device)

    def __call__(self) -> None:
        """Run the passes of a step as `segvoc train` does: on a GPU with stored activations if they fit, as a graph."""
        self.objective.zero_grad(set_to_none=True)
        self.passes.gradients(self._batch(), is_last=True)

    def plainly(self) -> None:
        """Run both passes without a graph."""
        self.objective.zero_grad(set_to_none=True)
        Passes.gradients(self.passes, self._batch(), is_last=True)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        count = self.setting.images
        return torch.stack([self.image] * count), torch.stack([self.truth] * count), self.tokens

    def result(self) -> Tensor:
        """All gradients."""
        return flat(self.gradients())


OFFICIAL: dict[Kind, type[OfficialCall]] = {
    "network": OfficialNetwork,
    "protocol": OfficialNetwork,
    "training": OfficialTraining,
}
OURS: dict[Kind, type[OurCall]] = {
    "network": OurNetwork,
    "protocol": OurProtocol,
    "training": OurTraining,
}


def prompts(setting: Setting) -> list[str]:
    """The prompts of the words."""
    (template,) = find_preset(setting.model).configuration.templates()
    return [template.format(name) for name in setting.names]


def our_state(model: str, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values that go by the official names, under ours."""
    convert = find_preset(model).from_official
    assert convert is not None
    return convert(official, meta_network(model))


def flat(state: Mapping[str, Tensor]) -> Tensor:
    """All values in the order of their names."""
    return torch.cat([state[name].flatten().float() for name in sorted(state)])


def difference(official: Tensor, ours: Tensor) -> float:
    """Largest difference of two codes' results, relative to the largest official value.

    Only words that were kept count; it is infinite if the two kept different ones.
    """
    seen = official != DROPPED
    if not torch.equal(seen, ours != DROPPED):
        return math.inf
    official, ours = official[seen], ours[seen]
    return float((official - ours).abs().max() / official.abs().max())


def equal_labels(official: Tensor, ours: Tensor) -> float:
    """Share of equal labels."""
    return float((official.cpu() == ours.cpu()).float().mean())
