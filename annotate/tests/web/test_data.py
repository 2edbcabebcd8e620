"""What the page and its tests take from the Python code is up to date."""

import pytest

from annotate.tools.make_web_data import files


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_file_is_what_the_code_gives(path):
    assert path.read_text(encoding="utf-8") == files()[path], (
        "run: PYTHONPATH=src python annotate/tools/make_web_data.py"
    )
