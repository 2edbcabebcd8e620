"""The tables and figures of CAT-Seg (Cho et al.), of arXiv v1 but for the first rows."""

from dataclasses import replace

from tools.papers.rows import PaperRows, Row, drawing, others, score_rows, start_of

_WORDS = '--words "head, arm, leg"'
_COMPARISON = {"FOLDER/compare.png": (), "FOLDER/compare.json": ("models", "differing")}
_ALL_SIZES = "cat-seg-v1-b cat-seg-v1-l cat-seg-v1-h cat-seg-v1-g"
_START = start_of("cat-seg-v1-l")
_BLOCKS = {"FOLDER/blocks.json": ("rows",), "FOLDER/blocks.md": ()}


def _shown(where: str, benchmark: str) -> Row:
    """Photographs of a benchmark, with what the network makes of them."""
    return Row(
        where=where,
        what=f"photographs of {benchmark.upper()}",
        status="built",
        commands=(f"segvoc evaluate cat-seg-l --benchmark {benchmark} --data ROOT --out REPORT",),
        leaves={"REPORT/index.html": (), "REPORT/report.json": ("miou",)},
        note="the report shows photographs with their truth",
    )


def _compared(where: str, what: str, words: str) -> Row:
    return Row(
        where=where,
        what=what,
        status="built",
        commands=(
            f"segvoc analyze compare photo.jpg {words} --model cat-seg-l --other pca-seg-l "
            "--other-weights pca-seg-l.safetensors --out FOLDER",
        ),
        leaves=_COMPARISON,
        note="of two networks that are here",
    )


CAT_SEG = PaperRows(
    title="CAT-Seg (Cho et al., CVPR 2024)",
    text="Tables and figures are those of arXiv v1, but for the first rows: the network that was released is that of "
    "the CVPR version, of which we have the main table alone.",
    tables=11,
    figures=17,
    rows=(
        *(
            replace(row, where="Table 1, CVPR 2024")
            for row in score_rows("CAT-Seg", "README of the released weights; PCA-Seg, Table 1")
        ),
        drawing("Fig. 1", "the idea"),
        Row(
            where="Fig. 2",
            what="feature and cost aggregation on seen and unseen classes, frozen and fine-tuned",
            status="departs",
            commands=(
                f"segvoc train cat-seg-v1-l --set aggregation=features {_START}--data ROOT --out RUN",
                f"segvoc train cat-seg-v1-l --set blocks=0 {_START}--data ROOT --out RUN_COSTS",
                "segvoc evaluate RUN/model.safetensors --benchmark a-150 --data ROOT --out REPORT",
                "segvoc evaluate RUN_COSTS/model.safetensors --benchmark a-150 --data ROOT --out REPORT_COSTS",
                "segvoc analyze seen REPORT REPORT_COSTS --model cat-seg-l --out FOLDER",
            ),
            leaves={"FOLDER/seen.json": ("rows",), "FOLDER/seen.md": ()},
            note="II and IV of Table 7, with `trainable=none` I and III; which classes are seen is ERR-Seg's rule",
        ),
        Row(
            where="Fig. 3",
            what="cost volumes before and after aggregation",
            status="built",
            commands=(f"segvoc analyze costs photo.jpg {_WORDS} --show head --model cat-seg-l --out FOLDER",),
            leaves={"FOLDER/costs.png": (), "FOLDER/costs.json": ("words",)},
        ),
        drawing("Fig. 4", "the network"),
        Row(
            where="Fig. 5a",
            what="time of training by what learns",
            status="built",
            commands=(f"segvoc train cat-seg-v1-l --set trainable=all {_START}--data ROOT --out RUN",),
            leaves={"RUN/metrics.jsonl": ("seconds",)},
            note="`metrics.jsonl` has the seconds of every step; beside it `trainable=none` and `trainable=prompts`",
        ),
        Row(
            where="Fig. 5b",
            what="time of inference",
            status="built",
            commands=(f"segvoc analyze blocks {_ALL_SIZES} --classes 150 --out FOLDER",),
            leaves=_BLOCKS,
            note="the two-stage network is not here",
        ),
        _shown("Fig. 6", "pc-459"),
        Row(
            where="Fig. 7",
            what="parts of a person",
            status="built",
            commands=(f"segvoc segment photo.jpg {_WORDS} --model cat-seg-l --out FOLDER",),
            leaves={"FOLDER/photo.png": (), "FOLDER/photo.overlay.png": ()},
            note="OVSeg is not here",
        ),
        drawing("Fig. 8", "details of the network"),
        drawing("Fig. 9", "what is fine-tuned", "a drawing; `segvoc info` counts what learns"),
        drawing("Fig. 10", "both baselines", "a drawing of `aggregation=features` and `blocks=0`: see Table 7"),
        Row(
            where="Fig. 11",
            what="inference by patches",
            status="built",
            commands=("segvoc segment photo.jpg --words cat --model cat-seg-b --window official --out FOLDER",),
            leaves={"FOLDER/photo.png": ()},
            note="a drawing; the window `official`, which benchmarks have by default",
        ),
        _shown("Fig. 12", "a-847"),
        _shown("Fig. 13", "pc-459"),
        _shown("Fig. 14", "a-150"),
        _shown("Fig. 15", "pc-59"),
        _compared("Fig. 16", "photographs by several networks", '--words "sky, car, road"'),
        _compared("Fig. 17", "parts of persons by two networks", _WORDS),
        others("Table 1", "SPNet, ZS3Net, LSeg, LSeg+, ZegFormer, ZSseg, OpenSeg, OVSeg"),
        *score_rows("CAT-Seg", "Table 1"),
        *score_rows("CAT-Seg", "Table 2"),
        *score_rows("CAT-Seg", "Table 3"),
        *score_rows("CAT-Seg", "Table 4"),
        others("Table 5", "ZegFormer and ZSseg, four sizes"),
        *(replace(row, where="Table 5") for row in score_rows("CAT-Seg", "Table 1")),
        others("Table 6", "ZegFormer and ZSseg, trained on three sets"),
        replace(score_rows("CAT-Seg", "Table 1")[0], where="Table 6", what="trained on COCO-Stuff"),
        *score_rows("CAT-Seg", "Table 6"),
        *score_rows("CAT-Seg", "Table 7"),
        *score_rows("CAT-Seg", "Table 8"),
        *score_rows("CAT-Seg", "Table 9"),
        Row(
            where="Table 9",
            what="training resolution and patches, of one network on one benchmark",
            status="option",
            commands=(
                "segvoc analyze sweep cat-seg-l --vary window=single,official --benchmark a-150 --data ROOT "
                "--out FOLDER",
            ),
            leaves={"FOLDER/sweep.json": ("rows",), "FOLDER/sweep.md": ()},
            note="of the released network",
        ),
        *score_rows("CAT-Seg", "Table 10"),
        others("Table 11", "ZegFormer, four sizes"),
        Row(
            where="Table 11",
            what="time of inference by benchmark",
            status="built",
            commands=(f"segvoc analyze blocks {_ALL_SIZES} --classes 847 --out FOLDER",),
            leaves=_BLOCKS,
            note="and so on for the classes of the other benchmarks; reports of `segvoc evaluate` have seconds too",
        ),
    ),
)
"""All of them."""
