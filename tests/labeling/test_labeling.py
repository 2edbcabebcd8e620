"""Images to files by one process or several: order, bounded memory, errors, settings, and which images are done."""

import os
import signal
import time
import warnings
import weakref
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import FirstFrameWarning, InputError, OutputError, ProcessError, UsageError
from segvoc.imaging.overlay import OverlayStyle
from segvoc.imaging.result_paths import ResultPaths
from segvoc.inference.exported.segmenter import open_tiny
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling import labeling as labeling_module
from segvoc.labeling.labeling import (
    Labeling,
    Output,
    Planned,
    finished,
    image_work,
    label_images,
    label_in_processes,
    result_stamp,
)
from segvoc.storage.resume import RESUME_FOLDER, ResumableWork, stamp_of
from segvoc.vocabulary import PartVocabulary, Vocabulary
from tests.inference.small_network import small_segmenter

WORDS = Vocabulary(["cat", "sofa", "wall"])
KEY = {"model": "tiny"}


def describe(result: Segmentation, paths: ResultPaths) -> str:
    return f"{paths.stem}: {int(result.labels.sum())}"


def labeling_into(out: Path, **options: object) -> Labeling:
    return Labeling(**{"load": small_segmenter, "words": WORDS, "output": Output(out), "describe": describe} | options)  # type: ignore[arg-type]


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
def test_lines_keep_the_order_of_the_images(out: Path, batch: int) -> None:
    planned = noisy_images(out, 10)
    planned[4][0].write_bytes(b"no image")
    lines = list(label_images(labeling_into(out), small_segmenter(batch=batch), planned))
    assert isinstance(lines.pop(4), InputError)
    assert [str(line).split(":")[0] for line in lines] == [str(index) for index in range(10) if index != 4]


def test_result_that_cannot_be_written_fails_its_image(out: Path) -> None:
    planned = noisy_images(out, 3)
    (out / "1.png").mkdir(parents=True)
    lines = list(label_images(labeling_into(out), small_segmenter(), planned))
    assert [type(line) for line in lines] == [str, OutputError, str]


@pytest.mark.parametrize(("limit", "most"), [(10**9, 9), (2400, 2)])
def test_network_waits_for_results_to_be_written(out, monkeypatch, limit, most):
    """Neither too many results nor too many pixels wait, and none is kept once it is written."""
    monkeypatch.setattr(labeling_module, "WAITING_PIXELS", limit)
    alive: weakref.WeakSet[Segmentation] = weakref.WeakSet()
    labeled, saved, unsaved = [], [], []
    plain, model = Segmentation.save, small_segmenter()
    run = model.run

    def save(self: Segmentation, *arguments: object, **options: object) -> object:
        alive.add(self)
        time.sleep(0.1)  # much longer than this network takes
        unsaved.append(len(labeled) - len(saved))
        written = plain(self, *arguments, **options)  # type: ignore[arg-type]
        saved.append(written)
        return written

    def counted(*arguments: object) -> object:
        labeled.append(arguments)
        return run(*arguments)

    monkeypatch.setattr(Segmentation, "save", save)
    monkeypatch.setattr(model, "run", counted)
    assert len(list(label_images(labeling_into(out), model, noisy_images(out, 12)))) == 12
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
        {"output": Output(tmp_path, overlay=None)},
        {"output": Output(tmp_path, overlay=OverlayStyle(names=False))},
        {"output": Output(tmp_path, compact=True)},
    ]
    settings = [labeling_into(tmp_path, **change).settings(model) for change in changed]
    for number, one in enumerate([plain, *settings]):
        assert one not in [plain, *settings][:number]
    assert settings[1]["words"].startswith("word 0, word 1, word 2, word 3, word 4, ... (9 in all) [")  # type: ignore[attr-defined]
    tiny = labeling_into(tmp_path).settings(open_tiny())
    assert (tiny["model"], tiny["dtype"], tiny["device"]) == ("tiny", "float32", "cpu")
    assert str(tiny["engine"]).startswith("onnxruntime ")


# ---- several processes


def killed() -> Segmenter:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def broken() -> Segmenter:
    raise ZeroDivisionError("a defect")


def slow() -> Segmenter:
    model = small_segmenter()
    run = model.run

    def slowly(*arguments: object) -> object:
        time.sleep(0.2)
        return run(*arguments)  # type: ignore[arg-type]

    model.run = slowly  # type: ignore[method-assign,assignment]
    return model


