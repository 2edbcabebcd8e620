"""Training samples for a network of parts: the part and the object of every pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from segvoc.data.labeled_images import LabeledImage, LabeledImages
from segvoc.data.training.training_set import IGNORED, MAX_LABEL, TrainingSet
from segvoc.encoders.part_names import PartNames
from segvoc.errors import InputError, UsageError
from segvoc.imaging.label_maps import UNLABELED

NONE = MAX_LABEL
"""Label of a pixel that shows no part, or no object that is learned; no class has this label."""


@dataclass(frozen=True, kw_only=True)
class PartTrainingSet(TrainingSet):
    """Images whose classes are parts of objects ("dog's head") and objects without parts.

    A pixel has two labels: the index of its part in `names.specific` and the index of its object in `names.objects`.
    Its object is the one whose part it shows; background belongs to no object.
    """

    object_maps: LabeledImages | None = None
    """Label maps of the objects, which also cover pixels that belong to no part (the rest of the dog). Images and maps
    are matched by stem. Unlabeled pixels and objects that are not learned show no object."""

    def __post_init__(self) -> None:
        missing = (image.stem for image in self.images.images if image.stem not in self._object_maps)
        if self.object_maps is not None and (stem := next(missing, None)) is not None:
            raise UsageError(f"{stem!r} has no object map; add it, or leave out the object maps")

    @cached_property
    def names(self) -> PartNames:
        """The parts and objects to learn."""
        return PartNames.of(self.vocabulary.words)

    def read(self, index: int) -> tuple[np.ndarray, Int[Tensor, "2 H W"]]:
        """An image, and its maps of parts and objects.

        Raises:
            InputError: a file is missing or damaged, or the image shows no part and no object that is learned.
        """
        image, labels = self.images.read(index)
        parts, objects = (torch.from_numpy(table[labels]) for table in self._tables)
        if self.object_maps is not None:
            object_map = self._object_maps[self.images.images[index].stem]
            labels = object_map.read_labels(labels.shape, len(self.object_maps.vocabulary))
            objects = torch.from_numpy(self._object_table[labels])
        if not ((parts < NONE) & (parts != IGNORED)).any() and not ((objects < NONE) & (objects != IGNORED)).any():
            raise InputError(f"{self.images.images[index].stem!r} shows no part and no object that is learned")
        return image, torch.stack((parts, objects))

    @property
    def no_classes(self) -> frozenset[int]:
        """See `TrainingSet.no_classes`."""
        return frozenset((IGNORED, NONE))

    def names_of_maps(self) -> tuple[Sequence[str], ...]:
        """The names of the part map, and those of the object map."""
        return self.names.specific, self.names.objects

    @cached_property
    def _object_maps(self) -> dict[str, LabeledImage]:
        """The object maps by stem."""
        return {} if self.object_maps is None else {image.stem: image for image in self.object_maps.images}

    @cached_property
    def _tables(self) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """For each label of the label maps, its part and its object."""
        names, background = self.names, self.images.background
        part_of_word = {word: part for part, word in enumerate(names.specific)}
        object_of_word = self._object_indices
        parts, objects = (np.full(UNLABELED + 1, IGNORED, np.int32) for _ in range(2))
        for label, word in enumerate(self.images.vocabulary.words):
            part = part_of_word.get(word)
            parts[label] = NONE if part is None else part
            if word == background:
                objects[label] = NONE
            else:
                objects[label] = object_of_word[word] if part is None else names.object_of[part]
        return parts, objects

    @cached_property
    def _object_table(self) -> Int[np.ndarray, " N"]:
        """For each label of the object maps, its object."""
        table = np.full(UNLABELED + 1, NONE, np.int32)
        words = () if self.object_maps is None else self.object_maps.vocabulary.words
        for label, word in enumerate(words):
            table[label] = self._object_indices.get(word, NONE)
        return table

    @cached_property
    def _object_indices(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names.objects)}
