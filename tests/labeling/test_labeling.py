"""Labeling in one process: order, bounded memory, errors, and what settings a journal tells apart."""

import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest

from segvoc.errors import InputError, OutputError
from segvoc.imaging.overlay import OverlayStyle
from segvoc.imaging.result_paths import ResultPaths
from segvoc.inference.exported.segmenter import open_tiny
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling import labeling as labeling_module
from segvoc.labeling.labeling import Labeling, Output, label_images
from segvoc.vocabulary import PartVocabulary, Vocabulary
from tests.inference.small_network import small_segmenter
from tests.labeling.test_processes import WORDS, planned_images


def _describe(result: Segmentation, paths: ResultPaths) -> str:
    return paths.stem


def _labeling(out: Path, **options: object) -> Labeling:
    return Labeling(**{"load": small_segmenter, "words": WORDS, "output": Output(out), "describe": _describe} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_lines_keep_the_order_of_the_images(tmp_path: Path, batch: int) -> None:
    planned = planned_images(tmp_path / "in", tmp_path / "in/out", 10)
    planned[4][0].write_bytes(b"no image")
    lines = list(label_images(_labeling(tmp_path / "in/out"), small_segmenter(batch=batch), planned))
    assert isinstance(lines[4], InputError)
    assert [line for line in lines if isinstance(line, str)] == [str(index) for index in range(10) if index != 4]


def test_result_that_cannot_be_written_fails_its_image(tmp_path: Path) -> None:
    planned = planned_images(tmp_path / "in", tmp_path / "in/out", 3)
    (tmp_path / "in" / "out" / "1.png").mkdir(parents=True)
    lines = list(label_images(_labeling(tmp_path / "in/out"), small_segmenter(), planned))
    assert [type(line) for line in lines] == [str, OutputError, str]


@pytest.mark.parametrize(("limit", "most"), [(10**9, 9), (2400, 2)])
def test_network_waits_for_results_to_be_written(tmp_path, monkeypatch, limit, most):
    """Neither too many results nor too many pixels wait, and none is kept once it is written."""
    monkeypatch.setattr(labeling_module, "WAITING_PIXELS", limit)
    alive: weakref.WeakSet[Segmentation] = weakref.WeakSet()
    labeled, saved, unsaved = [], [], []
    plain = Segmentation.save

    def save(self: Segmentation, *arguments: object, **options: object) -> object:
        alive.add(self)
        time.sleep(0.1)  # much longer than this network takes
        unsaved.append(len(labeled) - len(saved))
        written = plain(self, *arguments, **options)  # type: ignore[arg-type]
        saved.append(written)
        return written

    monkeypatch.setattr(Segmentation, "save", save)
    model = small_segmenter()
    run = model.run

    def counted(*arguments: object) -> object:
        labeled.append(arguments)
        return run(*arguments)  # type: ignore[arg-type]

    model.run = counted  # type: ignore[method-assign,assignment]
    planned = planned_images(tmp_path / "in", tmp_path / "in/out", 12)
    assert len(list(label_images(_labeling(tmp_path / "in/out"), model, planned))) == 12
    assert max(unsaved) <= most
    assert len(alive) == 0


def test_settings_tell_what_changes_results(tmp_path: Path) -> None:
    model = small_segmenter()
    plain = _labeling(tmp_path).settings(model)
    assert plain == _labeling(tmp_path / "elsewhere").settings(small_segmenter())
    longer: Sequence[str] = [f"word {index}" for index in range(9)]
    changed = [
        {"words": Vocabulary(["cat", "sofa"])},
        {"words": Vocabulary(WORDS.words, synonyms="average")},
        {"words": Vocabulary(longer)},
        {"parts": PartVocabulary({"cat": ["head"]})},
        {"options": LabelOptions(background="rest")},
        {"options": LabelOptions(window="single")},
        {"options": LabelOptions(keep_classes=2)},
        {"options": LabelOptions(threshold=0.5)},
        {"output": Output(tmp_path, overlay=None)},
        {"output": Output(tmp_path, overlay=OverlayStyle(names=False))},
        {"output": Output(tmp_path, compact=True)},
    ]
    settings = [_labeling(tmp_path, **change).settings(model) for change in changed]
    for number, one in enumerate([plain, *settings]):
        assert one not in [plain, *settings][:number]
    assert settings[2]["words"].startswith("word 0, word 1, word 2, word 3, word 4, ... (9 in all) [")  # type: ignore[attr-defined]
    tiny = _labeling(tmp_path).settings(open_tiny())
    assert (tiny["model"], tiny["dtype"], tiny["device"]) == ("tiny", "float32", "cpu")
    assert str(tiny["engine"]).startswith("onnxruntime ")
