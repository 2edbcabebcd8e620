"""Names in any script are drawn, or spelled so that they can be told apart."""

from pathlib import Path

import pytest

from segvoc.imaging import fonts
from segvoc.imaging.fonts import drawable


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without any font."""
    monkeypatch.setattr(fonts, "_font_names", lambda _: iter((None,)))


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cat", "cat"),
        ("x\ny", "x y"),
        ("Zoë's café", "Zoe's cafe"),
        ("猫", "U+732B"),
        ("犬", "U+72AC"),
        ("猫 house", "U+732B house"),
        ("🐱", "cat face"),
        ("🐱🐶", "cat face dog face"),
        ("\u200d", "(blank)"),
        ("", "(blank)"),
    ],
)
def test_without_a_font_names_are_spelled(name: str, text: str) -> None:
    assert drawable(name, 20)[0] == text


def test_fonts_that_fontconfig_knows_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    file = str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    command = tmp_path / "fc-list"
    command.write_text(f'#!/bin/sh\n[ "$1" = ":charset=43a 43e 442" ] && echo "{file}: "\n')
    command.chmod(0o755)
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    fonts._fontconfig_files.cache_clear()
    text, font = drawable("кот", 20)
    fonts._fontconfig_files.cache_clear()
    assert text == "кот"
    assert getattr(font, "path", "") == file
