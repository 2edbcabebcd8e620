"""SigLIP 2, PE-Core and MobileCLIP: features and embeddings are open_clip's; each published form is read."""

import copy
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segvoc.checkpoints.files import read_weights
from segvoc.checkpoints.origins import clip_family
from segvoc.checkpoints.strict import inside, renamed
from segvoc.encoders.base import normalized_pixels
from segvoc.encoders.clip_text import open_clip_text_of
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.encoders.timm_clip import build_timm_clip
from segvoc.encoders.vit import TIMM_CLIPS, TimmClipName
from segvoc.errors import CheckpointError, PromptTruncatedWarning, UsageError
from segvoc.models.weightless import weightless
from tests.images import one_line_error
from tests.networks.contract import make_image
from tests.timm_clips import IMAGES, SIDE, filled, image_encoder, open_clips, small_tokenizer, text_encoder, weights

FAMILIES = list(IMAGES)


def cells_of(trunk: nn.Module, pixels: Tensor) -> Tensor:
    """The embedding of the image (B N C) when its pooling is made to see one cell after the other."""
    found = trunk.forward_features(pixels)
    if found.ndim == 4:  # a mean is what the head would make of each cell, where it is linear
        return trunk.forward_head(found)[:, None]
    found = found[:, trunk.num_prefix_tokens :]
    alone = []
    for cell in range(found.shape[1]):
        hidden = torch.full((1, 1, 1, found.shape[1]), float("-inf"))
        hidden[..., cell] = 0
        alone.append(trunk.head(trunk.fc_norm(trunk.attn_pool(found, attn_mask=hidden))))
    return torch.stack(alone, dim=1)


def assert_librarys(trunk: nn.Module, ours: nn.Module, image: Tensor, taps: tuple[int, ...]) -> None:
    with torch.inference_mode():
        features = ours(image)
        pixels = normalized_pixels(image, [trunk.pretrained_cfg[name] for name in ("mean", "std")])
        cells = features.maps[0].flatten(2).mT
        theirs = cells_of(trunk, pixels)
        cells = cells.mean(dim=1, keepdim=True) if theirs.shape[1] == 1 else cells
        torch.testing.assert_close(cells, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
        for tap, mine in zip(taps, features.taps, strict=True):
            other = trunk.forward_intermediates(pixels, indices=[tap], intermediates_only=True)[0]
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


@pytest.mark.parametrize("family", FAMILIES)
def test_features_and_embeddings_are_open_clips(family: str) -> None:
    model, ours = open_clips(family), filled(family)
    for height, width in ((SIDE, SIDE), (96, 160)):
        assert_librarys(model.visual.trunk, ours.image, make_image(2, height, width), IMAGES[family][2])
    prompts = ["a cat", "two large dogs on a sofa", "é"]
    with torch.inference_mode():
        tokens = ours.text.tokenize(prompts, multiple=64)
        embeddings = nn.functional.normalize(model.text(tokens), dim=-1)
        torch.testing.assert_close(ours.text(tokens), embeddings, rtol=1e-4, atol=1e-5)
        for prompt, embedding in zip(prompts, embeddings, strict=True):  # shorter, where padding has no influence
            torch.testing.assert_close(ours.text(ours.text.tokenize([prompt]))[0], embedding, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, sizes in TIMM_CLIPS.items() if sizes.model is not None])