@pytest.mark.slow  # tests/cli/test_segment_many.py has the command with two processes
def test_lines_of_processes_are_in_order_and_as_those_of_one(out: Path) -> None:
    planned = noisy_images(out, 7)
    planned[3][0].write_bytes(b"no image")
    black, red = Image.new("RGB", (60, 40)), Image.new("RGB", (60, 40), "red")
    black.save(planned[4][0], format="GIF", save_all=True, append_images=[red])
    model = small_segmenter()
    settings = labeling_into(out).settings(model)
    groups = [planned[start : start + 2] for start in range(0, 7, 2)]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with image_work(out, settings, ["in"]) as work:
            lines = list(label_in_processes(labeling_into(out), model, groups, 3, work))
        expected = list(label_images(labeling_into(out.with_name("one")), model, planned))
    assert list(map(str, lines)) == list(map(str, expected))
    assert [isinstance(line, InputError) for line in lines] == [index == 3 for index in range(7)]
    assert [one.category for one in warned] == [FirstFrameWarning] * 2
    with image_work(out, settings, ["in"]) as work:
        assert finished(work, planned) == {str(index) for index in range(7) if index != 3}


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (killed, r"was killed, probably because memory ran out.*--resume"),
        (broken, r"^a process failed with an unexpected ZeroDivisionError: a defect$"),
    ],
)
def test_the_death_of_a_process_is_told(out, load, told):
    with pytest.raises(ProcessError, match=told):
        list(label_in_processes(labeling_into(out, load=load), small_segmenter(), [noisy_images(out, 1)], 2))


def test_wrong_call_is_told_before_the_first_image_or_process(out: Path) -> None:
    labeling = labeling_into(out, load=killed, options=LabelOptions(window="tcl"))
    for call in (label_images, partial(label_in_processes, jobs=2)):
        with pytest.raises(UsageError, match="window='tcl' is unknown"):
            call(labeling, small_segmenter(), [])


@pytest.mark.slow
def test_caller_that_wants_no_more_ends_the_processes(out: Path) -> None:
    groups = [[one] for one in noisy_images(out, 40)]
    with closing(label_in_processes(labeling_into(out, load=slow), small_segmenter(), groups, 2)) as lines:
        next(lines)
    reports = list(out.glob("*.json"))
    assert 1 <= len(reports) < 40
    for report in reports:  # what was begun is whole
        with Image.open(report.with_suffix(".png")) as label_map:
            label_map.load()


# ---- which images are done


def _written(out: Path, *names: str) -> list[Planned]:
    """Images and results as a finished run leaves them."""
    planned = []
    for name in names:
        results = ResultPaths.below(out, Path(name).stem)
        for path in (out / name, *results):
            path.write_text(path.name)
        planned.append((out / name, results))
    return planned


def _keep(work: ResumableWork, *planned: Planned) -> None:
    for path, results in planned:
        work.finish(results.stem, result_stamp(path, stamp_of(path), results))


def _finished(out: Path, planned: list[Planned]) -> set[str]:
    with image_work(out, KEY, []) as work:
        return finished(work, planned)


def test_all_calls_and_processes_count(tmp_path: Path) -> None:
    planned = _written(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert _finished(tmp_path, planned) == set()
    for one, source in zip(planned, ("in", "other"), strict=False):
        with image_work(tmp_path, KEY, [source]) as work:
            _keep(work, one)
    with image_work(tmp_path, KEY, ["in"]) as work, ResumableWork(work.path.with_stem("images-1"), KEY) as own:
        _keep(own, planned[2])
    assert _finished(tmp_path, planned) == {"a", "b", "c"}
    assert len(list((tmp_path / RESUME_FOLDER).iterdir())) == 3


def test_another_image_of_the_same_stem_is_not_done(tmp_path: Path) -> None:
    ((image, results),) = planned = _written(tmp_path, "a.jpg")
    with image_work(tmp_path, KEY, []) as work:
        _keep(work, *planned)
    other = image.with_name("a.webp")
    other.write_text("a.jpg")
    os.utime(other, ns=(0, image.stat().st_mtime_ns))
    assert _finished(tmp_path, [(other, results)]) == set()
    assert _finished(tmp_path, planned) == {"a"}
    image.unlink()
    assert _finished(tmp_path, planned) == set()


def test_the_same_images_are_labeled_by_one_call_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with image_work("out", KEY, ["in", "more"]):
        with pytest.raises(UsageError, match=r"into 'out'; wait until it ends, or stop it and share them: --shard 1/2"):
            image_work("out", {"model": "other"}, ["more/", "./in"])
        for others in (["in"], ["in", "more", "x"]):
            image_work("out", KEY, others).close()
        with image_work("out", KEY, ["in", "more"], "1/2"), image_work("out", KEY, ["in", "more"], "2/2"):
            with pytest.raises(UsageError, match=r"labeling --shard 2/2 of .* give another --shard"):
                image_work("out", KEY, ["in", "more"], "2/2")
