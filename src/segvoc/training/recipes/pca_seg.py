"""PCA-Seg (Yin et al., CVPR 2026), with the architecture of the released code and the FOD loss weight of the paper.

The released training code fails at the first step (a call lacks an argument), so the published numbers can't come from
exactly that code. The paper doesn't state the learning rate; the recipes use those of the released configurations.
"""

from dataclasses import replace

from segvoc.training.recipe import Recipe
from segvoc.training.recipes.cat_seg import cat_seg_b, cat_seg_eva_b, cat_seg_eva_l, cat_seg_l

PAPER_FOD, RELEASED_FOD = 0.01, 0.001
"""Lambda of Eq. 10: the best value of Table 5d, and the value in the released code."""


def pca_seg_b() -> Recipe:
    """PCA-Seg with DeCLIP's EVA02-CLIP-B/16.

    Row: Table 1, PCA-Seg (ViT-B/16): A-847 16.1, PC-459 22.3, A-150 38.1, PC-59 62.2, PAS-20 97.3, PAS-20b 82.7 mIoU.
    Hardware: 8 A6000; batch 8, one image per GPU; 80,000 steps.
    Command: torchrun --nproc-per-node 8 --no-python segvoc train pca-seg-b --encoder-weights DECLIP-B.pt --data ROOT
    --out RUN
    """
    return replace(cat_seg_eva_b(), model="pca-seg-b").with_settings(fod_weight=PAPER_FOD)


def pca_seg_l() -> Recipe:
    """PCA-Seg with DeCLIP's EVA02-CLIP-L/14, at 336 px.

    Row: Table 1, PCA-Seg (ViT-L/14): A-847 18.3, PC-459 26.7, A-150 41.5, PC-59 64.7, PAS-20 98.4, PAS-20b 84.4 mIoU.
    Hardware: 8 A6000; batch 8; 80,000 steps.
    Command: torchrun --nproc-per-node 8 --no-python segvoc train pca-seg-l --encoder-weights DECLIP-L.pt --data ROOT
    --out RUN
    """
    return replace(cat_seg_eva_l(), model="pca-seg-l").with_settings(fod_weight=PAPER_FOD)


def pca_seg_b_released() -> Recipe:
    """PCA-Seg with EVA02-CLIP-B/16 and the released code's FOD loss weight.

    Row: Table 5d, lambda 0.001: A-150 37.4 mIoU. Hardware: 8 A6000; batch 8; 80,000 steps.
    Command: like `pca_seg_b`, with pca-seg-b-released.
    """
    return pca_seg_b().with_settings(fod_weight=RELEASED_FOD)


def pca_seg_l_released() -> Recipe:
    """PCA-Seg with EVA02-CLIP-L/14 and the released code's FOD loss weight.

    Row: not published. Hardware: 8 A6000; batch 8; 80,000 steps.
    Command: like `pca_seg_l`, with pca-seg-l-released.
    """
    return pca_seg_l().with_settings(fod_weight=RELEASED_FOD)


def pca_seg_clip_b() -> Recipe:
    """PCA-Seg with OpenAI's ViT-B/16, as in the released configuration vitb_384.

    Row: not published. Hardware: 4 GPUs with 24 GB each; batch 4; 80,000 steps.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train pca-seg-clip-b --data ROOT --out RUN
    """
    return replace(cat_seg_b(), model="pca-seg-clip-b").with_settings(fod_weight=PAPER_FOD)


def pca_seg_clip_l() -> Recipe:
    """PCA-Seg with OpenAI's ViT-L/14 at 336 px, as in the released configuration vitl_336.

    Row: not published. Hardware: 4 GPUs with 24 GB each; batch 4; 80,000 steps.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train pca-seg-clip-l --data ROOT --out RUN
    """
    return replace(cat_seg_l(), model="pca-seg-clip-l").with_settings(fod_weight=PAPER_FOD)


def no_aggregation_b() -> Recipe:
    """DeCLIP's EVA02-CLIP-B/16 without aggregation: the logits are the scaled and shifted cosine similarities.

    Row: Table 3, without aggregation: A-847 14.1, PC-459 20.7, A-150 34.4, PC-59 59.3, PAS-20b 79.1 mIoU. Hardware: 8
    A6000; batch 8; 80,000 steps.
    Command: torchrun --nproc-per-node 8 --no-python segvoc train no-aggregation-b --encoder-weights DECLIP-B.pt
    --data ROOT --out RUN
    """
    return pca_seg_b().with_settings(aggregation="none", fod_weight=0.0)
