"""What the tests of all commands share."""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segvoc.models import loading, opening
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.spec import ModelSpec
from segvoc.runtime import progress
from segvoc.runtime.hardware import Optimize
from tests.cli.command import Command, make_command
from tests.inference.small_network import small_segmenter


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, no line of progress comes between a command's own."""
    for waits in ("FIRST_LINE", "EARLY_LINE"):
        monkeypatch.setattr(progress, waits, math.inf)
    monkeypatch.setattr(progress, "ANNOUNCED_AFTER", threading.TIMEOUT_MAX)


@pytest.fixture
def segvoc_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs `segvoc` with some arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return make_command(monkeypatch, capfd)


@pytest.fixture
def small_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small random network in place of the embedded model."""
    load = loading.open_network

    def quick_open(spec: ModelSpec, device: str, dtype: str, optimize: Optimize) -> NetworkSegmenter:
        plain = spec.is_stock and spec.preset == "tiny" and device in ("auto", "cpu") and dtype in ("auto", "float32")
        return small_segmenter() if plain else load(spec, device, dtype, optimize)

    monkeypatch.setattr(loading, "open_network", quick_open)
    monkeypatch.setattr(opening, "open_tiny", small_segmenter)


@pytest.fixture
def segment(segvoc_command: Command, small_tiny: None) -> Command:
    """`segvoc segment` with a small `tiny`."""
    return lambda *arguments: segvoc_command("segment", *arguments)


@pytest.fixture
def served(monkeypatch):
    """The calls of the service, which doesn't run."""
    calls = []
    monkeypatch.setattr("segvoc.serving.server.run", lambda *arguments, **options: calls.append((arguments, options)))
    monkeypatch.delenv("SEGVOC_API_KEY", raising=False)
    return calls


@pytest.fixture
def labeled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the views that the network has seen."""
    seen: list[tuple[int, ...]] = []
    plain = NetworkSegmenter.encode_views

    def encode_views(self: NetworkSegmenter, pixels: np.ndarray, **options: Any) -> Any:
        seen.append(pixels.shape)
        return plain(self, pixels, **options)

    monkeypatch.setattr(NetworkSegmenter, "encode_views", encode_views)
    return seen
