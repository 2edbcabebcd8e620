"""Captioned images as a training task: batches of frozen features, cached embeddings of phrases, SynSeg's losses."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from segvoc.checkpoints.origins import content_hash
from segvoc.data.captions.caption_index import PROBLEMS_KEPT, CaptionDataset, build_index
from segvoc.data.captions.sources import find_captions
from segvoc.data.feature_cache import FeatureCache
from segvoc.data.training.training_set import ShardedSampler, epoch_order, read_ahead, seed_of
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import InputError, UsageError
from segvoc.layers.precision import at_least_float32
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.syn_seg import SynSeg
from segvoc.runtime.distributed import Processes, available_cores
from segvoc.runtime.progress import Progress, print_line
from segvoc.storage.files import digest_of
from segvoc.training.loop import ForwardPass
from segvoc.training.losses import TERMS, synergy_losses
from segvoc.training.objectives import TrainingObjective
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import FEATURES
from segvoc.vocabulary import Vocabulary


class CaptionObjective(TrainingObjective):
    """The four losses of a batch and their weighted sum, "loss".

    "activation" is the mean of the activation maps; a value near 0 or 1 means that the maps have collapsed.
    """

    def __init__(self, network: SynSeg, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        self.weights = {term: getattr(recipe.captions, f"{term}_weight") for term in TERMS}

    def forward(
        self, taps: Sequence[Float[Tensor, "B L _"]], phrases: Float[Tensor, "M C"], owner: Int[Tensor, " M"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses of a `CaptionBatch` by name; only "loss", the weighted sum, has a gradient."""
        vectors, logits = self.network.learn(taps, phrases, owner)
        # similarities near 1 need more digits than bfloat16, which autocast would use
        with torch.autocast(phrases.device.type, enabled=False):
            foreground, background = at_least_float32(vectors.foreground), at_least_float32(vectors.background)
            vectors = (foreground, background, at_least_float32(phrases))
            terms = synergy_losses(self.recipe.captions, *vectors, owner, len(taps[0]))
        loss = torch.stack([weight * terms[term] for term, weight in self.weights.items()]).sum()
        detached = {term: value.detach() for term, value in terms.items()}
        return {"loss": loss, **detached, "activation": logits.detach().sigmoid().mean()}


PHRASES_PER_SHARD, PHRASES_PER_BATCH = 4096, 256


@dataclass(frozen=True, kw_only=True)
class CaptionFiles:
    """Paths of the captioned training images, and of their index and phrases."""

    captions: str | os.PathLike[str]
    """COCO's captions JSON, or WebDataset's tars; see `find_captions`."""
    images: str | os.PathLike[str] | None = None
    """The image folder of COCO's captions; default: the file's own folder."""
    features: Path | None = None
    """The folder of the index and the embeddings, which runs may share; default: inside the run folder."""


class CaptionBatch(NamedTuple):
    """Features of B images and their M phrases. If no image can be read, there are no taps, and M is 0."""

    taps: tuple[Float[Tensor, "B ..."], ...]
    """Tokens of intermediate blocks of the image encoder (B L C); as read from files, the pixels (B 3 S S)."""
    phrases: Float[Tensor, "M C"]
    """Embeddings of all phrases of all images, not normalized."""
    owner: Int[Tensor, " M"]
    """For each phrase, its image's position in the batch; ascending."""
    problems: tuple[str, ...]
    """A line per unreadable image that was replaced."""


