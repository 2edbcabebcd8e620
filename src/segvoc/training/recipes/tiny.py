"""Recipes for the embedded model, and for fine-tuning any model on your own images."""

from dataclasses import replace

from segvoc.checkpoints.files import read_header
from segvoc.models.headers import configuration_of
from segvoc.models.loading import is_own_path, named_preset
from segvoc.models.presets import find_preset
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig
from segvoc.networks.syn_seg import SynSegConfig
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


def finetune(model: str, preset: str | None = None) -> Recipe:
    """Fine-tune a model on your own images, or train a new aggregation on its encoders.

    The published networks keep their learning rates and losses, but train for a thousand steps, ignore unlabeled
    pixels, and swap left and right in mirror images. Without `--weights`, a network whose authors published their
    weights starts from these (`--set init_from=encoders`: from its encoders alone).

    Args:
        model: a preset, or the path of a .safetensors file that segvoc wrote.
        preset: the preset that the model was made from; None reads it from the file.

    Raises:
        UsageError: there is no such preset.
        CheckpointError: the file can't be read, or segvoc didn't write it.
    """
    from segvoc.training.recipes import RECIPES  # here, since that module imports this one

    network = None
    if is_own_path(model):
        file = read_header(model)
        preset = preset or named_preset(file)
        network = configuration_of(file, find_preset(preset))
    preset = preset or model
    find_preset(preset)
    if preset == "tiny":
        return replace(tiny(), model=model, network=network)
    recipe = RECIPES[preset]() if preset in RECIPES else _on_labels(preset)
    recipe = recipe.with_settings(
        init_from="network",
        steps=1000,
        loss="masked",
        dataset="",
        swap_left_right=True,
        save_every=100,
        eval_every=0,
    )
    return replace(recipe, model=model, network=network)


def _on_labels(preset: str) -> Recipe:
    """How a network without a recipe learns from label maps: CLIPSeg's decoder, or the image encoder of a CLIP alone.

    No paper trains them so; the learning rates are those of CLIPSeg's and CAT-Seg's recipes.
    """
    configuration = find_preset(preset).configuration
    if isinstance(configuration, SynSegConfig):
        side = configuration.vit.input_size
        optimizer, sides = OptimizerConfig(trainable="none", lr=1e-4), DataConfig(short_sides=(side,), crop_size=side)
        return Recipe(model=preset, optimizer=optimizer, data=sides)
    assert isinstance(configuration, ClipNetworkConfig)
    side = configuration.encoders.vit.input_size
    sides = DataConfig(short_sides=(side * 3 // 2,), crop_size=side)
    return Recipe(model=preset, optimizer=OptimizerConfig(trainable_encoders="image"), data=sides)
