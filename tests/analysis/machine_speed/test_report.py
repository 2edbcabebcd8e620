"""The results for people and for programs."""

import json
from pathlib import Path

import pytest
from PIL import Image

from segvoc.analysis.machine_speed.measurement import Bench
from segvoc.analysis.machine_speed.report import draw_figure, record_of, text_of
from segvoc.analysis.machine_speed.rows import BenchSettings
from segvoc.analysis.machine_speed.worker import Loaded
from segvoc.storage.json_files import strict_json
from tests.analysis.machine_speed.made_up import GPU, MACHINE, row, unmeasured

ROWS = [
    row(1.5, words=1000, keep_classes=32),
    row(1.0),
    row(2.0, words=1000),
    row(0.5, dtype="bfloat16"),
    unmeasured(dtype="bfloat16", words=1000),
    unmeasured("failed", "memory ran out", model="large"),
    row(0.6, threads=2, processes=2),
]


def measured(machine=MACHINE, rows=ROWS) -> Bench:
    settings = BenchSettings(
        models={"tiny": False, "large": True},
        words=(20, 1000),
        size=(640, 480),
        window="auto",
        options={"blocks": 2},
        seconds=60.0,
    )
    bench = Bench(settings, machine, started=0.0)
    bench.rows += rows
    bench.loaded["tiny", "float32"] = Loaded(random=False, load_seconds=1.25, word_seconds=0.0075)
    bench.loaded["tiny", "bfloat16"] = Loaded(random=False, load_seconds=1.0, word_seconds=0.005)
    bench.loaded["large", "float32"] = Loaded(random=True, load_seconds=9.0, word_seconds=0.125)
    return bench


def test_the_record_holds_all_of_it_as_strict_json() -> None:
    record = json.loads(strict_json(record_of(measured(), 42.0, complete=True)))
    assert record["machine"]["cpu"] == "Quick CPU" and record["machine"]["gpu"] is None
    assert record["settings"] == {
        **{"words": [20, 1000], "width": 640, "height": 480, "window": "auto"},
        **{"options": {"blocks": 2}, "seconds": 60.0},
    }
    assert record["models"] == [
        {
            "model": "tiny",
            "weights": "own",
            "float32": {"load_seconds": 1.25, "seconds_per_new_word": 0.0075},
            "bfloat16": {"load_seconds": 1.0, "seconds_per_new_word": 0.005},
        },
        {"model": "large", "weights": "random", "float32": {"load_seconds": 9.0, "seconds_per_new_word": 0.125}},
    ]
    assert [(line["words"], line["dtype"], line["status"]) for line in record["rows"][:4]] == [
        (20, "float32", "measured"),
        (1000, "float32", "measured"),
        (20, "bfloat16", "measured"),
        (1000, "bfloat16", "skipped"),
    ]
    assert any("--keep-classes 32" in line for line in record["advice"])
    assert (record["seconds"], record["complete"]) == (42.0, True)


def test_the_text_has_the_machine_a_table_and_advice() -> None:
    text = text_of(measured())
    machine, rates, images, _, head, first, *_ = text.splitlines()
    assert machine == "Quick CPU: 8 cores, 4 threads, 64 GB; bfloat16 by AMX; PyTorch 2.9"
    assert rates == "matrix products: float32 500, bfloat16 1,000 GFLOP/s"
    assert "640 x 480 pixels" in images and "window auto" in images
    assert head.split() == "model dtype words threads settings s/image from - to images/s GB".split()
    assert first.split() == ["tiny", "float32", "20", "4", "1.0", "0.90", "-", "1.2", "1.0", "1.0"]
    assert "skipped: would take about 99 s\n" in text and "failed: memory ran out\n" in text
    assert "large, float32: 9.0 s to load, 120 ms to encode a new word (random weights" in text
    assert "\n\ntiny: take --dtype bfloat16, 2.0 times as fast" in text
    assert text_of(measured(rows=[])).endswith("(random weights, which take about the same time)")
    assert text_of(measured(GPU)).startswith("Quick GPU: 80 GB; Quick CPU: 8 cores")


@pytest.mark.parametrize("models", [1, 2, 5])
def test_the_figure_has_a_panel_for_each_model(tmp_path: Path, models: int) -> None:
    pytest.importorskip("matplotlib")
    rows = [row(1.0 + number, model=f"model-{number}") for number in range(models)]
    draw_figure(tmp_path / "bench.png", [*rows, unmeasured(words=171, model="model-0")], MACHINE)
    with Image.open(tmp_path / "bench.png") as image:
        width, height = image.size
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 10
    assert (width > 2 * height) is (models == 2)


def test_a_figure_of_nothing_but_skipped_rows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_figure(tmp_path / "bench.png", [unmeasured()], MACHINE)
    assert (tmp_path / "bench.png").stat().st_size > 1000
