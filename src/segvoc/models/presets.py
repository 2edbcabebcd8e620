"""The table of presets: the configuration, prompts, decision and weights of each named network."""

from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED
from segvoc.encoders.vit import TIMM_CLIPS, clip_seg_b16
from segvoc.models.catalog import unknown_model
from segvoc.models.decisions import TINY_DECISION
from segvoc.models.preset import (
    EVA_B,
    EVA_L,
    OPENAI_B,
    OPENAI_L,
    Preset,
    clip_preset,
    clip_seg_preset,
    err_preset,
    frozen_preset,
    frozen_vit_preset,
    none_published,
    part_preset,
    syn_configuration,
)
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.clip_network import TimmEncoders
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PCA_PART
from segvoc.networks.pca_seg import PCA_SEG
from segvoc.networks.syn_seg import ConditionedDecoderConfig, SynSegConfig, syn_seg_state
from segvoc.networks.tiny import TinyConfig

PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        summary="ships with segvoc: EfficientNet-Lite2 and MiniLM, for any photograph and any words, on a laptop",
        configuration=TinyConfig(),
        decision=TINY_DECISION,
        refines_edges=True,
        shipped=("minilm_l6.safetensors", "tiny.safetensors"),
        keeps_labels_in_bfloat16=True,
        record="tiny.json",
    ),
    "pca-seg-b": clip_preset("PCA-Seg", PCA_SEG, EVA_B),
    "pca-seg-l": clip_preset("PCA-Seg", PCA_SEG, EVA_L),
    "pca-seg-clip-b": clip_preset("PCA-Seg", PCA_SEG, OPENAI_B),
    "pca-seg-clip-l": clip_preset("PCA-Seg", PCA_SEG, OPENAI_L),
    "cat-seg-b": clip_preset("CAT-Seg", CAT_SEG, OPENAI_B, PUBLISHED["cat-seg-b"]),
    "cat-seg-l": clip_preset("CAT-Seg", CAT_SEG, OPENAI_L, PUBLISHED["cat-seg-l"]),
    "cat-seg-eva-b": clip_preset("CAT-Seg", CAT_SEG, EVA_B, unconfirmed=UNCONFIRMED["cat-seg-declip-b"]),
    "cat-seg-eva-l": clip_preset("CAT-Seg", CAT_SEG, EVA_L),
    "err-seg-b": err_preset("convnext_base_w", 640, "CLIP-ConvNeXt-B", UNCONFIRMED["convnext-clip-b"]),
    "err-seg-l": err_preset("convnext_large_d", 768, "CLIP-ConvNeXt-L", PUBLISHED["convnext-clip-l"]),
    "err-seg-vit-b": err_preset("vit_b16", 384, OPENAI_B.name, PUBLISHED["openai-clip-b"]),
    "part-cat-seg-b": part_preset(
        "PartCATSeg",
        PART_CAT_SEG,
        "",
        "give a checkpoint that its authors' code has trained",
        UNCONFIRMED["part-cat-seg"],
    ),
    "pca-part-b": part_preset("PCA-Seg for parts", PCA_PART, "qv", "its authors released no code for it"),
    "syn-seg-b": Preset(
        summary="SynSeg with OpenAI CLIP ViT-B/16 at 224 px, which learns from captions alone",
        family="SynSeg",
        configuration=SynSegConfig(vit=clip_seg_b16(), decoder=ConditionedDecoderConfig(film="mlp")),
        encoders=(PUBLISHED["openai-clip-b"],),
        how_to_get=(
            f"{none_published()}; train them from captions with OpenAI's ViT-B-16.pt, or take the same network with "
            "CLIPSeg's weights, clipseg-rd64"
        ),
        from_official=syn_seg_state,
        fit_to_official=syn_configuration,
    ),
    "clipseg": clip_seg_preset(PUBLISHED["clipseg-rd64-refined"], "refined"),
    "clipseg-rd64": clip_seg_preset(PUBLISHED["clipseg-rd64"], "plain"),
    "clip-b": frozen_vit_preset("OpenAI CLIP ViT-B/16", OPENAI_B.encoders, PUBLISHED["openai-clip-b"]),
    "clip-l": frozen_vit_preset("OpenAI CLIP ViT-L/14", OPENAI_L.encoders, PUBLISHED["openai-clip-l"]),
    "eva-clip-b": frozen_vit_preset("EVA02-CLIP-B/16", EVA_B.encoders, PUBLISHED["eva02-clip-b"]),
    "eva-clip-l": frozen_vit_preset("EVA02-CLIP-L/14", EVA_L.encoders, PUBLISHED["eva02-clip-l"]),
    **{
        name: frozen_preset(sizes.title, TimmEncoders(kind=name, side=sizes.pretrained_size), UNCONFIRMED.get(name))
        for name, sizes in TIMM_CLIPS.items()
    },
}


def find_preset(name: str) -> Preset:
    """Look up a preset; the `UsageError` for an unknown name lists the known names."""
    if name not in PRESETS:
        raise unknown_model(name)
    return PRESETS[name]
