"""Where the weights of a model come from, for reports."""

from collections.abc import Mapping

from segvoc.checkpoints.files import read_header
from segvoc.evaluation.result import ModelOrigin
from segvoc.models.loading import is_own_path, named_preset
from segvoc.models.presets import find_preset

PUBLISHED_WEIGHTS = "published by the authors"
"""How reports call the published weights of a preset."""


def origin_of(model: str, weights: str | None = None, options: Mapping[str, object] | None = None) -> ModelOrigin:
    """The origin of a model that `segvoc.load` loads with the same arguments.

    Args:
        model: a preset, or the path of a .safetensors file of segvoc.
        weights: file of the weights; None: the preset's own.
        options: settings of the network that differ from the preset's.

    Raises:
        UsageError: there is no preset of that name.
        CheckpointError: the file can't be read.
    """
    options = options or {}
    if is_own_path(model):
        return ModelOrigin(preset=named_preset(read_header(model)), weights=model, options=options)
    published = weights is None and find_preset(model).published is not None
    own = PUBLISHED_WEIGHTS if published else "shipped with segvoc"
    return ModelOrigin(preset=model, weights=weights or own, published=published, options=options)
