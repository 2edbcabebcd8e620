"""Write docs/papers/baselines.md: the papers' ablation rows as options of a preset; sizes counted, scores as published.

Usage: python tools/make_baselines.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from segvoc.cli.info import describe

PAGE = Path(__file__).resolve().parents[1] / "docs" / "papers" / "baselines.md"
HEAD = """# Baselines and variants

The ablation rows of the papers, and what paper and released code do differently, as options of a preset: on the command
line `--set NAME=VALUE` (`segvoc info`, `segment`, `convert`), in Python `segvoc.load(..., options={...})`. Parameters
are counted on our networks. **Scores are the papers' own** (mIoU); none was measured here, and the papers' hardware,
training and test data go with them. This page is made by `python tools/make_baselines.py`.
"""


@dataclass(frozen=True)
class Row:
    """A row of a paper's table, the options that make it from a preset, and the scores that the paper gives it."""

    table: str
    row: str
    preset: str
    options: tuple[str, ...] = ()
    scores: str = ""


_SERIAL = ("order=serial", "fusion=last", "blocks=2")
ROWS = (
    Row("PCA-Seg, Table 3", "without aggregation", "pca-seg-b", ("aggregation=none",), "A-150 34.4, PC-59 59.3"),
    Row("PCA-Seg, Table 3", "serial aggregation", "cat-seg-eva-b", (), "A-150 36.3, PC-59 60.6"),
    Row("PCA-Seg, Table 3", "parallel aggregation", "pca-seg-b", (), "A-150 38.1, PC-59 62.2"),
    Row(
        "PCA-Seg, Table 5a",
        "baseline: concatenation, one convolution",
        "pca-seg-b",
        ("fusion=concatenation",),
        "A-150 36.4",
    ),
    Row("PCA-Seg, Table 5a", "+ EPL", "pca-seg-b", (), "A-150 37.2 (38.1 with FOD, a loss)"),
    Row("PCA-Seg, Table 5b", "serial + EPL", "cat-seg-eva-b", ("fusion=experts",), "A-150 36.6"),
    Row("PCA-Seg, Table 5e", "no integration: a single expert", "pca-seg-b", ("fusion=single",), "PC-59 60.5"),
    Row("PCA-Seg, Table 5e", "convolution", "pca-seg-b", ("fusion=convolution",), "PC-59 60.7"),
    Row("PCA-Seg, Table 5e", "average", "pca-seg-b", ("fusion=average",), "PC-59 60.8"),
    Row("PCA-Seg, Table 5e", "addition", "pca-seg-b", ("fusion=addition",), "PC-59 60.9"),
    Row("PCA-Seg, Table 5e", "coefficient mapper", "pca-seg-b", (), "PC-59 61.2"),
    Row("PCA-Seg, paper against code", "two parallel blocks (paper), four (code)", "pca-seg-b", ("blocks=2",)),
    Row("PCA-Seg, paper against code", "EPL to the letter of the paper", "pca-seg-b", ("fusion=experts-paper",)),
    Row("PCA-Seg, paper against code", "towers distilled in qq mode", "pca-seg-b", ("dense=qq",)),
    Row("CAT-Seg v1, Table 1", "ViT-B/16, ResNet-101", "cat-seg-v1-b", (), "A-150 27.2"),
    Row("CAT-Seg v1, Table 1", "ViT-L/14, Swin-B", "cat-seg-v1-l", (), "A-150 31.5"),
    Row("CAT-Seg v1, Table 1", "ViT-H/14, Swin-B", "cat-seg-v1-h", (), "A-150 34.4"),
    Row("CAT-Seg v1, Table 1", "ViT-bigG/14, Swin-B", "cat-seg-v1-g", (), "A-150 36.2"),
    Row("CAT-Seg v1, Table 2", "I: feature aggregation", "cat-seg-v1-l", ("aggregation=features",), "A-150 19.1"),
    Row("CAT-Seg v1, Table 2", "II: cost aggregation", "cat-seg-v1-l", ("blocks=0",), "A-150 27.4"),
    Row(
        "CAT-Seg v1, Table 2",
        "III: II with a transformer over all cells of all classes",
        "cat-seg-v1-l",
        ("order=joint", "guidance_dim=0", "blocks=6"),
        "A-150 28.5",
    ),
    Row(
        "CAT-Seg v1, Table 2",
        "IV: II with spatial aggregation",
        "cat-seg-v1-l",
        ("order=spatial", "guidance_dim=0", "blocks=3"),
        "A-150 28.1",
    ),
    Row("CAT-Seg v1, Table 2", "V: IV with class aggregation", "cat-seg-v1-l", ("guidance_dim=0",), "A-150 30.9"),
    Row("CAT-Seg v1, Table 3", "II: VPT (`trainable=prompts`)", "cat-seg-v1-l", ("visual_prompts=100",), "A-150 29.4"),
    Row("CAT-Seg v1, Table 4", "guidance from CLIP", "cat-seg-v1-l", ("guidance_backbone=none",), "A-150 30.1"),
    Row(
        "CAT-Seg v1, Table 4",
        "guidance from CLIP, which alone learns",
        "cat-seg-v1-l",
        ("guidance_backbone=none", "cost_gradient=false"),
        "A-150 25.7",
    ),
    Row("CAT-Seg v1, Table 8", "1 block", "cat-seg-v1-l", ("blocks=1",), "A-150 30.6"),
    Row("CAT-Seg v1, Table 8", "3 blocks", "cat-seg-v1-l", ("blocks=3",), "A-150 31.5"),
    Row("CAT-Seg v1, Table 8", "4 blocks", "cat-seg-v1-l", ("blocks=4",), "A-150 31.5"),
    Row("CAT-Seg v1, Table 10", "without upsampling decoder", "cat-seg-v1-l", ("decoder=none",), "A-150 29.8"),
    Row("CAT-Seg, paper against code", "decoder of arXiv v1", "cat-seg-l", ("decoder=bilinear",)),
    Row("ERR-Seg, Table 6", "classes not removed: `--keep-classes all`", "err-seg-b", (), "A-847 14.0, A-150 35.3"),
    Row("ERR-Seg, Table 6", "single cost map", "err-seg-b", ("maps=single",), "A-847 13.3, A-150 35.5"),
    Row("ERR-Seg, Table 6", "gradient from F3", "err-seg-b", ("stage_4_gradient=stride_16",), "A-847 7.3, A-150 20.1"),
    Row("ERR-Seg, Table 6", "gradient from F4", "err-seg-b", ("stage_4_gradient=stride_32",), "A-847 14.1, A-150 35.6"),
    Row("ERR-Seg, Table 6", "all on", "err-seg-b", (), "A-847 13.9, A-150 35.8"),
    Row("ERR-Seg, Table 7", "k = 1", "err-seg-b", ("top=1",), "A-847 13.8, A-150 35.8"),
    Row("ERR-Seg, Table 7", "k = 5", "err-seg-b", ("top=5",), "A-847 13.8, A-150 35.8"),
    Row("ERR-Seg, Fig. 6", "lambda = 0.5, for example", "err-seg-b", ("decay=0.5",)),
    Row("ERR-Seg, Tables 8 and 9", "P = 16: `--keep-classes 16`", "err-seg-b", (), "A-150 34.9"),
    Row("ERR-Seg, Tables 8 and 9", "P = 32: `--keep-classes 32`", "err-seg-b", (), "A-150 35.8, A-847 13.6"),
    Row("ERR-Seg, Tables 8 and 9", "P = 48: `--keep-classes 48`", "err-seg-b", (), "A-847 13.9"),
    Row("ERR-Seg, Table 10", "neither aggregation", "err-seg-b", ("streams=none",), "A-847 9.3, A-150 26.1"),
    Row("ERR-Seg, Table 10", "spatial alone", "err-seg-b", ("streams=spatial",), "A-847 13.1, A-150 34.4"),
    Row("ERR-Seg, Table 10", "class alone", "err-seg-b", ("streams=class",), "A-847 13.0, A-150 34.1"),
    Row("ERR-Seg, Table 11", "neither SSR nor CSR", "err-seg-b", ("ssr=1", "csr=1"), "A-847 13.5, A-150 35.4"),
    Row("ERR-Seg, Table 11", "CSR alone", "err-seg-b", ("ssr=1",), "A-847 14.2, A-150 35.9"),
    Row("ERR-Seg, Table 11", "SSR alone", "err-seg-b", ("csr=1",), "A-847 14.2, A-150 35.6"),
    Row("ERR-Seg, Table 12", "vanilla MLP", "err-seg-b", ("mlp=vanilla",), "A-847 14.1, A-150 35.6"),
    Row("ERR-Seg, Table 14", "512 px", "err-seg-b", ("side=512",), "A-847 13.7, A-150 35.1"),
    Row("ERR-Seg, Table 14", "768 px", "err-seg-b", ("side=768",), "A-847 13.5, A-150 35.7"),
    Row("ERR-Seg, Table 14", "1024 px", "err-seg-b", ("side=1024",), "A-847 13.1, A-150 34.3"),
    Row("ERR-Seg, Table 14", "L, 512 px", "err-seg-l", ("side=512",), "A-847 16.0, A-150 36.9"),
    Row("ERR-Seg, Table 14", "L, 640 px", "err-seg-l", ("side=640",), "A-847 16.6, A-150 37.8"),
    Row("ERR-Seg, Table 14", "L, 768 px", "err-seg-l", (), "A-847 16.9, A-150 38.3"),
    Row("ERR-Seg, Table 14", "L, 1024 px", "err-seg-l", ("side=1024",), "A-847 16.6, A-150 38.2"),
    Row(
        "ERR-Seg, paper against code", "S4 votes for classes (paper), S3 (code)", "err-seg-b", ("voting_map=stride_32",)
    ),
    Row(
        "ERR-Seg, paper against code",
        "Eq. 8 activates the product (paper), one factor (code)",
        "err-seg-b",
        ("mlp=star-paper",),
    ),
    Row(
        "ERR-Seg, paper against code",
        "depth-wise convolution before the MLP (paper), after (code)",
        "err-seg-b",
        ("local=before",),
    ),
    Row("Options of the released code", "softmax class attention (`full`)", "cat-seg-b", ("class_attention=softmax",)),
    Row("Options of the released code", "no pads (`pad_len=0`)", "cat-seg-b", ("pad_classes=0",)),
    Row("Combinations", "parallel aggregation on OpenAI's towers", "pca-seg-clip-b"),
    Row("Combinations", "serial aggregation on PCA-Seg's towers, from its preset", "pca-seg-b", _SERIAL),
)
TAIL = """
Where a paper is silent ([Paper against code](differences.md) has more):

- Table 5e of PCA-Seg has a first row "-". It is taken for one expert, which leaves nothing to integrate.
- PCA-Seg gives no kernel sizes for an expert; `experts-paper` takes the released ones.
- CAT-Seg's tables are those of arXiv v1, whose network is guided by a backbone of its own; the released network, whose
  scores are in Table 1 of the CVPR version, takes guidance from CLIP's own blocks. Tables 3 and 7 ("freeze") differ in
  training: `trainable=none`, `prompts`, `all` and `attention`. Rows III and IV of Table 2 have as many blocks as give
  them the parameters of V, as the paper asks for without a number. `trainable` here is the published recipe's.
- The weight of the orthogonality loss is an argument of `OrthogonalityLoss`: 0.01 (paper, the default) or 0.001 (code).
- ERR-Seg's Table 10 ticks "spatial" in its first row and nothing in its second, in our copy of the paper; the first has
  by far the lowest scores, so the two ticks are taken to be exchanged.
  A block without an aggregation lacks its MLP as well. Table 12 gives no sizes for its vanilla MLP: GELU, four times as
  wide. P of training (Fig. 7) is `GroundTruthFirst`'s. Table 13's rows are the recipes `err-seg-vit-b-frozen`
  (7,339,769 trainable parameters) and `err-seg-b-frozen` (7,368,825).
- Class pooling belongs to the test protocol: (2, 2) in `window="single"`, (1, 1) in `"official"`.
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    yield HEAD
    for table, rows in groupby(ROWS, key=lambda row: row.table):
        yield f"## {table}\n\n| row | preset | options | parameters | trainable | published |"
        yield "|---|---|---|---|---|---|"
        for row in rows:
            facts = describe(row.preset, row.options)
            options = " ".join(f"`{option}`" for option in row.options)
            counts = f"{facts['parameters']:,} | {facts['trainable']:,}"
            yield f"| {row.row} | `{row.preset}` | {options} | {counts} | {row.scores} |"
        yield ""
    yield TAIL.strip()


def main() -> None:
    """Write the page anew."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
