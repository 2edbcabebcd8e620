"""Training samples: order, workers and processes; the parts and objects of pixels; a user's transform."""

import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.augmentations import Augmentation, OwnTransform
from segvoc.data.training.training_set import (
    IGNORED,
    NONE,
    PartTrainingSet,
    ShardedSampler,
    TrainingSet,
    epoch_order,
    other_sides,
    read_ahead,
    stacked,
)
from segvoc.errors import ProcessError, UsageError
from segvoc.training.loop import stop_signals
from segvoc.training.recipes import finetune
from segvoc.training.run import train
from tests.data.training.own_transforms import FOR_EVER, NO_ROOM_FOR, UNREADABLE, Failing, Rows, brighter
from tests.images import one_line_error
from tests.processes import survivors

SIDE = 8

# the processes that read have then imported what they need, which takes each of them seconds
multiprocessing.set_forkserver_preload([TrainingSet.__module__, Rows.__module__])


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


def images_of(folder, **rules) -> LabeledImages:
    return LabeledImages.from_folders(*(folder / name for name in ("images", "labels", "classes.json")), **rules)


def training_set(folder, *, kind=TrainingSet, seed=0, transform=None, background=None, **changes):
    settings = {"short_sides": (8, 10), "max_long_side": 99, "crop_size": SIDE, "color_jitter": False} | changes
    images, own = images_of(folder, background=background), transform and OwnTransform(function=transform)
    return kind(images=images, augmentation=Augmentation(**settings), seed=seed, transform=own)


def numbers(samples, positions):
    return [int(samples[position].image[0].max()) // 10 for position in positions]


def test_each_epoch_has_every_image_once_in_an_order_and_with_changes_of_its_own(folder):
    samples, again = training_set(folder), training_set(folder)
    epochs = [numbers(samples, range(7 * epoch, 7 * epoch + 7)) for epoch in range(3)]
    assert all(sorted(order) == list(range(7)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3
    assert numbers(training_set(folder, seed=1), range(7)) != epochs[0]
    for position in (5, 19, 5, 0):
        assert all(map(torch.equal, samples[position][:2], again[position][:2]))
    assert len({tuple(samples[position].labels.flatten().tolist()) for position in range(70)}) > 10


@pytest.mark.parametrize("ranks", [1, 2])
def test_any_number_of_processes_reads_the_same_samples(folder, ranks):
    samples = training_set(folder)
    expected = [samples[position] for position in range(4, 12)]  # steps 1 and 2, with 4 images each
    seen = []
    for rank in range(ranks):
        sampler = ShardedSampler(batch=4, passes=2, rank=rank, ranks=ranks, first_step=1, steps=3)
        read = list(read_ahead(samples, sampler, stacked, 0, pinned=False))
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


@pytest.mark.parametrize(
    ("flip", "swap_sides", "expected"), [(0.0, True, "012"), (1.0, False, "210"), (1.0, True, "201")]
)
def test_flipping_swaps_left_and_right_if_that_is_requested(folder, flip, swap_sides, expected):
    (folder / "classes.json").write_text('["left door", "right door", "leftover"]')
    samples = training_set(folder, flip_prob=flip, squash_prob=1.0, crop_size=12, swap_left_right=swap_sides)
    row = [label for label in samples[0].labels[0].tolist() if label != IGNORED]
    assert row == [int(label) for label in expected for _ in range(3)]


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (["left mirror", "right door", "right mirror", "left door", "right", "left-hand", "bright"], {0: 2, 1: 3}),
        (["left_arm_2", "Left arm", "left_arm", "right_arm", "Right arm"], {1: 3, 2: 4}),
        *(
            ([left, right, "arm", "bright arm"], {0: 1})
            for left, right in (
                ("LEFT ARM", "RIGHT ARM"),
                ("leftArm", "rightArm"),
                ("arm (left)", "arm (right)"),
                ("arm_left_2", "arm_right_2"),
                ("Left-arm", "right_arm"),
            )
        ),
    ],
)
def test_sides_are_words_in_any_spelling_with_a_counterpart(names, others):
    assert other_sides(names) == others | {right: left for left, right in others.items()}


def reading(*indices: int, size=1, **options):
    """Another process reads rows, each in a batch of its own."""
    return read_ahead(Rows(size), [[index] for index in indices], list, 1, pinned=False, **options)


def reader() -> int:
    (process,) = multiprocessing.active_children()
    return process.pid


@pytest.mark.slow
def test_readers_go_on_when_the_run_is_asked_to_stop():
    """Ctrl-C, `timeout` and schedulers signal the whole group; the run still needs the batches of its last step."""
    forkserver._forkserver._stop()  # that of another test may hear signals
    read = reading(*range(12))
    next(read)
    assert os.getpgid(reader()) != os.getpgrp()
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGTERM)
    assert len(list(read)) == 11


NO_ROOM = "found no room in shared memory (/dev/shm)"


def ended(how: str) -> str:
    return (
        f"a process that reads training data {how}; continue the run with --resume, and if it happens again, give a "
        "container more shared memory (docker run --shm-size=8g), or read in the process that trains "
        "(--set num_workers=0)"
    )


