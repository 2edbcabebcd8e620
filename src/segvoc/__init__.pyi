"""The public names of segvoc: a line each, by which type checkers and `__init__.py` find them."""

from segvoc.data.labeled_images import LabeledImages as LabeledImages
from segvoc.errors import CheckpointError as CheckpointError
from segvoc.errors import InputError as InputError
from segvoc.errors import OutputError as OutputError
from segvoc.errors import SegvocError as SegvocError
from segvoc.errors import UsageError as UsageError
from segvoc.evaluation.runner import evaluate as evaluate
from segvoc.evaluation.task import EvaluationSettings as EvaluationSettings
from segvoc.evaluation.task import EvaluationTask as EvaluationTask
from segvoc.exporting.export import export as export
from segvoc.imaging.label_maps import read_label_map as read_label_map
from segvoc.inference.clicks import click as click
from segvoc.inference.encoded_image import EncodedImage as EncodedImage
from segvoc.inference.exported.segmenter import ExportedSegmenter as ExportedSegmenter
from segvoc.inference.label_options import LabelOptions as LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary as PreparedVocabulary
from segvoc.inference.segmentation import Segmentation as Segmentation
from segvoc.inference.segmenter import Segmenter as Segmenter
from segvoc.inference.taught.taught_words import TaughtWords as TaughtWords
from segvoc.inference.teaching import teach as teach
from segvoc.labeling.formats.dataset import DatasetWriter as DatasetWriter
from segvoc.labeling.formats.huggingface import read_huggingface as read_huggingface
from segvoc.labeling.formats.opening import read_dataset as read_dataset
from segvoc.labeling.videos import label_video as label_video
from segvoc.models.catalog import list_models as list_models
from segvoc.models.conversion import save as save
from segvoc.models.network_segmenter import NetworkSegmenter as NetworkSegmenter
from segvoc.models.opening import load as load
from segvoc.models.opening import load_network as load_network
from segvoc.models.sharing import push as push
from segvoc.runtime.version import __version__ as __version__
from segvoc.training import recipes as recipes
from segvoc.training.callbacks import Callback as Callback
from segvoc.training.recipe import Recipe as Recipe
from segvoc.training.run import TrainingResult as TrainingResult
from segvoc.training.run import train as train
from segvoc.vocabulary import Part as Part
from segvoc.vocabulary import PartVocabulary as PartVocabulary
from segvoc.vocabulary import Vocabulary as Vocabulary

__all__: list[str]
