"""What a network of parts trains on: for every pixel its part of an object, and its object."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from segvoc.data.labelled_images import LabelledImages
from segvoc.data.training.training_set import IGNORED, TrainingSet
from segvoc.errors import InputError, UsageError
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.networks.part_words import PartNames

NONE = UNLABELLED + 1
"""Label of a pixel without a part, or in no object that is learnt; no class has it."""


@dataclass(frozen=True, kw_only=True)
class PartTrainingSet(TrainingSet):
    """Pictures whose classes are parts of objects ("dog's head") and objects without parts.

    A pixel has two labels, the place of its part among the parts of objects and that of its object among the objects
    (`PartNames`). Its object is the one that it is a part of; what is background is in no object. object_maps: label
    maps of the objects, where the parts don't tell them (pixels of a dog that no part of it covers): a picture's one
    has its stem, an object that is not learnt or unlabelled is none.
    """

    object_maps: LabelledImages | None = None

    def __post_init__(self) -> None:
        if self.object_maps is None:
            return
        stems = {picture.stem for picture in self.object_maps.images}
        if missing := next((picture.stem for picture in self.pictures.images if picture.stem not in stems), None):
            raise UsageError(f"{missing!r} has no map of objects; add it, or leave the maps of objects out")

    @property
    def names(self) -> PartNames:
        """What is learnt."""
        return PartNames.of(self.vocabulary.words)

    def read(self, index: int) -> tuple[np.ndarray, Int[Tensor, "2 H W"]]:
        """The picture, and its maps of parts and of objects."""
        image, labels = self.pictures.read(index)
        parts, objects = (torch.from_numpy(table[labels]) for table in self._tables())
        if self.object_maps is not None:
            stem = self.pictures.images[index].stem
            given = next(picture for picture in self.object_maps.images if picture.stem == stem)
            found = given.read_labels(labels.shape, len(self.object_maps.vocabulary))
            objects = torch.from_numpy(self._object_table(self.object_maps)[found])
        if not ((parts < NONE) & (parts != IGNORED)).any() and not ((objects < NONE) & (objects != IGNORED)).any():
            raise InputError(f"{self.pictures.images[index].stem!r} has no part or object that is learnt")
        return image, torch.stack((parts, objects))

    def names_of_maps(self) -> tuple[Sequence[str], ...]:
        """Of the parts' map and of the objects'."""
        return self.names.specific, self.names.objects

    def _tables(self) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """From labels of words to places of parts and of objects."""
        names, background = self.names, self.pictures.background
        parts, objects = (np.full(UNLABELLED + 1, IGNORED, np.int32) for _ in range(2))
        for label, word in enumerate(self.pictures.vocabulary.words):
            part = names.specific.index(word) if word in names.specific else None
            parts[label] = NONE if part is None else part
            objects[label] = (
                NONE if word == background else names.objects.index(word) if part is None else names.object_of[part]
            )
        return parts, objects

    def _object_table(self, maps: LabelledImages) -> Int[np.ndarray, " N"]:
        """From labels of maps of objects to places of objects."""
        table = np.full(UNLABELLED + 1, NONE, np.int32)
        for label, word in enumerate(maps.vocabulary.words):
            if word in self.names.objects:
                table[label] = self.names.objects.index(word)
        return table
