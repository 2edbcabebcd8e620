"""Projects of segvoc: the images that are done, with the project's words."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, checked_size
from segvoc.data.datasets.places import DatasetSource
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.projects.folder import ProjectFolder, stored_labels, stored_objects
from segvoc.projects.image_files import ImageFiles
from segvoc.projects.images import stem_of


@dataclass(frozen=True, kw_only=True)
class ProjectLabels:
    """The labels of an image in a project."""

    files: ImageFiles
    labels: Mapping[int, int]
    """The label of each id; ids without one are unlabeled."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        try:
            ids = stored_labels(self.files)[2]
        except (UsageError, FileNotFoundError) as error:
            raise ValueError(str(error)) from None
        checked_size(size, ids.shape)
        table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
        table[list(self.labels)] = list(self.labels.values())
        return table[ids]

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        try:
            objects = stored_objects(self.files)
        except (UsageError, FileNotFoundError) as error:
            raise ValueError(str(error)) from None
        if objects is not None:
            checked_size(size, objects.shape)
        return objects


def read_project(source: DatasetSource) -> FoundDataset:
    """Read the images of a project that are done.

    Args:
        source: its folder, or its `project.json`.

    Raises:
        UsageError: it is no project, has no words, or no image of it is done.
        DamagedProjectError: a file is damaged.
    """
    project = ProjectFolder.open(source.folder)
    record, (states, problems) = project.record, project.states()
    done = [state for state in states if state.done]
    if not record.present:
        raise UsageError(f"the project {str(source.folder)!r} has no words; add some: segvoc project words")
    if not done:
        more = f" ({problems[0]})" if problems else ""
        raise UsageError(
            f"no image of the project {str(source.folder)!r} is done{more}; mark images as done on its page (N)"
        )
    labels = {word.id: index for index, word in enumerate(record.present)}
    images = []
    for state in done:
        files = ImageFiles.below(project.folder, stem_of(state.image))
        path = (source.images or project.images_folder) / state.image
        annotation = ProjectLabels(files=files, labels=labels)
        image = AnnotatedImage(image=path, labels=files.labels, stem=stem_of(state.image), annotation=annotation)
        images.append(image)
    names = [word.name for word in record.present]
    background = record.options.background if record.options.background in names else None
    return FoundDataset(names=names, images=images, background=background, has_outside=False)
