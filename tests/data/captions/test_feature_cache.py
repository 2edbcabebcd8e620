"""Features that are computed once, and what is left after kills, changes and full disks."""

import os
import resource
import signal
import subprocess
import sys

import pytest
import torch

from segvoc.data.captions.feature_cache import CacheSettings, encode_phrases, encode_pictures
from segvoc.data.captions.phrases import PhraseSet, phrase_extractor
from segvoc.data.captions.sources import captioned_images
from segvoc.errors import InputError, OutputError, UsageError
from tests.data.captions.drawn_sets import SIDE, Towers, draw_set, phrases_of
from tests.pictures import assert_one_line

SETTINGS = CacheSettings(shard=4, batch=3)


def reds(shards, phrases):
    """The red of each picture, by its file's name, as its features tell."""
    stems = [phrases.images.images[index].stem for index in phrases.pictures]
    return {stem: float(shards.read(row)["tap0"][0].max()) for row, stem in enumerate(stems)}


def test_a_row_holds_the_taps_of_a_picture_and_of_its_mirror_image(tmp_path):
    phrases = phrases_of(tmp_path / "set", 6)
    shards = encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), SETTINGS)
    assert reds(shards, phrases) == {str(number): 20.0 * number for number in range(6)}
    row = shards.read(5)
    assert row["tap0"].shape == (2, SIDE * SIDE, 3) and row["tap1"].shape == (2, 2, 5)
    assert row["tap0"].dtype == torch.float16
    plain, mirror = row["tap0"][:, :, 0].view(2, SIDE, SIDE)
    assert plain[:, 0].tolist() == [100] * SIDE and torch.equal(mirror, plain.flip(1))
    assert row["tap1"].unique().tolist() == pytest.approx([50], abs=1)
    only = encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), CacheSettings(mirrored=False, shard=4))
    assert only.read(5)["tap0"].shape == (1, SIDE * SIDE, 3)
    exact = CacheSettings(precision="float32", shard=4)
    assert encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), exact).read(5)["tap0"].dtype == torch.float


def test_phrases_are_embedded_once_each(tmp_path):
    phrases, towers = phrases_of(tmp_path / "set", 3), Towers()
    shards = encode_phrases(tmp_path / "cache", phrases, towers.encoders())
    assert towers.texts == ["cat", "dog0", "dog1", "dog2"] == list(phrases.phrases)
    assert shards.read(2)["embeddings"].tolist() == [4.0, float(ord("1"))]
    encode_phrases(tmp_path / "cache", phrases, towers.encoders())
    assert len(towers.texts) == 4
    encode_phrases(tmp_path / "cache", phrases, Towers(digest="two").encoders())
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_was_done_before_a_kill_is_not_done_again(tmp_path):
    phrases = phrases_of(tmp_path / "set", 10)
    whole = encode_pictures(tmp_path / "whole", phrases, Towers().encoders(), SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        encode_pictures(tmp_path / "cache", phrases, Towers(fails_at=13).encoders(), SETTINGS)  # both views count
    towers = Towers()
    shards = encode_pictures(tmp_path / "cache", phrases, towers.encoders(), SETTINGS)
    assert towers.pictures == 2 * 6
    again = Towers()
    encode_pictures(tmp_path / "cache", phrases, again.encoders(), SETTINGS)
    assert again.pictures == 0
    for shard in range(3):
        assert shards.path(shard).read_bytes() == whole.path(shard).read_bytes()


KILLED_AT_THE_SECOND_WRITE = """
import os, signal, sys
from pathlib import Path
from segvoc.data.captions.feature_cache import encode_pictures
from tests.data.captions.drawn_sets import Towers, phrases_of
from tests.data.captions.test_feature_cache import SETTINGS

replace, writes = Path.replace, 0

def counted(path, target):
    global writes
    writes += 1
    if writes == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(path, target)

phrases = phrases_of(Path(sys.argv[1]) / "set", 10)
Path.replace = counted
encode_pictures(Path(sys.argv[1]) / "cache", phrases, Towers().encoders(), SETTINGS)
"""


def test_a_killed_process_leaves_whole_shards_alone(tmp_path):
    command = [sys.executable, "-c", KILLED_AT_THE_SECOND_WRITE, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    assert subprocess.run(command, check=False, env=environment).returncode == -signal.SIGKILL
    images = captioned_images(tmp_path / "set")
    phrases, towers = PhraseSet.collect(images, phrase_extractor()), Towers()
    shards = encode_pictures(tmp_path / "cache", phrases, towers.encoders(), SETTINGS)
    assert towers.pictures == 2 * 6  # the first four were there
    assert reds(shards, phrases) == {str(number): 20.0 * number for number in range(10)}


def test_a_damaged_file_is_made_anew_and_reading_it_is_an_error_of_one_line(tmp_path):
    phrases = phrases_of(tmp_path / "set", 6)
    shards = encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), SETTINGS)
    os.truncate(shards.path(1), 300)
    with pytest.raises(InputError) as error:
        shards.read(5)
    assert_one_line(error, "pictures-000001", "run the same command again")
    assert shards.missing() == [1]
    towers = Towers()
    shards = encode_pictures(tmp_path / "cache", phrases, towers.encoders(), SETTINGS)
    assert towers.pictures == 2 * 2 and reds(shards, phrases)["5"] == 100


