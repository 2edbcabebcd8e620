"""Recipes for the embedded model."""

from dataclasses import replace

from segvoc.networks.tiny import TWO_BLOCKS, TinyConfig, TinyPartsConfig
from segvoc.training.recipe import DataConfig, ObjectiveConfig, OptimizerConfig, Recipe, RuntimeConfig


def tiny() -> Recipe:
    """Fine-tune `tiny`: its projections, the sum of its costs, and its trunk at a tenth of their learning rate.

    `--set trunk_lr_scale=0` freezes the trunk, which takes a quarter of the time but fits less well: on 8 training
    photographs with 58 garments, 93 % of the pixels are correct after 150 steps, compared to 95 % after 60 steps with
    the trunk.
    Row: none, since the network isn't from a paper. Hardware: a laptop; minutes for tens of photographs.
    Command: segvoc train tiny --images DIR --labels DIR --classes classes.json --out RUN
    """
    return Recipe(
        model="tiny",
        optimizer=OptimizerConfig(
            steps=200,
            batch_size=2,
            lr=2e-3,
            warmup_steps=20,
            max_grad_norm=1.0,
            encoder_lr_scale=1.0,
            trunk_lr_scale=0.1,
        ),
        objective=ObjectiveConfig(loss="competing"),
        data=DataConfig(dataset="", short_sides=(448, 512, 576), crop_size=448, squash_prob=0.8, swap_left_right=True),
        runtime=RuntimeConfig(
            class_chunk_size=16, activation_checkpointing=True, num_workers=2, save_every=50, eval_every=0
        ),
    )


def tiny_aggregation() -> Recipe:
    """Two small parallel blocks on tiny's encoders, randomly initialized, whose output is added to tiny's sum of costs.

    Their output is zero at first. `--set skip=none` omits the sum, so that everything is learned from scratch. `--set
    order=serial --set fusion=last`, `--set fusion=...`, `--set experts=...` and `--set aggregation=none` are small
    versions of the rows of the papers' tables.
    Row: none. Hardware: a laptop, seconds per step; or any GPU.
    Command: segvoc train tiny-aggregation --images DIR --labels DIR --classes classes.json --out RUN
    """
    recipe = tiny().with_settings(trunk_lr_scale=0.0, batch_size=4, fod_weight=0.01, steps=600)
    return replace(recipe, network=TinyConfig(aggregation=TWO_BLOCKS))


def tiny_parts() -> Recipe:
    """A small PartCATSeg: its two levels on tiny's frozen encoders.

    `--set order=parallel --set fusion=experts --set fod_weight=0.01` is a small version of PCA-Seg's part mode. The
    classes are parts of objects ("car's door", or `--object car`) and objects without parts. The output of the
    aggregation is added to the sums of the raw costs, and all classes of a level compete. This loss isn't from a paper,
    but works better with few images, see `tiny`.
    Row: none. Hardware: a laptop; minutes.
    Command: segvoc train tiny-parts --object car --images DIR --labels DIR --classes classes.json --background
    background --out RUN
    """
    recipe = tiny().with_settings(
        trainable="none",
        trunk_lr_scale=0.0,
        batch_size=4,
        steps=400,
        short_sides=(224, 256, 288),
        crop_size=224,
        activation_checkpointing=False,
        class_chunk_size=0,
    )
    return replace(recipe, network=TinyConfig(aggregation=TinyPartsConfig()))
