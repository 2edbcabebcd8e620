"""Where segvoc keeps what it can compute again."""

import sys
from pathlib import Path

import pytest

from segvoc.storage.files import cache_folder


def test_variable_moves_it_or_switches_it_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGVOC_CACHE", "here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEGVOC_CACHE", "~/there")
    assert cache_folder() == tmp_path / "there"
    for off in ("off", "OFF"):
        monkeypatch.setenv("SEGVOC_CACHE", off)
        assert cache_folder() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the convention of Linux")
def test_it_is_among_the_caches_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEGVOC_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "segvoc"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "segvoc"
