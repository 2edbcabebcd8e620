"""What the page and its tests take from the Python code is up to date."""

import json
from typing import Any

import numpy as np
import pytest

from annotate.tools.make_learned_data import PATH, case
from annotate.tools.make_web_data import files


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_file_is_what_the_code_gives(path):
    assert path.read_text(encoding="utf-8") == files()[path], (
        "run: PYTHONPATH=src python annotate/tools/make_web_data.py"
    )


def test_what_is_learned_from_drawn_cells_is_what_the_code_gives():
    stored, now = json.loads(PATH.read_text(encoding="utf-8")), json.loads(json.dumps(case()))
    assert flat(stored).keys() == flat(now).keys()
    for name, value in flat(stored).items():
        other = flat(now)[name]
        same = np.allclose(value, other, rtol=1e-3, atol=1e-4) if isinstance(value, float) else value == other
        assert same, f"{name}: run: PYTHONPATH=src python annotate/tools/make_learned_data.py"


def flat(content: Any, place: str = "") -> dict[str, Any]:
    """The values of nested lists and objects, by their places."""
    if not isinstance(content, dict | list):
        return {place: content}
    inside = content.items() if isinstance(content, dict) else enumerate(content)
    return {name: value for key, one in inside for name, value in flat(one, f"{place}/{key}").items()}
