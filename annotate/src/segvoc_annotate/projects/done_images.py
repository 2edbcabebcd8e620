"""The images of a project that are done, as labeled images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16

from segvoc import LabeledImages, UsageError, Vocabulary
from segvoc.data.labeled_images import LabeledImage
from segvoc.imaging.label_maps import label_table
from segvoc_annotate.projects.folder import ProjectFolder


@dataclass(frozen=True, kw_only=True)
class DoneImage(LabeledImage):
    """An image of a project; its label map has the ids of words."""

    places: Mapping[int, int]
    """The class index of each word that the project still has, by its id."""
    corrected: bool
    """Whether a person corrected it, or its labels were imported; else they are the model's own."""

    def stored_labels(self, size: tuple[int, int]) -> UInt16[np.ndarray, "H W"]:
        """See `LabeledImage.stored_labels`; pixels of a removed word are unlabeled."""
        return label_table(self.places)[super().stored_labels(size)]


def corrected_places(images: LabeledImages) -> list[int]:
    """The indices of those `done_images` that say how good a model is: those whose labels aren't its own."""
    return [place for place, image in enumerate(images.images) if isinstance(image, DoneImage) and image.corrected]


def done_images(project: ProjectFolder) -> LabeledImages:
    """The images of a project that are done, with the words that weren't removed.

    Raises:
        UsageError: none is done, or the project has no words.
    """
    record = project.record
    words = record.present
    if not words:
        raise UsageError(f"the project {record.name!r} has no words; add some, and label images with them")
    places = {word.id: place for place, word in enumerate(words)}
    found = []
    for image in project.images().values():
        if (state := project.state(image)).done:
            labels, corrected = project.files(image).labels, state.corrected > 0 or state.source == "import"
            found.append(
                DoneImage(image=image.path, labels=labels, stem=image.stem, places=places, corrected=corrected)
            )
    if not found:
        raise UsageError(f"no image of the project {record.name!r} is done; mark those as done whose labels are right")
    names = [word.name for word in words]
    vocabulary = Vocabulary(names, synonyms=record.options.synonyms)
    background = record.options.background
    return LabeledImages(
        name=record.name,
        vocabulary=vocabulary,
        images=tuple(found),
        background=background if background in names else None,
    )
