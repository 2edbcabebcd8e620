"""Weights of SigLIP 2, PE-Core and MobileCLIP in the forms in which they are published."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segvoc.checkpoints.files import read_weights
from segvoc.checkpoints.origins import clip_family
from segvoc.checkpoints.strict import inside, renamed
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.errors import CheckpointError
from tests.images import one_line_error
from tests.timm_clips import image_encoder, small_tokenizer, text_encoder, weights

METAS = (
    (r"^patch_embed\.proj", "conv1"),
    (r"^blocks\.", "transformer.resblocks."),
    (r"^norm_pre", "ln_pre"),
    (r"^norm\.", "ln_post."),
    (r"\.norm([12])", r".ln_\1"),
    (r"attn\.qkv\.", "attn.in_proj_"),
    (r"attn\.proj", "attn.out_proj"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"attn_pool\.latent", "attn_pool.probe"),
    (r"attn_pool\.norm", "attn_pool.layernorm"),
    (r"attn_pool\.proj", "attn_pool.attn.out_proj"),
    (r"attn_pool\.kv\.", "attn_pool.attn.in_proj_"),
    (r"^cls_token", "class_embedding"),
    (r"^pos_embed", "positional_embedding"),
    (r"^head\.weight", "proj"),
)
"""From timm's names of a PE-Core's weights to Meta's (facebookresearch/perception_models)."""


def metas(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """A PE-Core as Meta publishes it."""
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
