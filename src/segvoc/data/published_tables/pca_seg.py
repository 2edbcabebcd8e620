"""The tables of PCA-Seg (Yin et al., CVPR 2026).

Table 3 repeats two rows of Table 1, and Tables 5a, 5b and 5d repeat rows of each other. The best rows of Tables 5c and
5e have the score of "EPL alone" in Table 5a, so these tables are without the orthogonality loss (FOD).
"""

from segvoc.data.published_tables.rows import Network, PublishedRow, ScoreTable, printed_parts

_B = Network(preset="pca-seg-b", recipe="pca-seg-b")
_L = Network(preset="pca-seg-l", recipe="pca-seg-l")
_SERIAL_B = Network(preset="cat-seg-eva-b", recipe="cat-seg-eva-b")
_SERIAL_L = Network(preset="cat-seg-eva-l", recipe="cat-seg-eva-l")
_NONE_B = Network(preset="pca-seg-b", recipe="no-aggregation-b")
_WITHOUT_FOD = Network(preset="pca-seg-b", recipe="pca-seg-b", training=("fod_weight=0",))
_PARTS = Network(preset="pca-part-b", recipe="pca-part-b")
_PARTS_ADE = Network(preset="pca-part-b", recipe="pca-part-b-ade")
_SERIAL_PARTS = Network(preset="part-cat-seg-b", recipe="part-cat-seg-b")
_SERIAL_PARTS_ADE = Network(
    preset="part-cat-seg-b", recipe="part-cat-seg-b", training=("dataset=ade20k-part-234-train",)
)

_TABLE_1 = ScoreTable(paper="PCA-Seg", table="Table 1", main=True)
_TABLE_2 = ScoreTable(paper="PCA-Seg", table="Table 2", main=True)
_TABLE_3 = ScoreTable(paper="PCA-Seg", table="Table 3", columns=("a-847", "pc-459", "a-150", "pc-59", "pas-20b"))
_TABLE_5A = ScoreTable(paper="PCA-Seg", table="Table 5a", columns=("a-150", "pas-20b"))
_TABLE_5B = ScoreTable(paper="PCA-Seg", table="Table 5b", columns=("a-150",))
_TABLE_5C = ScoreTable(paper="PCA-Seg", table="Table 5c", columns=("a-150",))
_TABLE_5D = ScoreTable(paper="PCA-Seg", table="Table 5d", columns=("a-150", "pc-59"))
_TABLE_5E = ScoreTable(paper="PCA-Seg", table="Table 5e", columns=("pc-59",))


def _parts(
    row: str, network: Network, benchmark: str, pred_all: tuple[float, ...], oracle: tuple[float, ...]
) -> tuple[PublishedRow, ...]:
    return (
        _TABLE_2.scored(row, network, {benchmark: printed_parts(*pred_all)}, protocol="pred-all"),
        _TABLE_2.scored(row, network, {benchmark: printed_parts(*oracle)}, protocol="oracle-obj"),
    )


PCA_SEG_ROWS = (
    _TABLE_1.row("PCA-Seg, ViT-B/16", _B, 16.1, 22.3, 38.1, 62.2, 97.3, 82.7),
    _TABLE_1.row("PCA-Seg, ViT-L/14", _L, 18.3, 26.7, 41.5, 64.7, 98.4, 84.4),
    _TABLE_1.row("DeCLIP, ViT-B/16", _SERIAL_B, 15.3, 21.4, 36.3, 60.6, 96.6, 81.3),
    _TABLE_1.row("DeCLIP, ViT-L/14", _SERIAL_L, 17.6, 25.9, 40.7, 63.9, 97.7, 83.9),
    *_parts("PCA-Seg on Pascal-Part-116", _PARTS, "pascal-part-116", (57.2, 43.5, 49.3), (60.5, 47.1, 52.9)),
    *_parts("PCA-Seg on ADE20K-Part-234", _PARTS_ADE, "ade20k-part-234", (40.8, 19.2, 26.1), (56.3, 48.2, 51.8)),
    *_parts("PartCATSeg on Pascal-Part-116", _SERIAL_PARTS, "pascal-part-116", (52.6, 40.5, 45.8), (57.5, 44.9, 50.4)),
    *_parts(
        "PartCATSeg on ADE20K-Part-234", _SERIAL_PARTS_ADE, "ade20k-part-234", (38.9, 17.6, 24.2), (53.1, 47.2, 50.0)
    ),
    _TABLE_3.row("without aggregation", _NONE_B, 14.1, 20.7, 34.4, 59.3, 79.1),
    _TABLE_3.row("serial", _SERIAL_B, 15.3, 21.4, 36.3, 60.6, 81.3),
    _TABLE_3.row("parallel", _B, 16.1, 22.3, 38.1, 62.2, 82.7),
    _TABLE_5A.row("baseline", _WITHOUT_FOD, 36.4, 81.1, training=("fusion=concatenation",)),
    _TABLE_5A.row("EPL", _WITHOUT_FOD, 37.2, 82.0),
    _TABLE_5A.row("FOD", _B, 36.9, 82.1, training=("fusion=concatenation",)),
    _TABLE_5A.row("EPL and FOD", _B, 38.1, 82.7),
    _TABLE_5B.row("serial", _SERIAL_B, 36.3),
    _TABLE_5B.row("serial with EPL", _SERIAL_B, 36.6, training=("fusion=experts",)),
    _TABLE_5B.row("serial with FOD", _SERIAL_B, 36.6, training=("fod_weight=0.01",)),
    _TABLE_5B.row("serial with both", _SERIAL_B, 36.7, training=("fusion=experts", "fod_weight=0.01")),
    _TABLE_5C.row("n = 1", _WITHOUT_FOD, 36.8, training=("experts=1",)),
    _TABLE_5C.row("n = 2", _WITHOUT_FOD, 36.9, training=("experts=2",)),
    _TABLE_5C.row("n = 3", _WITHOUT_FOD, 37.0, training=("experts=3",)),
    _TABLE_5C.row("n = 4", _WITHOUT_FOD, 37.2),
    _TABLE_5C.row("n = 5", _WITHOUT_FOD, 36.9, training=("experts=5",)),
    _TABLE_5D.row("lambda 0.001", _B, 37.4, 61.7, training=("fod_weight=0.001",)),
    _TABLE_5D.row("lambda 0.005", _B, 37.9, 62.1, training=("fod_weight=0.005",)),
    _TABLE_5D.row("lambda 0.01", _B, 38.1, 62.2),
    _TABLE_5D.row("lambda 0.015", _B, 38.0, 61.9, training=("fod_weight=0.015",)),
    _TABLE_5D.row("lambda 0.02", _B, 37.8, 61.6, training=("fod_weight=0.02",)),
    _TABLE_5E.row(
        "none",
        _WITHOUT_FOD,
        60.5,
        training=("fusion=single",),
        departs='the row is "-" in the paper; taken for a single expert, which leaves nothing to integrate',
    ),
    _TABLE_5E.row("convolution", _WITHOUT_FOD, 60.7, training=("fusion=convolution",)),
    _TABLE_5E.row("average", _WITHOUT_FOD, 60.8, training=("fusion=average",)),
    _TABLE_5E.row("addition", _WITHOUT_FOD, 60.9, training=("fusion=addition",)),
    _TABLE_5E.row("coefficient mapper", _WITHOUT_FOD, 61.2),
)
"""All rows that networks of ours stand for."""
