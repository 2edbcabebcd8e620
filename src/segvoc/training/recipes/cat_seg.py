"""CAT-Seg (Cho et al., CVPR 2024), and PCA-Seg's serial baseline with DeCLIP's encoders."""

from dataclasses import replace

from segvoc.training.recipe import Recipe


def cat_seg_b() -> Recipe:
    """CAT-Seg, ViT-B/16, as its released code trains it on COCO-Stuff.

    Row: CVPR 2024, Table 1, CAT-Seg (ViT-B/16): A-847 12.0, PC-459 19.0, A-150 31.8, PC-59 57.5, PAS-20 94.6, PAS-20b
    77.3 mIoU. Hardware: 4 RTX 3090; batch 4, one image per GPU; 80,000 steps, no mixed precision.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train cat-seg-b --data ROOT --out RUN

    Activations are recomputed in the backward pass, chunk by chunk, so that several images fit on a GPU with 24 GB.
    With one image on a large GPU, `--set recompute=false --set chunk=0` is faster and gives the same results.
    """
    return Recipe(model="cat-seg-b", batch=4, learning_rate=2e-4, crop=384, chunk=64, recompute=True)


def cat_seg_l() -> Recipe:
    """CAT-Seg, ViT-L/14 at 336 px: crops of 384 px are resized to 336 px.

    Row: CVPR 2024, Table 1, CAT-Seg (ViT-L/14): A-847 16.0, PC-459 23.8, A-150 37.9, PC-59 63.3, PAS-20 97.0, PAS-20b
    82.5 mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train cat-seg-l --data ROOT --out RUN
    """
    return replace(cat_seg_b(), model="cat-seg-l", input_size=336)


def cat_seg_eva_b() -> Recipe:
    """PCA-Seg's serial baseline with DeCLIP's EVA02-CLIP-B/16 (its "DeCLIP" rows).

    Row: PCA-Seg, Table 3, serial; learning rate and batch size of its released configuration eva_vitb_384 (5e-4, 8).
    Hardware: 8 GPUs, one image each; 80,000 steps.
    Command: torchrun --nproc-per-node 8 --no-python segvoc train cat-seg-eva-b --encoder-weights DECLIP-B.pt
    --data ROOT --out RUN
    """
    return replace(cat_seg_b(), model="cat-seg-eva-b", batch=8, learning_rate=5e-4)


def cat_seg_eva_l() -> Recipe:
    """PCA-Seg's serial baseline with DeCLIP's EVA02-CLIP-L/14, at 336 px.

    Row: PCA-Seg, Table 3, serial; learning rate and batch size of its released configuration eva_vitl_336 (3e-4, 8).
    Hardware: 8 GPUs; 80,000 steps.
    Command: torchrun --nproc-per-node 8 --no-python segvoc train cat-seg-eva-l --encoder-weights DECLIP-L.pt
    --data ROOT --out RUN
    """
    return replace(cat_seg_eva_b(), model="cat-seg-eva-l", learning_rate=3e-4, input_size=336)
