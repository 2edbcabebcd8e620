"""The row of pictures that a network learns from."""

import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.data.labelled_images import LabelledImages
from segvoc.data.training.augmentations import Augmentation
from segvoc.data.training.training_set import (
    IGNORED,
    ShardedSampler,
    TrainingSet,
    batches,
    epoch_order,
    other_sides,
    seed_of,
)

SIDE = 8


@pytest.fixture
def folder(tmp_path):
    """Seven pictures; number n has the colour 10 n, and the labels 0, 1, 2 and none."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "classes.json").write_text('["cat", "wall", "sofa"]')
    for number in range(7):
        Image.new("RGB", (12, 10), (10 * number, 0, 0)).save(tmp_path / f"images/{number}.png")
        labels = np.repeat(np.array([0, 1, 2, 255], np.uint8), 3)[None].repeat(10, axis=0)
        Image.fromarray(labels).save(tmp_path / f"labels/{number}.png")
    return tmp_path


def training_set(folder, *, seed=0, background=None, swap_sides=False, **changes):
    settings = {"shortest": (8, 10), "longest": 99, "crop": SIDE, "colour": False, "ignored": IGNORED} | changes
    pictures = LabelledImages.from_folders(
        folder / "images", folder / "labels", folder / "classes.json", background=background
    )
    augmentation = Augmentation(**settings)
    return TrainingSet(images=pictures, augmentation=augmentation, seed=seed, swap_sides=swap_sides)


def numbers(pictures, places):
    return [int(pictures[place].image[0].max()) // 10 for place in places]


def test_each_pass_shows_every_picture_once_in_an_order_of_its_own(folder):
    pictures = training_set(folder)
    passes = [numbers(pictures, range(7 * turn, 7 * turn + 7)) for turn in range(3)]
    assert all(sorted(turn) == list(range(7)) for turn in passes)
    assert len({tuple(turn) for turn in passes}) == 3
    assert numbers(training_set(folder, seed=1), range(7)) != passes[0]


def test_a_place_holds_the_same_whoever_asks_and_whatever_came_before(folder):
    first, second = training_set(folder), training_set(folder)
    for place in (5, 19, 5, 0):
        assert all(torch.equal(a, b) for a, b in zip(first[place][:2], second[place][:2], strict=True))
    views = {tuple(first[place].labels.flatten().tolist()) for place in range(0, 70)}
    assert len(views) > 10  # changes are drawn anew for each place


@pytest.mark.parametrize(("workers", "ranks"), [(0, 1), (0, 2), (2, 1)])
def test_any_number_of_processes_and_workers_reads_the_same_row(folder, workers, ranks):
    pictures = training_set(folder)
    expected = [pictures[place] for place in range(4, 12)]  # steps 1 and 2 of 4 pictures each
    seen = []
    for rank in range(ranks):
        sampler = ShardedSampler(batch=4, passes=2, rank=rank, ranks=ranks, first_step=1, steps=3)
        read = list(batches(pictures, sampler, workers, pinned=False))
        assert len(read) == len(sampler) == 4
        seen.append([torch.cat([batch.images for batch in read[start : start + 2]]) for start in (0, 2)])
    images = torch.cat([torch.cat([of_rank[step] for of_rank in seen]) for step in range(2)])
    assert torch.equal(images, torch.stack([sample.image for sample in expected]))


def test_the_background_is_no_class_and_others_move_up(folder):
    pictures = training_set(folder, background="wall", squash=1.0, flip=0.0)
    assert pictures.vocabulary.words == ("cat", "sofa")
    assert pictures[0].labels.unique().tolist() == [0, 1, 2, IGNORED]
    assert pictures[0].labels[0].tolist() == sorted([0, 0, 2, 2]) + [1, 1] + [IGNORED] * 2
    plain = training_set(folder, squash=1.0, flip=0.0)
    assert plain.vocabulary.words == ("cat", "wall", "sofa")
    assert plain[0].labels[0].tolist() == [0, 0, 1, 1, 2, 2, IGNORED, IGNORED]


def test_in_place_of_a_picture_that_can_not_be_read_comes_the_next_of_its_pass(folder):
    order = epoch_order(7, 0, 0).tolist()
    (folder / f"images/{order[2]}.png").write_bytes(b"damaged")
    pictures = training_set(folder)
    assert numbers(pictures, range(7)) == [*order[:2], order[3], *order[3:]]
    assert pictures[1].problems == ()
    (problem,) = pictures[2].problems
    assert f"images/{order[2]}.png" in problem and "\n" not in problem


def test_seeds_of_purposes_places_and_runs_differ():
    seeds = [seed_of(*parts) for parts in ((0, "order", 0), (0, "changes", 0), (0, "order", 1), (1, "order", 0))]
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(0, "order", 0) == seeds[0]


@pytest.mark.parametrize(
    ("flip", "swap_sides", "expected"), [(0.0, True, "012"), (1.0, False, "210"), (1.0, True, "201")]
)
def test_in_the_mirror_left_is_right_where_that_is_asked_for(folder, flip, swap_sides, expected):
    (folder / "classes.json").write_text('["left door", "right door", "leftover"]')
    pictures = training_set(folder, flip=flip, squash=1.0, crop=12, swap_sides=swap_sides)
    row = [label for label in pictures[0].labels[0].tolist() if label != IGNORED]
    assert row == [int(label) for label in expected for _ in range(3)]


def test_only_whole_words_with_a_counterpart_change_sides():
    names = ["left mirror", "back right door", "right mirror", "back left door", "right", "left-hand glove", "bright"]
    assert other_sides(names) == {0: 2, 1: 3, 2: 0, 3: 1}


PLACES = ShardedSampler(batch=2, passes=1, rank=0, ranks=1, first_step=0, steps=12)


def test_readers_go_on_when_the_run_is_asked_to_stop(folder):
    """Ctrl-C, `timeout` and schedulers signal the whole group; the run still needs the batches of its last step."""
    forkserver._forkserver._stop()  # that of another test may hear signals
    read = batches(training_set(folder), PLACES, 1, pinned=False)
    next(read)
    (reader,) = multiprocessing.active_children()
    assert os.getpgid(reader.pid) != os.getpgrp()
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGTERM)
    assert len(list(read)) == 11


def read_and_wait(folder, started):
    """What a run does, up to where it is killed."""
    read = batches(training_set(folder), PLACES, 1, pinned=False)
    next(read)
    started.put(multiprocessing.active_children()[0].pid)
    time.sleep(60)


def test_readers_leave_when_the_run_is_killed(folder):
    context = multiprocessing.get_context("spawn")
    started = context.Queue()
    run = context.Process(target=read_and_wait, args=(folder, started))
    run.start()
    reader = started.get(timeout=60)
    run.kill()
    run.join()
    for _ in range(100):
        if not os.path.exists(f"/proc/{reader}"):
            break
        time.sleep(0.1)
    else:
        os.kill(reader, signal.SIGKILL)
        pytest.fail("the reader is still there")


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
    held = batches(training_set(folder), PLACES, 1, pinned=False)
    next(held)
