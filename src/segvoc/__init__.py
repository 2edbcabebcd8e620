"""segvoc: label every pixel of a picture with words chosen at run time.

    import segvoc
    model = segvoc.load("tiny")
    result = model.segment("photo.jpg", ["cat", "sofa", "wall"])
    result.save("out/")

Importing this package is cheap: PyTorch is loaded by the first call that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segvoc.errors import CheckpointError, InputError, OutputError, SegvocError, UsageError
    from segvoc.imaging.label_maps import read_label_map
    from segvoc.inference.segmentation import Segmentation
    from segvoc.inference.segmenter import Segmenter
    from segvoc.models.loading import load
    from segvoc.vocabulary import Part, PartVocabulary, Vocabulary

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "InputError",
    "OutputError",
    "Part",
    "PartVocabulary",
    "Segmentation",
    "Segmenter",
    "SegvocError",
    "UsageError",
    "Vocabulary",
    "load",
    "read_label_map",
]

_HOMES = {
    "CheckpointError": "segvoc.errors",
    "InputError": "segvoc.errors",
    "OutputError": "segvoc.errors",
    "Part": "segvoc.vocabulary",
    "PartVocabulary": "segvoc.vocabulary",
    "Segmentation": "segvoc.inference.segmentation",
    "Segmenter": "segvoc.inference.segmenter",
    "SegvocError": "segvoc.errors",
    "UsageError": "segvoc.errors",
    "Vocabulary": "segvoc.vocabulary",
    "load": "segvoc.models.loading",
    "read_label_map": "segvoc.imaging.label_maps",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'segvoc' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*__all__, "__version__"])
