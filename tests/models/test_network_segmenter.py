"""The PyTorch engine: batches that don't fit into a GPU's memory, and ways to run a network."""

import numpy as np
import pytest
import torch

from segvoc.layers.selection_rules import VotedShare
from segvoc.models.cuda_graphs import NetworkGraphs
from tests.images import squares
from tests.inference.small_network import small_segmenter

WORDS = ["cat", "sofa", "wall", "sky"]


def test_views_that_do_not_fit_into_memory_run_in_smaller_batches(monkeypatch):
    model, photos = small_segmenter(batch=8), [squares(70, 90, seed) for seed in range(8)]
    expected, sizes = model.segment(photos, WORDS), []
    forward = model.network.selected_logits

    def limited(image, *arguments, **options):
        sizes.append(len(image))
        if len(image) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(image, *arguments, **options)

    monkeypatch.setattr(model.network, "selected_logits", limited)
    for ours, theirs in zip(model.segment(photos, WORDS), expected, strict=True):
        assert (ours.labels == theirs.labels).mean() > 0.999
    assert sizes == [8, 4, 2, 2, 2, 2]
    sizes.clear()
    model.segment(photos, WORDS)
    assert sizes == [2, 2, 2, 2]  # what fits is remembered


def test_memory_that_a_single_view_exceeds_is_an_error(monkeypatch):
    model = small_segmenter(batch=2)

    def never(*arguments, **options):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.network, "selected_logits", never)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        model.segment([squares(70, 90)] * 2, WORDS)


def test_without_a_gpu_the_network_runs_as_it_is():
    model = small_segmenter(optimize="auto")
    text = model.encode(WORDS).query(None)[1]
    graphs, image = NetworkGraphs(model.network), torch.rand(1, 3, 96, 96) * 255
    for options in ({}, {"selection": VotedShare()}):
        for _ in range(3):
            found, expected = graphs(image, text, options), model.network.selected_logits(image, text, **options)
            torch.testing.assert_close(found[0], expected[0])
    assert len(graphs) == 0


def test_a_started_batch_has_the_results_of_segment():
    model, photos = small_segmenter(batch=2), [squares(70, 90, seed) for seed in range(3)]
    first, second = model.start(photos, WORDS), model.start(photos[::-1], WORDS)
    for finish, images in ((first, photos), (second, photos[::-1])):
        for ours, theirs in zip(finish(), model.segment(images, WORDS), strict=True):
            np.testing.assert_array_equal(ours.labels, theirs.labels)
            np.testing.assert_array_equal(ours.confidence, theirs.confidence)


def test_streams_that_start_batches_ahead_give_the_same_results_in_order(monkeypatch, tmp_path):
    model, photos = small_segmenter(batch=2), [squares(70, 90, seed) for seed in range(5)]
    images = [*photos[:3], tmp_path / "missing.png", *photos[3:]]
    expected = list(model.segment_many(images, WORDS, yield_errors=True))
    monkeypatch.setattr(type(model), "batches_ahead", 1)
    found = list(model.segment_many(images, WORDS, yield_errors=True))
    assert [type(one) for one in found] == [type(one) for one in expected] and "missing.png" in str(found[3])
    for ours, theirs in zip(found[:3] + found[4:], expected[:3] + expected[4:], strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels)
