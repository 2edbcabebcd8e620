"""ARCHITECTURE.md keeps its promise: one forward pass of PCA-Seg reads in four files and about 450 lines of code."""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path
from types import FrameType

import pytest
import torch

from segvoc.layers.class_selection import MostSimilar
from tests.networks.contract import NetworkContract
from tests.networks.test_cat_seg import TestOpenAI as OpenAIContract
from tests.networks.test_pca_seg import TestEva as EvaContract

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "ARCHITECTURE.md").read_text()
MAX_FILES, MAX_LINES, MAX_MORE_LINES = 4, 460, 120
_INNER = ".<locals>"
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    """Lines that are neither blank nor comment nor docstring (of a module, class, function or constant)."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if is_text:
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def section(network: str) -> str:
    return TEXT.split(f"## Reading {network}\n")[1].split("\n## ")[0]


def files(network: str) -> list[str]:
    return re.findall(r"^\d+\. `([^`]+)`", section(network), re.MULTILINE)


def functions_of_one_forward(contract: NetworkContract) -> set[tuple[str, str]]:
    """File and qualified name of every function of ours that runs from pixels to logits."""
    seen = set()
    network = contract.build().eval()
    image, text = contract.inputs(network)
    package = str(REPOSITORY / "src" / "segvoc")

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package):
            seen.add((Path(code.co_filename).relative_to(REPOSITORY).as_posix(), code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        with torch.no_grad():
            network(image, text, selection=MostSimilar(2))
    finally:
        sys.setprofile(before)
    return seen


def test_code_is_counted_without_blank_lines_comments_and_docstrings():
    constant = '"""Module."""\n\n# why\nX = 1  # beside\n"""Of X."""\n\n\n'
    function = 'def f(\n    a,\n):\n    """One\n    two."""\n    return """a\nb"""\n'
    assert lines_of_code(constant) == 1
    assert lines_of_code(constant + function) == 6


def test_it_reads_in_few_files_and_lines():
    counts = {file: lines_of_code((REPOSITORY / file).read_text()) for file in files("PCA-Seg")}
    assert 0 < len(counts) <= MAX_FILES
    assert sum(counts.values()) <= MAX_LINES, counts


def test_cat_seg_adds_few_lines():
    counts = {file: lines_of_code((REPOSITORY / file).read_text()) for file in files("CAT-Seg")}
    assert 0 < sum(counts.values()) <= MAX_MORE_LINES, counts


@pytest.mark.parametrize(
    ("contract", "sections"), [(EvaContract(), ["PCA-Seg"]), (OpenAIContract(), ["PCA-Seg", "CAT-Seg"])]
)
def test_nothing_runs_but_what_these_files_hold_and_the_section_names(contract, sections):
    executed = functions_of_one_forward(contract)
    listed = {file for network in sections for file in files(network)}
    text = "".join(map(section, sections))
    assert {file for file, _ in executed} >= set(files(sections[-1]))
    outside = {(file, name) for file, name in executed if file not in listed}
    assert not {
        (file, name)
        for file, name in outside
        if f"`{file}`" not in text or f"`{name.partition(_INNER)[0]}`" not in text
    }
