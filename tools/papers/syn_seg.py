"""The tables and figures of SynSeg (Zhang et al., ICME 2026)."""

from tools.papers.rows import PaperRows, Row, drawing, others, score_rows

_CAPTIONS = "--captions captions.json --images images"


def _without(loss: str) -> Row:
    """The network trained without one of the four losses."""
    return Row(
        where="Table III",
        what=f"without {loss}",
        status="departs",
        commands=(f"segvoc reproduce syn-seg-b --train --set {loss}_weight=0 {_CAPTIONS} --data ROOT --out REPORT",),
        leaves={"REPORT/report.json": ("models", "means")},
        note=f"`{loss}_weight=0`; which of the four scores is whose is lost in our copy of the paper",
    )


SYN_SEG = PaperRows(
    title="SynSeg (Zhang et al., ICME 2026)",
    text="[SynSeg](syn_seg.md) lists what its versions leave open.",
    tables=4,
    figures=4,
    roman=True,
    rows=(
        drawing("Fig. 1", "ways of learning from captions"),
        drawing("Fig. 2", "the network", "a drawing of `src/segvoc/networks/syn_seg.py`"),
        Row(
            where="Fig. 3",
            what="one photograph at several thresholds",
            status="built",
            commands=(
                'segvoc segment photo.jpg --words "person, taxi" --model syn-seg-b --weights syn-seg-b.safetensors '
                "--threshold 0.3 --out FOLDER",
            ),
            leaves={"FOLDER/photo.png": (), "FOLDER/photo.overlay.png": ()},
            note="once for each threshold",
        ),
        Row(
            where="Fig. 4",
            what="photographs by several networks",
            status="built",
            commands=(
                'segvoc analyze compare photo.jpg --words "bus, cat, road" --model syn-seg-b.safetensors '
                "--other cat-seg-b --out FOLDER",
            ),
            leaves={"FOLDER/compare.png": (), "FOLDER/compare.json": ("models", "differing")},
            note="of two networks that are here; GroupViT, TCL and ProxyCLIP are not",
        ),
        others("Table I", "TCL, ProxyCLIP, DPSeg"),
        Row(
            where="Table I",
            what="SynSeg: parameters and time",
            status="built",
            commands=("segvoc info syn-seg-b", "segvoc analyze blocks syn-seg-b --classes 21 --out FOLDER"),
            leaves={"FOLDER/blocks.json": ("rows",)},
            note="150.7 M for the paper's 151; its 14 ms are an RTX 4090's",
        ),
        others("Table II", "GroupViT, ViewCo, CoCu, OVSegmentor, TCL, CoDe, S-Seg, MGCCL"),
        *score_rows("SynSeg", "Table II"),
        Row(
            where="Table 1, arXiv v2",
            what="SynSeg",
            status="option",
            commands=(
                'segvoc reproduce "SynSeg (arXiv v2), Table 1, SynSeg" --train --start-weights clipseg.safetensors '
                f"--set lr=1e-4 {_CAPTIONS} --data ROOT --out REPORT",
            ),
            leaves={"REPORT/report.json": ("models", "means")},
            note="the decoder starts from CLIPSeg's weights",
        ),
        Row(
            where="Table III",
            what="all four losses",
            status="built",
            commands=(f"segvoc reproduce syn-seg-b --train {_CAPTIONS} --data ROOT --out REPORT",),
            leaves={"REPORT/report.json": ("models", "means")},
            note="Table II's row",
        ),
        *map(_without, ("align", "cont", "back", "sep")),
        Row(
            where="Table IV",
            what="classes of the data sets, and how many of them an image has",
            status="departs",
            commands=(
                "segvoc analyze vocabulary --benchmark voc-21 pc-59 cityscapes coco-object coco-stuff a-150 "
                "--data ROOT --out FOLDER",
            ),
            leaves={"FOLDER/vocabulary.json": ("images",)},
            note="ADE has 150 classes here, 151 in the paper",
        ),
    ),
)
"""All of them."""
