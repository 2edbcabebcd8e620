"""Images in tiles: blended logits without seams, words selected once, panoramas, pixels without an image."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt16
from PIL import Image

from segvoc.errors import UsageError
from segvoc.inference.exported.segmenter import open_tiny
from segvoc.inference.tile_grid import TileAxis, Tiling
from segvoc.inference.windows import ViewLogits, views
from segvoc.layers.selection_rules import Listed, Voted
from segvoc.runtime.arrays import bilinear, sigmoid
from tests.inference.numpy_engine import NumpySegmenter
from tests.inference.small_network import small_segmenter

WORDS = ["cat", "sofa", "wall", "tree", "sky"]

NEAR = 2  # pixels on both sides of a line that count as across it


def _image(height: int, width: int, seed: int = 0, cells: int = 40) -> np.ndarray:
    """Smooth colors."""
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
            logits, _ = model.run(views(tile, protocol), text, protocol)
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


@pytest.mark.parametrize("options", [{}, {"threshold": 0.6}, {"background": "rest"}])
@pytest.mark.parametrize("model", [NumpySegmenter(), small_segmenter()], ids=["numpy", "torch"])
def test_one_tile_is_the_whole_image(model: Any, options: dict[str, Any]) -> None:
    image = _image(120, 160)
    one, whole = model.segment(image, WORDS, tile=160, **options), model.segment(image, WORDS, **options)
    assert np.array_equal(one.labels, whole.labels)
    assert np.array_equal(one.confidence, whole.confidence)
    assert one.words == whole.words


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
    """With the embedded model; tiles that merely meet show seams, so the measure can tell."""
    image = np.asarray(Image.open("samples/coffee.jpg").convert("RGB").resize((440, 440)))
    model = open_tiny()
    words = model.encode(["cat", "cup", "table", "spoon", "wall", "blanket", "coffee", "person"])
    found = {}
    for overlap in (48, 0):
        tiling = Tiling.checked(250, overlap)
        labels = model.segment(image, words, tile=250, overlap=overlap).labels
        found[overlap] = seams(labels, tiling.rows(440), tiling.columns(440))
    assert found[48] <= 1.1 and found[0] > 1.5


class _Selecting(NumpySegmenter):
    """Notes the rule of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.rules: list[Any] = []

    def run(self, pixels: np.ndarray, text: Any, protocol: Any) -> tuple[Any, Any]:
        self.rules.append(protocol.selection)
        logits, _ = super().run(pixels, text, replace(protocol, selection=None))
        if protocol.selection is None:
            return logits, None
        if isinstance(protocol.selection, Listed):
            kept = np.tile(np.array(protocol.selection.classes), (len(logits), 1))
        else:
            kept = np.sort(np.argsort(-logits.max((2, 3)), 1, kind="stable")[:, : protocol.selection.keep], 1)
        return np.take_along_axis(logits, kept[:, :, None, None], 1), kept


def test_words_are_selected_once_for_the_whole_image() -> None:
    model, words = _Selecting(), [f"word {number}" for number in range(20)]
    result = model.segment(_image(420, 420, cells=60), words, tile=120, keep_classes=3)
    looks = [rule for rule in model.rules if isinstance(rule, Voted)]
    [listed] = {rule for rule in model.rules if isinstance(rule, Listed)}
    tiles = len(Tiling.checked(120).rows(420)) ** 2
    assert (len(looks), len(model.rules)) == (1 + tiles // 8, 1 + tiles // 8 + tiles)
    assert listed.classes == tuple(np.flatnonzero(result.selected))
    assert 3 <= len(listed.classes) < 20
    assert set(np.unique(result.labels)) <= set(listed.classes)


def test_what_tiles_cannot_do_is_refused() -> None:
    model, image = NumpySegmenter(), _image(80, 80)
    for options in ({"parts": {"cat": ["head"]}}, {"return_probabilities": True}, {"groups": [[0]]}):
        with pytest.raises(UsageError, match=r"tiles don't support (parts|probabilities)"):
            model.segment(image, WORDS, tile=64, **options)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="tiles don't support parts"):
        model.segment(image, model.encode(WORDS, parts={"cat": ["head"]}), tile=64)
    with pytest.raises(UsageError, match="there is no tile"):
        model.in_tiles(WORDS)


def test_tiles_are_as_unsure_as_the_whole_image() -> None:
    image, words = (
        np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8),
        ["xylophone", "submarine", "pagoda"],
    )
    model = open_tiny()
    whole, tiled = model.segment(image, words), model.segment(image, words, tile=96)
    assert whole.report()["unsure"] and tiled.report()["unsure"]
    assert tiled.unsure_below == whole.unsure_below is not None
    assert "unsure" in tiled.notes()[0]
