"""Maps that follow the edges in the image, and islands that take the word around them."""

from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.inference import edges as edges_module
from segvoc.inference import teaching
from segvoc.inference.edges import EDGE_WEIGHTS, EDGES, ISLAND, connected_cells, edge_weights, refined, without_islands
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.shipped import open_tiny
from segvoc.storage.files import SHIPPED
from tests.inference.small_network import small_segmenter
from tests.inference.taught.drawn_examples import drawn_examples

SAMPLE = Path(__file__).parents[3] / "samples" / "chelsea.jpg"
WORDS = ["cat", "wall", "blanket", "sky"]

tiny = pytest.fixture(scope="module")(open_tiny)


def test_a_rough_border_moves_to_the_edge_in_the_image() -> None:
    """Maps that say where two colors meet only to within 16 pixels, and waver."""
    image = np.full((1, 3, 448, 448), 60, np.float32)
    image[..., 230:] = 200
    border = 57 + 4 * np.sin(np.arange(112) / 6)
    left = (border[:, None] - np.arange(112)) / 4
    rough = np.stack([left, -left]).astype(np.float32)[None]
    truth = np.zeros((224, 224), np.int64)
    truth[:, 115:] = 1
    before = rough.argmax(axis=1)[0].repeat(2, 0).repeat(2, 1)
    after = refined(rough, edge_weights(image, None))[0].argmax(axis=0)
    assert (after != truth).mean() < 0.5 * (before != truth).mean()


def test_words_are_refined_alike_whatever_is_asked_beside_them() -> None:
    random = np.random.default_rng(0)
    image = random.uniform(0, 255, (1, 3, 96, 128)).astype(np.float32)
    maps = random.standard_normal((1, 20, 24, 32), np.float32)
    weights = edge_weights(image, None)
    whole = refined(maps, weights)
    np.testing.assert_allclose(refined(maps[:, 3:5], weights), whole[:, 3:5], atol=1e-5)
    assert whole.min() >= maps.min() - 1e-4 and whole.max() <= maps.max() + 1e-4
    assert sum((SHIPPED / name).stat().st_size for name in (EDGE_WEIGHTS, EDGES)) <= 2_000_000


@pytest.mark.parametrize("window", ["auto", "fine"])
def test_what_reads_the_image_alone_runs_once(monkeypatch, tiny: ExportedSegmenter, window) -> None:
    runs, program = [], edges_module.shipped_program
    monkeypatch.setattr(edges_module, "shipped_program", lambda name: runs.append(name) or program(name))
    image = tiny.encode_image(SAMPLE, window=window)
    before = image.nbytes
    again = [tiny.segment(image, words).labels for words in (WORDS, WORDS[::-1])]
    assert runs.count(EDGE_WEIGHTS) == 1 and runs.count(EDGES) == 2
    assert image.nbytes == before  # what a cache counts when it takes the image
    for words, labels in zip((WORDS, WORDS[::-1]), again, strict=True):
        assert np.array_equal(tiny.segment(SAMPLE, words, window=window).labels, labels)
    views = image.views
    arrays = (views.pixels, *views.features.values(), views.edge_weights)
    assert views.nbytes == sum(array.nbytes for array in arrays)


@pytest.mark.parametrize("asked", [{"parts": {"cat": ["head"]}, "background": "other"}, {"taught": True}])
def test_pytorch_and_onnx_agree(tiny_network, tiny: ExportedSegmenter, taught: TaughtWords, asked: dict) -> None:
    models, words, image = [tiny_network, tiny], WORDS, SAMPLE
    asked = {"edges": True, **asked}
    if asked.pop("taught", False):
        models, words = [one.with_taught(taught) for one in models], list(taught.words)
        image = drawn_examples(3).images[2]
    one, other = (model.segment(image, words, **asked, return_probabilities=True) for model in models)
    assert (one.labels == other.labels).mean() > 0.999
    assert np.quantile(np.abs(one.probabilities - other.probabilities), 0.999) < 1e-3
    if one.part_labels is not None:
        assert (one.part_labels == other.part_labels).mean() > 0.999
    plain = models[1].segment(image, words, **{**asked, "edges": False})
    assert 0.8 < (plain.labels == other.labels).mean() < 1


