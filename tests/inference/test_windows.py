"""The way of an image to a network and back: sizes, views (windows, tiles, strides), how they are put together."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segvoc.encoders.vit import TIMM_CLIPS
from segvoc.inference import windows
from segvoc.inference.protocols import LoaderResize, Protocol, Strides, Tiles
from segvoc.inference.smoothing import FORGOTTEN, Smoothing
from segvoc.inference.windows import MEAN_COLOR, ViewLogits, merged
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS
from segvoc.networks.clip_network import clip_protocols
from tests.inference.small_network import COMMON_WINDOWS, small_segmenter, views
from tests.networks.aggregation_contract import small_syn_seg
from tests.networks.contract import assert_alike

SIDES = st.integers(1, 5000)
CLIP_B, CLIP_L = clip_protocols(384, 16), clip_protocols(336, 14)


def _image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_shapes_are_squashed_first_and_kept_beyond() -> None:
    protocol = Protocol(size=448, multiple=32, squash=2.0, max_aspect=4.0)
    sizes = ((300, 300), (300, 600), (300, 1200), (10, 4000), (4000, 10))
    expected = [(448, 448), (448, 448), (320, 640), (224, 896), (896, 224)]
    assert [protocol.input_size(*size) for size in sizes] == expected


SQUASHING = ("part-cat-seg-b", "pca-part-b")  # networks whose towers see squares, whatever they are shown
SQUARES = ("clipseg", "clipseg-rd64", "clip-b", "clip-l", "eva-clip-b", "eva-clip-l", *TIMM_CLIPS)
"""Networks whose images or windows are squares in every way, as published."""


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in ("tiny", *SQUASHING, *SQUARES)])
@given(height=SIDES, width=SIDES)
def test_auto_keeps_the_shape_and_the_area(preset: str, height: int, width: int) -> None:
    auto, square = PRESETS[preset].protocols["auto"], PRESETS[preset].protocols["single"].size
    rows, columns = auto.input_size(height, width)
    assert rows % auto.multiple == columns % auto.multiple == 0
    assert 0.85 * square**2 < rows * columns < 1.15 * square**2
    aspect = min(max(height / width, 0.5), 2)
    assert aspect / 1.15 < rows / columns < aspect * 1.15


@pytest.mark.parametrize("preset", SQUASHING)
def test_towers_that_squash_get_the_loaders_image_in_the_official_windows(preset: str) -> None:
    assert all(set(one.protocols) >= set(COMMON_WINDOWS) for one in PRESETS.values())
    protocols = PRESETS[preset].protocols
    image = np.zeros((400, 500, 3), np.uint8)
    shapes = {window: tuple(views(image, protocols[window]).shape[2:]) for window in protocols}
    assert shapes == {"auto": (448, 448), "single": (448, 448), "official": (614, 768), "official-single": (640, 768)}


@pytest.mark.parametrize(("size", "count"), [((300, 300), 1), ((375, 500), 2), ((500, 375), 2), ((400, 1200), 4)])
def test_fine_windows_of_tiny_lie_along_the_longer_side(size: tuple[int, int], count: int) -> None:
    seen = views(_image(*size), PRESETS["tiny"].protocols["fine"])
    assert seen.shape == (count, 3, 448, 448)
    assert count == 1 or not np.allclose(seen[0], seen[1])


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (400, 20), (333, 500)])
@pytest.mark.parametrize("window", COMMON_WINDOWS)
@pytest.mark.parametrize("protocols", [CLIP_B, CLIP_L, PRESETS["tiny"].protocols], ids=["B", "L", "tiny"])
def test_any_shape_gives_views_of_the_protocol_within_the_range_of_pixels(protocols, window, size):
    protocol: Protocol = protocols[window]
    seen = views(_image(*size), protocol)
    assert seen.shape == (5 if protocol.sliding else 1, 3, *protocol.input_size(*size))
    assert -1e-3 <= seen.min() and seen.max() <= 255 + 1e-3  # interpolation rounds
    own = small_segmenter().to_device  # PyTorch's interpolation, on the network's device
    assert_alike(windows.views(_image(*size), protocol, own), seen, 1e-6)


def test_upright_images_are_resized_along_the_rows_first():
    # Pillow 13 would take the columns first: labels would depend on its version
    image = np.random.default_rng(0).integers(0, 256, (600, 400, 3), np.uint8)
    rows = Image.fromarray(image).resize((384, 600), Image.Resampling.BILINEAR)
    expected = np.asarray(rows.resize((384, 384), Image.Resampling.BILINEAR))
    view = views(image, Protocol(size=384))[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(view, expected)


def test_official_single_pads_with_what_normalizes_to_zero_and_does_not_cut_it_off():
    # 480 x 600 becomes 640 x 800: both divide by 32; 480 x 610 becomes 640 x 813, padded to 832
    assert views(_image(480, 600), CLIP_B["official-single"]).shape == (1, 3, 384, 384)
    white = np.full((480, 610, 3), 255, np.uint8)
    seen = views(white, CLIP_B["official-single"])[0]
    image_columns = 384 * 813 / 832
    assert torch.allclose(seen[:, :, : int(image_columns) - 1], torch.tensor(255.0), atol=1e-3)
    padding = seen[:, :, int(image_columns) + 2 :]
    assert padding.numel()
    assert torch.allclose(padding, torch.tensor(MEAN_COLOR).view(3, 1, 1).expand_as(padding), atol=1e-3)


TILES = Protocol(size=64, sliding=Tiles(), sigmoid_first=True)
STRIDES = Protocol(
    size=64, loader=LoaderResize(shortest=64, longest=256), sliding=Strides(window=64, stride=32), sigmoid_first=True
)


def _quarters(height: int, width: int) -> np.ndarray:
    """An image whose quarters have the colors 40, 80, 120 and 160."""
    colors = np.array([[40, 80], [120, 160]], np.uint8)
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 2 // width
    return np.repeat(colors[rows][:, columns, None], 3, axis=2)


def test_tiles_are_the_quarters_and_the_whole_and_their_answers_stand_there():
    seen = views(_quarters(200, 300), TILES)
    assert seen.shape == (5, 3, 64, 64)
    for view, color in zip(seen, (40, 80, 120, 160), strict=False):
        assert torch.equal(view, torch.full_like(view, color))
    assert seen[4, 0, 0, 0] == 40 and seen[4, 0, 63, 63] == 160
    values = torch.tensor([-8.0, -4.0, 4.0, 8.0, 2.0])
    answer, p = merged(values.view(5, 1, 1, 1).expand(5, 1, 16, 16), TILES)[0], values.sigmoid()
    assert answer.shape == (32, 32)
    torch.testing.assert_close(answer[::31, ::31].flatten(), (p[:4] + p[4]) / 2)  # as much as the whole


def test_windows_follow_mmsegs_places():
    """mmseg's `slide_inference`: a window at every stride, the last one moved back to end with the image."""
    image = np.zeros((64, 100, 3), np.uint8)
    image[:, 36:] = 200  # the second of three windows would begin at 32, the last begins at 36
    seen = views(image, STRIDES)
    assert len(seen) == 3
    assert (seen[2] == 200).all() and not (seen[1] == 200).all()
    logits = torch.stack([torch.full((1, 4, 4), value) for value in (0.0, 2.0, 4.0)])
    answer, p = merged(logits, STRIDES, (64, 100))[0], torch.tensor([0.0, 2.0, 4.0]).sigmoid()
    assert answer.shape == (64, 100)
    expected = [p[0], (p[0] + p[1]) / 2, p.mean(), (p[1] + p[2]) / 2, p[2]]
    found = [answer[10, column].item() for column in (10, 33, 50, 80, 98)]
    assert found == pytest.approx([value.item() for value in expected])


