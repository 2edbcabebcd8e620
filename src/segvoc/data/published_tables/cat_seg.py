"""The tables of CAT-Seg (Cho et al.): of its CVPR 2024 version, and of the first one on arXiv.

The network of the first version (2303.11797v1) takes guidance from a backbone of its own (ResNet-101, or Swin-B with
CLIP ViT-L and larger), freezes the text encoder, and trains all attention parameters and the position embeddings of
the image encoder: the presets `cat-seg-v1-*`. Its ablations are of ViT-L with Swin-B. The CVPR version, which is the
released one, has other scores; only those of its main table are at hand.
"""

from segvoc.data.published_tables.rows import Network, RowSettings, ScoreTable


def _first(size: str, *training: str) -> Network:
    """A network of the first version, with settings of a row's own."""
    return Network(preset=f"cat-seg-v1-{size}", recipe=f"cat-seg-v1-{size}", training=training)


_B = Network(preset="cat-seg-b", recipe="cat-seg-b")
_L = Network(preset="cat-seg-l", recipe="cat-seg-l")
_V1_B, _V1_L, _V1_H, _V1_G = map(_first, "blhg")
_V1_L_FROZEN = _first("l", "trainable=none")
_JOINT = _first("l", "order=joint", "guidance_dim=0", "blocks=6")
_SPATIAL = _first("l", "order=spatial", "guidance_dim=0", "blocks=3")
_UNGUIDED = _first("l", "guidance_dim=0")
_PROMPTED = _first("l", "trainable=prompts", "visual_prompts=100")
_OWN_GUIDANCE = ("guidance_backbone=none", "trainable=attention")
_STOPPED = _first("l", *_OWN_GUIDANCE, "cost_gradient=false")


def _v1(table: str) -> ScoreTable:
    return ScoreTable(paper="CAT-Seg", version="arXiv v1", table=table, main=table == "Table 1")


# Both tables have the same scores; those of ERR-Seg's Table 3, too. The README links the files that segvoc fetches.
_CVPR = ScoreTable(
    paper="CAT-Seg",
    table="README of the released weights; PCA-Seg, Table 1",
    main=True,
    source="https://github.com/cvlab-kaist/CAT-Seg/blob/6d3a188af95165147fe2f34a8237fa7d2633e784/README.md",
)
_TABLE_1, _TABLE_2, _TABLE_3, _TABLE_4 = map(_v1, ("Table 1", "Table 2", "Table 3", "Table 4"))
_TABLE_6, _TABLE_7, _TABLE_8, _TABLE_9, _TABLE_10 = map(_v1, ("Table 6", "Table 7", "Table 8", "Table 9", "Table 10"))

_FEATURES: RowSettings = {"training": ("aggregation=features",)}

_FULL_L = (10.8, 20.4, 31.5, 62.0, 96.6, 81.8)
"""The scores of v1's ViT-L network, which stand in every table of its ablations."""

