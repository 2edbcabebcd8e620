"""ERR-Seg (Chen et al.), as its released code trains it."""

from dataclasses import replace

from segvoc.training.recipe import Recipe


def err_seg_b() -> Recipe:
    """ERR-Seg, CLIP-ConvNeXt-B, with image and text encoder fine-tuned.

    Row: Table 3, ERR-Seg (ConvNeXt-B, Img. and Txt.): A-847 13.9, PC-459 20.5, A-150 35.8, PC-59 56.9, PAS-20 95.4
    mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps, mixed precision, no gradient clipping.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train err-seg-b --encoder-weights convnext_base_w_320.bin
    --data ROOT --out RUN
    """
    return Recipe(
        model="err-seg-b",
        batch=4,
        learning_rate=2e-4,
        warm_up=1000,
        clip_norm=0.0,
        kept_classes=32,
        shortest=(640,),
        crop=640,
        precision="float16",
    )


def err_seg_l() -> Recipe:
    """ERR-Seg, CLIP-ConvNeXt-L, trained at 640 px and tested at 768.

    Row: Table 3, ERR-Seg (ConvNeXt-L, Img. and Txt.): A-847 16.9, PC-459 23.9, A-150 38.3, PC-59 60.7, PAS-20 96.6
    mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps, mixed precision.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train err-seg-l --data ROOT --out RUN
    """
    return replace(err_seg_b(), model="err-seg-l")
