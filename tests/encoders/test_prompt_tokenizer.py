"""Prompts as token ids: padding, what is cut off, and which words are unknown."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.minilm import TOKENIZER_FILE
from segvoc.encoders.prompt_tokenizer import PromptTokenizer
from segvoc.encoders.word_encoder import WORDS_FILE, in_another_script, is_known_to_clip, warn_of_unknown_words
from segvoc.errors import CheckpointError, PromptTruncatedWarning, UnknownWordWarning
from tools.make_clip_words import clip_words

PROMPTS = ["a photo of a cat in the scene", "sofa", "Traffic  LIGHT's", "a 12 year old", "猫 🦊", ""]


@pytest.fixture(scope="module")
def clip() -> ClipTextEncoder:
    sizes = {"channels": 8, "width": 64, "layers": 1, "heads": 1, "context_length": 16}
    with torch.device("meta"):
        return ClipTextEncoder(ClipTextConfig(**sizes, quick_gelu=False, fine_tuned=""))


@pytest.mark.parametrize("multiple", [1, 8])
def test_clips_tokens_are_those_of_open_clip(clip: ClipTextEncoder, multiple: int) -> None:
    theirs = SimpleTokenizer(context_length=16)(PROMPTS)
    tokens = clip.tokenize(PROMPTS, multiple=multiple)
    assert tokens.shape[1] == {1: 10, 8: 16}[multiple] and not theirs[:, tokens.shape[1] :].any()
    assert torch.equal(tokens, theirs[:, : tokens.shape[1]])


def test_a_long_prompt_is_cut_with_a_warning(clip: ClipTextEncoder) -> None:
    prompt = "very " * 20
    with pytest.warns(PromptTruncatedWarning, match="the model reads 14 of its 20 tokens"):
        assert torch.equal(clip.tokenize([prompt]), SimpleTokenizer(context_length=16)(prompt))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip.tokenize(["very " * 14])


def test_rules_for_unknown_words(clip: ClipTextEncoder) -> None:
    words = ["Katze", "Hund", "Straßenbahn", "猫"]
    fragments = PromptTokenizer(TOKENIZER_FILE, max_tokens=256, unknown_by="fragments")
    assert clip.unknown_words(words) == ["猫"]
    assert fragments.unknown_words(words) == words
    assert fragments.unknown_words(["cat", "awning"]) == []


def test_a_tokenizer_that_fails_when_it_is_used_is_damaged(tmp_path: Path) -> None:
    about = json.loads(TOKENIZER_FILE.read_text(encoding="utf-8"))
    about["model"]["vocab"] = {}
    (tmp_path / "tokenizer.json").write_text(json.dumps(about))
    tokenizer = PromptTokenizer(tmp_path / "tokenizer.json", max_tokens=16, unknown_by="fragments")
    with pytest.raises(CheckpointError, match=r"tokenizer.json' is damaged \(.*UNK.*\); take or export it again"):
        tokenizer.tokenize(["cat"])
    with pytest.raises(CheckpointError, match="is damaged"):
        tokenizer.unknown_words(["cat"])


@pytest.mark.slow
def test_packaged_words_are_all_that_open_clip_reads_as_one_token() -> None:
    assert WORDS_FILE.read_text(encoding="utf-8").splitlines() == clip_words()


def test_a_name_is_known_if_a_word_of_it_is_one_token() -> None:
    tokenizer = SimpleTokenizer()
    names = "giraffe Sushi candlesticks Katze straßenbahn a 2 sofa, don't".split()
    for name in (*names, "hotel room", ""):
        assert is_known_to_clip(name) == any(len(tokenizer.encode(word)) == 1 for word in name.split()), name


def test_words_in_other_scripts_but_not_latin_ones_or_words_without_letters() -> None:
    for word in ("кошка", "γάτα", "猫", "ねこ", "고양이", "قطة", "חתול", "बिल्ली", "แมว", "🐱 кот"):
        assert in_another_script(word), word
    for word in ("cat", "crème brûlée", "Straße", "mèo", "łóżko", "🐱", "3", "", "alpha α particle"):
        assert not in_another_script(word), word


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
