"""Calls take the ways that ARCHITECTURE.md lists; the page's modules have no circular imports."""

import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from types import CodeType, FrameType, MappingProxyType

import pytest
from PIL import Image

import segvoc
from segvoc.cli import command_line
from segvoc.errors import LabelingWarning
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.networks.base import SegmentationNetwork
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


def path_of(call: str) -> list[str]:
    """The files that a call passes through by the page."""
    listed = section("The path of a call").split(f"`segvoc {call}")[1].split("\n`segvoc ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", listed, re.MULTILINE)


Place = tuple[str, str]
"""File and name of a function of the package, that of an outer function for one inside."""


@dataclass
class Traced:
    """What calls run in the package, in any thread."""

    functions: dict[Place, None] = field(default_factory=dict)
    """In the order of first calls."""
    path: list[str] = field(default_factory=list)
    """Files on the call stack when a network is first entered, from the outermost inwards."""
    stops: dict[str, dict[Place, None]] = field(default_factory=dict)
    """By the title of a traced value, the functions that gave it another name or put it into an object, in order, from
    the first object on: what is before parses it."""


def place_of(code: CodeType) -> Place | None:
    if not code.co_filename.startswith(f"{PACKAGE}/"):
        return None
    return code.co_filename.removeprefix(f"{REPOSITORY}/"), code.co_qualname.partition(".<locals>")[0]


def note_stop(frame: FrameType, values: Mapping[str, object], stops: dict[str, dict[Place, None]]) -> None:
    """Note the function that returns, or the one that made the object that it initialized, for each value it holds.

    A decorator's call is none."""
    code, maker, place = frame.f_code, frame, place_of(frame.f_code)
    is_made = code.co_name == "__init__" and (place is not None or code.co_filename == "<string>")
    if place is None and is_made and frame.f_back is not None:  # of a dataclass
        maker, place = frame.f_back, place_of(frame.f_back.f_code)
    if place is None or place[1] == "checked_call":
        return
    own, parameters = frame.f_locals.get("self"), code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    is_made = is_made and type(own).__module__.startswith("segvoc.")
    named = [one for name, one in frame.f_locals.items() if name not in parameters] if maker is frame else []
    fields = list(getattr(own, "__dict__", {}).values()) if is_made else []
    for title, value in values.items():
        # what looks at an object, one of several or its own, gives it no name
        reads = isinstance(value, type) and (code.co_name.startswith("<") or isinstance(own, value))
        is_named = (title in stops or isinstance(value, type)) and not reads and holds(named, value)
        if holds(fields, value) or is_named:
            stops.setdefault(title, {})[place] = None


def holds(held: Iterable[object], value: object) -> bool:
    """Whether a value is there, or an object of it if it is a type, also in a tuple."""
    return any(
        isinstance(one, value) or (type(one) is tuple and any(isinstance(each, value) for each in one))
        if isinstance(value, type)
        else type(one) is type(value) and one == value
        for one in held
    )


@contextmanager
def traced(values: Mapping[str, object] = MappingProxyType({})) -> Iterator[Traced]:
    """Trace calls; `values`, by their titles on the page, are ones that nothing else is equal to."""
    found = Traced()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and values:
            note_stop(frame, values, found.stops)
        if event == "call" and (place := place_of(frame.f_code)) is not None:
            found.functions[place] = None
            if not found.path and frame.f_code.co_name in ("forward", "selected_logits", "encoded"):
                if isinstance(frame.f_locals.get("self"), SegmentationNetwork):
                    found.path.extend(files_of_the_stack(frame))

    before = sys.getprofile()
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        yield found
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]


def files_of_the_stack(frame: FrameType | None) -> list[str]:
    """Files of the package on a call stack, each once, from the outermost inwards; a decorator's call is no stop."""
    found: list[str] = []
    while frame is not None:
        place = place_of(frame.f_code)
        if place is not None and place[1] != "checked_call":
            found.append(place[0])
        frame = frame.f_back
    return list(dict.fromkeys(reversed(found)))


