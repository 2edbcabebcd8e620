"""Images to files by one process or several: order, bounded memory, errors, settings, and which images are done."""

import operator
import signal
import time
import weakref
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import InputError, OutputError, ProcessError, UsageError
from segvoc.imaging.overlay import OverlayStyle
from segvoc.imaging.result_paths import ResultPaths
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling import run as run_module
from segvoc.labeling.images import ImageTask
from segvoc.labeling.journals import image_work
from segvoc.labeling.processes import label_in_processes
from segvoc.labeling.run import LabelingRun, label_inputs
from segvoc.labeling.task import FolderWork, Labeled, Labeling, Outcome, Planned
from segvoc.models.shipped import open_tiny
from segvoc.vocabulary import PartVocabulary, Vocabulary
from tests.inference.small_network import small_segmenter

WORDS = Vocabulary(["cat", "sofa", "wall"])


def labeling_into(out: Path, **options: object) -> Labeling:
    return Labeling(**{"load": small_segmenter, "words": WORDS, "out": out} | options)  # type: ignore[arg-type]


def task_into(out: Path, **options: object) -> ImageTask:
    return ImageTask(labeling_into(out, **options))


def image_and_words(outcome: Outcome) -> str:
    """What the line of an image says, without the folders."""
    assert isinstance(outcome, Labeled)
    return outcome.line.split(" -> ")[0].rpartition("/")[2]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def noisy_images(out: Path, number: int) -> list[Planned]:
    """Noisy images beside the folder of results, and where their results will be."""
    folder = out.with_name("in")
    folder.mkdir()
    for index in range(number):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return [(folder / f"{index}.png", ResultPaths.below(out, str(index))) for index in range(number)]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_lines_keep_the_order_of_the_images_of_which_some_fail(out: Path, batch: int) -> None:
    planned = noisy_images(out, 10)
    planned[4][0].write_bytes(b"no image")
    (out / "6.png").mkdir(parents=True)  # in the place of a result
    outcomes = list(label_inputs(task_into(out), small_segmenter(batch=batch), planned))
    assert isinstance(outcomes.pop(6), OutputError) and isinstance(outcomes.pop(4), InputError)
    names = [image_and_words(outcome).split(":")[0] for outcome in outcomes]
    assert names == [f"{index}.png" for index in range(10) if index not in (4, 6)]


@pytest.mark.parametrize(("limit", "most"), [(10**9, 9), (2400, 2)])
def test_network_waits_for_results_to_be_written(out, monkeypatch, limit, most):
    """Neither too many results nor too many pixels wait, and none is kept once it is written."""
    monkeypatch.setattr(run_module, "MAX_WAITING_PIXELS", limit)
    alive: weakref.WeakSet[Segmentation] = weakref.WeakSet()
    labeled, saved, unsaved = [], [], []
    plain, model = Segmentation.save, small_segmenter()
    run = model.encode_views

    def save(self: Segmentation, *arguments: object, **options: object) -> object:
        alive.add(self)
        time.sleep(0.1)  # much longer than this network takes
        unsaved.append(len(labeled) - len(saved))
        written = plain(self, *arguments, **options)  # type: ignore[arg-type]
        saved.append(written)
        return written

    def counted(*arguments: Any, **options: Any) -> object:
        labeled.append(arguments)
        return run(*arguments, **options)

    monkeypatch.setattr(Segmentation, "save", save)
    monkeypatch.setattr(model, "encode_views", counted)
    assert len(list(label_inputs(task_into(out), model, noisy_images(out, 12)))) == 12
    assert max(unsaved) <= most
    assert len(alive) == 0


