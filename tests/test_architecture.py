"""ARCHITECTURE.md keeps its promises: how few files a forward pass and a call take, and which layers there are."""

import ast
import io
import re
import sys
import threading
import tokenize
import tomllib
from pathlib import Path
from types import FrameType

import pytest
import torch

from segvoc.cli import command_line
from segvoc.selection_rules import MostSimilar
from tests.networks.contract import NetworkContract
from tests.networks.test_cat_seg import TestOpenAI as OpenAIContract
from tests.networks.test_pca_seg import TestEva as EvaContract
from tests.training.runs import drawn_images

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "segvoc"
TEXT = (REPOSITORY / "ARCHITECTURE.md").read_text()
MAX_FILES, MAX_LINES, MAX_MORE_LINES = 4, 475, 120
MAX_SEGMENT_FILES, MAX_TRAIN_FILES = 6, 10
SMALL = [f"--set={value}" for value in ("crop_size=64", "short_sides=64", "batch_size=1", "num_workers=0")]
DATA = {"images": "images", "labels": "labels", "classes": "classes.json"}
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


def section_text(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def section(network: str) -> str:
    return section_text(f"Reading {network}")


def files(network: str) -> list[str]:
    return re.findall(r"^\d+\. `([^`]+)`", section(network), re.MULTILINE)


def functions_of_one_forward(contract: NetworkContract) -> set[tuple[str, str]]:
    """File and qualified name of every function of ours that runs from pixels to logits."""
    seen = set()
    network = contract.build().eval()
    image, text = contract.inputs(network)

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
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
    # with PyTorch 2.6, a function of ours stands for one of PyTorch
    outside = {(file, name) for file, name in executed if file not in listed and name != "is_exporting"}
    assert not {
        (file, name)
        for file, name in outside
        if f"`{file}`" not in text or f"`{name.partition(_INNER)[0]}`" not in text
    }


def files_on_the_way_into_the_network(arguments: list[str]) -> list[str]:
    """Files of the package on the call stack when a command first enters a network, from the command inwards."""
    stacks: list[list[str]] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        is_entry = event == "call" and code.co_name in ("forward", "selected_logits")
        if stacks or not is_entry or not code.co_filename.startswith(str(PACKAGE)):
            return
        if "SegmentationNetwork" in [cls.__name__ for cls in type(frame.f_locals.get("self")).__mro__]:
            stacks.append(files_of_the_stack(frame))

    before = sys.getprofile()
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        command_line(arguments, prog_name="segvoc", standalone_mode=False)
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]
    return stacks[0]


def files_of_the_stack(frame: FrameType | None) -> list[str]:
    """Files of the package on a call stack, each once, from the outermost inwards."""
    found: list[str] = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(str(PACKAGE)):
            found.append(Path(frame.f_code.co_filename).relative_to(REPOSITORY).as_posix())
        frame = frame.f_back
    return list(dict.fromkeys(reversed(found)))


def path_of(call: str) -> list[str]:
    """The files that the page lists for a call."""
    lines = section_text("The path of a call").split(f"`segvoc {call}")[1].split("\n`segvoc ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", lines, re.MULTILINE)


def test_segment_reaches_the_network_through_the_files_of_the_page(tmp_path: Path) -> None:
    photo = REPOSITORY / "samples" / "chelsea.jpg"
    files = files_on_the_way_into_the_network(
        ["segment", str(photo), "--words", "cat, wall", "--out", str(tmp_path / "out"), "--device", "cpu"]
    )
    assert len(files) <= MAX_SEGMENT_FILES
    assert files == path_of("segment")


@pytest.mark.slow
def test_train_reaches_the_network_through_the_files_of_the_page(tmp_path: Path) -> None:
    drawn_images(tmp_path, count=2)
    data = [f"--{name}={tmp_path / place}" for name, place in DATA.items()]
    options = ["--model=tiny", "--steps=1", "--device=cpu", f"--out={tmp_path / 'run'}", *SMALL]
    files = files_on_the_way_into_the_network(["train", "finetune", *data, *options])
    assert len(files) <= MAX_TRAIN_FILES
    assert files == path_of("train")


def test_every_layer_has_its_row_in_order() -> None:
    contract = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [layer.strip("()") for layer in contract["layers"]]
    rows = re.findall(r"^\| `(\w+)[./]", section_text("Layers"), re.MULTILINE)
    assert rows == layers
