"""A result gives masks, stays in its folder where it is saved, and shows itself where there is a display."""

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageShow

import segvoc
from segvoc.errors import UsageError
from segvoc.imaging.overlay import SAVED_OVERLAY
from segvoc.imaging.reading import read_image
from segvoc.models.shipped import open_tiny
from tests.cli.command import SAMPLES


@pytest.fixture(scope="module")
def result() -> segvoc.Segmentation:
    return open_tiny().segment(SAMPLES / "coffee.jpg", ["cup", "floor, ground"])


def test_result_shows_itself_and_gives_masks(result: segvoc.Segmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert np.array_equal(result.mask("CUP"), result.labels == 0) and result.mask("cup").any()
    with pytest.raises(UsageError, match=r"'cupp' isn't among this result's words \(did you mean cup\?\)"):
        result.mask("cupp")
    with pytest.raises(UsageError, match="'Ground' is a synonym in the word 'floor, ground'; give the whole word"):
        result.mask("Ground")
    assert np.array_equal(result.mask("floor, ground"), result.labels == 1)
    shown: list[Image.Image] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: not shown.append(image))
    result.show()
    assert shown[0].width >= result.width


def test_results_stay_in_their_folder(result: segvoc.Segmentation, tmp_path: Path) -> None:
    for stem in ("../y", "/tmp/y", "a/../../y", "", ".."):
        with pytest.raises(UsageError, match=r"leads out of .*; give a name like 'sub/photo'"):
            result.save(tmp_path / "out", stem)
    assert not list(tmp_path.iterdir())
    assert result.save(tmp_path / "out", "sub/y").label_map == tmp_path / "out/sub/y.png"


def test_an_overlay_without_a_display_is_saved_and_no_viewer_starts(result, tmp_path, monkeypatch, capfd):
    started, viewer = tmp_path / "started", tmp_path / "bin/xdg-open"  # as any desktop has it
    viewer.parent.mkdir()
    viewer.write_text(f"#!/bin/sh\ntouch {started}\n")
    viewer.chmod(0o755)
    monkeypatch.setenv("PATH", str(viewer.parent), prepend=os.pathsep)
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: ImageShow.XDGViewer().show(image, title=title))
    result.show()
    (saved,) = tmp_path.glob("segvoc-*.overlay.png")
    assert capfd.readouterr() == ("", f"segvoc: there is no display; the overlay was saved as {str(saved)!r}\n")
    assert not started.exists()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: False)
    result.show()
    assert "segvoc: there is no viewer for images; the overlay was saved as" in capfd.readouterr().err
    for path in tmp_path.glob("segvoc-*.overlay.png"):
        assert np.array_equal(read_image(path), np.asarray(result.overlay(**asdict(SAVED_OVERLAY))))
