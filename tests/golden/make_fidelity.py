"""Write docs/papers/fidelity.md: what was compared with the official code's outputs, and by how much it differs.

Usage: python tests/golden/make_fidelity.py. Runs the golden tests against the full set (../shared/golden, or
SEGVOC_GOLDEN) and makes the tables from what the tests compared.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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

How far every stage of our networks is from the outputs of the official code (CAT-Seg 6d3a188, PCA-Seg 59c90ea, ERR-Seg
6e79c0d, PartCATSeg 4a9a882, CLIPSeg 77c4e2d), run on a CPU in fp32 with the same seeded random weights. This page is
made by `python tests/golden/make_fidelity.py` from what the golden tests compare; the tests fail above 1e-4 (5e-4 for
gradients taken one by one), or below 99.9 % equal labels.

**Error** is the largest absolute difference, in units of the stage's largest magnitude. **Agreement** is the share of
equal labels.

What this does not show: the papers' scores. Real CLIP weights and the authors' trained checkpoints can't be downloaded
on the machines where segvoc is made, so no published mIoU was measured; that the parts compute the same was.
"""


def compared() -> list[dict[str, Any]]:
    """Run the golden tests; every comparison that they made."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "comparisons.jsonl"
        environment = os.environ | {"SEGVOC_FIDELITY": str(lines), "SEGVOC_REQUIRE_GOLDEN": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-m", "golden", "-k", "not compact", "tests"]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]


def worst(comparisons: Iterable[dict[str, Any]]) -> dict[str, dict[tuple[str, str], float]]:
    """Of each case and stage the worst comparison: several tests may look at one stage."""
    cases: dict[str, dict[tuple[str, str], float]] = {}
    for line in comparisons:
        stages = cases.setdefault(line["case"], {})
        kind = "error" if "error" in line else "agreement"
        key, value = (line["stage"], kind), line[kind]
        choose = max if kind == "error" else min
        stages[key] = choose(stages.get(key, value), value)
    return cases


def page(cases: dict[str, dict[tuple[str, str], float]]) -> Iterator[str]:
    """The lines of the page."""
    yield HEAD
    yield "## Worst of each case\n\n| case | stages | largest error | of | least agreement |\n|---|---|---|---|---|"
    for case, title in TITLES.items():
        errors = {stage: value for (stage, kind), value in cases[case].items() if kind == "error"}
        agreements = [value for (_, kind), value in cases[case].items() if kind == "agreement"]
        largest = max(errors, key=lambda stage: errors[stage])
        least = f"{min(agreements):.2%}" if agreements else "-"
        yield f"| {title} | {len(cases[case])} | {errors[largest]:.1e} | `{largest}` | {least} |"
    for case, title in TITLES.items():
        yield f"\n## {title} (`{case}`)\n\n| stage | error or agreement |\n|---|---|"
        for (stage, kind), value in sorted(cases[case].items()):
            yield f"| `{stage}` | {value:.1e} |" if kind == "error" else f"| `{stage}`, labels | {value:.2%} |"
    yield f"\nMade with PyTorch {torch.__version__}, {torch.get_num_threads()} threads."


def main() -> None:
    """Write the page anew."""
    text = "\n".join(page(worst(compared()))) + "\n"
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
