"""The tables and figures of PCA-Seg (Yin et al., CVPR 2026)."""

from tools.papers.rows import PaperRows, Row, drawing, others, score_rows

_WORDS = '--words "truck, runway, grass"'
_OWN = "--images images --labels labels --classes classes.json"
_COMPARISON = {"FOLDER/compare.png": (), "FOLDER/compare.json": ("models", "differing", "pairs")}
_ABLATION = {"FOLDER/ablation.json": ("recipe", "grids"), "FOLDER/ablation.md": (), "FOLDER/ablation.png": ()}


def _in_small(table: str, grid: str) -> Row:
    """A table's rows on labeled images of one's own, with the embedded model."""
    return Row(
        where=table,
        what="its rows in small, on labeled images of your own",
        status="built",
        commands=(f"segvoc analyze ablation --grid {grid} {_OWN} --out FOLDER",),
        leaves=_ABLATION,
        note="`tiny-aggregation`, or another `--recipe`; mean and standard error over seeds and folds",
    )


PCA_SEG = PaperRows(
    title="PCA-Seg (Yin et al., CVPR 2026)",
    tables=5,
    figures=6,
    rows=(
        Row(
            where="Fig. 1a",
            what="parallel and serial aggregation on a photograph",
            status="built",
            commands=(
                f"segvoc analyze compare photo.jpg {_WORDS} --model pca-seg-b.safetensors "
                "--other cat-seg-eva-b.safetensors --out FOLDER",
            ),
            leaves=_COMPARISON,
        ),
        drawing("Fig. 1b, c", "both kinds of blocks", "drawings; ARCHITECTURE.md has the reading order of the code"),
        Row(
            where="Fig. 2",
            what="scores on eight benchmarks as a radar plot",
            status="built",
            commands=(
                "segvoc evaluate pca-seg-b --weights pca-seg-b.safetensors "
                "--benchmark a-847 pc-459 a-150 pc-59 pas-20 pas-20b --data ROOT --out REPORT",
                "segvoc evaluate pca-part-b --weights pca-part-b.safetensors "
                "--benchmark pascal-part-116 --data ROOT --out REPORT_PARTS",
                'segvoc analyze radar --line "PCA-Seg=REPORT,REPORT_PARTS" '
                '--line "the paper=pca-seg-b,pca-part-b" --out FOLDER',
            ),
            leaves={"FOLDER/radar.png": (), "FOLDER/radar.json": ("axes", "lines")},
            note="lines of other methods: `--published NAME` where a network here stands for them",
        ),
        drawing("Fig. 3", "the network"),
        Row(
            where="Fig. 4",
            what="photographs labeled by two networks, whole objects and parts",
            status="built",
            commands=(
                f"segvoc analyze compare photo.jpg {_WORDS} --model pca-seg-b.safetensors "
                "--other cat-seg-eva-b.safetensors --out FOLDER",
                "segvoc analyze compare photo.jpg --words \"dog's head, dog's torso, train's coach\" "
                "--model pca-part-b.safetensors --other part-cat-seg-b.safetensors --out PARTS",
            ),
            leaves=_COMPARISON | {"PARTS/compare.png": ()},
        ),
        Row(
            where="Fig. 5",
            what="redundancy of the experts by CCA",
            status="built",
            commands=(f"segvoc analyze redundancy photo.jpg {_WORDS} --model pca-seg-b.safetensors --out FOLDER",),
            leaves={"FOLDER/redundancy.png": (), "FOLDER/redundancy.json": ("rows", "variance")},
            note="plain CCA as in the released code, and the SVCCA that the paper cites",
        ),
        Row(
            where="Fig. 6",
            what="similarity of both streams during training, parallel and serial",
            status="built",
            commands=(
                "segvoc train pca-seg-b --set log_stream_similarity=true --encoder-weights DECLIP-B.pt --data ROOT "
                "--out RUN",
                "segvoc train cat-seg-eva-b --set log_stream_similarity=true --encoder-weights DECLIP-B.pt --data ROOT "
                "--out RUN_SERIAL",
                "segvoc analyze streams RUN RUN_SERIAL --out FOLDER",
                f"segvoc analyze streams --image photo.jpg {_WORDS} --model pca-seg-b.safetensors --out FOLDER",
            ),
            leaves={"FOLDER/streams.png": (), "FOLDER/streams.json": ("runs",), "FOLDER/streams_image.png": ()},
            note="the signed and the squared cosine; the last command is for one photograph and a trained network",
        ),
        Row(
            where="–",
            what="weights of the coefficient mapper (Eq. 5) over a photograph; in no figure of the paper",
            status="built",
            commands=(f"segvoc analyze gates photo.jpg {_WORDS} --model pca-seg-b.safetensors --out FOLDER",),
            leaves={"FOLDER/gates_1.png": (), "FOLDER/gates.json": ("blocks",)},
        ),
        others("Table 1", "LSeg+, ZegFormer, ZSseg, OVSeg, GKC, ODISE, EBSeg, SED, Mask-Adapter, H-CLIP, LLMFormer"),
        Row(
            where="Table 1",
            what="CAT-Seg, ViT-B/16 and ViT-L/14",
            status="built",
            commands=("segvoc reproduce cat-seg-b cat-seg-l --data ROOT --out REPORT",),
            leaves={"REPORT/report.json": ("models",), "REPORT/index.html": ()},
            note="see CAT-Seg",
        ),
        *score_rows("PCA-Seg", "Table 1"),
        others("Table 2", "ZSSeg+, CLIPSeg and CAT-Seg for parts, VLPart, PartGLEE, PartCLIPSeg"),
        *score_rows("PCA-Seg", "Table 2"),
        *score_rows("PCA-Seg", "Table 3"),
        _in_small("Table 3", "aggregation"),
        Row(
            where="Table 4",
            what="serial block, parallel block: parameters, FLOPs, memory, time",
            status="built",
            commands=("segvoc analyze blocks cat-seg-eva-b pca-seg-b --classes 171 --out FOLDER",),
            leaves={"FOLDER/blocks.json": ("rows",), "FOLDER/blocks.md": ()},
            note="0.68 and 1.03 M, 53.67 and 88.07 G are met, counted as the paper counts: layers alone, without "
            "attention's products; memory and time are those of your machine",
        ),
        Row(
            where="Table 4",
            what="entire network",
            status="departs",
            commands=("segvoc analyze blocks cat-seg-l pca-seg-b --classes 171 --out FOLDER",),
            leaves={"FOLDER/blocks.json": ("rows",)},
            note="its 70.3 M are those of CAT-Seg-L that learn, and no count gives 2121 G; our own count stands there",
        ),
        *score_rows("PCA-Seg", "Table 5a"),
        _in_small("Table 5a", "5a"),
        *score_rows("PCA-Seg", "Table 5b"),
        _in_small("Table 5b", "5b"),
        *score_rows("PCA-Seg", "Table 5c"),
        _in_small("Table 5c", "5c"),
        *score_rows("PCA-Seg", "Table 5d"),
        _in_small("Table 5d", "5d"),
        *score_rows("PCA-Seg", "Table 5e"),
        _in_small("Table 5e", "5e"),
    ),
)
"""All of them."""
