"""How a training step goes over the classes."""

from segvoc.layers.aggregation_context import ClassOptions
from segvoc.training.objectives.losses import StreamSimilarity
from segvoc.training.recipe import Recipe


def class_options(recipe: Recipe, streams: StreamSimilarity | None) -> ClassOptions:
    """Options of a forward pass: chunks of classes, whether they are recomputed, and what collects the streams."""
    return {
        "chunk": recipe.runtime.class_chunk_size or None,
        "recompute": recipe.runtime.activation_checkpointing,
        "observe": None if streams is None else streams.observe,
    }
