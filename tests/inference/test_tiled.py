"""Images in tiles: blended logits without seams, panoramas; the strongest class of each pixel, exactly."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import UInt16
from PIL import Image
from torch.nn import functional as F

from segvoc.errors import UsageError
from segvoc.inference import strongest_class
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.tile_grid import TileAxis, Tiling
from segvoc.inference.video_frames import FrameMemory
from segvoc.inference.windows import ViewLogits, views
from segvoc.layers.selection import ClassSelection
from segvoc.models.shipped import open_tiny
from segvoc.runtime.arrays import bilinear, sigmoid
from tests.inference.numpy_engine import NumpySegmenter
from tests.inference.small_network import assert_same_results, small_segmenter


def _strongest(maps: Any, size: tuple[int, int], chunk: int) -> StrongestClass:
    best = StrongestClass(*size, maps)
    indices = np.arange(len(maps)) if isinstance(maps, np.ndarray) else torch.arange(len(maps))
    for start in range(0, len(maps), chunk):
        best.update(maps[start : start + chunk], indices[start : start + chunk])
    return best


@given(
    classes=st.integers(1, 40),
    cells=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 60)),
    chunk=st.integers(1, 40),
    seed=st.integers(0, 999),
)
@settings(max_examples=20, deadline=None)
def test_is_that_of_the_interpolated_maps(classes, cells, size, chunk, seed):
    """Values and indices are those of whole maps but for rounding, with tensors and with NumPy arrays."""
    maps = torch.rand((classes, *cells), generator=torch.Generator().manual_seed(seed)) * 4 - 2
    full = F.interpolate(maps.double()[None], size=size, mode="bilinear")[0]
    for some in (maps, maps.numpy()):
        best = _strongest(some, size, chunk)
        assert type(best.value) is type(some) and np.asarray(best.value).dtype == np.float32
        value, index = torch.as_tensor(best.value), torch.as_tensor(best.index)
        assert (value - full.amax(0)).abs().max() <= 1e-6
        assert (full.amax(0) - full.gather(0, index[None])[0]).max() <= 1e-5


@pytest.mark.parametrize("at_once", [1, 2])
def test_equal_classes_go_to_the_lower_index(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strongest_class, "CPU_VALUES", at_once * 7 * 9)
    maps = torch.tensor([0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0])[:, None, None].repeat(1, 3, 4)
    maps[4:] -= torch.tensor([0.0, 2.0, 0.0, 2.0])  # strongest in some of the columns, so all but class 0 contend
    for some in (maps, maps.numpy()):
        for chunk in (1, 3, 7):
            index = np.asarray(_strongest(some, (3, 4), chunk).index)
            assert index.tolist() == [[4, 1, 4, 1]] * 3


def test_memory_does_not_hold_all_classes_at_image_size():
    # 20,000 classes at 600 x 600 pixels would be 29 GB
    maps = torch.rand(20_000, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[12_345] += 1
    assert (_strongest(maps, (600, 600), len(maps)).index == 12_345).all()


@st.composite
def axes(draw: st.DrawFn) -> TileAxis:
    tile = draw(st.integers(32, 100))
    side, wrap = draw(st.integers(1, 500)), draw(st.booleans())
    return TileAxis(side=side, tile=tile, overlap=draw(st.integers(0, tile // 2)), wrap=wrap and side > tile)


def _weights(axis: TileAxis, pixels: slice) -> np.ndarray:
    """(tiles, pixels): the weight of each tile at each pixel of a range."""
    found = np.zeros((len(axis), pixels.stop - pixels.start))
    for piece, shares in axis.shares(pixels):
        for share in shares:
            found[share.tile, piece.start - pixels.start : piece.stop - pixels.start] += share.weights
            first = axis.starts[share.tile]
            assert (piece.start - share.pixels.start - first) % axis.side == 0
            assert 0 <= share.pixels.start < share.pixels.stop <= axis.size
    return found


@settings(max_examples=60, deadline=None)
@given(axes())
def test_weights_of_all_tiles_add_up_to_one_and_cells_divide_the_axis_and_know_their_tiles(axis: TileAxis) -> None:
    cells = [axis.cell(number) for number in range(len(axis))]
    assert [cell.start for cell in cells] + [axis.side] == [0, *(cell.stop for cell in cells)]
    assert all(0 < cell.stop - cell.start <= axis.size for cell in cells)
    whole = _weights(axis, slice(0, axis.side))
    np.testing.assert_allclose(whole.sum(0), 1, atol=1e-5)
    assert (whole >= 0).all()
    for number, cell in enumerate(cells):
        np.testing.assert_array_equal(_weights(axis, cell), whole[:, cell])
        if not axis.wrap:
            present = np.flatnonzero(whole[:, cell].sum(1))
            assert axis.first_tile(number) <= present.min()
            assert present.max() <= number


def test_tiles_have_one_size_and_the_last_one_ends_at_the_edge() -> None:
    axis = Tiling.checked(100).rows(250)
    assert (axis.starts, axis.size, axis.overlap) == ([0, 88, 150], 100, 12)
    small = Tiling.checked(100).columns(60)
    assert (small.starts, small.size) == ([0], 60)
    assert not Tiling.checked(100, wrap=True).columns(60).wrap


WORDS = ["cat", "sofa", "wall", "tree", "sky"]

NEAR = 2  # pixels on both sides of a line that count as across it


def _image(height: int, width: int, seed: int = 0, cells: int = 40) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (height // cells, width // cells, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def _blended(model: NumpySegmenter, image: np.ndarray, tiling: Tiling, window: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidences by the definition: interpolate all words in all tiles, weigh, add up, take the highest."""
    rows, columns = tiling.rows(image.shape[0]), tiling.columns(image.shape[1])
    protocol = replace(model.protocols[window], selection=None)  # type: ignore[index]
    text, total = model.encode_words(model.encode(WORDS).vocabulary), np.zeros((len(WORDS), *image.shape[:2]))
    weights = [np.zeros((len(axis), axis.side)) for axis in (rows, columns)]
    for one, axis in zip(weights, (rows, columns), strict=True):
        for piece, shares in axis.shares(slice(0, axis.side)):
            for share in shares:
                one[share.tile, piece] = share.weights
    for row, top in enumerate(rows.starts):
        for column, left in enumerate(columns.starts):
            along = np.arange(left, left + columns.size) % image.shape[1]
            tile = image[top : top + rows.size][:, along]
            logits, _ = model.compare(model.encode_views(views(tile, protocol)), text, protocol)
            [(maps, _)] = ViewLogits(logits, None, len(WORDS)).maps(protocol, tile.shape[:2])
            full = np.zeros_like(total)
            full[:, top : top + rows.size, along] = bilinear(maps[None], tile.shape[:2])[0]
            total += full * weights[0][row][:, None] * weights[1][column]
    best = total.max(0).astype(np.float32)
    return total.argmax(0), best if protocol.sigmoid_first else sigmoid(best)


