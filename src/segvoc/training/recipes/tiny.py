"""Recipes for the embedded model, and for fine-tuning any model on images of one's own."""

from dataclasses import replace

from segvoc.checkpoints.files import read_header
from segvoc.models.headers import configuration_of
from segvoc.models.loading import is_own_path, named_preset
from segvoc.models.presets import find_preset
from segvoc.networks.tiny import TWO_BLOCKS, TinyConfig, TinyPartsConfig
from segvoc.training.recipe import Recipe


def tiny() -> Recipe:
    """`tiny` as it ships, trained on: its projections, the sum of its costs, and its trunk at a tenth of their rate.

    `--set trunk_rate=0` keeps the trunk as it is: a quarter of the time, and less that can be learnt (8 photographs of
    58 garments, seen in training: 93 % of the pixels right after 150 steps, 95 % with the trunk after 60).
    Row: none; it is no published network. Hardware: a laptop; minutes for tens of photographs.
    Command: segvoc train tiny --images DIR --labels DIR --classes classes.json --out RUN
    """
    return Recipe(
        model="tiny",
        tower_rate=1.0,
        trunk_rate=0.1,
        steps=200,
        batch=2,
        learning_rate=2e-3,
        warm_up=20,
        clip_norm=1.0,
        loss="competing",
        data="",
        shortest=(448, 512, 576),
        crop=448,
        squash=0.8,
        swap_sides=True,
        chunk=16,
        recompute=True,
        workers=2,
        save_every=50,
        watch_every=0,
    )


def tiny_aggregation() -> Recipe:
    """Two small parallel blocks, started at random, that add to tiny's sum of costs, on its own towers.

    They add nothing at first. `--set skip=none` leaves the sum out: then all is to be learnt from the start. `--set
    order=serial --set fusion=last`, `--set fusion=...`, `--set experts=...` and `--set aggregation=none` are the rows
    of the papers' tables in small.
    Row: none. Hardware: a laptop, seconds a step; or any GPU.
    Command: segvoc train tiny-aggregation --images DIR --labels DIR --classes classes.json --out RUN
    """
    network = TinyConfig(aggregation=TWO_BLOCKS)
    return replace(tiny(), network=network, trunk_rate=0.0, batch=4, fod=0.01, steps=600)


def tiny_parts() -> Recipe:
    """PartCATSeg in small: its two levels on the towers of tiny, which stay as they are.

    `--set order=parallel --set fusion=experts --set fod=0.01` is PCA-Seg's part mode in small. The classes are parts of
    objects ("car's door", or `--object car`) and objects without parts. What is learnt is added to the sums of the raw
    costs, and all classes of a level compete (no published loss: few images teach more this way, see `tiny`).
    Row: none. Hardware: a laptop; minutes.
    Command: segvoc train tiny-parts --object car --images DIR --labels DIR --classes classes.json --background
    background --out RUN
    """
    return replace(
        tiny(),
        network=TinyConfig(aggregation=TinyPartsConfig()),
        tuned="none",
        trunk_rate=0.0,
        batch=4,
        steps=400,
        shortest=(224, 256, 288),
        crop=224,
        recompute=False,
        chunk=0,
    )


def finetune(model: str, preset: str | None = None) -> Recipe:
    """Train a model further on your own images, or a new aggregation on its encoders.

    The published networks keep their learning rates and losses, but train for a thousand steps, ignore unlabelled
    pixels, and swap left and right in mirror images.

    Args:
        model: a preset, or the path of a .safetensors file that segvoc wrote.
        preset: the preset that the model was made from; None reads it from the file.

    Raises:
        UsageError: there is no such preset.
        CheckpointError: the file can't be read, or segvoc didn't write it.
    """
    from segvoc.training.recipes import RECIPES  # here, since that table holds this file's recipes too

    network = None
    if is_own_path(model):
        file = read_header(model)
        preset = preset or named_preset(file)
        network = configuration_of(file, find_preset(preset))
    preset = preset or model
    find_preset(preset)
    if preset == "tiny":
        return replace(tiny(), model=model, network=network)
    own = {
        "model": model,
        "network": network,
        "steps": 1000,
        "loss": "masked",
        "data": "",
        "save_every": 100,
        "watch_every": 0,
    }
    return replace(RECIPES[preset](), swap_sides=True, **own)
