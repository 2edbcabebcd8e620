"""A small cat-seg-b with the downloads that its training and one benchmark need, and calls that reproduce it."""

from dataclasses import replace
from pathlib import Path

import pytest

from segvoc.data.benchmarks import BENCHMARKS
from segvoc.evaluation.report import report
from segvoc.models.presets import PRESETS
from segvoc.training import training_data
from tests.data.replicas import replica
from tests.loopback_hub import LoopbackHub, use_hub
from tests.small_published import use_small_published

SMALL = ("crop_size=96", "short_sides=96", "batch_size=1", "num_workers=0", "num_sampled_classes=4")
CALL = ("cat-seg-b", "--benchmark", "pas-20", "--data", "data", "--out", "report", "--jobs", "1", "--device", "cpu")
TRAIN = (*CALL, "--train", "--steps", "1", *(part for setting in SMALL for part in ("--set", setting)))


def use_small_reproduction(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put the small network into the table, and write the downloads into `folder / "data"`."""
    use_hub(monkeypatch, folder / "home", hub.url)
    use_small_published(hub, monkeypatch, "cat-seg-b")
    monkeypatch.setattr(report, "MAX_EXAMPLES", 1)
    monkeypatch.setattr(training_data, "LOOKED_AT", 1)
    small = PRESETS["cat-seg-b"]
    protocols = small.protocols_of(small.configuration)
    quick = protocols | {"official": replace(protocols["official"], loader=None, sliding=None, size=32)}
    monkeypatch.setitem(PRESETS, "cat-seg-b", replace(small, protocols_of=lambda configuration: quick))
    for name in ("coco-stuff-train", "coco-stuff", "pas-20"):
        replica(name, folder / "data")
    for name in ("coco-stuff-train", "coco-stuff", "pas-20", "pas-20b"):
        # None: however many there are, so that the few images of a replica are all
        monkeypatch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], image_count=None))
