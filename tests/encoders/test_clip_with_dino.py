"""CLIP with DINOv2 beside it, and DINOv3 with dino.txt: features are Meta's, whatever form the weights have."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from segvoc.checkpoints.origins import clip_family
from segvoc.checkpoints.strict import inside
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.encoders.clip_with_dino import ClipWithDino, DinoTokens, DinoTxtImageEncoder, dino_state
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.errors import CheckpointError
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PartAggregation, none_vector, part_aggregation_state
from tests import transformers_models as transformers
from tests.built import loaded
from tests.golden_sets import TOLERANCE, err_record
from tests.images import one_line_error
from tests.networks.contract import make_image
from tests.networks.golden_stages import TINY_VIT
from tests.timm_clips import (
    DINO_TXT_IMAGES,
    DINO_TXT_TOKENS,
    WIDTH,
    both_dino_files,
    dino_txt_case,
    dino_txt_weights,
    small_dino_txt,
)

SMALL = {"width": 64, "depth": 2, "heads": 2, "pretrained_size": 70}


@pytest.fixture
def tower() -> ClipWithDino:
    torch.manual_seed(0)
    return ClipWithDino(TINY_VIT, dino=DinoTokens(**SMALL)).eval()


@pytest.mark.parametrize("size", [(448, 448), (97, 31)])
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
        features, words = image(DINO_TXT_IMAGES), text(DINO_TXT_TOKENS)
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


@pytest.mark.parametrize("form", ["transformers' file", "transformers' classifier", "version 5", "Meta", "timm"])
def test_tokens_are_those_of_transformers(form):
    """The same weights in every form."""
    dino, file = transformers.small_dino(), transformers.weights_of("dinov2")
    timms = inside("tower.", dino_state(file, dino))
    classified = {f"dinov2.{name}": value for name, value in file.items()}
    classified |= {"classifier.weight": torch.zeros(5, 64), "classifier.bias": torch.zeros(5)}
    assert {name: value.shape for name, value in classified.items()} == transformers.shapes_of(
        "files", "dinov2_classifier"
    )
    weights = {
        "transformers' file": file,
        "transformers' classifier": classified,
        "version 5": transformers.in_memory(file, "dinov2"),
        "Meta": timms | {"mask_token": file["embeddings.mask_token"]},
        "timm": timms,
    }[form]
    dino.load_state_dict(dino_state(weights, dino))
    with torch.no_grad():
        tokens = dino(transformers.DINO_IMAGES).flatten(2).mT
    for version in transformers.VERSIONS:
        assert transformers.transformers_case().error(f"{version}.dinov2.tokens", tokens) <= TOLERANCE


@pytest.mark.golden
def test_the_list_of_part_cat_segs_keys_fits_exactly(golden: Path) -> None:
    listed, module = err_record(golden, "part_aggregator_keys"), PartAggregation(PART_CAT_SEG, 512, (384, 384))
    state = part_aggregation_state({name: torch.zeros(shape) for name, shape in listed.items()}, module)
    assert state.keys() == module.state_dict().keys() and torch.equal(state["none"], none_vector(512))
