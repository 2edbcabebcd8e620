"""The published test protocols against the official code: rectangular images and sliding windows.

The goldens feed the image to the network's own protocol: no loader's resize, class pooling (2, 2).
"""

from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segvoc.inference.protocols import Protocol, clip_protocols
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.windows import merged
from segvoc.networks.base import SegmentationNetwork
from tests.golden_sets import TOLERANCE, cases_of, compact_case, full_case
from tests.inference.small_network import views
from tests.networks.golden_stages import FAMILIES, FULL_WORDS, embed, full_network, tiny

pytestmark = pytest.mark.golden

SIZE = (300, 390)
PROTOCOLS = {
    "evalrect": replace(clip_protocols(384, 16)["official-single"], loader=None),
    "sliding": replace(clip_protocols(384, 16)["official"], loader=None, pooling=(2, 2)),
}


def answered(network: SegmentationNetwork, protocol: Protocol, names: list[str]) -> tuple[Tensor, Tensor]:
    """Logits of all views of the golden rectangular image, and the map that they are put together to."""
    image = compact_case("tiny_pca_eva").tensors["image_rect_u8"].permute(1, 2, 0).contiguous().numpy()
    with torch.no_grad():
        text = embed(network, names)
        seen = views(image, protocol)
        logits = network(seen, text, pooling=protocol.pooling, selection=protocol.selection, chunk=8)
    return logits, merged(logits, protocol)


def at_image_size(maps: Tensor) -> Tensor:
    return F.interpolate(maps[None], size=SIZE, mode="bilinear")[0]


def labels(maps: Tensor) -> Tensor:
    best = StrongestClass(*SIZE, maps)
    best.update(maps, torch.arange(len(maps)))
    return best.index


@cache
def tiny_answer(family: str, protocol: str) -> tuple[Tensor, Tensor]:
    return answered(tiny(family), PROTOCOLS[protocol], compact_case("tiny_pca_eva").record["classes"])


@pytest.fixture(scope="module", params=["compact", "full"])
def of(request):
    return cases_of(request, lambda family: FAMILIES[family].tiny)


@pytest.mark.parametrize("family", FAMILIES)
class TestProtocols:
    @pytest.mark.parametrize(("protocol", "step"), [("evalrect", 1), ("sliding", 2)])
    def test_logits_of_all_views(self, of, family, protocol, step):
        logits = tiny_answer(family, protocol)[0][..., ::step, ::step]
        assert of(family).error(f"{protocol}.logits", logits) <= TOLERANCE

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_probabilities_at_image_size(self, of, family, protocol):
        maps = at_image_size(tiny_answer(family, protocol)[1])
        assert of(family).error(f"{protocol}.sem_seg_s3", maps[:, ::3, ::3]) <= TOLERANCE

    def test_labels_of_sliding_windows(self, golden, family):
        case = full_case(golden, FAMILIES[family].tiny)
        ours = labels(tiny_answer(family, "sliding")[1])
        assert case.agreement("sliding.argmax", ours, case.tensors["sliding.argmax"]) >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_sliding_windows_at_full_size(golden, family):
    case = full_case(golden, FAMILIES[family].full)
    _, maps = answered(full_network(golden, family), PROTOCOLS["sliding"], FULL_WORDS)
    theirs = case.tensors["sliding.sem_seg_s6"]
    probabilities = at_image_size(maps)[:, ::6, ::6].reshape(theirs.shape)
    assert case.error("sliding.sem_seg_s6", probabilities) <= TOLERANCE
    assert case.agreement("sliding.argmax_s2", labels(maps)[::2, ::2], case.tensors["sliding.argmax_s2"]) >= 0.999
