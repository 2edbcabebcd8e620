"""The drawn images of the tutorial."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.data.inspection_line import LINE_WORDS, draw_from_shell


def test_a_seed_draws_the_same_images_and_all_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "other"):
        draw_from_shell([str(tmp_path / name), "2"])
        assert capsys.readouterr().out == f"look at {tmp_path / name / 'images'}\n"
    for name in ("images/001.png", "labels/001.png", "classes.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert json.loads((tmp_path / "one" / "classes.json").read_text()) == LINE_WORDS
    assert set(np.unique(np.asarray(Image.open(tmp_path / "one" / "labels" / "001.png")))) == set(
        range(len(LINE_WORDS))
    )


@pytest.mark.parametrize(
    ("arguments", "error"), [([], "usage: "), (["line", "many"], "usage: "), (["file/x"], "error: ")]
)
def test_mistakes_are_one_line(
    arguments: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(SystemExit, match=error) as ended:
        draw_from_shell(arguments)
    assert "\n" not in str(ended.value)