def test_damaged_notes_are_a_damage_like_any_other(tmp_path):
    phrases = phrases_of(tmp_path / "set", 6)
    shards = encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), SETTINGS)
    path = shards.path(1)
    path.write_bytes(path.read_bytes().replace(b'"notes":"{}"', b'"notes":"xx"'))
    assert shards.missing() == [1]
    with pytest.raises(InputError) as error:
        shards.note(5)
    assert_one_line(error, "pictures-000001", "run the same command again")


def test_another_tower_never_meets_these_features_and_a_changed_picture_costs_its_own_shard(tmp_path):
    phrases = phrases_of(tmp_path / "set", 6)
    encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), SETTINGS)
    other = Towers(digest="two")
    encode_pictures(tmp_path / "cache", phrases, other.encoders(), SETTINGS)
    assert other.pictures == 2 * 6
    os.utime(tmp_path / "set/5.png", (1, 1))
    towers = Towers()
    encode_pictures(tmp_path / "cache", phrases, towers.encoders(), SETTINGS)
    assert towers.pictures == 2 * 2
    draw_set(tmp_path / "set", 9)  # all are written anew
    towers = Towers()
    encode_pictures(tmp_path / "cache", phrases_of(tmp_path / "set", 9), towers.encoders(), SETTINGS)
    assert towers.pictures == 2 * 9


def test_several_processes_share_the_work(tmp_path):
    phrases = phrases_of(tmp_path / "set", 10)
    counts = []
    for rank in range(2):
        towers = Towers()
        shards = encode_pictures(tmp_path / "cache", phrases, towers.encoders(), SETTINGS, rank=rank, ranks=2)
        counts.append(towers.pictures)
    assert counts == [2 * 6, 2 * 4]  # shards 0 and 2, and shard 1
    assert shards.missing() == []
    assert reds(shards, phrases) == {str(number): 20.0 * number for number in range(10)}


def test_a_picture_that_can_not_be_read_is_told_and_noted(tmp_path):
    phrases = phrases_of(tmp_path / "set", 6)
    (tmp_path / "set/2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    told: list[str] = []
    shards = encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), SETTINGS, on_problem=told.append)
    assert len(told) == 1 and "2.png" in told[0] and "\n" not in told[0]
    assert [shards.note(row) for row in range(6)] == [None, None, told[0], None, None, None]


def test_a_full_disk_is_an_error_that_says_how_much_is_needed_and_loses_nothing(tmp_path):
    phrases = phrases_of(tmp_path / "set", 6)
    settings = CacheSettings(shard=5, batch=5)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a shard of five pictures needs 1,700 bytes, one of a single picture 700
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError) as error:
            encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert_one_line(error, "pictures-000000", "finished shards stay", "GB more")
    assert list((tmp_path / "cache").iterdir()) == []
    shards = encode_pictures(tmp_path / "cache", phrases, Towers().encoders(), settings)
    assert reds(shards, phrases)["5"] == 100


def test_features_beyond_float16_and_impossible_settings_are_wrong_calls(tmp_path, as_users_call):
    phrases = phrases_of(tmp_path / "set", 2)
    towers = Towers()
    large = towers.encoders()
    object.__setattr__(large, "images", lambda pixels: (pixels.flatten(2) * 10_000,))
    with pytest.raises(UsageError) as error:
        encode_pictures(tmp_path / "cache", phrases, large, SETTINGS)
    assert_one_line(error, "float16")
    for wrong in ({"precision": "int8"}, {"shard": 0}, {"batch": -1}):
        with pytest.raises(UsageError):
            CacheSettings(**wrong)
