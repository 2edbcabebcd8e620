"""DINOv3 with dino.txt: features and embeddings are those of Meta's code."""

import pytest
import torch
from torch.nn import functional as F

from segvoc.checkpoints.official_towers import is_plain_clip, towers_state
from segvoc.checkpoints.origins import clip_family
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.encoders.clip_with_dino import DinoTxtImageEncoder
from segvoc.errors import CheckpointError
from tests.built import loaded
from tests.dino_txt import IMAGES, TOKENS, WIDTH, both_dino_files, dino_txt_case, dino_txt_weights, small_dino_txt
from tests.golden_sets import TOLERANCE
from tests.images import one_line_error

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
