"""segvoc: label every pixel of an image with words chosen at run time.

    import segvoc

    model = segvoc.load("tiny")
    result = model.segment("photo.jpg", ["cat", "sofa", "wall"])
    result.save("out/")

Importing this package is cheap; its only side effect is to turn off ONNX Runtime's telemetry. PyTorch is imported by
the first call that needs it.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from segvoc.version import __version__ as __version__

if TYPE_CHECKING:
    from segvoc.clicks.clicked_image import click
    from segvoc.data.datasets.huggingface import read_huggingface
    from segvoc.data.datasets.opening import read_dataset
    from segvoc.data.labeled_images import LabeledImages
    from segvoc.errors import CheckpointError, InputError, OutputError, SegvocError, UsageError
    from segvoc.evaluation.runner import evaluate
    from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
    from segvoc.exported.segmenter import ExportedSegmenter
    from segvoc.exporting.export import export
    from segvoc.formats.dataset import DatasetWriter
    from segvoc.formats.objects import with_objects
    from segvoc.imaging.label_maps import read_label_map
    from segvoc.imaging.overlay import OverlayStyle
    from segvoc.inference.label_options import LabelOptions
    from segvoc.inference.prepared_vocabulary import PreparedVocabulary
    from segvoc.inference.segmentation import Segmentation
    from segvoc.inference.segmenter import Segmenter
    from segvoc.models.conversion import save
    from segvoc.models.network_segmenter import NetworkSegmenter
    from segvoc.models.opening import list_models, load, load_exported
    from segvoc.process_settings import keep_freed_memory
    from segvoc.sharing.uploading import push
    from segvoc.teaching.taught_words import TaughtWords
    from segvoc.training import recipes, trackers
    from segvoc.training.callbacks import Callback
    from segvoc.training.recipe import Recipe
    from segvoc.training.run import TrainingResult, train
    from segvoc.vocabulary import Part, PartVocabulary, Vocabulary

# Turn off the telemetry of ONNX Runtime 1.29 and later: it reports models and machine, stores an identifier in the
# user's home, and warns if it can't. The variable is read at import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Callback",
    "CheckpointError",
    "DatasetWriter",
    "EvaluationSettings",
    "EvaluationTask",
    "ExportedSegmenter",
    "InputError",
    "LabelOptions",
    "LabeledImages",
    "NetworkSegmenter",
    "OutputError",
    "OverlayStyle",
    "Part",
    "PartVocabulary",
    "PreparedVocabulary",
    "Recipe",
    "Segmentation",
    "Segmenter",
    "SegvocError",
    "TaughtWords",
    "TrainingResult",
    "UsageError",
    "Vocabulary",
    "click",
    "evaluate",
    "export",
    "keep_freed_memory",
    "list_models",
    "load",
    "load_exported",
    "push",
    "read_dataset",
    "read_huggingface",
    "read_label_map",
    "recipes",
    "save",
    "trackers",
    "train",
    "with_objects",
]

_HOMES = {
    "Callback": "segvoc.training.callbacks",
    "CheckpointError": "segvoc.errors",
    "DatasetWriter": "segvoc.formats.dataset",
    "EvaluationSettings": "segvoc.evaluation.task",
    "EvaluationTask": "segvoc.evaluation.task",
    "ExportedSegmenter": "segvoc.exported.segmenter",
    "InputError": "segvoc.errors",
    "LabelOptions": "segvoc.inference.label_options",
    "LabeledImages": "segvoc.data.labeled_images",
    "NetworkSegmenter": "segvoc.models.network_segmenter",
    "OutputError": "segvoc.errors",
    "OverlayStyle": "segvoc.imaging.overlay",
    "Part": "segvoc.vocabulary",
    "PartVocabulary": "segvoc.vocabulary",
    "PreparedVocabulary": "segvoc.inference.prepared_vocabulary",
    "Recipe": "segvoc.training.recipe",
    "Segmentation": "segvoc.inference.segmentation",
    "Segmenter": "segvoc.inference.segmenter",
    "SegvocError": "segvoc.errors",
    "TaughtWords": "segvoc.teaching.taught_words",
    "TrainingResult": "segvoc.training.run",
    "UsageError": "segvoc.errors",
    "Vocabulary": "segvoc.vocabulary",
    "click": "segvoc.clicks.clicked_image",
    "evaluate": "segvoc.evaluation.runner",
    "export": "segvoc.exporting.export",
    "keep_freed_memory": "segvoc.process_settings",
    "list_models": "segvoc.models.opening",
    "load": "segvoc.models.opening",
    "load_exported": "segvoc.models.opening",
    "push": "segvoc.sharing.uploading",
    "read_dataset": "segvoc.data.datasets.opening",
    "read_huggingface": "segvoc.data.datasets.huggingface",
    "read_label_map": "segvoc.imaging.label_maps",
    "recipes": "segvoc.training.recipes",
    "save": "segvoc.models.conversion",
    "trackers": "segvoc.training.trackers",
    "train": "segvoc.training.run",
    "with_objects": "segvoc.formats.objects",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'segvoc' has no attribute {name!r}")
    from segvoc.errors import naming_torch

    with naming_torch():
        home = import_module(_HOMES[name])
    return getattr(home, name, home)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
