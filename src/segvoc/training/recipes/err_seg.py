"""ERR-Seg (Chen et al.), as its released code trains it."""

from dataclasses import replace

from segvoc.networks.err_seg import ErrSegConfig
from segvoc.training.recipe import DataConfig, ObjectiveConfig, OptimizerConfig, Recipe, RuntimeConfig


def err_seg_b() -> Recipe:
    """ERR-Seg, CLIP-ConvNeXt-B, with image and text encoder fine-tuned.

    Row: Table 3, ERR-Seg (ConvNeXt-B, Img. and Txt.): A-847 13.9, PC-459 20.5, A-150 35.8, PC-59 56.9, PAS-20 95.4
    mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps, mixed precision, no gradient clipping.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train err-seg-b --encoder-weights convnext_base_w_320.bin
    --data ROOT --out RUN
    """
    return Recipe(
        model="err-seg-b",
        optimizer=OptimizerConfig(batch_size=4, lr=2e-4, warmup_steps=1000, max_grad_norm=0.0),
        objective=ObjectiveConfig(num_kept_classes=32),
        data=DataConfig(short_sides=(640,), crop_size=640),
        runtime=RuntimeConfig(precision="float16", tf32=False),
    )


def err_seg_l() -> Recipe:
    """ERR-Seg, CLIP-ConvNeXt-L, trained at 640 px and tested at 768.

    Row: Table 3, ERR-Seg (ConvNeXt-L, Img. and Txt.): A-847 16.9, PC-459 23.9, A-150 38.3, PC-59 60.7, PAS-20 96.6
    mIoU. Hardware: 4 RTX 3090; batch 4; 80,000 steps, mixed precision.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train err-seg-l --data ROOT --out RUN
    """
    return replace(err_seg_b(), model="err-seg-l")


def err_seg_b_frozen() -> Recipe:
    """ERR-Seg, CLIP-ConvNeXt-B with frozen encoders at 384 px, trained and tested.

    Row: Table 13, ConvNeXt-B: A-847 9.7, PC-459 12.5, A-150 26.9, PC-59 49.4, PAS-20 89.9 mIoU. The paper gives no
    other setting of it; these are those of `err_seg_b`. Hardware: 4 RTX 3090.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train err-seg-b-frozen --encoder-weights
    convnext_base_w_320.bin --data ROOT --out RUN
    """
    network = ErrSegConfig(encoder="convnext_base_w", side=384)
    frozen = err_seg_b().with_settings(trainable="none", short_sides=(384,), crop_size=384)
    return replace(frozen, network=network)


def err_seg_vit_b_frozen() -> Recipe:
    """ERR-Seg, OpenAI CLIP ViT-B/16 with frozen encoders at 384 px, trained and tested.

    Row: Table 13, ViT-B/16: A-847 7.5, PC-459 13.0, A-150 22.8, PC-59 49.7, PAS-20 91.0 mIoU. The paper doesn't say
    which maps of a ViT guide the aggregation and the decoder; here they are CAT-Seg's. Hardware: 4 RTX 3090.
    Command: torchrun --nproc-per-node 4 --no-python segvoc train err-seg-vit-b-frozen --data ROOT --out RUN
    """
    return replace(err_seg_b_frozen(), model="err-seg-vit-b", network=None)
