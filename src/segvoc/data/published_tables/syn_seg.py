"""The tables of SynSeg (Zhang et al., ICME 2026, which is arXiv v3).

Table III, the ablation of the losses, is not here: our copy of it has lost which losses its rows have.
"""

from segvoc.data.published_tables.rows import Network, ScoreTable

_B = Network(preset="syn-seg-b", recipe="syn-seg-b")
_OF_CLIPSEG = Network(
    preset="syn-seg-b",
    recipe="syn-seg-b",
    departs="its decoder starts from CLIPSeg's weights: give them with --start-weights",
)

_TABLE_2 = ScoreTable(
    paper="SynSeg",
    table="Table II",
    columns=("voc-21", "pc-59", "coco-object", "coco-stuff", "cityscapes", "a-150"),
    main=True,
)
_V2 = ScoreTable(paper="SynSeg", version="arXiv v2", table="Table 1", columns=_TABLE_2.columns[:5])

SYN_SEG_ROWS = (
    _TABLE_2.row("SynSeg", _B, 60.5, 43.8, 36.0, 24.5, 35.8, 18.4),
    _V2.row("SynSeg", _OF_CLIPSEG, 62.2, 41.8, 34.9, 23.6, 30.9),
)
"""The rows of SynSeg itself."""