def tiles_and_strides() -> NetworkSegmenter:
    torch.manual_seed(0)
    protocols = {"single": Protocol(size=64), "official": TILES, "tcl": STRIDES}
    return small_segmenter(network=small_syn_seg(), protocols=protocols, template="a photo of a {}.")


@pytest.mark.parametrize("window", ["single", "official", "tcl"])
def test_every_window_labels_the_whole_image_and_each_of_a_list(window):
    image, segmenter = _quarters(70, 120), tiles_and_strides()
    images, words = [image, image[:, ::-1].copy()], ["cat", "sofa", "wall"]
    alone = [segmenter.segment(one, words, window=window, return_probabilities=True) for one in images]
    segmenter.batch = 2
    assert alone[0].labels.shape == (70, 120) and alone[0].probabilities.shape == (3, 70, 120)
    for one, other in zip(segmenter.segment(images, words, window=window), alone, strict=True):
        assert_alike(torch.from_numpy(one.confidence), torch.from_numpy(other.confidence))


def test_maps_of_some_classes_are_theirs_where_none_was_dropped() -> None:
    logits = np.random.default_rng(0).standard_normal((1, 4, 2, 2), np.float32)
    output, protocol = ViewLogits(logits, None, 4), Protocol(size=2)
    ((whole, _),) = output.maps(protocol)
    ((some, classes),) = output.maps(protocol, classes=np.array([1, 3]))
    assert classes.tolist() == [1, 3] and np.array_equal(some, whole[[1, 3]])


def test_a_dropped_class_is_forgotten_once_it_is_improbable_in_all_cells() -> None:
    """Classes 0 and 2 of the first frame, and 1 of the later ones, which class selection keeps alone."""
    smoothing, image, protocol = Smoothing(0.5), np.full((4, 8, 3), 100, np.uint8), Protocol(size=1)
    first = np.array([[[[0.0, -20.0]], [[-6.0, -6.0]]]], np.float32)  # probabilities 1/2 and 0, and 0.0025 twice
    smoothing(ViewLogits(first, np.array([[0, 2]]), 3), protocol, image)
    remembered = []
    for _ in range(10):
        output = ViewLogits(np.full((1, 1, 1, 2), -9.0, np.float32), np.array([[1]]), 3)
        smoothed = smoothing(output, protocol, image)
        assert smoothing.state is not None and smoothed.kept is not None
        assert smoothed.kept[0].tolist() == smoothing.state.classes.tolist()
        remembered.append(smoothed.kept[0].tolist())
    # the mean halves with each frame: 1/2 falls below `FORGOTTEN` with the ninth, 0.0025 with the second
    assert 0.5**9 > FORGOTTEN > 0.5**10 and 0.0025 / 2 > FORGOTTEN > 0.0025 / 4
    assert remembered == [[0, 1, 2], *[[0, 1]] * 7, [1], [1]]