@pytest.mark.parametrize(
    ("window", "tile", "overlap", "wrap"),
    [
        ("auto", 140, 40, False),
        ("auto", 140, 0, False),
        ("single", 120, 60, True),
        ("official", 140, 40, False),
        ("tcl", 170, 50, True),
        ("official-single", 170, 50, False),
    ],
)
def test_labels_are_those_of_the_blended_logits(window: str, tile: int, overlap: int, wrap: bool) -> None:
    model, image = NumpySegmenter(), _image(140, 250)
    result = model.segment(image, WORDS, window=window, tile=tile, overlap=overlap, wrap=wrap)  # type: ignore[call-overload]
    labels, confidence = _blended(model, image, Tiling.checked(tile, overlap, wrap=wrap), window)
    assert (result.labels == labels).mean() > 0.9999
    np.testing.assert_allclose(result.confidence, confidence, atol=1e-5)
    assert len(np.unique(labels)) > 2


def test_one_tile_is_the_whole_image() -> None:
    """With tensors; tests/inference/test_doors.py has arrays, with every rule."""
    model, image = small_segmenter(), _image(120, 160)
    for options in ({}, {"background": "rest"}):
        assert_same_results(model.segment(image, WORDS, tile=160, **options), model.segment(image, WORDS, **options))


