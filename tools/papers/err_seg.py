"""The tables and figures of ERR-Seg (Chen et al.)."""

from tools.papers.rows import PaperRows, Row, drawing, others, score_rows

_W = "--weights err-seg-b.safetensors"
_FIVE = "pas-20 pc-59 a-150 pc-459 a-847"


def _sweep(where: str, what: str, vary: str) -> Row:
    """Scores for some values of a setting, on one benchmark."""
    return Row(
        where=where,
        what=what,
        status="option",
        commands=(f"segvoc analyze sweep err-seg-b {_W} --vary {vary} --benchmark a-150 --data ROOT --out FOLDER",),
        leaves={"FOLDER/sweep.json": ("rows",), "FOLDER/sweep.md": (), "FOLDER/sweep.png": ()},
        note=f"`{vary}`",
    )


def _blocks(where: str, what: str, options: str, note: str) -> Row:
    return Row(
        where=where,
        what=what,
        status="built",
        commands=(f"segvoc analyze blocks {options} --out FOLDER",),
        leaves={"FOLDER/blocks.json": ("rows",), "FOLDER/blocks.md": ()},
        note=note,
    )


def _labeled(where: str, what: str, words: str) -> Row:
    return Row(
        where=where,
        what=what,
        status="built",
        commands=(f'segvoc segment photo.jpg --words "{words}" --model err-seg-b {_W} --out FOLDER',),
        leaves={"FOLDER/photo.png": (), "FOLDER/photo.overlay.png": (), "FOLDER/photo.json": ()},
        note="with photographs of your own",
    )


def _training(where: str, what: str, settings: str, note: str) -> Row:
    return Row(
        where=where,
        what=what,
        status="option",
        commands=(
            f"segvoc train err-seg-b {settings} --encoder-weights convnext_base_w_320.bin --data ROOT --out RUN",
            "segvoc evaluate RUN/model.safetensors --keep-classes all --benchmark pc-59 --data ROOT --out REPORT",
        ),
        leaves={"RUN/model.safetensors": (), "REPORT/report.json": ("miou", "protocol")},
        note=note,
    )


