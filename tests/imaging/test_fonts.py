"""Names in any script are drawn, or spelled so that they can be told apart."""

import pytest

from segvoc.imaging import overlay
from segvoc.imaging.overlay import drawable


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "SYSTEM_FONTS", ())


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
