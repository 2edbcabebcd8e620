"""The tables of ERR-Seg (Chen et al.)."""

from collections.abc import Mapping

from segvoc.data.published_tables.rows import SEMANTIC, Network, ScoreTable

_B = Network(preset="err-seg-b", recipe="err-seg-b")
_L = Network(preset="err-seg-l", recipe="err-seg-l")
_CAT_SEG = Network(preset="cat-seg-b", recipe="cat-seg-b")
_FROZEN_B = Network(preset="err-seg-b", recipe="err-seg-b-frozen")
_FROZEN_VIT = Network(
    preset="err-seg-vit-b",
    recipe="err-seg-vit-b-frozen",
    departs="the paper doesn't say which maps of the ViT guide: here those that guide CAT-Seg",
)

_FIVE = SEMANTIC[:5]
_OWN_B = (13.9, 20.5, 35.8, 56.9, 95.4)
"""The scores of the B network, which stand in every table of its ablations."""


def _table(number: int, *, main: bool = False) -> ScoreTable:
    return ScoreTable(paper="ERR-Seg", table=f"Table {number}", columns=_FIVE, main=main)


def _seen_unseen(*values: float) -> Mapping[str, Mapping[str, float]]:
    pairs = zip(values[::2], values[1::2], strict=True)
    return {name: {"seen": seen, "unseen": unseen} for name, (seen, unseen) in zip(_FIVE[:3], pairs, strict=True)}


def _found(*values: float) -> Mapping[str, Mapping[str, float]]:
    pairs = zip(values[::2], values[1::2], strict=True)
    return {name: {"found": found, "miou": miou} for name, (found, miou) in zip(_FIVE[:3], pairs, strict=True)}


_KEPT: Mapping[int, tuple[float | None, ...]] = {
    4: (None, None, None, None, 90.2),
    8: (None, None, None, 54.9, 95.3),
    12: (None, None, None, None, 95.4),
    16: (None, 18.8, 34.9, 56.9, 95.4),
    24: (None, None, 35.5, 56.9, None),
    32: (13.6, 19.9, 35.8, 57.0, None),
    40: (None, None, 35.8, None, None),
    48: (13.9, 20.5, None, None, None),
    64: (13.9, 20.5, None, None, None),
    80: (13.9, None, None, None, None),
}
"""Table 8: mIoU by P, the number of classes kept."""

ERR_SEG_ROWS = (
    _table(3, main=True).row("ConvNeXt-B", _B, *_OWN_B),
    _table(3, main=True).row("ConvNeXt-L", _L, 16.9, 23.9, 38.3, 60.7, 96.6),
    _table(3).row(
        "ConvNeXt-B, image tower alone", _B, 11.7, 18.9, 32.9, 56.6, 94.9, training=("trainable_encoders=image",)
    ),
    _table(3).row(
        "ConvNeXt-L, image tower alone", _L, 15.8, 22.7, 36.5, 60.7, 96.6, training=("trainable_encoders=image",)
    ),
    _table(5).scored("ERR-Seg", _B, _seen_unseen(30.1, 11.6, 40.1, 13.9, 44.7, 29.4)),
    _table(5).scored("CAT-Seg", _CAT_SEG, _seen_unseen(29.2, 9.6, 38.3, 12.5, 42.1, 24.4)),
    _table(6).row("no class removed", _B, 14.0, 20.1, 35.3, 56.8, 94.9, labels={"keep_classes": "all"}),
    _table(6).row("classes removed", _B, *_OWN_B),
    _table(6).row("single cost map", _B, 13.3, 19.3, 35.5, 56.4, 95.0, training=("maps=single",)),
    _table(6).row("hierarchical cost maps", _B, *_OWN_B),
    _table(6).row("gradient from F3", _B, 7.3, 13.5, 20.1, 45.5, 90.6, training=("stage_4_gradient=stride_16",)),
    _table(6).row("gradient from F4", _B, 14.1, 20.4, 35.6, 57.0, 94.7, training=("stage_4_gradient=stride_32",)),
    _table(6).row("gradient from both", _B, *_OWN_B),
    _table(7).row("k = 1", _B, 13.8, 20.5, 35.8, 56.9, 95.4, options=("top=1",)),
    _table(7).row("k = 3", _B, *_OWN_B),
    _table(7).row("k = 5", _B, 13.8, 20.5, 35.8, 56.8, 95.4, options=("top=5",)),
    *(_table(8).row(f"P = {kept}", _B, *values, labels={"keep_classes": kept}) for kept, values in _KEPT.items()),
    _table(9).scored("without removal", _B, _found(6.2, 14.0, 4.7, 20.1, 6.1, 35.3), labels={"keep_classes": "all"}),
    _table(9).scored("with removal", _B, _found(5.7, 13.9, 4.4, 20.5, 5.9, 35.8)),
    _table(10).row(
        "neither",
        _B,
        *(9.3, 12.8, 26.1, 43.6, 90.8),
        training=("streams=none",),
        departs='our copy of the paper ticks "spatial" here and nothing in the next row; taken for swapped',
    ),
    _table(10).row("spatial", _B, 13.1, 19.2, 34.4, 56.3, 94.4, training=("streams=spatial",)),
    _table(10).row("class", _B, 13.0, 19.6, 34.1, 55.4, 95.5, training=("streams=class",)),
    _table(10).row("both", _B, *_OWN_B),
    _table(11).row("neither", _B, 13.5, 20.0, 35.4, 57.0, None, training=("ssr=1", "csr=1")),
    _table(11).row("CSR", _B, 14.2, 20.0, 35.9, 56.9, None, training=("ssr=1",)),
    _table(11).row("SSR", _B, 14.2, 19.9, 35.6, 57.0, None, training=("csr=1",)),
    _table(11).row("both", _B, *_OWN_B[:4], None),
    _table(12).row(
        "vanilla MLP",
        _B,
        *(14.1, 20.1, 35.6, 56.3, 94.7),
        training=("mlp=vanilla",),
        departs="the paper gives no sizes for this MLP: GELU, four times as wide",
    ),
    _table(12).row("modified MLP", _B, *_OWN_B),
    _table(13).row("ViT-B/16", _FROZEN_VIT, 7.5, 13.0, 22.8, 49.7, 91.0),
    _table(13).row("ConvNeXt-B", _FROZEN_B, 9.7, 12.5, 26.9, 49.4, 89.9),
    _table(14).row("ConvNeXt-B, 512 px", _B, 13.7, 19.8, 35.1, 56.7, 95.3, options=("side=512",)),
    _table(14).row("ConvNeXt-B, 640 px", _B, *_OWN_B),
    _table(14).row("ConvNeXt-B, 768 px", _B, 13.5, 20.1, 35.7, 57.1, 95.1, options=("side=768",)),
    _table(14).row("ConvNeXt-B, 1024 px", _B, 13.1, 18.7, 34.3, 55.5, 93.3, options=("side=1024",)),
    _table(14).row("ConvNeXt-L, 512 px", _L, 16.0, 22.9, 36.9, 60.0, 96.7, options=("side=512",)),
    _table(14).row("ConvNeXt-L, 640 px", _L, 16.6, 23.5, 37.8, 60.5, 96.8, options=("side=640",)),
    _table(14).row("ConvNeXt-L, 768 px", _L, 16.9, 23.9, 38.3, 60.7, 96.6),
    _table(14).row("ConvNeXt-L, 1024 px", _L, 16.6, 23.4, 38.2, 59.8, 96.2, options=("side=1024",)),
)
"""All rows of networks of the paper's own, and CAT-Seg's where it appears with other scores than in its own tables."""
