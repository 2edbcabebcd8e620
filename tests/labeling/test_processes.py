"""Several processes give what one gives, and the death of one is told."""

import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import FirstFrameWarning, InputError, ProcessError, UsageError
from segvoc.imaging.result_paths import ResultPaths
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.labeling import Labeling, Output, Planned, finished, image_work, label_images, label_in_processes
from segvoc.vocabulary import Vocabulary
from tests.inference.small_network import small_segmenter

WORDS = Vocabulary(["cat", "sofa", "wall"])


def describe(result: Segmentation, paths: ResultPaths) -> str:
    return f"{paths.stem}: {int(result.labels.sum())}"


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


def _labeling(out: Path, load: Callable[[], Segmenter] = small_segmenter) -> Labeling:
    return Labeling(load=load, words=WORDS, output=Output(out), describe=describe)


def planned_images(folder: Path, out: Path, number: int) -> list[Planned]:
    """Noisy images in a folder, and where their results will be."""
    folder.mkdir()
    for index in range(number):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return [(folder / f"{index}.png", ResultPaths.below(out, str(index))) for index in range(number)]


@pytest.mark.slow  # tests/cli/test_segment_many.py has the command with two processes
def test_lines_are_in_order_and_as_those_of_one_process(tmp_path: Path) -> None:
    planned = planned_images(tmp_path / "in", tmp_path / "out", 7)
    planned[3][0].write_bytes(b"no image")
    black, red = Image.new("RGB", (60, 40)), Image.new("RGB", (60, 40), "red")
    black.save(planned[4][0], format="GIF", save_all=True, append_images=[red])
    model = small_segmenter()
    settings = _labeling(tmp_path / "out").settings(model)
    groups = [planned[start : start + 2] for start in range(0, 7, 2)]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with image_work(tmp_path / "out", settings, ["in"]) as work:
            lines = list(label_in_processes(_labeling(tmp_path / "out"), model, groups, 3, work))
        expected = list(label_images(_labeling(tmp_path / "one"), model, planned))
    assert list(map(str, lines)) == list(map(str, expected))
    assert [isinstance(line, InputError) for line in lines] == [index == 3 for index in range(7)]
    assert [one.category for one in warned] == [FirstFrameWarning] * 2
    with image_work(tmp_path / "out", settings, ["in"]) as work:
        done = finished(work, planned)
    assert done == {str(index) for index in range(7) if index != 3}


def test_process_that_is_killed_is_told(tmp_path: Path) -> None:
    groups = [planned_images(tmp_path / "in", tmp_path / "out", 1)]
    with pytest.raises(ProcessError, match=r"was killed, probably because memory ran out.*--resume"):
        list(label_in_processes(_labeling(tmp_path / "out", killed), small_segmenter(), groups, 2))


def test_a_defect_in_a_process_is_told_and_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    groups = [planned_images(tmp_path / "in", tmp_path / "out", 1)]
    with pytest.raises(ProcessError, match=r"^a process failed with an unexpected ZeroDivisionError: a defect$"):
        list(label_in_processes(_labeling(tmp_path / "out", broken), small_segmenter(), groups, 2))


def test_wrong_call_is_told_before_the_first_image_or_process(tmp_path: Path) -> None:
    options = LabelOptions(window="tcl")
    labeling = Labeling(load=killed, words=WORDS, options=options, output=Output(tmp_path), describe=describe)
    for call in (label_images, partial(label_in_processes, jobs=2)):
        with pytest.raises(UsageError, match="window='tcl' is unknown"):
            call(labeling, small_segmenter(), [])


@pytest.mark.slow
def test_caller_that_wants_no_more_ends_the_processes(tmp_path: Path) -> None:
    planned = planned_images(tmp_path / "in", tmp_path / "out", 40)
    with closing(
        label_in_processes(_labeling(tmp_path / "out", slow), small_segmenter(), [[one] for one in planned], 2)
    ) as lines:
        next(lines)
    reports = list((tmp_path / "out").glob("*.json"))
    assert 1 <= len(reports) < 40
    for report in reports:  # what was begun is whole
        with Image.open(report.with_suffix(".png")) as label_map:
            label_map.load()
