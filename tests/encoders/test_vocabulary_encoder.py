"""Words as tokens and as embeddings, which are computed once, in memory and on disk, and never stale."""

import json
import random
import sqlite3
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

from segvoc.encoders import vocabulary_encoder, word_encoder
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, openai_text
from segvoc.encoders.minilm import TOKENIZER_FILE, MiniLM, MiniLMConfig
from segvoc.encoders.prompt_tokenizer import PromptTokenizer
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.encoders.word_encoder import WORDS_FILE, in_another_script, is_known_to_clip, warn_of_unknown_words
from segvoc.errors import CheckpointError, PromptTruncatedWarning, UnknownWordWarning
from segvoc.vocabulary import Vocabulary
from tests.inference.small_network import Letters
from tests.networks.contract import torch_threads
from tools.make_clip_words import clip_words

PROMPTS = ["a photo of a cat in the scene", "sofa", "Traffic  LIGHT's", "a 12 year old", "猫 🦊", "ΦΩΣ", ""]


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


def test_one_warning_names_all_words() -> None:
    for unknown, listed in (("a", '"a"'), ("abc", '"a", "b" and "c"'), ("abcdefg", '"a", "b", "c" and 4 more')):
        with pytest.warns(UnknownWordWarning, match=f"know {listed}; use") as caught:
            warn_of_unknown_words(list(unknown))
        assert len(caught) == 1


WORDS = Vocabulary(["cat", "sofa", "wall"])
KINDS = ("", "red", "made of stone", "on the left of it", "that nobody has ever seen")


@pytest.fixture
def tower() -> Letters:
    torch.manual_seed(0)
    return Letters()


def _fresh(tower: Letters, vocabulary: Vocabulary = WORDS, templates: tuple[str, ...] = ("{}",)) -> torch.Tensor:
    return VocabularyEncoder(tower, templates)(vocabulary)


# ---- values


def test_one_unit_vector_for_each_class_and_template(tower: Letters) -> None:
    text = _fresh(tower, Vocabulary(["cat", "sofa, couch"]), ("{}", "a {}", "the {} there"))
    assert text.shape == (2, 3, tower.channels)
    assert torch.allclose(text.norm(dim=-1), torch.ones(2, 3))
    assert not text.requires_grad
    one = tower(tower.tokenize(["the sofa there"]))[0]
    assert torch.allclose(text[1, 2], one, atol=1e-6)


@pytest.mark.parametrize(
    "build",
    [lambda: MiniLM(replace(MiniLMConfig(), layers=1)), lambda: ClipTextEncoder(replace(openai_text(512), layers=1))],
)
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_an_embedding_is_the_same_to_the_bit_whatever_it_is_asked_with(build, threads):
    torch.manual_seed(0)
    tower = build()
    words = [f"{name} {kind}" for name in ("cat", "playingfield") for kind in KINDS]
    with torch_threads(threads):
        alone = {word: VocabularyEncoder(tower, ("a {}",))(Vocabulary([word]))[0] for word in words}
        kept = VocabularyEncoder(tower, ("a {}",))
        for seed in range(2):
            chosen = random.Random(seed).sample(words, (3, len(words))[seed])
            for encode in (kept, VocabularyEncoder(tower, ("a {}",))):
                for word, embedding in zip(chosen, encode(Vocabulary(chosen)), strict=True):
                    assert torch.equal(embedding, alone[word]), (seed, word)


# ---- the cache


def test_known_words_cost_nothing(tower: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_encoder, "CPU_BATCH", 1)
    encode = VocabularyEncoder(tower, ("{}", "a {}"))
    first = encode(WORDS)
    tower.calls.clear()
    assert torch.equal(encode(Vocabulary(reversed(WORDS.words))), first.flip(0))
    assert tower.calls == []
    encode(Vocabulary(["cat", "dog"]))
    assert tower.calls == [1, 1]  # "dog" and "a dog"