def seams(labels: UInt16[np.ndarray, "H W"], *axes: TileAxis) -> float:
    """How often neighbors' labels differ across the lines of tiles, beside elsewhere.

    Lines are where a tile begins or ends, and halfway between the two, where both tiles weigh the same.
    """
    across, elsewhere = [], []
    for axis, tiles in enumerate(axes):
        changes = (np.diff(labels.astype(np.int32), axis=axis) != 0).mean(axis=1 - axis)
        pairs = [(begin, before + tiles.size) for begin, before in zip(tiles.starts[1:], tiles.starts, strict=False)]
        lines = [line for begin, end in pairs for line in (begin, (begin + end) // 2, end)]
        near = (np.abs(np.arange(0.5, tiles.side - 1)[:, None] - lines) < NEAR).any(axis=1)
        across.append(changes[near])
        elsewhere.append(changes[~near])
    return np.concatenate(across).mean() / np.concatenate(elsewhere).mean()


def test_labels_differ_across_tiles_no_more_often_than_elsewhere() -> None:
    """With the embedded model; tiles that merely meet show seams, so the measure can tell.

    It is the mean of photographs, since edges of what one shows may lie beside the lines of tiles.
    """
    model = open_tiny()
    words = model.encode(["cat", "cup", "table", "dog", "wall", "blanket", "astronaut", "sky", "rocket", "grass"])
    found: dict[int, list[float]] = {48: [], 0: []}
    for name in ("astronaut", "coffee"):
        image = np.asarray(Image.open(f"samples/{name}.jpg").convert("RGB").resize((440, 440)))
        for overlap, ratios in found.items():
            tiling = Tiling.checked(250, overlap)
            labels = model.segment(image, words, tile=250, overlap=overlap).labels
            ratios.append(seams(labels, tiling.rows(440), tiling.columns(440)))
    assert np.mean(found[48]) <= 1.1 and np.mean(found[0]) > 1.5


class _Selecting(NumpySegmenter):
    def __init__(self) -> None:
        super().__init__()
        self.selections: list[Any] = []

    def compare(self, features: Any, text: Any, protocol: Any) -> tuple[Any, Any]:
        self.selections.append(protocol.selection)
        logits, _ = super().compare(features, text, replace(protocol, selection=None))
        if protocol.selection is None:
            return logits, None
        if protocol.selection.classes is not None:
            kept = np.tile(np.array(protocol.selection.classes), (len(logits), 1))
        else:
            kept = np.sort(np.argsort(-logits.max((2, 3)), 1, kind="stable")[:, : protocol.selection.keep], 1)
        return np.take_along_axis(logits, kept[:, :, None, None], 1), kept


def test_words_are_selected_once_for_the_whole_image() -> None:
    model, words = _Selecting(), [f"word {number}" for number in range(20)]
    result = model.segment(_image(420, 420, cells=60), words, tile=120, keep_classes=3)
    looks = [selection for selection in model.selections if selection == ClassSelection(keep=3)]
    [listed] = {selection for selection in model.selections if selection.classes is not None}
    tiles = len(Tiling.checked(120).rows(420)) ** 2
    assert (len(looks), len(model.selections)) == (1 + tiles // 8, 1 + tiles // 8 + tiles)
    assert listed.classes == tuple(np.flatnonzero(result.selected))
    assert 3 <= len(listed.classes) < 20
    assert set(np.unique(result.labels)) <= set(listed.classes)


def test_what_tiles_cannot_do_is_refused() -> None:
    model, image = NumpySegmenter(), _image(80, 80)
    for options in ({"parts": {"cat": ["head"]}}, {"return_probabilities": True}):
        with pytest.raises(UsageError, match=r"tiles don't support (parts|probabilities)"):
            model.segment(image, WORDS, tile=64, **options)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="tiles don't support parts or groups"):
        model.start([image], WORDS, options=LabelOptions(tile=64), groups=[[0]])
    with pytest.raises(UsageError, match="tiles don't support smoothing"):
        model.segment_many([image], WORDS, tile=64, memory=FrameMemory(smoothing=Smoothing(0.5)))
    with pytest.raises(UsageError, match="give the image itself, or leave out the tile"):
        model.segment(model.encode_image(image), WORDS, tile=64)
    with pytest.raises(UsageError, match="tiles don't support parts"):
        model.segment(image, model.encode(WORDS, parts={"cat": ["head"]}), tile=64)
    with pytest.raises(UsageError, match="there is no tile"):
        model.in_tiles(WORDS)