def test_settings_tell_what_changes_results(tmp_path: Path) -> None:
    model = small_segmenter()
    plain = labeling_into(tmp_path).settings(model)
    assert plain == labeling_into(tmp_path / "elsewhere").settings(small_segmenter())
    changed = [
        {"words": Vocabulary(["cat", "sofa"])},
        {"words": Vocabulary([f"word {index}" for index in range(9)])},
        {"parts": PartVocabulary({"cat": ["head"]})},
        {"options": LabelOptions(background="rest")},
        {"options": LabelOptions(window="single")},
        {"options": LabelOptions(keep_classes=2)},
        {"options": LabelOptions(threshold=0.5)},
        {"overlay": None},
        {"overlay": OverlayStyle(names=False)},
        {"compact": True},
    ]
    settings = [labeling_into(tmp_path, **change).settings(model) for change in changed]
    for number, of_call in enumerate([plain, *settings]):
        assert of_call not in [plain, *settings][:number]
    assert settings[1]["words"].startswith("word 0, word 1, word 2, word 3, word 4, ... (9 in all) [")  # type: ignore[attr-defined]
    tiny = labeling_into(tmp_path).settings(open_tiny())
    assert (tiny["model"], tiny["dtype"], tiny["device"]) == ("tiny", "float32", "cpu")
    assert str(tiny["engine"]).startswith("onnxruntime ")


# ---- several processes


# functions of modules that are quickly imported
killed = partial(signal.raise_signal, 9)
broken = partial(operator.truediv, 1, 0)


def slow() -> Segmenter:
    model = small_segmenter()
    run = model.encode_views

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.2)
        return run(*arguments, **options)

    model.encode_views = slowly  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (killed, r"was killed, probably because memory ran out.*--resume"),
        (broken, r"^a process failed with an unexpected ZeroDivisionError: division by zero$"),
    ],
)
def test_the_death_of_a_process_is_told(out, load, told):
    task, batches = task_into(out, load=load, jobs=2), [noisy_images(out, 1)]
    with pytest.raises(ProcessError, match=told):
        list(label_in_processes(label_inputs, task, small_segmenter(), batches))


def test_wrong_call_is_told_before_the_first_image_or_process(out: Path) -> None:
    task = task_into(out, load=killed, options=LabelOptions(window="tcl"), jobs=2)
    for call in (label_inputs, partial(label_in_processes, label_inputs)):
        with pytest.raises(UsageError, match="window='tcl' is unknown"):
            call(task, small_segmenter(), [])


@pytest.mark.slow
def test_caller_that_wants_no_more_ends_the_processes(out: Path) -> None:
    task, batches = task_into(out, load=slow, jobs=2), [[image] for image in noisy_images(out, 40)]
    with closing(label_in_processes(label_inputs, task, small_segmenter(), batches)) as outcomes:
        next(outcomes)
    reports = list(out.glob("*.json"))
    assert 1 <= len(reports) < 40
    for report in reports:  # what was begun is whole
        with Image.open(report.with_suffix(".png")) as label_map:
            label_map.load()


# ---- which images are done


def test_another_image_of_the_same_stem_is_not_done(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ((image, _),) = noisy_images(out, 1)
    call = labeling_into(out, inputs=[str(image.parent)], resume=True)
    lines = []
    for name in ("0.png", "0.jpg", "0.jpg"):  # of the same content and time
        image = image.rename(image.with_name(name))
        assert LabelingRun(call).run() == 0
        lines.append(len(capsys.readouterr().out.splitlines()))
    assert lines == [1, 1, 0]


def test_the_same_images_are_labeled_by_one_call_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*inputs: str, model: str = "tiny", shard: str | None = None) -> FolderWork:
        return image_work(Labeling(out="out", inputs=inputs, shard=shard), {"model": model})

    monkeypatch.chdir(tmp_path)
    with work("in", "more"):
        with pytest.raises(UsageError, match=r"into 'out'; wait until it ends, or stop it and share them: --shard 1/2"):
            work("more/", "./in", model="other")
        for others in (["in"], ["in", "more", "x"]):
            work(*others).close()
        with work("in", "more", shard="1/2"), work("in", "more", shard="2/2"):
            with pytest.raises(UsageError, match=r"labeling --shard 2/2 of .* give another --shard"):
                work("in", "more", shard="2/2")
