"""The recipes of the papers, one function for each published row, and a table of all recipes.

Change a recipe with `Recipe.with_settings`, or on the command line with `--set`.
"""

from collections.abc import Callable

from segvoc.training.recipe import Recipe
from segvoc.training.recipes import cat_seg, err_seg, parts, pca_seg, syn_seg, tiny
from segvoc.training.recipes.tiny import finetune

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
