"""How a training step goes over the classes."""

import torch

from segvoc.layers.aggregation_context import ClassOptions, StreamObserver
from segvoc.layers.class_workers import shared_among_workers
from segvoc.training.recipe import Recipe


def class_options(recipe: Recipe, device: torch.device, observe: StreamObserver | None) -> ClassOptions:
    """Chunks of classes for a forward pass: where activations are recomputed, a CPU's threads share a chunk's classes.

    Args:
        recipe: says how many classes are processed at a time, and whether their activations are stored.
        device: where the network is.
        observe: is called with the two streams of each block.
    """
    chunk, recompute = recipe.runtime.class_chunk_size or None, recipe.runtime.activation_checkpointing
    chunk, workers = shared_among_workers(chunk, device) if recompute else (chunk, 1)
    return {"chunk": chunk, "workers": workers, "recompute": recompute, "observe": observe}
