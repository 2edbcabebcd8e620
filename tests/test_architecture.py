"""A call takes the way into the network that ARCHITECTURE.md lists; the page's modules have no circular imports."""

import re
import sys
import threading
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType

import pytest

from segvoc.cli import command_line
from tests.training.runs import drawn_images

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "segvoc"
TEXT = (REPOSITORY / "ARCHITECTURE.md").read_text()
MAX_SEGMENT_FILES, MAX_TRAIN_FILES = 6, 10
SMALL = [f"--set={value}" for value in ("crop_size=64", "short_sides=64", "batch_size=1", "num_workers=0")]
DATA = {"images": "images", "labels": "labels", "classes": "classes.json"}


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def files(text: str) -> list[str]:
    """The files of a numbered list."""
    return re.findall(r"^\d+\. `([^`]+)`", text, re.MULTILINE)


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