CAT_SEG_ROWS = (
    _CVPR.row("ViT-B/16", _B, 12.0, 19.0, 31.8, 57.5, 94.6, 77.3),
    _CVPR.row("ViT-L/14", _L, 16.0, 23.8, 37.9, 63.3, 97.0, 82.5),
    # Table 5 repeats these four
    _TABLE_1.row("ViT-B/16", _V1_B, 8.4, 16.6, 27.2, 57.5, 93.7, 78.3),
    _TABLE_1.row("ViT-L/14", _V1_L, *_FULL_L),
    _TABLE_1.row("ViT-H/14", _V1_H, 12.4, 20.1, 34.4, 61.2, 96.7, 80.2),
    _TABLE_1.row("ViT-G/14", _V1_G, 13.3, 21.4, 36.2, 61.5, 97.1, 81.4),
    _TABLE_2.row("I: feature aggregation", _V1_L, 3.8, 10.9, 19.1, 53.5, 96.2, 74.2, **_FEATURES),
    _TABLE_2.row("II: cost aggregation", _V1_L, 9.2, 14.6, 27.4, 58.6, 96.8, 78.2, training=("blocks=0",)),
    _TABLE_2.row("III: II with a transformer", _JOINT, 9.9, 15.1, 28.5, 57.0, 96.2, 76.4),
    _TABLE_2.row("IV: II with spatial aggregation", _SPATIAL, 9.4, 15.1, 28.1, 58.3, 97.0, 78.5),
    _TABLE_2.row("V: IV with class aggregation", _UNGUIDED, 10.6, 16.1, 30.9, 61.7, 96.8, 81.4),
    _TABLE_2.row("VI: V with guidance", _V1_L, *_FULL_L),
    _TABLE_3.row("I: frozen", _V1_L_FROZEN, 4.8, 8.7, 20.8, 52.5, 84.5, 76.7),
    _TABLE_3.row("II: VPT", _PROMPTED, 8.3, 13.7, 29.4, 59.5, 90.8, 81.0),
    _TABLE_3.row("III: all", _first("l", "trainable=all"), 9.4, 18.5, 30.2, 61.0, 96.8, 81.5),
    _TABLE_3.row("IV: attention and positions", _V1_L, *_FULL_L),
    _TABLE_4.row("guidance from CLIP", _first("l", *_OWN_GUIDANCE), 10.6, 15.6, 30.1, 60.2, 95.9, 80.5),
    _TABLE_4.row("guidance from Swin-B", _V1_L, *_FULL_L),
    _TABLE_4.row("guidance from CLIP alone learns", _STOPPED, 7.7, 14.4, 25.7, 55.8, 85.1, 78.4),
    # Table 6 also repeats ViT-B/16 of Table 1
    _TABLE_6.row("trained on A-150", _first("b", "dataset=a-150-train"), 10.6, 14.5, 46.8, 46.7, 85.5, 70.3),
    _TABLE_6.row("trained on PC-59", _first("b", "dataset=pc-59-train"), 5.6, 12.9, 23.0, 62.4, 87.3, 79.0),
    _TABLE_7.row(
        "I: feature aggregation, frozen",
        _V1_L_FROZEN,
        *(3.1, 8.7, 16.6, 46.8, 92.3, 69.7),
        **_FEATURES,
    ),
    _TABLE_7.row("II: feature aggregation", _V1_L, 3.8, 10.9, 19.1, 53.5, 96.2, 74.2, **_FEATURES),
    _TABLE_7.row(
        "III: cost aggregation, frozen",
        _V1_L_FROZEN,
        *(2.7, 5.4, 11.0, 27.7, 65.1, 44.9),
        training=("blocks=0",),
    ),
    # 27.4 on A-150 in Table 2
    _TABLE_7.row("IV: cost aggregation", _V1_L, 9.0, 17.2, 26.9, 57.0, 96.9, 76.8, training=("blocks=0",)),
    _TABLE_8.row("1 block", _V1_L, 10.7, 16.3, 30.6, 61.2, 96.6, 81.7, training=("blocks=1",)),
    _TABLE_8.row("2 blocks", _V1_L, *_FULL_L),
    _TABLE_8.row("3 blocks", _V1_L, 10.8, 20.0, 31.5, 61.9, 96.5, 81.8, training=("blocks=3",)),
    _TABLE_8.row("4 blocks", _V1_L, 10.8, 20.4, 31.5, 62.1, 96.6, 82.2, training=("blocks=4",)),
    _TABLE_9.row("training resolution", _V1_L, 10.1, 18.9, 29.8, 59.8, 96.1, 79.7, labels={"window": "single"}),
    _TABLE_9.row(
        "640 px",
        _V1_L,
        *(None, 14.8, 30.4, 59.7, 95.9, 80.3),
        options=("input_size=644",),
        labels={"window": "single"},
        departs="644 px, since 640 aren't a multiple of the patches",
    ),
    _TABLE_9.row("patches", _V1_L, *_FULL_L),
    # the scores of Table 9's first row
    _TABLE_10.row("without upsampling decoder", _first("l", "decoder=none"), 10.1, 18.9, 29.8, 59.8, 96.1, 79.7),
    _TABLE_10.row("upsampling decoder", _V1_L, *_FULL_L),
)
"""All rows of networks of the paper's own; a row without a preset has none here."""
