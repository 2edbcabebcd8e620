"""PartCATSeg (Choi et al., CVPR 2025) as its released code trains it, and PCA-Seg's part mode (Yin et al., CVPR 2026).

The available copy of PCA-Seg lacks its learning rates, and no code for parts was released, so PartCATSeg's learning
rates are used instead.
"""

from dataclasses import replace

from segvoc.training.recipe import DataConfig, OptimizerConfig, Recipe, RuntimeConfig


def part_cat_seg_b() -> Recipe:
    """PartCATSeg on Pascal-Part-116, or on ADE20K-Part-234 with `--set dataset=ade20k-part-234-train`.

    Row: PCA-Seg, Table 2, PartCATSeg: Pascal-Part-116 Pred-All 52.6 / 40.5 / 45.8, Oracle-Obj 57.5 / 44.9 / 50.4;
    ADE20K-Part-234 38.9 / 17.6 / 24.2 and 53.1 / 47.2 / 50.0 (seen, unseen, harmonic mIoU). Hardware: batch 4; 20,000
    steps for both; no mixed precision.
    Command: segvoc train part-cat-seg-b --data ROOT --out RUN

    CLIP is frozen, and DINOv2 is trained at a hundredth of the learning rate. The released code starts from a CAT-Seg
    checkpoint; this recipe starts from the encoders and a randomly initialized aggregation.
    """
    return Recipe(
        model="part-cat-seg-b",
        optimizer=OptimizerConfig(steps=20_000, batch_size=4),
        data=DataConfig(dataset="pascal-part-116-train", max_long_side=768),
        runtime=RuntimeConfig(class_chunk_size=64, activation_checkpointing=True),
    )


def pca_part_b() -> Recipe:
    """PCA-Seg's part mode on Pascal-Part-116, with PartCATSeg's learning rate, weight decay and gradient clipping.

    Row: Table 2, PCA-Seg: Pascal-Part-116 Pred-All 57.2 / 43.5 / 49.3, Oracle-Obj 60.5 / 47.1 / 52.9 (seen, unseen,
    harmonic mIoU). Hardware: 8 A6000; batch 8; 30,000 steps.
    Command: torchrun --nproc-per-node 8 --no-python segvoc train pca-part-b --data ROOT --out RUN
    """
    recipe = replace(part_cat_seg_b(), model="pca-part-b")
    return recipe.with_settings(steps=30_000, batch_size=8, fod_weight=0.01)


def pca_part_b_ade() -> Recipe:
    """PCA-Seg's part mode on ADE20K-Part-234.

    Row: Table 2, PCA-Seg: ADE20K-Part-234 Pred-All 40.8 / 19.2 / 26.1, Oracle-Obj 56.3 / 48.2 / 51.8. Hardware: 8
    A6000; batch 8; 20,000 steps.
    Command: like `pca_part_b`, with pca-part-b-ade.
    """
    return pca_part_b().with_settings(steps=20_000, dataset="ade20k-part-234-train")
