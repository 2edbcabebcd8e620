"""Captioned pictures as a task: phrases out of captions, features out of frozen towers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segvoc.data.captions.batches import CaptionBatch, CaptionFeed, FrozenEncoders
from segvoc.data.captions.cleaning import CleaningRules
from segvoc.data.captions.feeds import open_feed
from segvoc.data.captions.images import CaptionedImages, OnProblem
from segvoc.data.captions.phrase_cache import CachedExtractor
from segvoc.data.captions.phrases import PhraseSet, phrase_extractor
from segvoc.data.training.training_set import ShardedSampler
from segvoc.distributed import Processes, available_cores
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import InputError
from segvoc.networks.pca_seg import SegmentationNetwork
from segvoc.networks.syn_seg import SynSeg
from segvoc.storage.digests import content_hash, digest_of
from segvoc.training.objectives.captions import CaptionObjective
from segvoc.training.recipe import Recipe
from segvoc.training.tasks import StepInfo
from segvoc.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class CaptionSource:
    """Captioned pictures to learn from.

    images: the pictures and their captions. extractor: of noun phrases, "rules" or "spacy". features: the folder where
    the towers' features are kept, and what spaCy finds; None: features in the run's own, phrases nowhere.
    """

    images: CaptionedImages
    extractor: str = "rules"
    features: Path | None = None

    def phrases(self, rules: CleaningRules) -> PhraseSet:
        """The pictures that have a phrase, and their phrases by these rules.

        Raises: UsageError: no picture has one, or there is no such extractor.
        """
        extractor = phrase_extractor(self.extractor)
        if self.extractor == "spacy" and self.features is not None:
            extractor = CachedExtractor(folder=self.features, extractor=extractor)
        return PhraseSet.collect(self.images, extractor, rules)


@dataclass(frozen=True, kw_only=True)
class CaptionTask:
    """Captioned pictures, whose features frozen towers have made."""

    feed: CaptionFeed

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> CaptionObjective:
        """The losses of phrases."""
        assert isinstance(network, SynSeg)
        return CaptionObjective(network, recipe)

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[CaptionBatch]:
        """See `TrainingTask`."""
        return self.feed.batches(sampler, workers, pinned=pinned)

    def inputs(
        self, batch: CaptionBatch, info: StepInfo, device: torch.device
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Taps, phrases and the picture of each phrase."""
        if not batch.taps:
            raise InputError(f"none of the {len(self.feed)} captioned pictures can be read; {batch.problems[0]}")
        to = {"device": device, "non_blocking": True}
        taps = tuple(tap.to(**to).float() for tap in batch.taps)
        return taps, batch.phrases.to(**to).float(), batch.owner.to(**to)


def described(source: CaptionSource, phrases: PhraseSet) -> dict[str, Any]:
    """What a run's numbers depend on, for its configuration."""
    names = [(phrases.images.images[index].stem, *phrases.names(n)) for n, index in enumerate(phrases.pictures)]
    return {
        "name": source.images.name,
        "captioned": len(source.images),
        "with_phrases": len(phrases),
        "phrases": len(phrases.phrases),
        "extractor": source.extractor,
        "learnt_digest": digest_of(names),
    }


def frozen_encoders(network: SynSeg, templates: Sequence[str], side: int) -> FrozenEncoders:
    """The towers of a network as functions; several prompts of a phrase are averaged, as in segmenting."""
    encode = VocabularyEncoder(network.text_encoder, templates)
    device = next(network.image_encoder.parameters()).device
    tapped = str(getattr(network.image_encoder, "config", ""))  # which blocks are, stands in no weight

    def images(pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return network.image_encoder.tokens(pixels, dense=False).taps  # pyright: ignore[reportCallIssue]

    def texts(phrases: Sequence[str]) -> Tensor:
        return encode(Vocabulary(phrases, synonyms="first")).mean(dim=1)

    return FrozenEncoders(
        input_size=side,
        images=images,
        texts=texts,
        # which blocks are tapped stands in no weight
        image_digest=digest_of(content_hash(network.image_encoder), tapped, side),
        text_digest=digest_of(content_hash(network.text_encoder), list(templates)),
        device=device,
    )


def caption_task(
    network: SynSeg,
    templates: Sequence[str],
    phrases: PhraseSet,
    recipe: Recipe,
    folder: Path,
    *,
    seed: int,
    processes: Processes,
    on_problem: OnProblem,
) -> CaptionTask:
    """The task, once all features that are missing are computed; what is there already is not computed again.

    Raises: see `open_feed`.
    """
    network.eval()
    feed = open_feed(
        phrases,
        frozen_encoders(network, templates, recipe.side),
        folder,
        seed=seed,
        mirror=recipe.mirror,
        cached=recipe.cached,
        workers=min(recipe.workers, available_cores()),
        rank=processes.rank,
        ranks=processes.count,
        together=lambda: processes.any(False, device=next(network.parameters()).device),
        on_problem=on_problem,
    )
    return CaptionTask(feed=feed)