def test_a_reader_that_is_killed_is_told():
    read = reading(1, FOR_EVER)
    next(read)
    os.kill(reader(), signal.SIGKILL)
    with one_line_error(ProcessError, ended("was killed, probably because memory ran out")):
        list(read)


def test_a_full_shared_memory_is_told_instead_of_waiting_for_ever():
    with one_line_error(ProcessError, ended(NO_ROOM)):
        list(reading(NO_ROOM_FOR))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small /dev/shm")
def test_a_small_shared_memory_is_told():
    small = "mount -t tmpfs -o size=300k tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", small], capture_output=True, check=False).returncode:
        pytest.skip("no rights to mount")
    code = "from tests.data.training.test_training_set import reading; list(reading(*range(9), size=400_000))"
    call = ["unshare", "-m", "sh", "-c", f'{small}; exec "$0" -c "$1"', sys.executable, code]
    done = subprocess.run(call, capture_output=True, text=True, timeout=200, check=False)
    assert done.stderr.splitlines()[-1] == f"segvoc.errors.ProcessError: {ended(NO_ROOM)}"
    assert done.stderr.count("Traceback") == 1


def test_sigterm_ends_a_wait_for_data(monkeypatch, capsys):
    monkeypatch.setattr("segvoc.data.training.training_set.LAST_BATCH", 0.2)
    monkeypatch.setattr("segvoc.data.training.training_set.POLL_SECONDS", 0.1)
    with stop_signals() as received, pytest.raises(SystemExit) as left:
        read = reading(FOR_EVER, signals=received)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        next(read)
    assert (left.value.code, received) == (128 + signal.SIGTERM, [signal.SIGTERM])
    told = "segvoc: stopped by a signal while waiting for data; the last checkpoint stays"
    assert told in capsys.readouterr().err.splitlines()


def test_what_a_reader_raises_is_its_own():
    with pytest.raises(FileNotFoundError, match="Caught FileNotFoundError in DataLoader worker"):
        list(reading(UNREADABLE))


def read_one(started, seconds):
    """What a run does that is killed or ends before it has read all; at its end no batch is asked for."""
    global held
    held = reading(1, 2)
    next(held)
    started.put(reader())
    time.sleep(seconds)


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "code"), [(60, -signal.SIGKILL), (0, 0)])
def test_readers_leave_when_the_run_is_killed_or_ends(seconds, code):
    context = multiprocessing.get_context("spawn")
    started = context.Queue()
    process = context.Process(target=read_one, args=(started, seconds))
    process.start()
    left = started.get(timeout=300)
    if code:
        process.kill()
    process.join(300)
    assert process.exitcode == code
    assert survivors([left]) == []


WHOLE = Augmentation(short_sides=(6,), max_long_side=100, crop_size=6, color_jitter=False, flip_prob=0.0)
CLASSES = ["background", "dog's head", "sofa", "cat's head", "dog's leg"]


def drawn(root: Path, values: np.ndarray, classes: list[str], name: str = "labels") -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(root / name / "one.png")
    (root / ("classes.json" if name == "labels" else f"{name}.json")).write_text(json.dumps(classes))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image with a column for each of the five classes and an unlabeled one."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(tmp_path / "images/one.png")
    drawn(tmp_path, np.tile([0, 1, 2, 3, 4, 255], (6, 1)), CLASSES)
    return tmp_path


def part_set(root: Path, augmentation=WHOLE, **maps) -> PartTrainingSet:
    images = replace(images_of(root, background="background"), **maps)
    return PartTrainingSet(images=images, augmentation=augmentation, seed=0)


def labels(root: Path, **maps) -> list[list[int]]:
    """The two labels of each column."""
    sample = part_set(root, **maps)[0]
    assert sample.problems == () and sample.labels.shape == (2, 6, 6)
    assert (sample.labels == sample.labels[:, :1]).all()
    return sample.labels[:, 0].tolist()


def test_a_pixel_has_a_part_and_an_object(root):
    parts, objects = labels(root)
    assert parts == [NONE, 0, NONE, 1, 2, IGNORED]  # dog's head, cat's head, dog's leg
    assert objects == [NONE, 1, 2, 0, 1, IGNORED]  # cat, dog, sofa
    drawn(root, np.tile([0, 0, 0, 255, 255, 255], (6, 1)), CLASSES)
    assert "no learned part or object" in part_set(root)[0].problems[0]


def object_maps(root: Path, *words: str) -> LabeledImages:
    """The image is the second word except for its first column."""
    drawn(root, np.tile([1, 0, 0, 0, 0, 0], (6, 1)), list(words), "objects")
    return LabeledImages.from_folders(root / "images", root / "objects", root / "objects.json")


WITH_OBJECTS = [[NONE, 0, NONE, 1, 2, IGNORED], [NONE, 1, 1, 1, 1, 1]]
"""The horse isn't learned."""