def check_stops(title: str, calls: Traced, *, in_order: bool = True) -> None:
    """A call passes the stops that the page lists of a value, which are at most as many as it says."""
    found = re.search(rf"^{re.escape(title)} \((\d+)\)\n\n((?:\d+\. .*\n)+)", section("Stops"), re.MULTILINE)
    assert found is not None, title
    stops = re.findall(r"`(src/[^`]+)`: `([^`]+)`", found[2])
    assert 0 < len(stops) <= int(found[1])
    order = list(calls.functions)
    places = [order.index(stop) for stop in stops]  # raises where a call doesn't pass one
    # a file of weights is read where it stops
    held = [stop for stop in calls.stops.get(title, ()) if "/checkpoints/" not in stop[0]]
    assert set(held) <= set(stops), f"{title} stops where the page doesn't say so: {held}"
    if in_order:
        assert held == [stop for stop in stops if stop in held] if held else places == sorted(places), stops


def test_segment_takes_the_way_of_the_page(tmp_path: Path) -> None:
    call = ["segment", str(REPOSITORY / "samples" / "chelsea.jpg"), "--words=cat, wall", f"--out={tmp_path / 'out'}"]
    with traced() as calls:
        # in float32, tiny would run without its network; a threshold leaves out the pass of a hint
        command_line([*call, "--dtype=bfloat16", "--threshold=0.1"], prog_name="segvoc", standalone_mode=False)
    assert len(calls.path) <= MAX_SEGMENT_FILES and calls.path == path_of("segment")


def test_values_stop_where_the_page_says(tmp_path: Path, taught: TaughtWords) -> None:
    words, weights = tmp_path / "a.words.safetensors", tmp_path / "weights.safetensors"
    taught.save(words)
    segvoc.save(segvoc.load_network("tiny", device="cpu", dtype="float32"), weights)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(squares()).save(tmp_path / "in" / name)
    call = ["segment", str(tmp_path / "in"), f"--words=cat, {taught.words[0]}", f"--out={tmp_path / 'out'}"]
    call += ["--threshold=0.4321", "--background=auto", "--keep-classes=1013", "--parts=cat: head", "--dtype=bfloat16"]
    values = {
        "`threshold` and `background`": 0.4321,
        "`keep_classes`": 1013,
        "`--weights`": str(weights),
        "`--taught`": TaughtWords,
    }
    with warnings.catch_warnings(), traced(values) as calls:
        warnings.simplefilter("ignore", LabelingWarning)  # squares are no cats
        call += [f"--taught={words}", f"--weights={weights}"]
        command_line(call, prog_name="segvoc", standalone_mode=False)
    check_stops("`threshold` and `background`", calls)
    check_stops("`keep_classes`", calls, in_order=False)  # it is checked before it is kept
    check_stops("`--taught`", calls)
    check_stops("`--weights`", calls)
    check_stops("`--dtype` and `--device`", calls, in_order=False)
    check_stops("A folder of `segvoc segment`", calls)


@pytest.mark.slow
def test_train_takes_the_way_of_the_page(tmp_path: Path) -> None:
    drawn_images(tmp_path, count=2)
    data = [f"--{name}={tmp_path / place}" for name, place in DATA.items()]
    options = ["--steps=1", "--device=cpu", f"--out={tmp_path / 'run'}", *SMALL]
    with traced() as calls:
        command_line(["train", "tiny", *data, *options], prog_name="segvoc", standalone_mode=False)
    assert len(calls.path) <= MAX_TRAIN_FILES and calls.path == path_of("train")


def test_an_uploaded_image_stops_where_the_page_says() -> None:
    with traced() as calls, in_process(NumpySegmenter()) as client:
        assert client.post("/v1/segment", data={"words": "cat, sofa"}, files={"image": png()}).status_code == 200
    check_stops("An uploaded image", calls)


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