ERR_SEG = PaperRows(
    title="ERR-Seg (Chen et al.)",
    tables=14,
    figures=9,
    rows=(
        others("Fig. 1", "score against latency: ZegFormer, OVSeg, DeOP, SAN, SED"),
        Row(
            where="Fig. 1",
            what="score against latency: CAT-Seg and ERR-Seg",
            status="built",
            commands=(
                "segvoc evaluate cat-seg-b --benchmark a-847 --data ROOT --out REPORT_CAT",
                f"segvoc evaluate err-seg-b {_W} --benchmark a-847 --data ROOT --out REPORT",
            ),
            leaves={"REPORT/report.json": ("miou", "latency_seconds"), "REPORT_CAT/report.json": ("latency_seconds",)},
            note="a report has both numbers; there is no plot of it",
        ),
        Row(
            where="Fig. 2",
            what="spatial attention with and without the redundant classes",
            status="built",
            commands=(
                'segvoc analyze attention photo.jpg --words "sky, car, road, tree, person" '
                f"--model err-seg-b {_W} --keep-classes 2 --out FOLDER",
            ),
            leaves={"FOLDER/attention.png": (), "FOLDER/attention.json": ("attention", "kept", "classes")},
            note="the paper has 847 words, of which 48 are kept: `--words-file`, `--keep-classes 48`; the weights are "
            "formed for this figure alone",
        ),
        drawing("Fig. 3", "the network"),
        drawing("Fig. 4", "class scoring", "a drawing; Eqs. 4 and 5 are `Votes` in `selection_rules.py`"),
        Row(
            where="Fig. 5",
            what="photographs labeled by CAT-Seg and ERR-Seg",
            status="built",
            commands=(
                'segvoc analyze compare photo.jpg --words "sky, car, road" --model cat-seg-b '
                "--other err-seg-b --other-weights err-seg-b.safetensors --out FOLDER",
            ),
            leaves={"FOLDER/compare.png": (), "FOLDER/compare.json": ("models", "differing")},
            note="SAN is not here",
        ),
        _sweep("Fig. 6", "λ of the votes (Eq. 5)", "decay=0.01,0.1,0.5"),
        _training(
            "Fig. 7", "P in training", "--set num_kept_classes=48", "in inference all classes are kept, as there"
        ),
        _labeled("Fig. 8", "capybaras in several domains", "capybara, grass, water"),
        _labeled("Fig. 9", "attributes", "yellow dog, white dog, grass"),
        Row(
            where="Table 1",
            what="classes of an image, and the share of all that are redundant",
            status="built",
            commands=(f"segvoc analyze vocabulary --benchmark {_FIVE} --data ROOT --out FOLDER",),
            leaves={"FOLDER/vocabulary.json": ("images",), "FOLDER/vocabulary.md": ()},
        ),
        Row(
            where="Table 2",
            what="similarity of test labels to training labels, at least 0.95 and 0.90",
            status="built",
            commands=(f"segvoc analyze vocabulary --benchmark {_FIVE} --model err-seg-b {_W} --out FOLDER",),
            leaves={"FOLDER/vocabulary.json": ("similarity",), "FOLDER/vocabulary.md": ()},
            note="the paper names neither the text encoder nor the prompt; here those of `--model`",
        ),
        Row(
            where="Table 2",
            what="similarity 1.00",
            status="departs",
            commands=(f"segvoc analyze vocabulary --benchmark {_FIVE} --model err-seg-b {_W} --out FOLDER",),
            leaves={"FOLDER/vocabulary.json": ("similarity",)},
            note="the paper counts cosines that rounding leaves at 1 or above; here equal labels have similarity 1",
        ),
        others(
            "Table 3",
            "ZegFormer, SimBaseline, OVSeg, DeOP, SAN, EBSeg, SED, SCAN, MROVSeg, ODISE, FC-CLIP, Unpair-Seg, MAFT+, "
            "OVSNet",
        ),
        Row(
            where="Table 3",
            what="CAT-Seg, ViT-B/16 and ViT-L/14",
            status="built",
            commands=("segvoc reproduce cat-seg-b cat-seg-l --data ROOT --out REPORT",),
            leaves={"REPORT/report.json": ("models",)},
            note="see CAT-Seg",
        ),
        *score_rows("ERR-Seg", "Table 3"),
        others("Table 4", "ZegFormer, SimBaseline, DeOP, OVSeg, SAN, SED"),
        _blocks(
            "Table 4", "ERR-Seg, A-847", "err-seg-b --classes 847", "348 G is met within 1 %; time is your machine's"
        ),
        _blocks(
            "Table 4", "ERR-Seg, A-150", "err-seg-b --classes 150", "288 G is met within 1 %; time is your machine's"
        ),
        _blocks("Table 4", "CAT-Seg", "cat-seg-b --classes 847", "counts of one view; the official window has five"),
        Row(
            where="Table 5",
            what="ERR-Seg and CAT-Seg on seen and unseen classes",
            status="departs",
            commands=(
                f"segvoc evaluate err-seg-b {_W} --benchmark a-847 pc-459 a-150 --data ROOT --out REPORT",
                "segvoc evaluate cat-seg-b --benchmark a-847 pc-459 a-150 --data ROOT --out REPORT_CAT",
                f"segvoc analyze seen REPORT_CAT REPORT --model err-seg-b {_W} --out FOLDER",
            ),
            leaves={"FOLDER/seen.json": ("rows", "above"), "FOLDER/seen.md": ()},
            note="seen: similarity above 0.95 to a label of COCO-Stuff; the paper says it the other way round",
        ),
        *score_rows("ERR-Seg", "Table 6"),
        *score_rows("ERR-Seg", "Table 7"),
        _sweep("Table 7", "its rows on one benchmark", "top=1,3,5"),
        *score_rows("ERR-Seg", "Table 8"),
        _sweep("Table 8", "its rows on one benchmark", "keep_classes=16,24,32,40"),
        Row(
            where="Table 9",
            what="ground truth: classes of an image",
            status="built",
            commands=("segvoc analyze vocabulary --benchmark a-847 pc-459 a-150 --data ROOT --out FOLDER",),
            leaves={"FOLDER/vocabulary.json": ("images",)},
        ),
        *score_rows("ERR-Seg", "Table 9"),
        *score_rows("ERR-Seg", "Table 10"),
        *score_rows("ERR-Seg", "Table 11"),
        _blocks(
            "Table 11",
            "GFLOPs, memory and latency",
            "err-seg-b --classes 150 --set ssr=1 --set csr=1",
            "the same without `--set` or with one; the G are met within 1 %, memory and time are your machine's",
        ),
        *score_rows("ERR-Seg", "Table 12"),
        *score_rows("ERR-Seg", "Table 13"),
        *score_rows("ERR-Seg", "Table 14"),
        _sweep("Table 14", "its rows for ConvNeXt-B on one benchmark", "side=512,640,768,1024"),
    ),
)
"""All of them."""