def test_sizes_are_those_of_the_models(name: TimmClipName) -> None:
    sizes = TIMM_CLIPS[name]
    assert sizes.model is not None
    config = open_clip.get_model_config(sizes.model)
    with weightless():
        encoder = build_timm_clip(sizes)
    assert config is not None and encoder.channels == config["embed_dim"] == open_clip_text_of(sizes.model).channels
    assert (encoder.stride, encoder.input_size) == (sizes.stride, sizes.input_size)
    assert sizes.input_size % (2 * sizes.stride) == 0 and sizes.pretrained_size == config["vision_cfg"]["image_size"]
    reductions = [encoder.tower.feature_info[tap]["reduction"] for tap in sizes.taps]
    assert reductions == ([sizes.stride // 2, sizes.stride // 4] if sizes.pyramid else [sizes.stride] * 2)


def test_siglip_reads_lower_case_without_punctuation_in_any_language() -> None:
    text = filled("siglip").text
    tokens = text.tokenize(["A  Cat, on_the MAT!", "a cat on the mat", "猫"])
    assert tokens.shape == (3, 64) and tokens[0].tolist() != tokens[2].tolist()
    np.testing.assert_array_equal(tokens[0], tokens[1])
    assert tokens[2].tolist()[3:] == [1] + 60 * [0] and text.unknown_words(["猫", "Katze"]) == []
    with pytest.warns(PromptTruncatedWarning, match="reads 63 of its"):
        assert text.tokenize(["a prompt " * 9])[0, -1] == 1


def test_siglips_tokenizer_is_one_of_its_weights() -> None:
    text, other = filled("siglip").text, text_encoder("siglip")
    with one_line_error(UsageError, "no tokenizer", "--encoder-weights"):
        other.tokenize(["a cat"])
    other.load_state_dict(text.state_dict())
    copied = copy.deepcopy(other)
    assert copied.own_tokenizer().encode("A CAT").ids == small_tokenizer().encode("a cat").ids
    np.testing.assert_array_equal(copied.tokenize(["cat"]), text.tokenize(["cat"]))
    copied.tokenizer[:100] = 0
    copied.load_state_dict(copied.state_dict())
    with one_line_error(CheckpointError, "tokenizer among the weights is damaged"):
        copied.tokenize(["a cat"])


METAS = (
    (r"^patch_embed\.proj", "conv1"), (r"^blocks\.", "transformer.resblocks."), (r"^norm_pre", "ln_pre"),
    (r"^norm\.", "ln_post."), (r"\.norm([12])", r".ln_\1"), (r"attn\.qkv\.", "attn.in_proj_"),
    (r"attn\.proj", "attn.out_proj"), (r"mlp\.fc1", "mlp.c_fc"), (r"mlp\.fc2", "mlp.c_proj"),
    (r"attn_pool\.latent", "attn_pool.probe"), (r"attn_pool\.norm", "attn_pool.layernorm"),
    (r"attn_pool\.proj", "attn_pool.attn.out_proj"), (r"attn_pool\.kv\.", "attn_pool.attn.in_proj_"),
    (r"^cls_token", "class_embedding"), (r"^pos_embed", "positional_embedding"), (r"^head\.weight", "proj"),
)  # fmt: skip
"""From timm's names of a PE-Core's weights to Meta's (facebookresearch/perception_models)."""


def metas(official: dict[str, Tensor]) -> dict[str, Tensor]:
    forms = {"class_embedding": torch.flatten, "positional_embedding": lambda x: x[0], "proj": lambda x: x.mT}
    found = {key.removeprefix("text."): value for key, value in official.items() if not key.startswith("visual.")}
    trunk = inside("visual.trunk.", official)
    for kind in ("weight", "bias"):
        queries = trunk.pop(f"attn_pool.q.{kind}")
        trunk[f"attn_pool.kv.{kind}"] = torch.cat((queries, trunk[f"attn_pool.kv.{kind}"]))
    for key, value in trunk.items():
        name = renamed(key, METAS)
        if name != "head.bias":
            found[f"visual.{name}"] = forms.get(name, lambda x: x)(value)
    return found


def towers(family: str) -> tuple[nn.Module, nn.Module]:
    return image_encoder(family), text_encoder(family)


def assert_same(states: tuple[dict[str, Tensor], ...], others: tuple[dict[str, Tensor], ...]) -> None:
    for state, other in zip(states, others, strict=True):
        assert state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def test_a_pe_core_is_read_by_metas_names() -> None:
    plain = dict(weights("pe-core"))
    plain["visual.trunk.head.bias"] = torch.zeros_like(plain["visual.trunk.head.bias"])
    found = metas(plain)
    assert clip_family(found) == "PE-Core" == clip_family(plain) and "visual.attn_pool.attn.in_proj_weight" in found
    assert_same(towers_state(found, *towers("pe-core")), towers_state(plain, *towers("pe-core")))


@pytest.mark.parametrize("family", ["siglip", "pe-core"])
def test_another_resolution_of_the_model_fits(family: str) -> None:
    plain, table = dict(weights(family)), "visual.trunk.pos_embed"
    others = plain[table].shape[1] - 16
    ones = plain[table][:, others:].reshape(1, 4, 4, -1).repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)
    plain[table] = torch.cat((plain[table][:, :others], ones), dim=1)
    image, _ = towers_state(plain, *towers(family))
    assert image["tower.pos_embed"].shape == weights(family)[table].shape
    assert torch.equal(image["tower.pos_embed"][:, :others], plain[table][:, :others])


def test_a_siglip_needs_the_tokenizer_beside_it(tmp_path: Path) -> None:
    plain = {name: value for name, value in weights("siglip").items() if name != "tokenizer"}
    save_file(plain, tmp_path / "open_clip_model.safetensors")
    read = read_weights(tmp_path / "open_clip_model.safetensors").tensors
    assert is_plain_clip(read) and clip_family(read) == "SigLIP"
    with one_line_error(CheckpointError, "without their tokenizer", "tokenizer.json"):
        towers_state(read, *towers("siglip"))
    (tmp_path / "tokenizer.json").write_text(small_tokenizer().to_str())
    read = read_weights(tmp_path / "open_clip_model.safetensors").tensors
    assert_same(towers_state(read, *towers("siglip")), towers_state(weights("siglip"), *towers("siglip")))
    (tmp_path / "tokenizer.json").write_bytes(b"")
    with one_line_error(CheckpointError, "tokenizer.json", "fetch it again"):
        read_weights(tmp_path / "open_clip_model.safetensors")
