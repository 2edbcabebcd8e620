"""Recipes of SynSeg, which learns from captions. docs/papers/syn_seg.md says which values are the paper's."""

from segvoc.networks.tiny import TinyConfig, TinySynergyConfig
from segvoc.training.recipe import Recipe


def syn_seg_b() -> Recipe:
    """SynSeg on OpenAI's CLIP ViT-B/16: FiLM, projector and decoder learn, the towers are frozen.

    Row: arXiv v2, Table 1: VOC 62.2, Context 41.8, COCO-Object 34.9, COCO-Stuff 23.6, Cityscapes 30.9, with a decoder
    that starts as CLIPSeg's (`--weights clipseg.safetensors`; those weights have seen masks of PhraseCut). arXiv v3,
    Table II: 60.5, 43.8, 36.0, 24.5, 35.8, and ADE20K 18.4; it does not say what the decoder starts as. The rate is
    that of CLIPSeg from scratch; from its weights set learning_rate=1e-4. Both: means of five runs on CC12M, seed 42.
    Hardware: one RTX 4090. Of 10,000 steps with 256 images none comes twice, so features are not kept.
    Command: segvoc train syn-seg-b --captions "cc12m/{00000..01242}.tar" --encoder-weights ViT-B-16.pt --out RUN
    """
    return Recipe(
        model="syn-seg-b",
        learns="captions",
        extractor="spacy",
        tuned="none",
        steps=10_000,
        batch=256,
        learning_rate=1e-3,
        weight_decay=1e-4,
        warm_up=100,
        clip_norm=1.0,
        data="",
        crop=224,
        cached=False,
        workers=8,
        save_every=500,
        watch_every=1000,
    )


def tiny_syn() -> Recipe:
    """SynSeg's decoder on tiny's towers, small enough to learn from tens of captioned photographs on a laptop.

    Only the trunk's ImageNet classes and the text tower are used of tiny: no mask has taught what it starts from.
    Row: none; docs/papers/syn_seg.md has what it learns from 37 photographs. Hardware: a laptop; minutes.
    Command: segvoc train tiny-syn --images DIR --captions captions.json --out RUN
    """
    return Recipe(
        model="tiny",
        network=TinyConfig(aggregation=TinySynergyConfig()),
        learns="captions",
        extractor="rules",
        tuned="none",
        steps=100,
        batch=4,
        phrases=4,
        learning_rate=1e-3,
        weight_decay=1e-2,
        warm_up=10,
        clip_norm=1.0,
        cont=1.5,
        sep=0.5,
        data="",
        crop=448,
        workers=0,
        save_every=25,
        watch_every=0,
    )
