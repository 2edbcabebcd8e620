"""The lists that need no PyTorch say what the tables of presets and recipes do."""

import subprocess
import sys

import pytest

from segvoc.models.catalog import catalog
from tools.make_catalog import made_catalog

WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "huggingface_hub")))  # importing them fails
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("torch", "huggingface_hub") else find(name, *rest)
from segvoc.cli import main
sys.argv[0] = "segvoc"
main()
"""


def test_the_catalog_is_what_the_tables_say() -> None:
    assert catalog() == made_catalog(), "python -m tools.make_catalog writes it again"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["models"], 0, "hint: without PyTorch, tiny alone runs here"),
        (["fetch", "cat-seg-bb"], 2, "'cat-seg-bb' is unknown (did you mean cat-seg-b?)"),
        (["train", "pca-sg-b", "--out", "run"], 2, "'pca-sg-b' is unknown (did you mean pca-seg-b?)"),
    ],
)
def test_lists_and_names_need_no_pytorch(arguments: list[str], code: int, said: str) -> None:
    call = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == code and said in done.stdout + done.stderr
    assert "PyTorch, which" not in done.stderr
