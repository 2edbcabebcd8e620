"""Features that are computed once, and what is left after kills, changes and full disks."""

import os
import resource
import signal

import pytest
import torch

from segvoc.data.captions import feature_encoding
from segvoc.errors import InputError, OutputError, UsageError
from tests.data.captions.drawn_sets import SIDE, Encoders, dataset_of, draw_set
from tests.images import one_line_error


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(feature_encoding, "IMAGES_PER_SHARD", 4)
    monkeypatch.setattr(feature_encoding, "IMAGES_PER_BATCH", 3)


def encode_images(folder, dataset, encoders, *, mirrored=True, **options):
    """Compute what is missing."""
    cache = feature_encoding.image_cache(folder, dataset, encoders, mirrored=mirrored)
    feature_encoding.encode_images(cache, dataset, encoders, cache.missing(), mirrored=mirrored, **options)
    return cache


def encode_phrases(folder, dataset, encoders):
    cache = feature_encoding.phrase_cache(folder, dataset, encoders)
    feature_encoding.encode_phrases(cache, dataset, encoders, cache.missing())
    return cache


def reds(cache, dataset):
    """The red of each image, by its file's name, as its features tell."""
    return {entry.name: float(cache.read(row)["tap0"][0].max()) for row, entry in enumerate(dataset.entries())}


def test_a_row_holds_the_taps_of_a_image_and_of_its_mirror_image(tmp_path):
    dataset = dataset_of(tmp_path, 6)
    cache = encode_images(tmp_path / "cache", dataset, Encoders().frozen())
    assert reds(cache, dataset) == {str(number): 20.0 * number for number in range(6)}
    row = cache.read(5)
    assert row["tap0"].shape == (2, SIDE * SIDE, 3) and row["tap1"].shape == (2, 2, 5)
    assert row["tap0"].dtype == torch.float16
    plain, mirror = row["tap0"][:, :, 0].view(2, SIDE, SIDE)
    assert plain[:, 0].tolist() == [100] * SIDE and torch.equal(mirror, plain.flip(1))
    assert row["tap1"].unique().tolist() == pytest.approx([50], abs=1)
    only = encode_images(tmp_path / "cache", dataset, Encoders().frozen(), mirrored=False)
    assert only.read(5)["tap0"].shape == (1, SIDE * SIDE, 3)


def test_phrases_are_embedded_once_each(tmp_path):
    dataset, encoders = dataset_of(tmp_path, 3), Encoders()
    cache = encode_phrases(tmp_path / "cache", dataset, encoders.frozen())
    assert encoders.texts == ["dog0", "cat", "dog1", "dog2"] == dataset.phrase_texts()
    assert cache.read(2)["embeddings"].tolist() == [4.0, float(ord("1"))]
    encode_phrases(tmp_path / "cache", dataset, encoders.frozen())
    assert len(encoders.texts) == 4
    encode_phrases(tmp_path / "cache", dataset, Encoders(digest="two").frozen())
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_was_done_before_a_kill_is_not_done_again(tmp_path):
    dataset = dataset_of(tmp_path, 10)
    whole = encode_images(tmp_path / "whole", dataset, Encoders().frozen())
    with pytest.raises(KeyboardInterrupt):
        encode_images(tmp_path / "cache", dataset, Encoders(fails_at=13).frozen())  # both views count
    encoders = Encoders()
    cache = encode_images(tmp_path / "cache", dataset, encoders.frozen())
    assert encoders.images_seen == 2 * 6
    again = Encoders()
    encode_images(tmp_path / "cache", dataset, again.frozen())
    assert again.images_seen == 0
    for shard in range(3):
        assert cache.path(shard).read_bytes() == whole.path(shard).read_bytes()


def test_a_damaged_file_is_made_anew_and_reading_it_is_an_error_of_one_line(tmp_path):
    dataset = dataset_of(tmp_path, 6)
    cache = encode_images(tmp_path / "cache", dataset, Encoders().frozen())
    os.truncate(cache.path(1), 300)
    with one_line_error(InputError, "images-000001", "run the same command again"):
        cache.read(5)
    assert cache.missing() == [1]
    encoders = Encoders()
    cache = encode_images(tmp_path / "cache", dataset, encoders.frozen())
    assert encoders.images_seen == 2 * 2 and reds(cache, dataset)["5"] == 100


def test_damaged_notes_are_a_damage_like_any_other(tmp_path):
    dataset = dataset_of(tmp_path, 6)
    cache = encode_images(tmp_path / "cache", dataset, Encoders().frozen())
    path = cache.path(1)
    path.write_bytes(path.read_bytes().replace(b'"problems":"{}"', b'"problems":"xx"'))
    assert cache.missing() == [1]
    with one_line_error(InputError, "images-000001", "run the same command again"):
        cache.problem(5)


def test_another_encoder_never_meets_these_features_and_a_changed_image_costs_its_own_shard(tmp_path):
    dataset = dataset_of(tmp_path, 6)
    encode_images(tmp_path / "cache", dataset, Encoders().frozen())
    other = Encoders(digest="two")
    encode_images(tmp_path / "cache", dataset, other.frozen())
    assert other.images_seen == 2 * 6
    os.utime(tmp_path / "set/5.png", (1, 1))
    encoders = Encoders()
    encode_images(tmp_path / "cache", dataset, encoders.frozen())
    assert encoders.images_seen == 2 * 2
    draw_set(tmp_path / "set", 9)  # all are written anew
    encoders = Encoders()
    encode_images(tmp_path / "cache", dataset_of(tmp_path, 9), encoders.frozen())
    assert encoders.images_seen == 2 * 9


def test_an_image_that_can_not_be_read_is_told_and_noted(tmp_path):
    dataset = dataset_of(tmp_path, 6)
    (tmp_path / "set/2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    told: list[str] = []
    cache = encode_images(tmp_path / "cache", dataset, Encoders().frozen(), on_problem=told.append)
    assert len(told) == 1 and "2.png" in told[0] and "\n" not in told[0]
    assert [cache.problem(row) for row in range(6)] == [None, None, told[0], None, None, None]


def test_a_full_disk_is_an_error_that_says_how_much_is_needed_and_loses_nothing(tmp_path, monkeypatch):
    dataset = dataset_of(tmp_path, 6)
    monkeypatch.setattr(feature_encoding, "IMAGES_PER_SHARD", 5)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a shard of five images needs 1,700 bytes, one of a single image 700
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with one_line_error(OutputError, "images-000000", "finished shards are kept", "GB more"):
            encode_images(tmp_path / "cache", dataset, Encoders().frozen())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "cache").iterdir()) == []
    cache = encode_images(tmp_path / "cache", dataset, Encoders().frozen())
    assert reds(cache, dataset)["5"] == 100


def test_features_beyond_float16_are_a_wrong_call(tmp_path, as_users_call):
    dataset = dataset_of(tmp_path, 2)
    encoders = Encoders()
    large = encoders.frozen()
    object.__setattr__(large, "images", lambda pixels: (pixels.flatten(2) * 10_000,))
    with one_line_error(UsageError, "float16"):
        encode_images(tmp_path / "cache", dataset, large)
