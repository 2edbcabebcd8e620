"""The comparison of two starts for fine-tuning: what is drawn, what is compared, what the table says."""

import pytest

from benchmarks.tiny_finetune import MEASURES, Settings, compared, mean_and_error, page, run_name, split
from segvoc.configuration import differences
from segvoc.errors import UsageError
from segvoc.training.recipes import RECIPES

SETTINGS = Settings(steps=40, side=160, held_out=19)


def runs(count: int, **scores: float) -> list[dict[str, object]]:
    """Runs of several seeds, whose scores are all the same value."""
    return [
        {"count": count, "seed": int(seed.removeprefix("seed")), **dict.fromkeys(MEASURES, value)}
        for seed, value in scores.items()
    ]


def test_photographs_are_held_out_from_every_count_and_fewer_are_the_first_of_more():
    few, held_out = split(150, 19, 20, seed=3)
    many, same = split(150, 19, 131, seed=3)
    assert held_out == same
    assert many[:20] == few
    assert sorted(many + held_out) == list(range(150))
    assert split(150, 19, 20, seed=4)[1] != held_out


@pytest.mark.parametrize(("held_out", "count"), [(20, 131), (0, 20), (19, -1)])
def test_a_split_that_is_impossible_is_refused(held_out: int, count: int):
    with pytest.raises(UsageError, match=f"of 150 photographs, {count} can't be trained on with {held_out} held out"):
        split(150, held_out, count, seed=0)


def test_differences_are_paired_by_seed_whatever_the_order():
    rows = compared(runs(20, seed0=10, seed1=20), runs(20, seed1=23, seed0=11))
    assert [row["score"] for row in rows] == list(MEASURES.values())
    first = rows[0]
    assert (first["against"], first["shipped"], first["difference"], first["runs"]) == (15, 17, 2, 2)
    assert first["standard_error"] == pytest.approx(1.0)


def test_one_seed_has_no_standard_error():
    assert mean_and_error([2.5]) == (2.5, None)
    text = page(compared(runs(0, seed0=10), runs(0, seed0=12)), SETTINGS, {"against": "aa", "shipped": "bb"}, seeds=1)
    assert "| 0 | mIoU, all pixels | 10.00 | 12.00 | +2.00 |\n" in text


def test_a_run_is_made_again_when_anything_changes():
    other = Settings(steps=41, side=160, held_out=19)
    names = {run_name("aa", 20, 0, SETTINGS), run_name("bb", 20, 0, SETTINGS), run_name("aa", 20, 0, other)}
    assert len(names | {run_name("aa", 50, 0, SETTINGS), run_name("aa", 20, 1, SETTINGS)}) == 5


def test_the_recipe_is_that_of_finetune_but_for_sizes_and_what_changes_no_result():
    ours, theirs = SETTINGS.recipe(), RECIPES["tiny"]()
    memory = {"activation_checkpointing", "class_chunk_size"}
    sizes = {"steps", "warmup_steps", "crop_size", "short_sides"}
    assert differences(ours, theirs).keys() == sizes | memory | {"num_workers", "save_every"}
