"""CAT-Seg (Cho et al., CVPR 2024), and PCA-Seg's serial baseline with DeCLIP's encoders."""

from dataclasses import replace

from segvoc.training.recipe import DataConfig, OptimizerConfig, Recipe, RuntimeConfig


def cat_seg_b() -> Recipe:
    """CAT-Seg, ViT-B/16, as its released code trains it on COCO-Stuff.

    Row: CVPR 2024, Table 1, CAT-Seg (ViT-B/16): A-847 12.0, PC-459 19.0, A-150 31.8, PC-59 57.5, PAS-20 94.6, PAS-20b
    77.3 mIoU. Hardware: 4 RTX 3090; batch 4, one image per GPU; 80,000 steps, no mixed precision.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train cat-seg-b --data ROOT --out RUN

    Activations are recomputed in the backward pass, chunk by chunk, so that several images fit on a GPU with 24 GB.
    With one image on a large GPU, `--set activation_checkpointing=false --set class_chunk_size=0` is faster and
    gives the same results.
    """
    return Recipe(
        model="cat-seg-b",
        optimizer=OptimizerConfig(batch_size=4, lr=2e-4),
        data=DataConfig(crop_size=384),
        runtime=RuntimeConfig(class_chunk_size=64, activation_checkpointing=True),
    )


def cat_seg_l() -> Recipe:
    """CAT-Seg, ViT-L/14 at 336 px: crops of 384 px are resized to 336 px.

    Row: CVPR 2024, Table 1, CAT-Seg (ViT-L/14): A-847 16.0, PC-459 23.8, A-150 37.9, PC-59 63.3, PAS-20 97.0, PAS-20b
    82.5 mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train cat-seg-l --data ROOT --out RUN
    """
    return replace(cat_seg_b(), model="cat-seg-l").with_settings(resize_crop_to=336)


def cat_seg_v1_b() -> Recipe:
    """CAT-Seg of arXiv v1, ViT-B/16, guided by a frozen ResNet-101.

    Row: arXiv v1, Table 1, CAT-Seg (ViT-B/16): A-847 8.4, PC-459 16.6, A-150 27.2, PC-59 57.5, PAS-20 93.7, PAS-20b
    78.3 mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps. CLIP's attention and position embeddings learn, its text
    encoder doesn't; the paper doesn't say whether the backbone does (`--set trunk_lr_scale=0.01` trains it, with the
    rest of CLIP).
    Command: torchrun --nproc-per-node 4 --no-python segvoc train cat-seg-v1-b
    --encoder-weights ViT-B-16.pt,resnet101.pth --data ROOT --out RUN
    """
    return replace(cat_seg_b(), model="cat-seg-v1-b").with_settings(trainable_encoders="image")


def cat_seg_v1_l() -> Recipe:
    """CAT-Seg of arXiv v1, ViT-L/14 at 336 px, guided by a frozen Swin-B.

    Row: arXiv v1, Table 1, CAT-Seg (ViT-L/14): A-847 10.8, PC-459 20.4, A-150 31.5, PC-59 62.0, PAS-20 96.6, PAS-20b
    81.8 mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps.
    Command: like `cat_seg_v1_b`, with cat-seg-v1-l and the weights ViT-L-14-336px.pt,swin_b.pth
    """
    return replace(cat_seg_v1_b(), model="cat-seg-v1-l").with_settings(resize_crop_to=336)


def cat_seg_v1_h() -> Recipe:
    """CAT-Seg of arXiv v1, open_clip's ViT-H/14 at 336 px, guided by a frozen Swin-B.

    Row: arXiv v1, Table 1, CAT-Seg (ViT-H/14): A-847 12.4, PC-459 20.1, A-150 34.4, PC-59 61.2, PAS-20 96.7, PAS-20b
    80.2 mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps.
    Command: like `cat_seg_v1_b`, with cat-seg-v1-h and the weights ViT-H-14.safetensors,swin_b.pth
    """
    return replace(cat_seg_v1_l(), model="cat-seg-v1-h")


def cat_seg_v1_g() -> Recipe:
    """CAT-Seg of arXiv v1, open_clip's ViT-bigG/14 at 336 px, guided by a frozen Swin-B.

    Row: arXiv v1, Table 1, CAT-Seg (ViT-G/14): A-847 13.3, PC-459 21.4, A-150 36.2, PC-59 61.5, PAS-20 97.1, PAS-20b
    81.4 mIoU. Hardware: one A100; batch 4; 80,000 steps.
    Command: like `cat_seg_v1_b`, with cat-seg-v1-g and the weights ViT-bigG-14.safetensors,swin_b.pth
    """
    return replace(cat_seg_v1_l(), model="cat-seg-v1-g")


def cat_seg_eva_b() -> Recipe:
    """PCA-Seg's serial baseline with DeCLIP's EVA02-CLIP-B/16 (its "DeCLIP" rows).

    Row: PCA-Seg, Table 3, serial; learning rate and batch size of its released configuration eva_vitb_384 (5e-4, 8).
    Hardware: 8 GPUs, one image each; 80,000 steps.
    Command: torchrun --nproc-per-node 8 --no-python segvoc train cat-seg-eva-b --encoder-weights DECLIP-B.pt
    --data ROOT --out RUN
    """
    return replace(cat_seg_b(), model="cat-seg-eva-b").with_settings(batch_size=8, lr=5e-4)


def cat_seg_eva_l() -> Recipe:
    """PCA-Seg's serial baseline with DeCLIP's EVA02-CLIP-L/14, at 336 px.

    Row: PCA-Seg, Table 3, serial; learning rate and batch size of its released configuration eva_vitl_336 (3e-4, 8).
    Hardware: 8 GPUs; 80,000 steps.
    Command: torchrun --nproc-per-node 8 --no-python segvoc train cat-seg-eva-l --encoder-weights DECLIP-L.pt
    --data ROOT --out RUN
    """
    return replace(cat_seg_eva_b(), model="cat-seg-eva-l").with_settings(lr=3e-4, resize_crop_to=336)
