"""Embeddings of a vocabulary: computed once, and never stale."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segvoc.encoders import vocabulary_encoder as text_features
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder, content_hash
from segvoc.vocabulary import Vocabulary
from tests.inference.small_network import Letters

WORDS = Vocabulary(["cat", "sofa", "wall"])


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


def test_averages_of_synonyms_have_unit_length_and_lie_between(tower: Letters) -> None:
    text = _fresh(tower, Vocabulary(["sofa, couch, settee"], synonyms="average"))[0, 0]
    single = _fresh(tower, Vocabulary(["sofa", "couch", "settee"]))[:, 0]
    assert text.norm().item() == pytest.approx(1)
    assert torch.allclose(text, nn.functional.normalize(single.mean(0), dim=0), atol=1e-6)


def test_first_synonym_counts_alone(tower: Letters) -> None:
    assert torch.equal(_fresh(tower, Vocabulary(["sofa, couch"])), _fresh(tower, Vocabulary(["sofa"])))


@given(st.permutations(["cat", "sofa", "wall", "a very long word", "猫", "dog", "x"]))
@settings(max_examples=20, deadline=None)
def test_order_of_the_words_changes_no_bit(order: list[str]) -> None:
    torch.manual_seed(0)
    tower = Letters()
    words = sorted(order)
    plain, mixed = _fresh(tower, Vocabulary(words)), _fresh(tower, Vocabulary(order))
    assert torch.equal(mixed, plain[[words.index(word) for word in order]])


def test_words_are_encoded_in_batches(tower: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary([f"word {number}" for number in range(25)])
    whole = _fresh(tower, vocabulary)
    monkeypatch.setattr(text_features, "BATCH", 10)
    tower.calls.clear()
    assert torch.allclose(_fresh(tower, vocabulary), whole, atol=1e-6)
    assert sorted(tower.calls) == [5, 10, 10]


# ---- the cache


def test_known_words_cost_nothing(tower: Letters) -> None:
    encode = VocabularyEncoder(tower, ("{}", "a {}"))
    first = encode(WORDS)
    tower.calls.clear()
    assert torch.equal(encode(Vocabulary(reversed(WORDS.words))), first.flip(0))
    assert tower.calls == []
    encode(Vocabulary(["cat", "dog"]))
    assert tower.calls == [2]  # "dog" and "a dog"


def test_shared_prompts_are_encoded_once(tower: Letters) -> None:
    VocabularyEncoder(tower, ("{}",))(Vocabulary(["sofa, couch", "couch", "couch, sofa"], synonyms="average"))
    assert tower.calls == [2]


def _optimiser_step(tower: Letters) -> None:
    tower.table.weight.grad = torch.ones_like(tower.table.weight)
    torch.optim.SGD(tower.parameters(), lr=0.1).step()


def _data_write(tower: Letters) -> None:
    tower.table.weight.data[ord("c"), 0] += 1


def _write_past_autograd(tower: Letters) -> None:
    # NumPy shares the memory: PyTorch's version counters don't see it
    tower.table.weight.detach().numpy()[ord("c"), 0] += 1


def _other_state(tower: Letters) -> None:
    tower.load_state_dict({key: value + 0.1 for key, value in tower.state_dict().items()})


def _assigned_state(tower: Letters) -> None:
    tower.load_state_dict({key: value + 0.1 for key, value in tower.state_dict().items()}, assign=True)


def _other_parameter(tower: Letters) -> None:
    tower.table.weight = nn.Parameter(tower.table.weight.detach() * torch.linspace(1, 2, tower.channels))


@pytest.mark.parametrize(
    "change",
    [_optimiser_step, _data_write, _write_past_autograd, _other_state, _assigned_state, _other_parameter],
)
def test_changed_weights_are_seen(tower: Letters, change: Callable[[Letters], None]) -> None:
    encode = VocabularyEncoder(tower, ("{}",))
    before = encode(WORDS)
    change(tower)
    after = encode(WORDS)
    assert not torch.allclose(after, before, atol=1e-4)
    assert torch.equal(after, _fresh(tower))


def test_changed_type_is_seen(tower: Letters) -> None:
    encode = VocabularyEncoder(tower, ("{}",))
    assert encode(WORDS).dtype == torch.float32
    tower.bfloat16()
    assert encode(WORDS).dtype == torch.bfloat16
    assert torch.equal(encode(WORDS), _fresh(tower))


def test_weights_put_back_give_the_first_result(tower: Letters) -> None:
    encode = VocabularyEncoder(tower, ("{}",))
    before, saved = encode(WORDS), {key: value.clone() for key, value in tower.state_dict().items()}
    _optimiser_step(tower)
    encode(WORDS)
    tower.load_state_dict(saved)
    assert torch.equal(encode(WORDS), before)


def test_other_templates_are_other_prompts(tower: Letters) -> None:
    assert not torch.allclose(_fresh(tower, templates=("{}",)), _fresh(tower, templates=("a photo of {}",)), atol=1e-3)


def test_result_may_be_changed_without_harm(tower: Letters) -> None:
    encode = VocabularyEncoder(tower, ("{}",))
    before = encode(WORDS).clone()
    encode(WORDS).zero_()
    assert torch.equal(encode(WORDS), before)


def test_cache_is_bounded_and_keeps_what_was_used_last(tower: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_features, "CACHED_PROMPTS", 3)
    encode = VocabularyEncoder(tower, ("{}",))
    many = encode(Vocabulary(["a", "b", "c", "d", "e"]))
    assert torch.allclose(many, _fresh(tower, Vocabulary(["a", "b", "c", "d", "e"])))
    encode(Vocabulary(["x", "y", "z"]))
    encode(Vocabulary(["x"]))
    encode(Vocabulary(["w"]))
    tower.calls.clear()
    encode(Vocabulary(["x"]))
    assert tower.calls == []


# ---- the digest of the weights


def test_digest_repeats(tower: Letters) -> None:
    assert content_hash(tower) == content_hash(tower)
    torch.manual_seed(0)
    assert content_hash(Letters()) == content_hash(tower)


@given(
    shape=st.lists(st.integers(1, 40), min_size=0, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool]),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_digest_sees_a_change_of_any_value(shape: list[int], dtype: torch.dtype, data: st.DataObject) -> None:
    module = nn.Module()
    module.register_buffer("other", torch.arange(3))
    module.register_buffer("values", torch.rand(shape).mul(100).to(dtype))
    before = content_hash(module)
    flat = module.get_buffer("values").view(-1)
    place = data.draw(st.integers(0, flat.numel() - 1))
    flat[place] = ~flat[place] if dtype == torch.bool else flat[place] * 1.02 + 1
    assert content_hash(module) != before


def test_digest_sees_values_that_change_places() -> None:
    module = nn.Linear(64, 64)
    before = content_hash(module)
    seen = {before}
    rows = torch.arange(64).roll(1)
    for moved in (module.weight[rows], module.weight[:, rows], module.weight.T.clone(), module.weight.flip(0, 1)):
        other = nn.Linear(64, 64)
        other.load_state_dict({"weight": moved, "bias": module.bias})
        seen.add(content_hash(other))
    assert len(seen) == 5


def test_digest_is_the_same_on_every_gpu() -> None:
    """By it the processes of a run find each other's files."""

    def digest(device: str) -> str:
        placed = type("Placed", (torch.Tensor,), {"device": torch.device(device)})
        module = nn.Module()
        module.register_buffer("values", torch.arange(3).as_subclass(placed))
        return content_hash(module)

    assert digest("cuda:0") == digest("cuda:1") != digest("cpu")


def test_digest_sees_signs_of_zero_and_last_bits() -> None:
    module = nn.Linear(2, 2)
    module.weight.data.zero_()
    digests = {content_hash(module)}
    module.weight.data[0, 0] = -0.0
    digests.add(content_hash(module))
    module.weight.data[0, 0] = 1e-45
    digests.add(content_hash(module))
    assert len(digests) == 3