CHANGES: dict[str, Callable[[Letters], object]] = {
    "one number": lambda tower: tower.table.weight.data[ord("c"), 0].add_(1),
    # NumPy shares the memory: PyTorch's version counters don't see it
    "past autograd": lambda tower: tower.table.weight.detach().numpy()[ord("c")].fill(3),
    "another parameter": lambda tower: setattr(
        tower.table, "weight", nn.Parameter(tower.table.weight.detach() * torch.linspace(1, 2, tower.channels))
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights_are_seen(tower: Letters, change: Callable[[Letters], None]) -> None:
    encode = VocabularyEncoder(tower, ("{}",))
    before = encode(WORDS)
    change(tower)
    after = encode(WORDS)
    assert not torch.allclose(after, before, atol=1e-4)
    assert torch.equal(after, _fresh(tower))


def test_words_that_another_call_drops_from_the_cache_meanwhile_are_still_there(tower, monkeypatch):
    """As another thread does while this one encodes."""
    monkeypatch.setattr(word_encoder, "CACHED_EMBEDDINGS", 3)
    encode, embed, others = VocabularyEncoder(tower, ("{}",)), VocabularyEncoder.embed, [Vocabulary(["x", "y", "z"])]
    encode(WORDS)

    def with_another_call(self: VocabularyEncoder, tokens: np.ndarray) -> torch.Tensor:
        if others:
            self(others.pop())
        return embed(self, tokens)

    monkeypatch.setattr(VocabularyEncoder, "embed", with_another_call)
    both = Vocabulary(["cat", "dog"])
    assert torch.equal(encode(both), _fresh(tower, both))


# ---- on disk


MANY = Vocabulary([f"word {number}" for number in range(100)])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGVOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _encoder(tower: Letters, digest: str = "weights", templates=("{}",), *, average=False) -> VocabularyEncoder:
    encoder = VocabularyEncoder(tower, templates, average=average)
    encoder.on_disk, encoder.digest = True, lambda: digest
    return encoder


def is_kept(tower: Letters, expected: torch.Tensor, words: Vocabulary = MANY) -> bool:
    """Whether another encoder, which answers the same, computes nothing."""
    tower.calls.clear()
    assert torch.equal(_encoder(tower)(words), expected)
    return not tower.calls


@pytest.fixture
def first(tower: Letters, cache: Path) -> torch.Tensor:
    """Embeddings that are on disk."""
    return _encoder(tower)(MANY)


@pytest.fixture
def path(first: torch.Tensor, cache: Path) -> Path:
    (path,) = cache.rglob("*.sqlite")
    return path


@pytest.mark.parametrize("average", [False, True])
def test_words_are_encoded_once(tower: Letters, cache: Path, average: bool) -> None:
    templates = ("{}", "a {}", "the {}")
    first = _encoder(tower, templates=templates, average=average)(MANY)
    assert torch.equal(first, VocabularyEncoder(tower, templates, average=average)(MANY))
    tower.calls.clear()
    again = _encoder(tower, templates=templates, average=average)(Vocabulary(["dog", *MANY.words]))
    assert len(tower.calls) <= 3  # "dog", in a batch for each length
    assert torch.equal(again[1:], first)
    assert len(list(cache.rglob("*.sqlite"))) == 1


def test_a_file_that_is_locked_for_too_long_costs_nothing(tower, first, path, monkeypatch):
    file, connect = path.stat().st_ino, sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.01))
    with closing(connect(path)) as other:
        other.execute("begin exclusive")
        assert not is_kept(tower, first) and path.stat().st_ino == file
    assert is_kept(tower, first)


@pytest.mark.parametrize("damage", ["zeros", "lost pages", "shorter embeddings"])
def test_a_file_that_cannot_be_read_is_made_anew(tower: Letters, first: torch.Tensor, path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage != "shorter embeddings":
        kept = 4096 if damage == "lost pages" else 0
        path.write_bytes(content[:kept] + bytes(len(content) - kept))
    else:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("update kept set content = substr(content, 1, 7)")
    assert not is_kept(tower, first) and is_kept(tower, first)


def test_writers_at_once_keep_all_words(tower: Letters, cache: Path) -> None:
    lists = [Vocabulary([f"{letter} {number}" for number in range(70)]) for letter in "abcdefgh"]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda words: _encoder(tower)(words), lists))
    assert all(is_kept(tower, _fresh(tower, words), words) for words in lists)


MORE = Vocabulary([f"place {number}" for number in range(100)])


def test_file_above_the_maximum_size_starts_over(tower, first, path, monkeypatch):
    size = path.stat().st_size
    monkeypatch.setattr(word_encoder, "LARGEST_FILE", size - 1)
    assert torch.equal(_encoder(tower)(MORE), _fresh(tower, MORE)) and path.stat().st_size == size
    assert not is_kept(tower, first)


def test_full_disk_leaves_what_is_there(tower, first, monkeypatch):
    connect = sqlite3.connect

    def on_a_full_disk(path: Path, timeout: float) -> sqlite3.Connection:
        database = connect(path, timeout=timeout)
        database.execute("pragma max_page_count = 1")  # no pages beyond those of the file
        return database

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", on_a_full_disk)
        assert torch.equal(_encoder(tower)(MORE), _fresh(tower, MORE))
    assert is_kept(tower, first)


def test_a_list_that_is_stopped_halfway_goes_on(tower: Letters, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_encoder, "PROMPTS_AT_ONCE", 32)
    expected, plain = _fresh(tower, MANY), VocabularyEncoder.embed
    tower.calls.clear()

    def stopped(self: VocabularyEncoder, tokens: np.ndarray) -> torch.Tensor:
        if len(tower.calls) == 5:
            raise KeyboardInterrupt
        return plain(self, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(VocabularyEncoder, "embed", stopped)
        with pytest.raises(KeyboardInterrupt):
            _encoder(tower)(MANY)
    assert not is_kept(tower, expected) and len(tower.calls) < 7  # of seven batches


def test_what_changes_embeddings_is_told_apart_and_weights_that_changed_after_loading_are_not_kept(tower, first):
    encoder = _encoder(tower)
    encoder(MANY)
    with torch.no_grad():
        tower.table.weight.add_(0.5)
    assert torch.equal(encoder(MANY), _fresh(tower, MANY))
    assert is_kept(tower, first)  # by the digest of the weights as they were
    for templates, average in ((("{}",), False), (("a {}",), False), (("{}", "a {}"), False), (("{}", "a {}"), True)):
        encoder = _encoder(tower, "other weights", templates, average=average)
        assert torch.equal(encoder(MANY), VocabularyEncoder(tower, templates, average=average)(MANY))


@pytest.mark.parametrize("setting", ["off", "a file", None])
def test_nothing_is_kept_unless_it_may_be(tower, cache, monkeypatch, setting):
    encoder = _encoder(tower)
    if setting is None:
        encoder.on_disk = False
    elif setting == "off":
        monkeypatch.setenv("SEGVOC_CACHE", setting)
    else:
        cache.write_text(setting)
    assert torch.equal(encoder(MANY), _fresh(tower, MANY))
    assert cache.read_text() == setting if setting == "a file" else not cache.exists()
