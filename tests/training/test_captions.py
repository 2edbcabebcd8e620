"""Training on captions: what a step minimizes, the order of images, shared features, and images that can't be read."""

from dataclasses import dataclass

import pytest
import torch

from segvoc.data.training.training_set import ShardedSampler
from segvoc.errors import InputError, UsageError
from segvoc.runtime.distributed import Processes
from segvoc.training import caption_task
from segvoc.training.caption_task import CaptionData, CaptionFiles
from segvoc.training.losses import synergy_losses
from segvoc.training.recipe import CaptionConfig, Recipe
from segvoc.training.run_folder import RunFolder
from tests.data.captions.drawn_sets import SIDE, Encoders, dataset_of, draw_set
from tests.images import one_line_error
from tests.training.runs import CAPTIONS, CaptionsInMemory
from tests.training.runs import open_captions as open_run


def test_a_step_minimizes_the_weighted_sum_and_trains_the_decoder_alone(tmp_path):
    weights = {"align": 1.0, "cont": 2.0, "back": 0.5, "sep": 0.25}
    settings = {f"{term}_weight": weight for term, weight in weights.items()}
    training = open_run(tmp_path / "run", steps=1, loss_eps=0.02, loss_version="v2", **settings)
    network, batch = training.network, CaptionsInMemory().batch([0, 1])
    with torch.no_grad():
        taps = tuple(tap.float() for tap in batch.taps)
        vectors, _ = network.learn(taps, batch.phrases, batch.owner)
        config = CaptionConfig(loss_version="v2", loss_eps=0.02)
        terms = synergy_losses(config, *vectors, batch.phrases, batch.owner, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training.run()
    (line,) = RunFolder(tmp_path / "run").read_lines("metrics.jsonl")
    assert line["loss"] == pytest.approx(sum(weights[term] * value.item() for term, value in terms.items()), rel=1e-5)
    assert [line[term] for term in terms] == pytest.approx([value.item() for value in terms.values()], rel=1e-5)
    assert 0 < line["activation"] < 1
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(network.trainable_parameters())


def test_without_a_readable_image_the_run_says_so(tmp_path):
    with pytest.raises(InputError, match=r"none of the 7 captioned images can be read; 'a\.jpg' is gone"):
        open_run(tmp_path / "run", task=CaptionsInMemory(readable=False)).run()


def test_margins_that_leave_no_cosine_are_refused():
    with pytest.raises(UsageError, match=r"loss_eps=0\.5 leaves no range for the cosine"):
        CAPTIONS.with_settings(["loss_eps=0.5"])


RECIPE = Recipe(model="small", supervision="captions").with_settings(crop_size=SIDE, num_workers=0)


@dataclass(frozen=True)
class Rank(Processes):
    """One of several; `others` is what they do before this one goes on, `heard` what the first one gathers."""

    others: object = None
    heard: list | None = None

    def gather(self, value):
        if self.others is not None:
            self.others()
        return [value] * self.count if self.heard is None else [self.heard.pop(0), value]


@pytest.fixture
def open_task(tmp_path):
    """Opens a task on drawn images with encoders that are fast."""

    def opened(count=5, *, dataset=None, encoders=None, seed=0, processes=None, **settings):
        recipe, processes = RECIPE.with_settings(**settings), processes or Processes()
        about = {"folder": tmp_path / "cache", "seed": seed, "processes": processes, "silent": True}
        data = CaptionData(recipe=recipe, dataset=dataset or dataset_of(tmp_path, count), **about)
        return data.task_of(encoders or Encoders())

    return opened


def sampler(batch, first_step=0, steps=1, rank=0, ranks=1):
    return ShardedSampler(batch=batch, passes=1, rank=rank, ranks=ranks, first_step=first_step, steps=steps)


def batches(task, *places, workers=0, **options):
    return list(task.batches(sampler(*places, **options), workers, pinned=False))


def shown(batch):
    """Number and side of each image (its red half left or right), and its phrases' embeddings."""
    red = batch.taps[0][:, :, 0].view(-1, SIDE, SIDE).float()
    numbers = (red.amax((1, 2)) / 20).round().int().tolist()
    sides = ["left" if row[0, 0] >= row[0, -1] else "right" for row in red]
    phrases = [batch.phrases[batch.owner == own].tolist() for own in range(len(red))]
    return list(zip(numbers, sides, phrases, strict=True))


def test_each_pass_shows_every_image_once_with_its_own_phrases(open_task):
    task = open_task()
    assert len(task) == 5
    passes = [shown(batch) for batch in batches(task, 5, steps=8)]
    orders = [[number for number, _, _ in turn] for turn in passes]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    for number, _, phrases in (entry for turn in passes for entry in turn):
        assert phrases == [[4.0, float(ord(str(number)))], [3.0, float(ord("t"))]]
    sides = {side for turn in passes for number, side, _ in turn if number}
    assert sides == {"left", "right"}
    other = [[number for number, _, _ in shown(batch)] for batch in batches(open_task(seed=1), 5, steps=8)]
    assert other != orders
    (batch,) = batches(open_task(flip=False), 20)
    assert {side for _, side, _ in shown(batch)} == {"left"}


@pytest.mark.parametrize(("workers", "ranks"), [(0, 2), (1, 1)])
def test_any_number_of_processes_and_workers_and_a_resumed_run_see_the_same_order(open_task, workers, ranks):
    task = open_task()
    expected = [shown(batch) for batch in batches(task, 4, steps=3)][1:]
    seen = [[shown(batch) for batch in batches(task, 4, 1, 3, rank, ranks, workers=workers)] for rank in range(ranks)]
    assert [[entry for own in seen for entry in own[step]] for step in range(2)] == expected


def test_in_place_of_an_image_that_can_not_be_read_comes_the_next_if_there_is_one(open_task, tmp_path):
    dataset = dataset_of(tmp_path, 3)
    (tmp_path / "set/1.png").write_bytes(b"broken")
    (batch,) = batches(open_task(dataset=dataset), 3)
    assert sorted(number for number, _, _ in shown(batch)) == [0, 2, 2]
    assert len(batch.problems) == 1 and "1.png" in batch.problems[0]
    for number in (0, 2):
        (tmp_path / f"set/{number}.png").write_bytes(b"broken")
    (batch,) = batches(open_task(dataset=dataset), 2)
    assert batch.taps == () and len(batch.owner) == 0 and len(batch.problems) == 6


def test_phrases_are_embedded_once_each(tmp_path, open_task):
    dataset, encoders = dataset_of(tmp_path, 3), Encoders()
    for _ in range(2):
        open_task(dataset=dataset, encoders=encoders)
    assert encoders.encoded == ["dog0", "cat", "dog1", "dog2"] == dataset.phrase_texts()
    open_task(dataset=dataset, encoders=Encoders(digest="two"))
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_processes_share_what_is_missing_and_wait_for_each_other(open_task, tmp_path, monkeypatch):
    """The fault that was: all shards were dealt before those that exist were left out."""
    monkeypatch.setattr(caption_task, "PHRASES_PER_SHARD", 2)
    dataset = dataset_of(tmp_path, 11)  # 12 phrases
    for written in ({0, 2, 4}, {0, 1, 2, 4, 5}):
        with one_line_error(UsageError, f"phrases-00000{3 if 1 in written else 1}", "same folder"):
            open_task(dataset=dataset, processes=Rank(0, 2))
        assert {int(path.name.split("-")[1]) for path in (tmp_path / "cache").iterdir()} == written
    assert len(open_task(dataset=dataset, processes=Rank(1, 2, others=lambda: open_task(dataset=dataset)))) == 11


def test_the_first_process_alone_reads_captions_and_the_others_end_when_it_fails(tmp_path):
    draw_set(tmp_path / "set", 3)
    first = dataset_in(tmp_path, tmp_path / "set/captions.json", Processes(0, 1))
    other = dataset_in(tmp_path, "not read", Rank(1, 2, heard=[False, first.index]))
    assert list(other.entries()) == list(first.entries())
    with pytest.raises(SystemExit, match="2"):
        dataset_in(tmp_path, tmp_path / "set/captions.json", Rank(1, 2, heard=[True]))


def dataset_in(out, captions, processes):
    files = CaptionFiles(captions=captions)
    return CaptionData.of(RECIPE, files, out, seed=0, processes=processes, silent=True).dataset


def test_skipped_captions_are_listed_and_then_counted(tmp_path, capsys):
    draw_set(tmp_path / "set", 33)
    for number in range(3, 33):
        (tmp_path / f"set/{number}.png").unlink()
    dataset_in(tmp_path, tmp_path / "set/captions.json", Processes())
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 21 and "'3.png' is not in" in warnings[0] and "warning: 10 more problems" in warnings[-1]
