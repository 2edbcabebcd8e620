"""Write docs/papers/fidelity.md: what was compared with the official code's outputs, and by how much it differs.

Usage: python tests/golden/make_fidelity.py. Runs the golden tests against the full set (../shared/golden, or
SEGVOC_GOLDEN) and makes the tables from what the tests compared.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "papers" / "fidelity.md"
TITLES = {
    "cat_aggregator": "CAT-Seg's aggregator at real size",
    "pca_aggregator": "PCA-Seg's aggregator at real size",
    "tiny_cat_openai": "CAT-Seg with a tiny OpenAI CLIP",
    "tiny_pca_eva": "PCA-Seg with a tiny EVA02-CLIP",
    "full_cat_vitb_384_voc20": "cat-seg-b at full size, 20 words",
    "full_pca_eva_vitb_384_voc20": "pca-seg-b at full size, 20 words",
    "err_convnext_small": "a small CLIP-ConvNeXt, read at two strides as ERR-Seg does",
    "err_decoder_B_io": "ERR-Seg's head at real size, 12 of 20 classes kept",
    "part_aggregator_io": "PartCATSeg's aggregator, both levels",
    "part_loss": "PartCATSeg's four losses",
    "clipseg_decoder": "CLIPSeg's decoder, which is SynSeg's, both heads",
}
HEAD = """# Fidelity

How much the stages of our networks deviate from the official code's outputs (CAT-Seg 6d3a188, PCA-Seg 59c90ea, ERR-Seg
6e79c0d, PartCATSeg 4a9a882, CLIPSeg 77c4e2d), run on a CPU in fp32 with the same seeded random weights. `python
tests/golden/make_fidelity.py` writes this page from the golden tests' comparisons, and prints every stage; the tests
fail above 1e-4 (5e-4 for single gradients), or below 99.9 % equal labels.

**Error** is the largest absolute difference, in units of the stage's largest magnitude. **Agreement** is the share of
equal labels.

This doesn't cover the papers' scores. Real CLIP weights and the authors' checkpoints can't be downloaded where segvoc
is developed, so no published mIoU was measured, only that each stage computes the same.
"""


def worst() -> dict[str, dict[tuple[str, str], float]]:
    """Run the golden tests; of each case and stage the worst comparison, since several tests may look at one stage."""
    cases: dict[str, dict[tuple[str, str], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "comparisons.jsonl"
        environment = os.environ | {"SEGVOC_FIDELITY": str(lines), "SEGVOC_REQUIRE_GOLDEN": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-m", "golden", "tests"]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        for line in map(json.loads, lines.read_text(encoding="utf-8").splitlines()):
            kind, choose = ("error", max) if "error" in line else ("agreement", min)
            stages, key = cases.setdefault(line["case"], {}), (line["stage"], kind)
            stages[key] = choose(stages.get(key, line[kind]), line[kind])
    return cases


def page(cases: dict[str, dict[tuple[str, str], float]]) -> Iterator[str]:
    """The lines of the page."""
    yield HEAD
    yield "| case | stages | largest error | of | least agreement |\n|---|---|---|---|---|"
    for case, title in TITLES.items():
        errors = {stage: value for (stage, kind), value in cases[case].items() if kind == "error"}
        agreements = [value for (_, kind), value in cases[case].items() if kind == "agreement"]
        largest = max(errors, key=lambda stage: errors[stage])
        least = f"{min(agreements):.2%}" if agreements else "-"
        yield f"| {title} | {len(cases[case])} | {errors[largest]:.1e} | `{largest}` | {least} |"
    yield f"\nMade with PyTorch {torch.__version__}, {torch.get_num_threads()} threads."


if __name__ == "__main__":
    compared = worst()
    PAGE.write_text("\n".join(page(compared)) + "\n", encoding="utf-8")
    for case in TITLES:
        for (stage, kind), value in sorted(compared[case].items()):
            sys.stdout.write(f"{case} {stage} {kind} {value:.3g}\n")