def test_object_maps_cover_more_than_parts(root):
    maps = object_maps(root, "dog", "horse")
    assert labels(root, object_maps=maps) == WITH_OBJECTS
    with pytest.raises(UsageError, match="'one' has no object map"):
        part_set(root, object_maps=maps.only([]))


def test_joined_sets_keep_their_object_maps(root):
    one = replace(images_of(root, background="background"), object_maps=object_maps(root, "hound", "horse"))
    joined = LabeledImages.joined([one, replace(one, name="two")], rename={"hound": "dog"})
    own = PartTrainingSet(images=joined, augmentation=WHOLE, seed=0)
    assert len(joined) == len(joined.object_maps) == 2 and joined.object_maps.vocabulary.words == ("dog", "horse")
    assert [own[place].labels[:, 0].tolist() for place in range(2)] == [WITH_OBJECTS] * 2
    with one_line_error(UsageError, match="'plain' has no object maps, but '.*' has; join sets that all have some"):
        LabeledImages.joined([one, replace(one, name="plain", object_maps=None)])


def test_both_maps_are_augmented_alike(root):
    own = part_set(root, replace(WHOLE, short_sides=(6, 9, 12), crop_size=5, flip_prob=0.5))
    pairs = {(part, thing) for part, thing in zip(*labels(root), strict=True)} | {(IGNORED, IGNORED)}
    for place in range(8):
        found = own[place].labels
        assert {tuple(pair) for pair in found.flatten(1).T.tolist()} <= pairs
        assert found.unique().numel() > 2 and found.shape == (2, 5, 5)


def test_the_classes_of_an_owner_are_its_parts(root):
    drawn(root, np.zeros((6, 6)), ["rest", "door", "hood"])
    named = images_of(root, background="rest", owner="car")
    assert named.vocabulary.words == ("rest", "car's door", "car's hood")
    with pytest.raises(UsageError, match="has no name"):
        images_of(root, owner=" ")


def test_flipping_swaps_left_and_right_parts_but_not_objects(root):
    drawn(root, np.tile([0, 0, 1, 1, 2, 2], (6, 1)), ["car's left door", "car's right door", "left luggage"])
    changes = replace(WHOLE, flip_prob=1.0, swap_left_right=True)
    own = PartTrainingSet(images=images_of(root), augmentation=changes, seed=0)
    assert own[0].labels[:, 0].tolist() == [[NONE, NONE, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0]]


def test_what_it_returns_is_learned_the_same_with_workers_and_after_a_resume(folder) -> None:
    changed = training_set(folder, transform=brighter)
    assert len({int(changed[position].image[1].max()) for position in range(7)}) > 3  # the light, of gray 0
    here = stacked([changed[4], changed[5]])
    resumed = ShardedSampler(batch=2, passes=1, rank=0, ranks=1, first_step=2, steps=4)
    read = read_ahead(training_set(folder, transform=Failing(after=2)), resumed, stacked, 1, pinned=False)
    there = next(read)
    assert torch.equal(here.images, there.images) and torch.equal(here.labels, there.labels)
    # a wrong result is one line, also from a worker
    with one_line_error(UsageError, match=r"own_transforms:Failing returned the label 77, .*65535"):
        next(read)


@pytest.mark.parametrize(
    ("kind", "background", "expected"), [(TrainingSet, None, {0, 1, 2}), (PartTrainingSet, "ground", {0, NONE})]
)
def test_it_gets_the_labels_of_the_classes_and_of_what_is_none(folder, kind, background, expected) -> None:
    seen = set()

    def look(image, labels, rng):
        seen.update(np.unique(labels).tolist())
        assert image.dtype == np.uint8 and labels.dtype == np.int32 and image.flags.writeable
        assert labels.shape[2:] == (() if kind is TrainingSet else (2,))
        return image, labels.astype(np.int64)

    (folder / "classes.json").write_text(json.dumps(["ground", "dog's head", "dog"]))
    sample = training_set(folder, kind=kind, background=background, transform=look)[0]
    assert seen == expected | {IGNORED} and set(sample.labels.unique().tolist()) <= seen


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda image, labels, rng: image, "returned a ndarray"),
        (lambda image, labels, rng: (image / 255, labels), "type float64"),
        (lambda image, labels, rng: (image[:8], labels), "labels of shape"),
        (lambda image, labels, rng: (image, labels / 2), "labels of shape"),
    ],
)
def test_other_results_are_refused(folder, wrong, message) -> None:
    with pytest.raises(UsageError, match=message):
        training_set(folder, transform=wrong)[0]


def test_a_transform_that_workers_could_not_import_is_refused_before_training(folder, tmp_path) -> None:
    recipe = finetune("tiny", images=2, steps=1).with_settings(num_workers=1)
    with pytest.raises(UsageError, match=r"can't be sent to reading processes .*num_workers=0"):
        train(recipe, images_of(folder), tmp_path / "run", transform=lambda *all: all[:2])
    OwnTransform(function=functools.partial(brighter)).check_sendable()
    assert OwnTransform(function=functools.partial(brighter)).name == "functools:partial"
