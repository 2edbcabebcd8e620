"""The recipes of the papers, one function for each published row, a table of all recipes, and `finetune`.

Change a recipe with `Recipe.with_settings`, or on the command line with `--set`.
"""

from collections.abc import Callable
from dataclasses import replace

from segvoc.checkpoints.files import read_header
from segvoc.models.headers import configuration_of
from segvoc.models.loading import is_own_path, named_preset
from segvoc.models.presets import find_preset
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig
from segvoc.networks.syn_seg import SynSegConfig
from segvoc.networks.tiny import TinyAggregationConfig, TinyConfig
from segvoc.training.recipe import DataConfig, Method, OptimizerConfig, Recipe
from segvoc.training.recipes import cat_seg, err_seg, parts, pca_seg, syn_seg, tiny
from segvoc.training.recipes.tuned_words import tuned_words

__all__ = ["RECIPES", "finetune"]

RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        cat_seg.cat_seg_b,
        cat_seg.cat_seg_l,
        cat_seg.cat_seg_eva_b,
        cat_seg.cat_seg_eva_l,
        cat_seg.cat_seg_v1_b,
        cat_seg.cat_seg_v1_l,
        cat_seg.cat_seg_v1_h,
        cat_seg.cat_seg_v1_g,
        pca_seg.pca_seg_b,
        pca_seg.pca_seg_l,
        pca_seg.pca_seg_b_released,
        pca_seg.pca_seg_l_released,
        pca_seg.pca_seg_clip_b,
        pca_seg.pca_seg_clip_l,
        pca_seg.no_aggregation_b,
        err_seg.err_seg_b,
        err_seg.err_seg_l,
        err_seg.err_seg_b_frozen,
        err_seg.err_seg_vit_b_frozen,
        parts.part_cat_seg_b,
        parts.pca_part_b,
        parts.pca_part_b_ade,
        tiny.tiny,
        tiny.tiny_aggregation,
        tiny.tiny_parts,
        syn_seg.syn_seg_b,
        syn_seg.tiny_syn,
    )
}
"""Every recipe, by name: that of its function with hyphens."""


def finetune(
    model: str,
    preset: str | None = None,
    *,
    images: int = 30,
    steps: int | None = None,
    method: Method | None = None,
) -> Recipe:
    """Fine-tune a model on your own images.

    tiny stays as it is, and words are tuned on its features (`method=words`). The published networks are trained
    themselves: they keep their learning rates and losses, but train for a thousand steps, ignore unlabeled pixels, and
    swap left and right in mirror images. Without `--weights`, a network whose authors published their weights starts
    from these (`--set init_from=encoders`: from its encoders alone).

    Args:
        model: a preset, or the path of a .safetensors file that segvoc wrote.
        preset: the preset that the model was made from; None reads it from the file.
        images: number of labeled images, from which the settings of tuned words follow.
        steps: number of steps; None: the default.
        method: "words" tunes words, "network" trains the network; None: "words" for tiny, otherwise "network".

    Raises:
        UsageError: there is no such preset.
        CheckpointError: the file can't be read, or segvoc didn't write it.
    """
    network = None
    if is_own_path(model):
        file = read_header(model)
        preset = preset or named_preset(file)
        network = configuration_of(file, find_preset(preset))
    preset = preset or model
    find_preset(preset)
    if preset == "tiny":
        recipe = tiny.tiny()
        of_parts = isinstance(network, TinyConfig) and not isinstance(network.aggregation, TinyAggregationConfig)
        method = method or ("network" if of_parts else "words")
    else:
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
    if method == "words":
        recipe = tuned_words(recipe, images, steps)
    elif steps is not None:
        recipe = recipe.with_settings(steps=steps)
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
    side = configuration.encoder.input_size
    sides = DataConfig(short_sides=(side * 3 // 2,), crop_size=side)
    return Recipe(model=preset, optimizer=OptimizerConfig(trainable_encoders="image"), data=sides)
