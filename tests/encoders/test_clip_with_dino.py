"""CLIP with DINOv2 beside it, and DINOv3 with dino.txt, whose features are those of Meta's code."""

import pytest
import timm
import torch
import torch.nn.functional as F

from segvoc.checkpoints.origins import clip_family
from segvoc.encoders.base import normalized_pixels
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.encoders.clip_with_dino import ClipWithDino, DinoTokens, DinoTxtImageEncoder
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.errors import CheckpointError
from tests.built import loaded
from tests.dino_txt import IMAGES, TOKENS, WIDTH, both_dino_files, dino_txt_case, dino_txt_weights, small_dino_txt
from tests.encoders.image_tower_contract import TINY_VIT, make_image
from tests.golden_sets import TOLERANCE
from tests.images import one_line_error
from tests.networks.contract import assert_alike

SMALL = {"width": 64, "depth": 2, "heads": 2, "pretrained_size": 70}


@pytest.fixture
def tower() -> ClipWithDino:
    torch.manual_seed(0)
    return ClipWithDino(TINY_VIT, dino=DinoTokens(**SMALL)).eval()


@pytest.mark.parametrize("size", [(448, 448), (614, 768), (97, 31)])
def test_a_image_of_any_size_is_squashed_to_both_squares(tower, size):
    image = make_image(1, *size)
    with torch.no_grad():
        features = tower(image)
        squashed = [F.interpolate(image, size=(side, side), mode="bilinear") for side in (384, 448)]
        clip, tokens = tower.clip(squashed[0]).maps[0], tower.dino(squashed[1])
    assert torch.equal(features.maps[0], clip)
    assert clip.shape[2:] == (24, 24) and tokens.shape[2:] == (32, 32)
    assert [tuple(x.shape[2:]) for x in (features.appearance, *features.taps)] == [(24, 24), (48, 48), (96, 96)]
    assert torch.equal(features.taps[1], F.interpolate(tokens, size=(96, 96), mode="bilinear"))


def test_dinov2_is_timms(tower):
    """At the size of its position table nothing is interpolated: timm's own forward pass gives the same tokens."""
    sizes = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": 70}
    theirs = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **sizes).eval()
    tower.dino.tower.load_state_dict(theirs.state_dict())
    image = make_image(2, 70, 70)
    with torch.no_grad():
        tokens = theirs.forward_features(normalized_pixels(image))[:, 1:]
        assert_alike(tower.dino(image).flatten(2).mT, tokens)


def test_positions_are_interpolated_as_dinov2_does(tower):
    """By its own rule: the scale of the grid has an offset of 0.1."""
    dino = tower.dino
    with torch.no_grad():
        dino.tower.pos_embed.normal_()
        table = dino.tower.pos_embed[:, 1:].reshape(1, 5, 5, 64).permute(0, 3, 1, 2)
        scale = (32.1 / 5, 32.1 / 5)
        expected = F.interpolate(table, scale_factor=scale, mode="bicubic").flatten(2).mT
        assert torch.equal(dino.positions(32, 32)[:, 1:], expected)
        assert torch.equal(dino.positions(5, 5), dino.tower.pos_embed)


@pytest.mark.parametrize("tuned", ["", "qv"])
def test_dinov2_learns_and_of_clip_what_is_asked(tuned):
    tower = ClipWithDino(TINY_VIT, clip_tuned=tuned, dino=DinoTokens(**SMALL))
    names = tower.fine_tuned_parameters()
    guide = {f"dino.{name}" for name, _ in tower.dino.named_parameters()}
    assert guide <= set(names)
    rest = {name.removeprefix("clip.") for name in names if name not in guide}
    assert rest == (set(OpenAIClipImageEncoder(TINY_VIT).fine_tuned_parameters()) if tuned else set())


BOTH = both_dino_files()


@pytest.fixture(scope="module")
def towers() -> tuple[DinoTxtImageEncoder, ClipTextEncoder]:
    return loaded(BOTH, *small_dino_txt())


def test_outputs_are_metas(towers: tuple[DinoTxtImageEncoder, ClipTextEncoder]) -> None:
    image, text = towers
    with torch.no_grad():
        features, words = image(IMAGES), text(TOKENS)
    assert dino_txt_case().error("patches", features.maps[0].flatten(2).mT) <= TOLERANCE
    assert [dino_txt_case().error(f"block_{i}", tap) <= TOLERANCE for i, tap in enumerate(features.taps)] == [True] * 2
    record, golden = dino_txt_case().record["tensors"]["texts"], dino_txt_case().tensors["texts"]
    assert record["step"] == 1  # the halves of a text's embedding: for the CLS token and for the patches
    theirs = golden.reshape(record["shape"])[:, WIDTH:]
    torch.testing.assert_close(words, F.normalize(theirs, dim=-1), rtol=1e-4, atol=1e-5)


def test_both_files_are_needed(towers: tuple[DinoTxtImageEncoder, ClipTextEncoder]) -> None:
    head, backbone = dino_txt_weights("dino_txt"), dino_txt_weights("backbone")
    assert is_plain_clip(head) and clip_family(head) == clip_family(BOTH) == "DINOv3" and not is_plain_clip(backbone)
    with one_line_error(CheckpointError, "alone; name DINOv3's file too"):
        towers_state(head, *towers)
    with one_line_error(CheckpointError, "weights of DINOv3, not of CLIP", "with dino.txt's file first"):
        towers_state(backbone, *towers)
