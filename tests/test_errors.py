from segvoc.errors import UsageError, missing_extra


def test_a_missing_extra_is_one_line_that_says_how_to_install_it():
    error = missing_extra("scipy", "data")

    assert isinstance(error, UsageError)
    assert str(error) == 'this needs scipy, which isn\'t installed; install it with: pip install "segvoc[data]"'