def test_published_protocols_parts_and_other_networks_have_them_only_if_asked(tiny: ExportedSegmenter) -> None:
    for window, default in (("official", False), ("fine", True)):
        image = tiny.encode_image(SAMPLE, window=window)
        found = {edges: tiny.segment(image, WORDS, edges=edges).labels for edges in (None, False, True)}
        assert np.array_equal(found[None], found[default]) and not np.array_equal(found[None], found[not default])
    image = tiny.encode_image(SAMPLE)
    default, off = (tiny.segment(image, WORDS, parts={"cat": ["head"]}, edges=edges).labels for edges in (None, False))
    assert np.array_equal(default, off)
    small, image = small_segmenter(), drawn_examples(1).images[0]
    plain, off, on = (small.segment(image, ["grass", "sky"], edges=edges) for edges in (None, False, True))
    assert np.array_equal(plain.confidence, off.confidence) and not np.array_equal(plain.confidence, on.confidence)


def test_taught_words_have_them_if_they_scored_better(monkeypatch):
    model, found = small_segmenter(refines_edges=True), []
    examples, image = drawn_examples(2), drawn_examples(6).images[5]
    with monkeypatch.context() as patch:
        words = []
        for lift in (None, 0.0, 0.1):
            patch.setattr(teaching, "lift_by_edges", lambda *_, lift=lift: lift)
            words.append(segvoc.teach(model, examples))
    assert [one.record.edges for one in words] == [False, True, True]
    # more pixels are right than before: surer
    assert words[0].record.temperature == words[1].record.temperature > words[2].record.temperature
    for edges, taught in ((True, words[1]), (False, words[0])):
        one = model.with_taught(taught)
        default, asked = (one.segment(image, taught.words, edges=setting) for setting in (None, edges))
        assert np.array_equal(default.confidence, asked.confidence)
        found.append(default.confidence)
        examples.labels = [one.segment(image, examples.vocabulary).labels for image in examples.images]
        # maps like the labels are perfect
        lift = teaching.lift_by_edges(model, taught, examples, range(2), print)
        assert (lift is not None) == edges
    assert not np.array_equal(*found)


def test_islands_take_the_word_around_them() -> None:
    maps = np.zeros((3, 50, 60), np.float32)
    maps[0, :, :30], maps[1, :, 30:] = 2, 3
    maps[2, 10, 10], maps[2, 40, 50] = 4, 5  # single cells: less than the share
    maps[2, 20:24, 40:44] = 6
    before = maps.copy()
    labels = without_islands(maps).argmax(axis=0)
    assert 1 < ISLAND * labels.size < 16
    assert labels[10, 10] == 0 and labels[40, 50] == 1 and (labels[20:24, 40:44] == 2).all()
    assert np.array_equal(maps, before)
    assert without_islands(maps).max(axis=0)[10, 10] == 4  # as probable as before
    ring = np.zeros((4, 100, 120), np.float32)
    ring[0] = 1
    ring[1, 9:12, 9:12] = 2  # eight cells around a single one
    ring[2, 10, 10] = 3
    ring[3, 50, 60], ring[1, 50, 61] = 2, 2  # neighbors
    labels = without_islands(ring).argmax(axis=0)
    assert labels[10, 10] == 2 and np.count_nonzero(labels) == 1  # islands take no word of an island


def test_connected_cells_are_those_of_a_search() -> None:
    label = pytest.importorskip("skimage.measure").label
    for seed in range(20):
        labels = np.random.default_rng(seed).integers(3, size=(17, 23)).repeat(1 + seed % 2, axis=1)
        ours, theirs = connected_cells(labels), label(labels, connectivity=1, background=-1)
        assert len(np.unique(ours * 10_000 + theirs)) == ours.max() + 1 == theirs.max()
