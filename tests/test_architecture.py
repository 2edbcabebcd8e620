"""A call takes the way into the network that ARCHITECTURE.md lists; the page's modules have no circular imports."""

import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType

import pytest
from PIL import Image

import segvoc
from segvoc.cli import command_line
from segvoc.inference.taught.taught_words import TaughtWords
from tests.images import squares
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import in_process, png
from tests.training.runs import drawn_images

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "segvoc"
TEXT = (REPOSITORY / "ARCHITECTURE.md").read_text()
MAX_SEGMENT_FILES, MAX_TRAIN_FILES = 8, 10
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


def stops() -> dict[str, tuple[int, list[tuple[str, str]]]]:
    """The stops of each value by the page: how many there may be, and the file and function of each."""
    found = {}
    for title, number, listed in re.findall(r"^(.+) \((\d+)\)\n\n((?:\d+\. .*\n)+)", section("Stops"), re.MULTILINE):
        found[title] = int(number), re.findall(r"`(src/[^`]+)`: `([^`]+)`", listed)
    return found


@contextmanager
def functions_called() -> Iterator[list[tuple[str, str]]]:
    """File and name of each function of the package that runs in any thread, in the order of first calls."""
    seen: dict[tuple[str, str], None] = {}

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            seen[Path(code.co_filename).relative_to(REPOSITORY).as_posix(), code.co_qualname] = None

    before, called = sys.getprofile(), list[tuple[str, str]]()
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        yield called
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]
        called.extend(seen)


def check_stops(title: str, called: Sequence[tuple[str, str]], *, in_order: bool = True) -> None:
    most, listed = stops()[title]
    assert 0 < len(listed) <= most
    assert not [stop for stop in listed if stop not in called]
    places = [called.index(stop) for stop in listed]
    assert not in_order or places == sorted(places), listed


def test_values_stop_where_the_page_says(tmp_path: Path, taught: TaughtWords) -> None:
    words, weights = tmp_path / "a.words.safetensors", tmp_path / "weights.safetensors"
    taught.save(words)
    segvoc.save(segvoc.load_network("tiny", device="cpu", dtype="float32"), weights)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(squares()).save(tmp_path / "in" / name)
    call = ["segment", str(tmp_path / "in"), f"--words=cat, {taught.words[0]}", f"--out={tmp_path / 'out'}"]
    options = ["--threshold=0.4", "--background=auto", "--keep-classes=2", "--parts=cat: head", "--dtype=bfloat16"]
    with functions_called() as called:
        command_line([*call, *options, f"--taught={words}"], prog_name="segvoc", standalone_mode=False)
    check_stops("`threshold` and `background`", called)
    check_stops("`keep_classes`", called, in_order=False)
    check_stops("`--taught`", called)
    check_stops("`--dtype` and `--device`", called, in_order=False)
    check_stops("A folder of `segvoc segment`", called)
    with functions_called() as called:
        command_line([*call, f"--weights={weights}"], prog_name="segvoc", standalone_mode=False)
    check_stops("`--weights`", called)


def test_an_uploaded_image_stops_where_the_page_says() -> None:
    with functions_called() as called, in_process(NumpySegmenter()) as client:
        assert client.post("/v1/segment", data={"words": "cat, sofa"}, files={"image": png()}).status_code == 200
    check_stops("An uploaded image", called)


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
