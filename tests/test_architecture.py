"""ARCHITECTURE.md keeps its promises: how few files a forward pass and a call take."""

import ast
import re
import sys
import threading
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType

import pytest
import torch

from segvoc.cli import command_line
from segvoc.layers.selection import ClassSelection
from tests.networks.contract import NetworkContract
from tests.networks.test_aggregations import TestCatSeg as OpenAIContract
from tests.networks.test_aggregations import TestPcaSeg as EvaContract
from tests.training.runs import drawn_images

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "segvoc"
TEXT = (REPOSITORY / "ARCHITECTURE.md").read_text()
MAX_FILES, MAX_LINES, MAX_MORE_LINES = 4, 450, 120
MAX_SEGMENT_FILES, MAX_TRAIN_FILES = 6, 10
SMALL = [f"--set={value}" for value in ("crop_size=64", "short_sides=64", "batch_size=1", "num_workers=0")]
DATA = {"images": "images", "labels": "labels", "classes": "classes.json"}


def lines_of_code(file: str) -> int:
    """Lines that are neither blank nor comment nor docstring (of a module, class, function or constant)."""
    source = (REPOSITORY / file).read_text()
    texts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr) and _is_text(node.value)]
    left_out = {line for node in texts for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    numbered = enumerate(source.splitlines(), start=1)
    return sum(number not in left_out and bool(re.match(r"\s*[^\s#]", line)) for number, line in numbered)


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def files(text: str) -> list[str]:
    """The files of a numbered list."""
    return re.findall(r"^\d+\. `([^`]+)`", text, re.MULTILINE)


def functions_of_one_forward(contract: NetworkContract) -> set[tuple[str, str]]:
    """File and qualified name of every function of ours that runs from pixels to logits."""
    seen = set()
    network = contract.build().eval()
    image, text = contract.inputs(network)
    selection = ClassSelection(keep=2, by="similarity")

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            seen.add((Path(code.co_filename).relative_to(REPOSITORY).as_posix(), code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        with torch.no_grad():
            network(image, text, selection=selection)
    finally:
        sys.setprofile(before)
    return seen


@pytest.mark.parametrize(("network", "most"), [("PCA-Seg", MAX_LINES), ("CAT-Seg", MAX_MORE_LINES)])
def test_it_reads_in_few_files_and_lines(network: str, most: int) -> None:
    counts = {file: lines_of_code(file) for file in files(section(f"Reading {network}"))}
    assert 0 < len(counts) <= MAX_FILES
    assert 0 < sum(counts.values()) <= most, counts


@pytest.mark.parametrize(
    ("contract", "sections"), [(EvaContract(), ["PCA-Seg"]), (OpenAIContract(), ["PCA-Seg", "CAT-Seg"])]
)
def test_nothing_runs_but_what_these_files_hold_and_the_section_names(contract, sections):
    executed = functions_of_one_forward(contract)
    text = "".join(section(f"Reading {network}") for network in sections)
    listed = set(files(text))
    assert {file for file, _ in executed} >= set(files(section(f"Reading {sections[-1]}")))
    # with PyTorch 2.6, a function of ours stands for one of PyTorch
    outside = {(file, name) for file, name in executed if file not in listed and name != "is_exporting"}
    named = {
        (file, name) for file, name in outside if f"`{file}`" in text and f"`{name.partition('.<locals>')[0]}`" in text
    }
    assert outside == named


def files_on_the_way_into_the_network(arguments: list[str]) -> list[str]:
    """Files of the package on the call stack when a command first enters a network, from the command inwards."""
    stacks: list[list[str]] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        is_entry = event == "call" and code.co_name in ("forward", "selected_logits", "encoded")
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
    """Files of the package on a call stack, each once, from the outermost inwards; a decorator's call is no stop."""
    found: list[str] = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(str(PACKAGE)) and not frame.f_code.co_qualname.startswith(
            "checked_call."
        ):
            found.append(Path(frame.f_code.co_filename).relative_to(REPOSITORY).as_posix())
        frame = frame.f_back
    return list(dict.fromkeys(reversed(found)))


def path_of(call: str) -> list[str]:
    return files(section("The path of a call").split(f"`segvoc {call}")[1].split("\n`segvoc ")[0])


def test_segment_reaches_the_network_through_the_files_of_the_page(tmp_path: Path) -> None:
    call = ["segment", str(REPOSITORY / "samples" / "chelsea.jpg"), "--words=cat, wall", f"--out={tmp_path / 'out'}"]
    # in float32, tiny would run without its network; a threshold leaves out the pass of a hint
    found = files_on_the_way_into_the_network([*call, "--dtype=bfloat16", "--threshold=0.1"])
    assert len(found) <= MAX_SEGMENT_FILES and found == path_of("segment")


@pytest.mark.slow
def test_train_reaches_the_network_through_the_files_of_the_page(tmp_path: Path) -> None:
    drawn_images(tmp_path, count=2)
    data = [f"--{name}={tmp_path / place}" for name, place in DATA.items()]
    options = ["--steps=1", "--device=cpu", f"--out={tmp_path / 'run'}", *SMALL]
    found = files_on_the_way_into_the_network(["train", "tiny", *data, *options])
    assert len(found) <= MAX_TRAIN_FILES and found == path_of("train")


def test_the_page_s_modules_import_one_another_without_circles() -> None:
    """Imports of types alone don't count: none is left in what the browser runs."""
    sources = {path for path in (REPOSITORY / "annotate" / "web" / "src").rglob("*") if path.suffix in (".ts", ".tsx")}
    imports = {
        path: {
            found
            for name in re.findall(r'^(?:im|ex)port (?!type )[^;]*?from "(\.[^"]+)"', path.read_text(), re.MULTILINE)
            for found in (path.parent.joinpath(f"{name}{suffix}").resolve() for suffix in (".ts", ".tsx"))
            if found in sources
        }
        for path in sources
    }
    assert sum(map(len, imports.values())) > len(imports)
    TopologicalSorter(imports).prepare()
