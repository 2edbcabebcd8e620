"""Training samples: order, augmentation, workers and several processes."""

import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.augmentations import Augmentation
from segvoc.data.training.training_set import (
    IGNORED,
    ShardedSampler,
    TrainingSet,
    batches,
    epoch_order,
    other_sides,
    read_ahead,
    seed_of,
)
from segvoc.errors import ProcessError
from tests.processes import survivors

SIDE = 8


@pytest.fixture
def folder(tmp_path):
    """Seven images; number n has the red value 10 n, and the labels 0, 1, 2 and unlabeled."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "classes.json").write_text('["cat", "wall", "sofa"]')
    for number in range(7):
        Image.new("RGB", (12, 10), (10 * number, 0, 0)).save(tmp_path / f"images/{number}.png")
        labels = np.repeat(np.array([0, 1, 2, 255], np.uint8), 3)[None].repeat(10, axis=0)
        Image.fromarray(labels).save(tmp_path / f"labels/{number}.png")
    return tmp_path


def training_set(folder, *, seed=0, background=None, **changes):
    settings = {"short_sides": (8, 10), "max_long_side": 99, "crop_size": SIDE, "color_jitter": False} | changes
    files = (folder / name for name in ("images", "labels", "classes.json"))
    images = LabeledImages.from_folders(*files, background=background)
    return TrainingSet(images=images, augmentation=Augmentation(**settings), seed=seed)


def numbers(samples, positions):
    return [int(samples[position].image[0].max()) // 10 for position in positions]


def test_each_epoch_has_every_image_once_in_an_order_of_its_own(folder):
    samples = training_set(folder)
    epochs = [numbers(samples, range(7 * epoch, 7 * epoch + 7)) for epoch in range(3)]
    assert all(sorted(order) == list(range(7)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3
    assert numbers(training_set(folder, seed=1), range(7)) != epochs[0]


def test_a_sample_depends_only_on_its_position(folder):
    first, second = training_set(folder), training_set(folder)
    for position in (5, 19, 5, 0):
        assert all(torch.equal(a, b) for a, b in zip(first[position][:2], second[position][:2], strict=True))
    views = {tuple(first[position].labels.flatten().tolist()) for position in range(0, 70)}
    assert len(views) > 10  # each position is augmented differently


@pytest.mark.parametrize(("workers", "ranks"), [(0, 1), (0, 2), (2, 1)])
def test_any_number_of_processes_and_workers_reads_the_same_samples(folder, workers, ranks):
    samples = training_set(folder)
    expected = [samples[position] for position in range(4, 12)]  # steps 1 and 2, with 4 images each
    seen = []
    for rank in range(ranks):
        sampler = ShardedSampler(batch=4, passes=2, rank=rank, ranks=ranks, first_step=1, steps=3)
        read = list(batches(samples, sampler, workers, pinned=False))
        assert len(read) == len(sampler) == 4
        seen.append([torch.cat([batch.images for batch in read[start : start + 2]]) for start in (0, 2)])
    images = torch.cat([torch.cat([of_rank[step] for of_rank in seen]) for step in range(2)])
    assert torch.equal(images, torch.stack([sample.image for sample in expected]))


def test_the_background_is_not_a_class_and_later_classes_move_up(folder):
    samples = training_set(folder, background="wall", squash_prob=1.0, flip_prob=0.0)
    assert samples.vocabulary.words == ("cat", "sofa")
    assert samples[0].labels.unique().tolist() == [0, 1, 2, IGNORED]
    assert samples[0].labels[0].tolist() == sorted([0, 0, 2, 2]) + [1, 1] + [IGNORED] * 2
    plain = training_set(folder, squash_prob=1.0, flip_prob=0.0)
    assert plain.vocabulary.words == ("cat", "wall", "sofa")
    assert plain[0].labels[0].tolist() == [0, 0, 1, 1, 2, 2, IGNORED, IGNORED]


def test_an_image_that_can_not_be_read_is_replaced_by_the_next_of_its_epoch(folder):
    order = epoch_order(7, 0, 0).tolist()
    (folder / f"images/{order[2]}.png").write_bytes(b"damaged")
    samples = training_set(folder)
    assert numbers(samples, range(7)) == [*order[:2], order[3], *order[3:]]
    assert samples[1].problems == ()
    (problem,) = samples[2].problems
    assert f"images/{order[2]}.png" in problem and "\n" not in problem


def test_seeds_differ_between_purposes_positions_and_runs():
    seeds = [seed_of(*keys) for keys in ((0, "order", 0), (0, "changes", 0), (0, "order", 1), (1, "order", 0))]
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(0, "order", 0) == seeds[0]


@pytest.mark.parametrize(
    ("flip", "swap_sides", "expected"), [(0.0, True, "012"), (1.0, False, "210"), (1.0, True, "201")]
)
def test_flipping_swaps_left_and_right_if_that_is_requested(folder, flip, swap_sides, expected):
    (folder / "classes.json").write_text('["left door", "right door", "leftover"]')
    samples = training_set(folder, flip_prob=flip, squash_prob=1.0, crop_size=12, swap_left_right=swap_sides)
    row = [label for label in samples[0].labels[0].tolist() if label != IGNORED]
    assert row == [int(label) for label in expected for _ in range(3)]


def test_only_whole_words_with_a_counterpart_change_sides():
    names = ["left mirror", "back right door", "right mirror", "back left door", "right", "left-hand glove", "bright"]
    assert other_sides(names) == {0: 2, 1: 3, 2: 0, 3: 1}


SAMPLER = ShardedSampler(batch=2, passes=1, rank=0, ranks=1, first_step=0, steps=12)


@pytest.mark.slow
def test_readers_go_on_when_the_run_is_asked_to_stop(folder):
    """Ctrl-C, `timeout` and schedulers signal the whole group; the run still needs the batches of its last step."""
    forkserver._forkserver._stop()  # that of another test may hear signals
    read = batches(training_set(folder), SAMPLER, 1, pinned=False)
    next(read)
    (reader,) = multiprocessing.active_children()
    assert os.getpgid(reader.pid) != os.getpgrp()
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGTERM)
    assert len(list(read)) == 11


def test_a_reader_that_is_killed_is_told(folder):
    read = batches(training_set(folder), SAMPLER, 1, pinned=False)
    next(read)
    (reader,) = multiprocessing.active_children()
    os.kill(reader.pid, signal.SIGKILL)
    with pytest.raises(ProcessError, match=r"reads training data was killed, .* --resume, .*--set num_workers=N"):
        list(read)


class Unreadable(torch.utils.data.Dataset):
    def __getitem__(self, index):
        raise FileNotFoundError(2, "no such thing", "x")


@pytest.mark.slow
def test_what_a_reader_raises_is_its_own():
    with pytest.raises(FileNotFoundError, match="Caught FileNotFoundError in DataLoader worker"):
        list(read_ahead(Unreadable(), [[0]], list, 1, pinned=False))
    with pytest.raises(FileNotFoundError, match="no such thing: 'x'"):
        list(read_ahead(Unreadable(), [[0]], list, 0, pinned=False))


def read_and_wait(folder, started):
    """What a run does, up to where it is killed."""
    read = batches(training_set(folder), SAMPLER, 1, pinned=False)
    next(read)
    started.put(multiprocessing.active_children()[0].pid)
    time.sleep(60)


@pytest.mark.slow
def test_readers_leave_when_the_run_is_killed(folder):
    context = multiprocessing.get_context("spawn")
    started = context.Queue()
    run = context.Process(target=read_and_wait, args=(folder, started))
    run.start()
    reader = started.get(timeout=60)
    run.kill()
    run.join()
    assert survivors([reader]) == []


@pytest.mark.slow
def test_a_run_that_leaves_readers_behind_ends(folder):
    """At its end no batch is asked for that isn't there."""
    context = multiprocessing.get_context("spawn")
    run = context.Process(target=read_and_leave, args=(folder,))
    run.start()
    run.join(60)
    left = run.exitcode
    run.kill()
    assert left == 0


def read_and_leave(folder):
    """What a run does, up to where it is left without having read all."""
    global held
    held = batches(training_set(folder), SAMPLER, 1, pinned=False)
    next(held)
