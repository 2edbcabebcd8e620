"""A run that tunes words (`method=words`): its data, the model that it is validated as, and what it writes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from segvoc.distributed import Processes
from segvoc.errors import UsageError
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.base import SegmentationNetwork
from segvoc.progress import announced
from segvoc.teaching.features import channels_of
from segvoc.teaching.taught_words import TaughtWord, TaughtWords, TeachingRecord, mean_features
from segvoc.training.training_data import CaptionTrainingData, LabelTrainingData
from segvoc.training.tuned_features import TunedWordsTask, open_tuned_words_task
from segvoc.training.tuned_words import TunedWords, trained_network
from segvoc.version import __version__
from segvoc.vocabulary import Vocabulary

TUNED_WORDS_FILE = "tuned.words.safetensors"
"""The tuned words alone in the run folder, for --taught."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The parts of a run that tunes words."""

    plain: Callable[[int], NetworkSegmenter]
    """The model as it is without them, after so many steps."""
    task: TunedWordsTask
    """The data."""
    network: SegmentationNetwork
    """What the training loop trains: the tuned words behind the frozen encoders."""
    tuned: TunedWords
    """The tuned words, as the loop changes them."""
    vocabulary: Vocabulary
    """The words."""
    scored: tuple[str, ...]
    """The classes whose scores watched.jsonl has, in order: the words, and the background if there is one."""
    held_out: bool
    """Whether scores are of images that nothing was learned from."""
    patience: bool
    """Whether the weights of the best validation are kept."""
    probe: np.ndarray
    """Mean features of the drawn image by which the model is recognized."""

    def segmenter(self, step: int) -> NetworkSegmenter:
        """The model after some steps; before the first, it has no tuned words."""
        plain = self.plain(step)
        return plain.with_taught(self.words(())) if step else plain

    def words(self, watched: Sequence[dict[str, Any]]) -> TaughtWords:
        """The tuned words as they are now.

        Args:
            watched: scores before and after, lines of watched.jsonl; empty if they aren't known.
        """
        before, after = (watched[0], watched[-1]) if watched and self.held_out else ({}, {})
        shown = np.flatnonzero(self.task.images).tolist()
        record = TeachingRecord(
            model=str(self.plain(0).origin["preset"]),
            words=tuple(
                TaughtWord(
                    name=self.vocabulary.words[index],
                    images=int(self.task.images[index]),
                    pixels=int(self.task.pixels[index]),
                    before=self._score(before, index),
                    after=self._score(after, index),
                )
                for index in shown
            ),
            channels=self.task.channels,
            images=len(self.task.image_numbers),
            penalty=None,
            miou_before=_percent(before.get("mean_iou")),
            miou=_percent(after.get("mean_iou")),
            accuracy_before=_percent(before.get("pixel_accuracy")),
            accuracy=_percent(after.get("pixel_accuracy")),
            segvoc=__version__,
            pyramid_channels=self.tuned.channels,
        )
        return self.tuned.taught_words(record, self.task.mean, self.task.scale, self.probe, shown)

    def _score(self, scores: dict[str, Any], index: int) -> float | None:
        """The IoU of a word [%]."""
        word = self.vocabulary.words[index]
        return _percent(scores["iou"][self.scored.index(word)]) if "iou" in scores and word in self.scored else None

    def finish(self, weights: dict[str, Tensor], watched: Sequence[dict[str, Any]]) -> tuple[TaughtWords | None, int]:
        """The tuned words of the run, and the step that they are of.

        Args:
            weights: the weights that the loop gives: those of the best validation, if images are held out.
            watched: the lines of watched.jsonl.

        Returns:
            The words, or None if they were never better on held-out images than the model without them.
        """
        scored = [line for line in watched if line["mean_iou"] is not None]
        best = scored[-1]["step"] if scored else watched[-1]["step"]
        if self.patience and scored:
            best = max(scored, key=lambda line: line["mean_iou"])["step"]
            if best == 0:
                return None, 0
        prefix = "aggregation."
        self.tuned.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        return self.words([line for line in scored if line["step"] in (0, best)]), best


def open_tuning(
    plain: Callable[[int], NetworkSegmenter],
    data: LabelTrainingData | CaptionTrainingData,
    folder: Path,
    processes: Processes,
    warn: Callable[[str], None],
    *,
    silent: bool,
) -> Tuning:
    """Compute the features of a run's images, and build what it trains.

    Args:
        plain: the model without tuned words, after so many steps.
        data: the labeled images, with the recipe.
        folder: where the features are kept.
        processes: all processes of the run.
        warn: called with each warning, as a readable line.
        silent: whether to hide progress.

    Raises:
        UsageError: the network can't be taught words, or the images have captions.
        InputError: no image can be read.
        OutputError: a file can't be written.
    """
    if isinstance(data, CaptionTrainingData):
        raise UsageError("words are tuned to label maps, not to captions; leave out method=words")
    recipe = data.recipe
    if data.object_maps is not None:
        raise UsageError(f"{recipe.model} is not trained on separate objects; leave out the label maps of objects")
    segmenter = plain(0)
    with announced("encoding the classes' names", silent=silent):
        images = data.training_set()
        text = segmenter.encode_words(images.vocabulary)
        probed = segmenter.probed_features()
    task = open_tuned_words_task(
        segmenter, text, images, recipe, folder, channels_of(probed), processes=processes, warn=warn, silent=silent
    )
    tuned = task.tuned_words(recipe, data.seed).to(segmenter.device)
    return Tuning(
        plain=plain,
        task=task,
        network=trained_network(segmenter.network, tuned),
        tuned=tuned,
        vocabulary=images.vocabulary,
        scored=data.watched.classes,
        held_out=bool(recipe.data.num_val_images),
        patience=bool(recipe.runtime.patience),
        probe=mean_features(probed),
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)
