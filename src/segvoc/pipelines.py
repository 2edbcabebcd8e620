"""`segvoc.pipeline`: a model called as a pipeline of Hugging Face's transformers is, with the same results."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypedDict, Unpack, cast, overload
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from segvoc.annotations.entries import stuff_classes
from segvoc.errors import UsageError
from segvoc.formats.objects import with_objects
from segvoc.hardware import DtypeName
from segvoc.imaging.reading import ImageSource
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.protocols import Window
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.models.opening import load
from segvoc.selection_rules import KeepClasses
from segvoc.sharing.hub import Token

TASK = "image-segmentation"
"""The only task, by transformers' name."""

Subtask = Literal["semantic", "instance", "panoptic"]
"""What a segment is: a word; an object of a word; or an object, of stuff (sky, wall, ...) a word."""


class Segment(TypedDict):
    """A segment of an image, as in transformers."""

    score: float
    """Mean probability of its pixels, in [0, 1]."""
    label: str
    """The word."""
    mask: Image.Image
    """Gray image (mode "L") of the image's size: 255 inside, 0 elsewhere."""


class PipelineKeywords(TypedDict, total=False):
    """What a call takes by name beside images and words."""

    subtask: Subtask | None
    threshold: float
    mask_threshold: float | None
    window: Window
    keep_classes: KeepClasses | None
    background: str | None


class ImageSegmentationPipeline:
    """Calls a model with the arguments and results of transformers' image segmentation; made by `segvoc.pipeline`."""

    task = TASK
    """The task, by transformers' name."""

    def __init__(self, model: Segmenter) -> None:
        """Wrap a model.

        Args:
            model: the model.
        """
        self.model = model

    def __repr__(self) -> str:
        """One line: the task and the model."""
        return f"<{type(self).__name__} of {self.model!r}>"

    @overload
    def __call__(
        self,
        inputs: ImageSource,
        candidate_labels: Iterable[str] | None = None,
        **options: Unpack[PipelineKeywords],
    ) -> list[Segment]: ...

    @overload
    def __call__(
        self,
        inputs: Sequence[ImageSource],
        candidate_labels: Iterable[str] | None = None,
        **options: Unpack[PipelineKeywords],
    ) -> list[list[Segment]]: ...

    @overload
    def __call__(
        self,
        inputs: Iterator[ImageSource],
        candidate_labels: Iterable[str] | None = None,
        **options: Unpack[PipelineKeywords],
    ) -> Iterator[list[Segment]]: ...

    def __call__(
        self,
        inputs: ImageSource | Sequence[ImageSource] | Iterator[ImageSource],
        candidate_labels: Iterable[str] | None = None,
        **options: Unpack[PipelineKeywords],
    ) -> list[Segment] | list[list[Segment]] | Iterator[list[Segment]]:
        """Segment images.

            segmenter = segvoc.pipeline("image-segmentation", model="tiny")
            for segment in segmenter("photo.jpg", candidate_labels=["cat", "sofa", "wall"]):
                print(segment["label"], segment["score"])
                segment["mask"].save(f"{segment['label']}.png")

        Args:
            inputs: an image (a path or "file:" address, a PIL image, an array), a list of them, or an iterator.
            candidate_labels: the words, in a list or between commas; None: what the model was trained on or taught.
            options: by name, as in transformers: `subtask`: "semantic" (default), a segment for each word that has
                pixels; "instance", one for each object of things, not of stuff (sky, wall, ...); or "panoptic", both.
                `threshold`: segments with a lower score are left out (default 0). `mask_threshold`: pixels with a lower
                probability belong to no segment; `segment` calls it threshold. And as for `segment`: `window`,
                `keep_classes`, and `background`, the word for what is none of the others, which gets no segment.

        Returns:
            The segments of an image, in the order of the words; for a list a list of those of each image, for an
            iterator an iterator.

        Raises:
            UsageError: no words are given or known, an option is wrong, or "instance" lacks scikit-image.
            InputError: an image can't be read.
        """
        words = self._words(candidate_labels)
        if unknown := options.keys() - PipelineKeywords.__annotations__.keys():
            known = ", ".join(PipelineKeywords.__annotations__)
            raise UsageError(f"option {min(unknown)!r} is unknown; it is one of {known}")
        if candidate_labels is None and "background" not in options and self.model.known_background in words:
            options["background"] = self.model.known_background
        subtask = options.get("subtask")
        if subtask not in (None, "semantic", "instance", "panoptic"):
            raise UsageError(f"subtask {subtask!r} is unknown; it is 'semantic', 'instance' or 'panoptic'")
        if isinstance(inputs, Iterator) and not hasattr(inputs, "read"):
            return self._stream(inputs, words, options)
        if isinstance(inputs, list | tuple):
            return list(self._stream(inputs, words, options))
        (segments,) = self._stream([cast(ImageSource, inputs)], words, options)
        return segments

    def _stream(
        self, images: Iterable[ImageSource], words: list[str], options: PipelineKeywords
    ) -> Iterator[list[Segment]]:
        how = LabelOptions(
            window=options.get("window", "auto"),
            keep_classes=options.get("keep_classes"),
            background=options.get("background"),
            threshold=options.get("mask_threshold"),
        )
        results = self.model.segment_many(map(_local, images), words, options=how)
        return (_segments(result, options) for result in results)

    def _words(self, candidate_labels: Iterable[str] | None) -> list[str]:
        if candidate_labels is None:
            if not self.model.own_words:
                raise UsageError('no words are given; name them: candidate_labels=["cat", "sofa", "wall"]')
            return list(self.model.own_words)
        if isinstance(candidate_labels, str):
            return [word.strip() for word in candidate_labels.split(",") if word.strip()]
        return list(candidate_labels)


