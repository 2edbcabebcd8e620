"""Weights of another network are called by their origin, with what reads them; digests tell weights apart."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from segvoc.checkpoints.origins import content_hash
from segvoc.encoders.clip_with_dino import dino_state
from segvoc.errors import CheckpointError
from segvoc.models.presets import PRESETS
from segvoc.networks.official_weights import clip_state
from segvoc.networks.part_cat_seg import part_network_state
from segvoc.networks.syn_seg import syn_seg_state
from tests.built import built
from tests.images import one_line_error
from tests.transformers_models import shapes_of, small_dino

PREDICTOR = "sem_seg_head.predictor."


def named(*names: str) -> dict[str, Tensor]:
    return {name: torch.zeros(1) for name in names}


def listed(model: str) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes_of("full", model).items()}


CLIPSEG = listed("clipseg_plain")
CLIP = listed("clip")
DINO = listed("dinov2")
META_DINO = named("cls_token", "mask_token", "blocks.0.ls1.gamma", "blocks.0.attn.qkv.weight")
IMAGE_ENCODER = named("cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "norm_pre.weight")
SIGLIP = named("vision_model.embeddings.patch_embedding.bias", "vision_model.head.probe", "text_model.head.weight")
CAT_SEG = named(f"{PREDICTOR}clip_model.visual.proj", f"{PREDICTOR}transformer.conv1.weight")
PART_CAT_SEG = CAT_SEG | named("backbone.dinov2.cls_token")
ERR_SEG = named("sem_seg_head.clip_model.visual.trunk.stem.0.weight", "sem_seg_head.decoder.head.weight")


@cache
def network(name: str, **options):
    with torch.device("meta"):
        return built(name, **options)


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        ("cat-seg-b", CLIPSEG, "these are weights of CLIPSeg, not of CAT-Seg or PCA-Seg; load them as clipseg"),
        ("cat-seg-b", DINO, "of DINOv2, not of CAT-Seg or PCA-Seg; networks of parts start from them"),
        ("cat-seg-b", META_DINO, "of DINOv2, not of"),
        ("cat-seg-b", ERR_SEG, "of ERR-Seg, not of CAT-Seg or PCA-Seg; load them as err-seg-b or err-seg-l"),
        ("pca-seg-b", PART_CAT_SEG, "of PartCATSeg, not of CAT-Seg or PCA-Seg; load them as part-cat-seg-b"),
        ("pca-seg-b", IMAGE_ENCODER, "of an image encoder alone, not of .*; take .* open_clip_model.safetensors"),
        ("pca-seg-b", SIGLIP, "SigLIP weights, for towers of EVA02-CLIP; set encoder=siglip2-b or"),
        ("pca-seg-b", CLIP, r"OpenAI CLIP weights.*; use pca-seg-clip-b"),
        ("cat-seg-b", CLIP, "towers alone, a plain CLIP"),
        ("err-seg-b", CLIPSEG, "of CLIPSeg, not of ERR-Seg; load them as clipseg"),
        ("err-seg-b", SIGLIP, "SigLIP weights, for towers of ConvNeXt-CLIP"),
        ("part-cat-seg-b", CAT_SEG, "of CAT-Seg or PCA-Seg, not of PartCATSeg; load them as one of the cat-seg"),
        ("part-cat-seg-b", CLIP, "two kinds"),
        ("part-cat-seg-b", DINO, "of DINOv2, not of PartCATSeg; .*, named after a CLIP: --encoder-weights"),
        ("syn-seg-b", CAT_SEG, "of CAT-Seg or PCA-Seg, not of CLIPSeg"),
        ("syn-seg-b", CLIP, "weights aren't from CLIPSeg; give those of CLIPSeg, or a plain CLIP"),
    ],
)
def test_a_foreign_file_is_called_by_its_origin(name, weights, said):
    read = PRESETS[name].from_official
    with one_line_error(CheckpointError, match=said):
        read(weights, network(name))


def test_clip_and_dinov2_in_the_wrong_order_are_told():
    parts = network("part-cat-seg-b")
    with pytest.raises(CheckpointError, match=r"of DINOv2, not of CLIP; .*, named after a CLIP: --encoder-weights ViT"):
        clip_state(DINO, parts, CLIP)
    with pytest.raises(CheckpointError, match="of CLIP, not of DINOv2; networks of parts start from them and DINOv2's"):
        clip_state(CLIP, parts, CLIP)
    with pytest.raises(CheckpointError, match="of CLIPSeg, not of DINOv2"):
        dino_state(CLIPSEG, small_dino())


def test_what_fits_is_taken():
    parts = network("part-cat-seg-b")
    towers = {name for name in parts.state_dict() if not name.startswith("aggregation.")}
    assert clip_state(CLIP, parts, DINO).keys() == towers
    clipseg = network("syn-seg-b", film="linear")
    assert syn_seg_state(CLIPSEG, clipseg).keys() == clipseg.state_dict().keys()
    with pytest.raises(CheckpointError, match="of CAT-Seg or PCA-Seg, not of PartCATSeg"):
        part_network_state({"sem_seg_head.predictor.x": torch.zeros(1)}, parts)
    with pytest.raises(CheckpointError, match="aggregation=none"):
        part_network_state(CLIP, network("cat-seg-b", aggregation="none"))


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
    assert content_hash(copy.deepcopy(module)) == before
    flat = module.get_buffer("values").view(-1)
    place = data.draw(st.integers(0, flat.numel() - 1))
    flat[place] = ~flat[place] if dtype == torch.bool else flat[place] * 1.02 + 1
    assert content_hash(module) != before


def test_digest_sees_names_types_and_shapes_and_is_the_same_on_every_gpu() -> None:
    """By it the processes of a run find each other's files."""

    def digest(name: str = "a", shape: tuple[int, ...] = (4, 2), device: str = "cpu") -> str:
        placed, module = type("Placed", (torch.Tensor,), {"device": torch.device(device)}), nn.Module()
        module.register_buffer(name, torch.zeros(shape, dtype=torch.int32).as_subclass(placed))
        return content_hash(module)

    assert len({digest(), digest("b"), digest(shape=(2, 4)), digest(device="cuda:0")}) == 4
    assert digest(device="cuda:0") == digest(device="cuda:1")
