"""Calls as users of other libraries type them: they run, or the error names the call that does."""

import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest

import segvoc
from segvoc.runtime import suggestions
from tests.cli.command import make_command
from tests.training.runs import drawn_images

PHOTO = Path(__file__).resolve().parents[1] / "samples/coffee.jpg"

RUNS = ""
"""What is said of a call that runs."""

CALLS: tuple[tuple[str, str, str], ...] = (
    ("SAM", 'segvoc.sam_model_registry["vit_b"](checkpoint="sam.pth")', "segvoc.load(name)"),
    ("SAM", "model.predict(point_coords=np.array([[120, 80]]), point_labels=np.array([1]))", "segvoc.click(image,"),
    ("SAM", "segvoc.click(image, point_coords=np.array([[120, 80]]))", "did you mean points?"),
    ("SAM", "segvoc.click(image, points=np.array([[120, 80]]), labels=np.array([1]))", RUNS),
    ("SAM", "segvoc.click(image, points=[[120, 80]], point_labels=[1])", "did you mean labels?"),
    ("SAM", "segvoc.click(image, points=[[120, 80]], multimask_output=True)", "leave it out: segvoc.click("),
    ("SAM", "segvoc.click(image, box=np.array([75, 18, 476, 385]))", RUNS),
    ("Ultralytics", 'segvoc.YOLO("yolo11n-seg.pt")', "segvoc.load(name)"),
    ("Ultralytics", "model(image)", "there are no words; give at least one"),
    ("Ultralytics", "model(image, words)", RUNS),
    ("Ultralytics", "model.predict(image, conf=0.25)", "model.segment(image, words)"),
    ("Ultralytics", 'model(image, classes=["cup"])', "did you mean words?"),
    ("Ultralytics", "model(image, words, conf=0.4)", "did you mean threshold?"),
    ("Ultralytics", "model(image, words, imgsz=640)", "leave it out: images may have any size"),
    ("Ultralytics", "model(image, words, verbose=False)", "leave it out: a bar is shown only with progress=True"),
    ("Ultralytics", "model(image, words, iou=0.5)", "leave it out: overlapping words compete"),
    ("Ultralytics", 'model("v.mp4", words)', "is a video, not an image; label it by segvoc.label_video(model, 'v.mp4'"),
    ("Ultralytics", "result.boxes.xyxy", "result.boxes(): each has its word, x0"),
    ("Ultralytics", "result.masks.data", "result.mask(word)"),
    ("Ultralytics", "result[0].plot()", "a result isn't a list, so there is no [0]; use result['cup']"),
    ("Ultralytics", 'model.train(data="coco.yaml", epochs=3)', 'segvoc.train(segvoc.recipes.finetune("tiny"), '),
    ("PyTorch", "model.eval()", "leave it out: a loaded model is ready"),
    ("PyTorch", "model.device", RUNS),
    ("torch hub", 'segvoc.hub.load("segvoc", "tiny")', "segvoc.load(name)"),
    ("torch hub", "segvoc.models()", "segvoc.list_models()"),
    ("transformers", "model.segment(images=image, text=words)", "did you mean words?"),
    ("transformers", 'model.segment(image, words, return_tensors="pt")', "leave it out: arrays come back"),
    ("CLIPSeg", "model.segment(image=image, words=words)", "did you mean images?"),
    ("open_clip", "model.encode_image(image)", RUNS),
    ("GroundingDINO", 'model.segment(image, caption="cup . table .")', "did you mean words?"),
    ("GroundingDINO", "model.segment(image, words, box_threshold=0.35)", "did you mean threshold?"),
)
"""The library, what its users type, and the call that the error names; tests/test_natural_names.py has more names."""

STARTS = re.compile(r"(?<![\w.`'\"(])(?:segvoc|model|result|repr|image|PIL)(?=[.\[(])")
COMMANDS = re.compile(r"`(segvoc [^`]+)`")
LONG = ("train", "push", "export", "label_video", "teach", "evaluate")
"""Functions whose arguments are bound, without a run."""


def proposals(text: str) -> Iterator[str]:
    """The expressions in an error or in a table's answer."""
    text = f"{COMMANDS.sub('', text)} "
    for start in STARTS.finditer(text):
        end, depth = start.end(), 0
        while depth > 0 or text[end] not in " ,;:)":
            depth += (text[end] in "([") - (text[end] in ")]")
            end += 1
        yield text[start.start() : end]


def answers() -> list[str]:
    tables = json.loads(Path(suggestions.__file__).with_name("other_names.json").read_text())
    return [answer for kind in ("module", "model", "result", "boxes", "elsewhere") for answer in tables[kind]]