def _local(image: ImageSource) -> ImageSource:
    """An image whose address is that of a local file, by its path."""
    if isinstance(image, str) and re.match(r"file:", image, re.IGNORECASE):
        return unquote(urlsplit(image).path)
    return image


def _segments(result: Segmentation, options: PipelineKeywords) -> list[Segment]:
    background, subtask = options.get("background"), options.get("subtask") or "semantic"
    if subtask != "semantic":
        result = with_objects(result, background=background)
    stuff = stuff_classes(result.words, background)
    found: list[Segment] = []
    for index, word in enumerate(result.words):
        if word == background or (subtask == "instance" and index in stuff):
            continue
        masks = [result.labels == index]
        if result.objects is not None and index not in stuff:
            numbers = np.unique(result.objects[masks[0]])
            masks = [masks[0] & (result.objects == number) for number in numbers[numbers > 0]]
        for mask in masks:
            if mask.any() and (score := float(result.confidence[mask].mean())) >= options.get("threshold", 0.0):
                found.append(Segment(score=score, label=word, mask=Image.fromarray(mask.astype(np.uint8) * 255)))
    return found


def pipeline(
    task: str = TASK,
    model: str | os.PathLike[str] | Segmenter = "tiny",
    *,
    revision: str | None = None,
    token: Token = None,
    device: str | int = "auto",
    dtype: DtypeName = "auto",
    batch_size: int | None = None,
) -> ImageSegmentationPipeline:
    """Load a model as a pipeline with the calls and results of transformers' image segmentation.

    Words are chosen with each call, as in its zero-shot pipelines (`candidate_labels`).

    Args:
        task: "image-segmentation".
        model: a model's name as for `segvoc.load`, or a loaded one.
        revision: see `segvoc.load`.
        token: see `segvoc.load`.
        device: as for `segvoc.load`, or transformers' numbers: -1 for the CPU, 0 for the first GPU.
        dtype: see `segvoc.load`.
        batch_size: images, or windows of images, that go through the network together; None: as the model has it.

    Returns:
        The pipeline.

    Raises:
        UsageError: the task is another, or see `segvoc.load`.
        CheckpointError: see `segvoc.load`.
    """
    if task != TASK:
        raise UsageError(f"task {task!r} is unknown; segvoc has {TASK!r}")
    device = "cpu" if device == -1 else device
    if not isinstance(model, Segmenter):
        model = load(model, revision=revision, token=token, device=device, dtype=dtype)
    if batch_size is not None:
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} is out of range; give 1 or more")
        model.batch = batch_size
    return ImageSegmentationPipeline(model)
