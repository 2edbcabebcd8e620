import pytest

from segvoc.errors import SegvocError, UsageError, missing_extra, one_line


def test_a_missing_extra_is_one_line_that_says_how_to_install_it():
    error = missing_extra("scipy", "data")

    assert isinstance(error, UsageError)
    assert str(error) == 'this needs scipy, which isn\'t installed; install it with: pip install "segvoc[data]"'


@pytest.mark.parametrize(
    ("error", "line"),
    [(SegvocError("first\nsecond"), "first"), (ValueError("  \n "), "ValueError"), (ValueError("x" * 500), "x" * 120)],
)
def test_another_library_s_error_becomes_one_line(error, line):
    assert one_line(error) == line
