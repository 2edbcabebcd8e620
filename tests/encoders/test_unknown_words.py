import pytest

from segvoc.encoders.word_encoder import in_another_script, warn_of_unknown_words
from segvoc.errors import UnknownWordWarning


@pytest.mark.parametrize("word", ["кошка", "γάτα", "猫", "ねこ", "고양이", "قطة", "חתול", "बिल्ली", "แมว", "🐱 кот"])
def test_words_in_other_scripts(word: str) -> None:
    assert in_another_script(word)


@pytest.mark.parametrize("word", ["cat", "crème brûlée", "Straße", "mèo", "łóżko", "🐱", "3", "", "alpha α particle"])
def test_latin_words_and_words_without_letters(word: str) -> None:
    assert not in_another_script(word)


@pytest.mark.parametrize(
    ("unknown", "listed"),
    [
        (["a"], 'know "a"; use'),
        (["a", "b"], 'know "a" and "b"; use'),
        (["a", "b", "c"], 'know "a", "b" and "c"; use'),
        (list("abcdefg"), 'know "a", "b", "c" and 4 more; use'),
    ],
)
def test_one_warning_names_all_words(unknown: list[str], listed: str) -> None:
    with pytest.warns(UnknownWordWarning, match=listed) as caught:
        warn_of_unknown_words(unknown)
    assert len(caught) == 1
