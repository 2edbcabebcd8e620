"""The recipes of the papers, one function for each published row, and a table of all recipes.

Change a recipe with `Recipe.with_settings`, or on the command line with `--set`.
"""

from collections.abc import Callable

from segvoc.training.recipe import Recipe
from segvoc.training.recipes.cat_seg import (
    cat_seg_b,
    cat_seg_eva_b,
    cat_seg_eva_l,
    cat_seg_l,
    cat_seg_v1_b,
    cat_seg_v1_g,
    cat_seg_v1_h,
    cat_seg_v1_l,
)
from segvoc.training.recipes.err_seg import err_seg_b, err_seg_b_frozen, err_seg_l, err_seg_vit_b_frozen
from segvoc.training.recipes.parts import part_cat_seg_b, pca_part_b, pca_part_b_ade
from segvoc.training.recipes.pca_seg import (
    no_aggregation_b,
    pca_seg_b,
    pca_seg_b_released,
    pca_seg_clip_b,
    pca_seg_clip_l,
    pca_seg_l,
    pca_seg_l_released,
)
from segvoc.training.recipes.syn_seg import syn_seg_b, tiny_syn
from segvoc.training.recipes.tiny import finetune, tiny, tiny_aggregation, tiny_parts

__all__ = ["RECIPES", "finetune"]

RECIPES: dict[str, Callable[[], Recipe]] = {
    "cat-seg-b": cat_seg_b,
    "cat-seg-l": cat_seg_l,
    "cat-seg-eva-b": cat_seg_eva_b,
    "cat-seg-eva-l": cat_seg_eva_l,
    "cat-seg-v1-b": cat_seg_v1_b,
    "cat-seg-v1-l": cat_seg_v1_l,
    "cat-seg-v1-h": cat_seg_v1_h,
    "cat-seg-v1-g": cat_seg_v1_g,
    "pca-seg-b": pca_seg_b,
    "pca-seg-l": pca_seg_l,
    "pca-seg-b-released": pca_seg_b_released,
    "pca-seg-l-released": pca_seg_l_released,
    "pca-seg-clip-b": pca_seg_clip_b,
    "pca-seg-clip-l": pca_seg_clip_l,
    "no-aggregation-b": no_aggregation_b,
    "err-seg-b": err_seg_b,
    "err-seg-l": err_seg_l,
    "err-seg-b-frozen": err_seg_b_frozen,
    "err-seg-vit-b-frozen": err_seg_vit_b_frozen,
    "part-cat-seg-b": part_cat_seg_b,
    "pca-part-b": pca_part_b,
    "pca-part-b-ade": pca_part_b_ade,
    "tiny": tiny,
    "tiny-aggregation": tiny_aggregation,
    "tiny-parts": tiny_parts,
    "syn-seg-b": syn_seg_b,
    "tiny-syn": tiny_syn,
}
"""Every recipe, by name."""