@pytest.fixture(scope="module")
def scope(tmp_path_factory: pytest.TempPathFactory, taught: segvoc.TaughtWords) -> dict[str, Any]:
    """What the users of `CALLS` have."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "v.mp4").write_bytes(bytes(range(64)) * 10)
    model, image, words = segvoc.load("tiny"), np.asarray(PIL.Image.open(PHOTO)), "cup, table"
    result = model.segment(image, words)
    labeled = drawn_images(folder / "drawn", 2)
    taught.save(folder / "drawn.words.safetensors")
    return {
        **{"np": np, "PIL": PIL, "model": model, "image": image, "words": words, "result": result, "other": result},
        **{"name": "tiny", "word": "cup", "x": 120, "y": 80, "images": labeled, "folder": str(folder / "out")},
        "home": folder,
    }


def typed(code: str, scope: dict[str, Any]) -> object:
    """Evaluate a proposal; of calls that take long, bind the arguments."""
    home: Path = scope["home"]
    paths = {"TaughtWords": "drawn.words.safetensors", "PIL": "drawn/images/0.png", "label_video": "v.mp4"}
    path = next((home / file for part, file in paths.items() if part in code), home / "new.json")
    if "read_dataset" in code:
        path = home / "coco"
    if "save(model" in code:
        path = home / "new.safetensors"
    ours = {name: getattr(segvoc, name) for name in (*segvoc.__all__, "__version__")}
    bound = {name: lambda *given, of=ours[name], **named: inspect.signature(of).bind(*given, **named) for name in LONG}
    images = [scope["image"]] if "segment_many" in code else scope["images"]
    if "save(model" in code:
        return inspect.signature(segvoc.save).bind(scope["model"], path)
    return eval(code, {**scope, "images": images, "path": str(path), "segvoc": SimpleNamespace(**{**ours, **bound})})


def test_calls_of_other_libraries_run_or_are_answered_with_the_call_that_does(scope, monkeypatch, as_users_call):
    monkeypatch.chdir(scope["home"])
    answered = {code for answer in answers() for code in proposals(answer)}
    for library, code, said in CALLS:
        try:
            eval(code, {**scope, "segvoc": segvoc, "path": "photo.json"})
        except Exception as error:
            assert said and said in str(error), f"{library}: {code}: {error}"
            assert len(str(error).splitlines()) == 1
            for proposed in set(proposals(str(error))) - answered:
                typed(proposed, scope)
        else:
            assert not said, f"{library}: {code} runs"


@pytest.mark.filterwarnings("ignore:OpenCV ")
def test_what_is_proposed_runs_when_typed(scope, monkeypatch, capfd):
    monkeypatch.chdir(scope["home"])
    monkeypatch.setattr("tempfile.tempdir", str(scope["home"]))  # where an overlay goes without a display
    command = make_command(monkeypatch, capfd)
    with segvoc.DatasetWriter(scope["home"] / "coco", "coco-instances") as dataset:
        dataset.add(scope["model"].segment(PHOTO, scope["words"]))
    typed_before = set[str]()
    for answer in answers():
        codes, lines = set(proposals(answer)), COMMANDS.findall(answer)
        assert codes or lines or answer.startswith("leave it out: "), answer
        for code in codes - typed_before:
            value = typed(code, scope)
            if isinstance(value, PIL.Image.Image):
                value.close()
        typed_before |= codes
        for line in lines:
            command(*shlex.split(line)[1:], "--help").ok()


def test_taught_words_are_no_model_also_without_pytorch(scope: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(scope["home"] / "drawn.words.safetensors")
    monkeypatch.setattr("segvoc.models.resolving.find_spec", lambda name: None)
    with pytest.raises(segvoc.CheckpointError, match="has taught words, and no model") as refusal:
        segvoc.load(path)
    (code,) = proposals(str(refusal.value))
    assert eval(code, {**scope, "segvoc": segvoc}).taught


def test_a_name_of_another_library_has_one_answer() -> None:
    tables = json.loads(Path(suggestions.__file__).with_name("other_names.json").read_text())
    for kind in ("module", "model", "result", "boxes", "elsewhere"):
        names = [name for others in tables[kind].values() for name in others.split()]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("treshold", ("threshold", "tile"), " (did you mean threshold?)"),
        ("Treshold", ("tile", "threshold"), " (did you mean threshold?)"),
        ("coco", ("coco-panoptic", "coco-instances", "voc"), " (did you mean coco-panoptic?)"),
        ("nope.jpg", ("o.png", "photo.jpg"), ""),
        ("labeling", ("LabelOptions", "LabeledImages"), ""),
        ("cat", ("dog", "rat"), " (did you mean rat?)"),
        ("cat", ("dog", "hut"), ""),
    ],
)
def test_only_close_names_are_suggested(name: str, known: tuple[str, ...], meant: str) -> None:
    assert suggestions.did_you_mean(name, known) == meant
