"""The list of CLIP's words is that of its tokenizer."""

import pytest
from open_clip.tokenizer import SimpleTokenizer

from segvoc.encoders.word_encoder import WORDS_FILE, is_known_to_clip
from tools.make_clip_words import clip_words


@pytest.mark.slow
def test_packaged_words_are_all_that_open_clip_reads_as_one_token() -> None:
    assert WORDS_FILE.read_text(encoding="utf-8").splitlines() == clip_words()


@pytest.mark.parametrize(
    "name", ["giraffe", "Sushi", "candlesticks", "Katze", "hotel room", "straßenbahn", "a", "2", "sofa,", "don't", ""]
)
def test_a_name_is_known_if_a_word_of_it_is_one_token(name: str) -> None:
    tokenizer = SimpleTokenizer()
    assert is_known_to_clip(name) == any(len(tokenizer.encode(word)) == 1 for word in name.split())
