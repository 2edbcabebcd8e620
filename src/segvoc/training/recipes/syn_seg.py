"""Recipes of SynSeg, which learns from captions. docs/papers/syn_seg.md lists the values taken from the paper."""

from segvoc.networks.tiny import TinyConfig, TinySynergyConfig
from segvoc.training.recipe import CaptionConfig, DataConfig, OptimizerConfig, Recipe, RuntimeConfig


def syn_seg_b() -> Recipe:
    """SynSeg with OpenAI's CLIP ViT-B/16: trains FiLM, projector and decoder; the encoders are frozen.

    Row: arXiv v2, Table 1: VOC 62.2, Context 41.8, COCO-Object 34.9, COCO-Stuff 23.6, Cityscapes 30.9, with a decoder
    initialized from CLIPSeg (`--weights clipseg.safetensors`, which was trained on masks of PhraseCut). arXiv v3,
    Table II: 60.5, 43.8, 36.0, 24.5, 35.8, and ADE20K 18.4; the decoder's initial weights are not stated. Both are
    means of five runs on CC12M. The learning rate is that of CLIPSeg trained from scratch; when you start from its
    weights, set lr=1e-4. Hardware: one RTX 4090. No image is used twice in the 10,000 steps of 256 images,
    so features are not cached.
    Command: segvoc train syn-seg-b --captions "cc12m/{00000..01242}.tar" --out RUN

    From the paper: seed 42, phrases found by spaCy and dropped if they contain an excluded substring, FiLM by a small
    MLP (in the preset). Runs with one seed are the same here, so the five runs have consecutive seeds. docs/papers/
    differences.md has the rest.
    """
    return Recipe(
        model="syn-seg-b",
        supervision="captions",
        seeds=(42, 43, 44, 45, 46),
        optimizer=OptimizerConfig(
            steps=10_000,
            batch_size=256,
            lr=1e-3,
            weight_decay=1e-4,
            warmup_steps=100,
            max_grad_norm=1.0,
            trainable="none",
        ),
        captions=CaptionConfig(extractor="spacy", match="substring", cache_features=False),
        data=DataConfig(dataset="", crop_size=224),
        runtime=RuntimeConfig(num_workers=8, save_every=500, eval_every=1000),
    )


def tiny_syn() -> Recipe:
    """SynSeg's decoder on tiny's encoders, small enough to train on a laptop with tens of captioned photographs.

    It uses tiny's text encoder, trunk and ImageNet classes, but not the projections. The last stages of the trunk were
    trained further with masks, so the result doesn't come from captions alone.
    Row: none; docs/papers/syn_seg.md has results for 37 photographs. Hardware: a laptop; minutes.
    Command: segvoc train tiny-syn --images DIR --captions captions.json --out RUN
    """
    return Recipe(
        model="tiny",
        network=TinyConfig(aggregation=TinySynergyConfig()),
        supervision="captions",
        optimizer=OptimizerConfig(
            steps=100,
            batch_size=4,
            lr=1e-3,
            weight_decay=1e-2,
            warmup_steps=10,
            max_grad_norm=1.0,
            trainable="none",
        ),
        captions=CaptionConfig(extractor="rules", max_phrases=4, cont_weight=1.5, sep_weight=0.5),
        data=DataConfig(dataset="", crop_size=448),
        runtime=RuntimeConfig(num_workers=0, save_every=25, eval_every=0),
    )
