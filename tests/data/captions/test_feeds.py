"""The row of captioned pictures."""

import pytest

from segvoc.data.captions.batches import CaptionFeed
from segvoc.data.captions.feature_cache import CacheSettings, encode_pictures
from segvoc.data.captions.feeds import open_feed
from segvoc.data.training.training_set import ShardedSampler
from segvoc.errors import UsageError
from tests.data.captions.drawn_sets import SIDE, Towers, phrases_of
from tests.pictures import assert_one_line


def feed_of(tmp_path, count=5, **options):
    phrases = phrases_of(tmp_path / "set", count)
    return open_feed(phrases, Towers().encoders(), tmp_path / "cache", **({"seed": 0} | options))


def sampler(batch, first_step=0, steps=1, rank=0, ranks=1):
    return ShardedSampler(batch=batch, passes=1, rank=rank, ranks=ranks, first_step=first_step, steps=steps)


def shown(batch):
    """Number and side of each picture (its red half left or right), and its phrases' embeddings."""
    red = batch.taps[0][:, :, 0].view(-1, SIDE, SIDE).float()
    numbers = (red.amax((1, 2)) / 20).round().int().tolist()
    sides = ["left" if row[0, 0] >= row[0, -1] else "right" for row in red]
    said = [batch.phrases[batch.owner == place].tolist() for place in range(len(red))]
    return list(zip(numbers, sides, said, strict=True))


@pytest.mark.parametrize("cached", [True, False])
def test_each_pass_shows_every_picture_once_with_its_own_phrases(tmp_path, cached):
    feed = feed_of(tmp_path, cached=cached)
    assert isinstance(feed, CaptionFeed) and len(feed) == 5
    passes = [shown(batch) for batch in feed.batches(sampler(5, steps=8), 0)]
    orders = [[number for number, _, _ in turn] for turn in passes]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    for number, _, said in (entry for turn in passes for entry in turn):
        assert said == [[4.0, float(ord(str(number)))], [3.0, float(ord("t"))]]
    sides = {side for turn in passes for number, side, _ in turn if number}
    assert sides == {"left", "right"}


def test_cached_and_encoded_on_the_way_show_the_same(tmp_path):
    feeds = [feed_of(tmp_path, cached=cached, seed=3) for cached in (True, False)]
    first, second = ([shown(batch) for batch in feed.batches(sampler(4, steps=3), 0)] for feed in feeds)
    assert first == second


def test_without_mirror_images_none_is_shown_or_kept(tmp_path):
    feed = feed_of(tmp_path, mirror=False)
    (batch,) = feed.batches(sampler(20), 0)
    assert {side for _, side, _ in shown(batch)} == {"left"}
    assert feed.row.features.read(0)["tap0"].shape[0] == 1
    with pytest.raises(UsageError):
        feed_of(tmp_path, mirror=False, settings=CacheSettings(mirrored=True))


@pytest.mark.parametrize(("workers", "ranks"), [(0, 2), (1, 1)])
def test_any_number_of_processes_and_workers_and_a_resumed_run_read_the_same_row(tmp_path, workers, ranks):
    feed = feed_of(tmp_path, workers=workers)
    expected = [shown(batch) for batch in feed.batches(sampler(4, steps=3), 0)][1:]
    seen = [[shown(batch) for batch in feed.batches(sampler(4, 1, 3, rank, ranks), workers)] for rank in range(ranks)]
    assert [[entry for own in seen for entry in own[step]] for step in range(2)] == expected


def test_in_place_of_a_picture_that_can_not_be_read_comes_the_next(tmp_path):
    phrases = phrases_of(tmp_path / "set", 3)
    (tmp_path / "set/1.png").write_bytes(b"broken")
    for cached in (True, False):
        feed = open_feed(phrases, Towers().encoders(), tmp_path / "cache", seed=0, cached=cached)
        (batch,) = feed.batches(sampler(3), 0)
        assert sorted({number for number, _, _ in shown(batch)}) == [0, 2]
        assert len(batch.problems) == 1 and "1.png" in batch.problems[0]


def test_where_no_picture_can_be_read_the_cache_is_refused_and_the_row_is_empty(tmp_path):
    phrases = phrases_of(tmp_path / "set", 2)
    for number in range(2):
        (tmp_path / f"set/{number}.png").write_bytes(b"broken")
    with pytest.raises(UsageError) as error:
        open_feed(phrases, Towers().encoders(), tmp_path / "cache", seed=0)
    assert_one_line(error, "no picture", ".png")
    feed = open_feed(phrases, Towers().encoders(), tmp_path / "cache", seed=0, cached=False)
    (batch,) = feed.batches(sampler(2), 0)
    assert batch.taps == () and len(batch.owner) == 0 and len(batch.problems) == 4


def test_processes_wait_for_each_other_and_say_whose_files_are_missing(tmp_path):
    phrases, towers = phrases_of(tmp_path / "set", 4), Towers()
    settings = CacheSettings(shard=2)
    asked = {"seed": 0, "settings": settings, "rank": 0, "ranks": 2}
    with pytest.raises(UsageError) as error:
        open_feed(phrases, towers.encoders(), tmp_path / "cache", **asked)
    assert_one_line(error, "pictures-000001", "same folder")

    def others_work():
        encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), settings, rank=1, ranks=2)

    feed = open_feed(phrases, towers.encoders(), tmp_path / "cache", together=others_work, **asked)
    assert len(feed) == 4 and towers.pictures == 2 * 2
