"""Pages that scripts make are what the scripts make."""

from tools.make_baselines import PAGE, page


def test_the_page_of_baselines_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == "\n".join(page()) + "\n"
