"""The published test protocols against the official code: rectangular pictures and sliding windows.

The goldens feed the picture to the network's own protocol: no loader's resize, class pooling (2, 2).
"""

from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.windows import merged, views
from segvoc.networks.pca_seg import PCASeg
from segvoc.networks.protocols import Protocol, clip_protocols
from tests.golden_sets import TOLERANCE, compact_case, full_case
from tests.networks.test_pca_seg_golden import FULL_WORDS, embed, full_network, tiny

pytestmark = pytest.mark.golden

SIZE = (300, 390)
PROTOCOLS = {
    "evalrect": replace(clip_protocols(384, 16)["official-single"], loader=None),
    "sliding": replace(clip_protocols(384, 16)["official"], loader=None, pooling=(2, 2)),
}


def answered(network: PCASeg, protocol: Protocol, names: list[str]) -> tuple[Tensor, Tensor]:
    """Logits of all views of the golden rectangular picture, and the map that they are put together to."""
    picture = compact_case("tiny_pca_eva").tensors["image_rect_u8"].permute(1, 2, 0).contiguous().numpy()
    with torch.no_grad():
        text = embed(network, names)
        seen = views(picture, protocol)
        logits = network(seen, text, pooling=protocol.pooling, keep_classes=protocol.keep_classes)
    return logits, merged(logits, protocol)


def at_picture_size(maps: Tensor) -> Tensor:
    return F.interpolate(maps[None], size=SIZE, mode="bilinear")[0]


def labels(maps: Tensor) -> Tensor:
    best = StrongestClass(*SIZE, maps.device)
    best.update(maps, torch.arange(len(maps)))
    return best.index


@cache
def tiny_answer(protocol: str) -> tuple[Tensor, Tensor]:
    return answered(tiny(), PROTOCOLS[protocol], compact_case("tiny_pca_eva").record["classes"])


@pytest.fixture(scope="module", params=["compact", "full"])
def case(request):
    if request.param == "compact":
        return compact_case("tiny_pca_eva")
    return full_case(request.getfixturevalue("golden"), "tiny_pca_eva")


@pytest.mark.parametrize(("protocol", "step"), [("evalrect", 1), ("sliding", 2)])
def test_logits_of_all_views(case, protocol, step):
    assert case.error(f"{protocol}.logits", tiny_answer(protocol)[0][..., ::step, ::step]) <= TOLERANCE


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_probabilities_at_picture_size(case, protocol):
    maps = at_picture_size(tiny_answer(protocol)[1])
    assert case.error(f"{protocol}.sem_seg_s3", maps[:, ::3, ::3]) <= TOLERANCE


def test_labels_of_sliding_windows(golden):
    stored = load_file(golden / "cat_pca" / "tiny_pca_eva_outputs.safetensors")["sliding.argmax"]
    assert (labels(tiny_answer("sliding")[1]) == stored).float().mean() >= 0.999


def test_sliding_windows_at_full_size(golden):
    stored = load_file(golden / "cat_pca" / "full_pca_eva_vitb_384_voc20.safetensors")
    _, maps = answered(full_network(golden), PROTOCOLS["sliding"], FULL_WORDS)
    theirs = stored["sliding.sem_seg_s6"].squeeze()
    ours = at_picture_size(maps)[:, ::6, ::6]
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()
    assert (labels(maps)[::2, ::2] == stored["sliding.argmax_s2"]).float().mean() >= 0.999
