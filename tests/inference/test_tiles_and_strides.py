"""Views of SynSeg: even tiles with the whole image, and mmseg's sliding windows."""

import numpy as np
import pytest
import torch

from segvoc.errors import UsageError
from segvoc.inference.protocols import LoaderResize, Protocol, Strides, Tiles
from segvoc.inference.windows import merged
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.inference.small_network import small_segmenter
from tests.inference.tensor_views import views
from tests.networks.contract import assert_alike
from tests.networks.small_syn_seg import small_syn_seg

TILES = Protocol(size=64, sliding=Tiles(), sigmoid_first=True)
SLIDING = Protocol(
    size=64, loader=LoaderResize(shortest=64, longest=256), sliding=Strides(window=64, stride=32), sigmoid_first=True
)


def _quarters(height: int, width: int) -> np.ndarray:
    """An image whose quarters have the colors 40, 80, 120 and 160."""
    colors = np.array([[40, 80], [120, 160]], np.uint8)
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 2 // width
    return np.repeat(colors[rows][:, columns, None], 3, axis=2)


def test_five_views_are_the_quarters_and_the_whole():
    seen = views(_quarters(200, 300), TILES)
    assert seen.shape == (5, 3, 64, 64)
    for view, color in zip(seen, (40, 80, 120, 160), strict=False):
        assert torch.equal(view, torch.full_like(view, color))
    assert seen[4, 0, 0, 0] == 40 and seen[4, 0, 63, 63] == 160


def test_tiles_stand_where_they_were_cut_and_count_as_much_as_the_whole():
    logits = torch.tensor([-8.0, -4.0, 4.0, 8.0, 2.0]).view(5, 1, 1, 1).expand(5, 1, 16, 16)
    answer, p = merged(logits, TILES)[0], torch.tensor([-8.0, -4.0, 4.0, 8.0, 2.0]).sigmoid()
    assert answer.shape == (32, 32)
    for corner, probability in zip((answer[0, 0], answer[0, 31], answer[31, 0], answer[31, 31]), p, strict=False):
        assert corner.item() == pytest.approx((probability + p[4]).item() / 2)


def test_windows_follow_mmsegs_places():
    """mmseg's `slide_inference`: a window at every stride, the last one moved back to end with the image."""
    image = np.zeros((64, 100, 3), np.uint8)
    image[:, 36:] = 200  # the second of three windows would begin at 32, the last begins at 36
    seen = views(image, SLIDING)
    assert len(seen) == 3
    assert (seen[2] == 200).all() and not (seen[1] == 200).all()
    logits = torch.stack([torch.full((1, 4, 4), value) for value in (0.0, 2.0, 4.0)])
    answer, p = merged(logits, SLIDING, (64, 100))[0], torch.tensor([0.0, 2.0, 4.0]).sigmoid()
    assert answer.shape == (64, 100)
    expected = [p[0], (p[0] + p[1]) / 2, p.mean(), (p[1] + p[2]) / 2, p[2]]
    found = [answer[10, column].item() for column in (10, 33, 50, 80, 98)]
    assert found == pytest.approx([value.item() for value in expected])


def tiles_and_strides() -> NetworkSegmenter:
    torch.manual_seed(0)
    protocols = {"single": Protocol(size=64), "official": TILES, "tcl": SLIDING}
    return small_segmenter(network=small_syn_seg(), protocols=protocols, template="a photo of a {}.")


segmenter = pytest.fixture(scope="module")(tiles_and_strides)


@pytest.mark.parametrize("window", ["single", "official", "tcl"])
def test_every_window_labels_the_whole_image(segmenter, window):
    image = _quarters(70, 120)
    alone = segmenter.segment(image, ["cat", "sofa", "wall"], window=window, return_probabilities=True)
    assert alone.labels.shape == (70, 120) and alone.probabilities.shape == (3, 70, 120)
    together = segmenter.segment([image, image[:, ::-1].copy()], ["cat", "sofa", "wall"], window=window)
    assert_alike(torch.from_numpy(together[0].confidence), torch.from_numpy(alone.confidence))


def test_a_window_that_a_network_does_not_have_is_refused():
    with pytest.raises(UsageError, match="'tcl' is unknown to small; it is one of auto, single, official,"):
        small_segmenter().segment(_quarters(64, 64), ["cat"], window="tcl")