class DrawnImage(NamedTuple):
    """An image at a place in the training order."""

    pixels: UInt8[Tensor, "3 S S"] | None
    """The image, squashed and possibly mirrored; None if no image can be read."""
    phrases: Float[Tensor, "M C"]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CaptionReader(Dataset[DrawnImage]):
    """Captioned images by position in the data set, and whether to mirror them."""

    dataset: CaptionDataset
    phrases: FeatureCache
    input_size: int
    """Side of the square that images are resized to [px]."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: tuple[int, bool]) -> DrawnImage:
        """Read the image, or the next readable one."""
        (image, mirrored), problems = draw, list[str]()
        side = (self.input_size, self.input_size)
        for offset in range(len(self)):
            entry = self.dataset.entry((image + offset) % len(self))
            try:
                # squashed to the encoders' square input (SynSeg, v2), bilinear with antialiasing
                square = Image.fromarray(entry.location.read()).resize(side, Image.Resampling.BILINEAR)
                phrases = torch.stack([self.phrases.read(number)["embeddings"] for number in entry.phrases])
            except InputError as error:
                problems.append(str(error))
                continue
            pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)
            return DrawnImage((pixels.flip(2) if mirrored else pixels).contiguous(), phrases, tuple(problems))
        # not an exception, which would lose its type in a worker
        return DrawnImage(None, torch.empty(0, 0), tuple(problems))


@dataclass(frozen=True, kw_only=True)
class CaptionTask:
    """Training on captioned images; see `TrainingTask`."""

    reader: CaptionReader
    encoders: "FrozenEncoders"
    seed: int
    """Seed of the order of images and of mirroring."""
    mirror: bool

    def __len__(self) -> int:
        return len(self.reader)

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> CaptionObjective:
        """The network together with SynSeg's losses."""
        assert isinstance(network, SynSeg)
        return CaptionObjective(network, recipe)

    def batches(
        self, sampler: ShardedSampler, workers: int, *, pinned: bool, signals: Sequence[int] = ()
    ) -> Iterator[CaptionBatch]:
        """The batches of a sampler's positions, read by `workers` processes (0: this process)."""
        # drawn in this process, since the memory for an epoch's order grows with the set
        draws = ([self._draw(place) for place in places] for places in sampler)
        for batch in read_ahead(self.reader, draws, _collate, workers, pinned=pinned, signals=signals):
            images = [pixels.to(self.encoders.device, non_blocking=True).float() for pixels in batch.taps]
            taps = tuple(tap for pixels in images for tap in self.encoders.images(pixels))
            yield batch._replace(taps=taps)

    def _draw(self, place: int) -> tuple[int, bool]:
        """Place p shows image number p modulo N of epoch p // N, in an order that depends on the seed."""
        order = epoch_order(len(self), self.seed, place // len(self))
        mirrored = self.mirror and bool(seed_of(self.seed, "mirror", place) & 1)
        return int(order[place % len(self)]), mirrored

    def inputs(
        self, batch: CaptionBatch, number: ForwardPass, device: torch.device
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Tokens, phrases, and the image of each phrase, on the device; see `TrainingTask`."""
        if not batch.taps:
            raise InputError(f"none of the {len(self)} captioned images can be read; {batch.problems[0]}")
        to = {"device": device, "non_blocking": True}
        taps = tuple(tap.to(**to).float() for tap in batch.taps)
        return taps, batch.phrases.to(**to).float(), batch.owner.to(**to)


@dataclass(frozen=True, kw_only=True)
class CaptionData:
    """Captioned images to train on; overlays are drawn for the first few."""

    recipe: Recipe
    dataset: CaptionDataset
    folder: Path
    """The folder of the cached embeddings."""
    seed: int
    processes: Processes
    silent: bool

    @classmethod
    def of(
        cls, recipe: Recipe, files: CaptionFiles, out: Path, *, seed: int, processes: Processes, silent: bool
    ) -> "CaptionData":
        """The data of a run in the folder `out`. Rank 0 builds their index; all processes read it.

        A warning names each of the first skipped captions and images, and the number of the others. `UsageError`: no
        image has a phrase, the captions can't be read, or spaCy is not installed.
        """
        folder = files.features or out / FEATURES

        def warn(line: str) -> None:
            print_line(f"segvoc: warning: {line}")

        def build() -> Path:
            problems: list[str] = []
            source = find_captions(files.captions, files.images, on_problem=problems.append)
            for problem in problems[:PROBLEMS_KEPT]:
                warn(problem)
            if more := len(problems[PROBLEMS_KEPT:]):
                warn(f"{more} more problems in {files.captions}")
            workers = min(recipe.runtime.num_workers, available_cores())
            return build_index(source, folder, recipe.captions, workers=workers, on_problem=warn, silent=silent)

        dataset = CaptionDataset(cast(Path, processes.gather(processes.on_first(build))[0]))
        return cls(recipe=recipe, dataset=dataset, folder=folder, seed=seed, processes=processes, silent=silent)

    @property
    def validation(self) -> CaptionDataset:
        """The images whose overlays are drawn."""
        return self.dataset

    def described(self) -> dict[str, Any]:
        """The data's entries in the configuration of the run: everything its results depend on."""
        facts = self.dataset.facts
        return {"captions": {name: facts[name] for name in ("name", "images", "with_phrases", "phrases", "digest")}}

    def metadata(self) -> dict[str, Any]:
        """The data's entries in the header of the weights file."""
        return {"captioned_images": len(self.dataset)}

    def task(self, network: SegmentationNetwork, templates: Sequence[str]) -> CaptionTask:
        """Create the task of training a network, on its device; `UsageError` if it isn't trained on captions."""
        if not isinstance(network, SynSeg):
            raise UsageError(f"{self.recipe.model} can't be trained on captions; train syn-seg-b")
        network.eval()
        return self.task_of(FrozenEncoders(network, templates, self.recipe.data.input_size))

    def task_of(self, encoders: "FrozenEncoders") -> CaptionTask:
        """Create the task for these encoders, after computing missing phrase embeddings."""
        dataset = self.dataset
        starts = range(0, dataset.facts["phrases"], PHRASES_PER_SHARD)
        texts = (text for start in starts for text in dataset.phrase_texts(start, start + PHRASES_PER_SHARD))
        layout = 2  # version of the cached embeddings; other versions are recomputed
        cache = FeatureCache.of(self.folder, "phrases", texts, PHRASES_PER_SHARD, layout, encoders.digest)

        def encode(rows: range, progress: Progress) -> tuple[dict[str, Tensor], dict[int, str]]:
            embeddings: list[Tensor] = []
            for start in range(rows.start, rows.stop, PHRASES_PER_BATCH):
                batch = dataset.phrase_texts(start, min(start + PHRASES_PER_BATCH, rows.stop))
                embeddings.append(encoders.texts(batch).float().cpu())
                progress.update(len(batch))
            return {"embeddings": torch.cat(embeddings).contiguous()}, {}

        cache.fill(encode, self.processes, "encoding phrases", unit="phrase", silent=self.silent)
        if missing := cache.missing():
            raise UsageError(
                f"{str(cache.path(missing[0]))!r} and {len(missing) - 1} other files are missing; all processes need "
                "the same folder"
            )
        reader = CaptionReader(dataset=dataset, phrases=cache, input_size=encoders.input_size)
        return CaptionTask(reader=reader, encoders=encoders, seed=self.seed, mirror=self.recipe.captions.flip)


class FrozenEncoders:
    """The image and the text encoder of a network, without gradients; images are squares of `side` pixels."""

    def __init__(self, network: SynSeg, templates: Sequence[str], side: int) -> None:
        self.input_size = side
        self.device = next(network.image_encoder.parameters()).device
        self.digest = digest_of(content_hash(network.text_encoder), list(templates))
        """Digest of everything that the results of `texts` depend on."""
        self._image_encoder, self._encode = network.image_encoder, VocabularyEncoder(network.text_encoder, templates)

    @torch.no_grad()
    def images(self, pixels: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B _ _"], ...]:
        """The tokens of intermediate blocks, each (B L C), of RGB in [0, 255]."""
        return self._image_encoder.tokens(pixels, dense=False).taps  # pyright: ignore[reportCallIssue]

    @torch.no_grad()
    def texts(self, phrases: Sequence[str]) -> Float[Tensor, "M C"]:
        """The phrases' embeddings: means over their prompts, as in inference."""
        return self._encode(Vocabulary(phrases)).mean(dim=1)


def _collate(samples: Sequence[DrawnImage]) -> CaptionBatch:
    problems = tuple(problem for sample in samples for problem in sample.problems)
    pixels = [sample.pixels for sample in samples if sample.pixels is not None]
    if not pixels:
        return CaptionBatch((), torch.empty(0, 0), torch.empty(0, dtype=torch.int64), problems)
    good = [sample.phrases for sample in samples if sample.pixels is not None]
    owner = torch.arange(len(good)).repeat_interleave(torch.tensor([len(phrases) for phrases in good]))
    return CaptionBatch((torch.stack(pixels),), torch.cat(good), owner, problems)
