"""The learning rate schedule."""

import math

from segvoc.training.recipe import OptimizerConfig


def rate_factor(optimizer: OptimizerConfig, step: int) -> float:
    """The factor of all learning rates at a step (from 0), in [0, 1].

    It follows half a cosine from 1 to 0 over all steps. With a warm-up of W steps, the first W factors increase
    linearly from `warmup_start_factor` to the cosine's value at W (detectron2's WarmupCosineLR, which ERR-Seg was
    trained with). W is at most half of the steps, so that short runs learn too.
    """
    warm_up = min(optimizer.warmup_steps, optimizer.steps // 2)
    if step >= warm_up:
        return _cosine(step / optimizer.steps)
    end = _cosine(warm_up / optimizer.steps)
    return optimizer.warmup_start_factor + (end - optimizer.warmup_start_factor) * step / warm_up


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))
