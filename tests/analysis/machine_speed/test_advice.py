"""Advice follows from rows, and there is none without."""

import pytest

from segvoc.analysis.machine_speed.advice import advice_from, fastest_dtype
from tests.analysis.machine_speed.made_up import row, unmeasured


def lines(*rows):
    """The advice, without the line about a million images."""
    return [line for line in advice_from(rows) if "a million" not in line]


def test_there_is_none_without_rows():
    assert advice_from([]) == []
    assert advice_from([unmeasured(), unmeasured("failed", "memory ran out", words=171)]) == []


def test_dtype_by_the_most_words_that_both_have():
    rows = [row(1.0), row(3.0, words=171), row(0.4, dtype="bfloat16"), row(4.5, words=171, dtype="bfloat16")]
    rows += [row(9.0, words=1000), unmeasured(words=1000, dtype="bfloat16")]
    assert lines(*rows) == [
        "tiny: take --dtype float32, 1.5 times as fast as bfloat16 (3.0 s an image in float32, 4.5 s in bfloat16, with "
        "171 words)"
    ]
    assert fastest_dtype(rows, "tiny") == "float32"
    assert fastest_dtype(rows[:1] + rows[2:3], "tiny") == "bfloat16"
    (line,) = lines(rows[0], rows[2])
    assert line.startswith("tiny: take --dtype bfloat16, 2.5 times as fast (1.0 s an image in float32, 0.40 s")
    (line,) = lines(row(1.0), row(0.95, dtype="bfloat16"))
    assert "take --dtype float32, since bfloat16 is about as fast" in line


def test_a_dtype_alone_is_no_comparison():
    assert lines(row(1.0)) == []
    assert fastest_dtype([row(1.0, dtype="bfloat16")], "tiny") == "bfloat16"
    assert fastest_dtype([unmeasured()], "tiny") is None


@pytest.mark.parametrize(
    ("all_words", "said"),
    [
        (
            row(3.0, words=1000),
            "with many words take --keep-classes 32, 6.0 times as fast (0.50 s an image with 1,000 ",
        ),
        (row(0.52, words=1000), "leave out --keep-classes 32, which hardly saves time (0.50 s an image"),
        (
            unmeasured(words=1000),
            "with --keep-classes 32 it takes 0.50 s an image with 1,000 words in float32; without",
        ),
    ],
)
def test_keeping_few_classes(all_words, said):
    (line,) = lines(all_words, row(0.5, words=1000, keep_classes=32))
    assert line.startswith(f"tiny: {said}")


def test_threads_as_few_as_are_as_fast():
    rows = [row(1.0), row(1.05, threads=2), row(2.0, threads=1)]
    assert lines(*rows) == [
        "tiny: one process needs no more than OMP_NUM_THREADS=2 (1.0 s with 4, 1.1 s with 2, 2.0 s with 1; 20 words, "
        "float32)"
    ]
    (line,) = lines(rows[0], rows[2])
    assert line.startswith("tiny: one process is fastest with all 4 threads (1.0 s with 4, 2.0 s with 1;")


def test_processes_beside_the_best_one_alone():
    rows = [row(1.0), row(0.8, threads=2)]
    (_, line) = lines(*rows, row(1.0, threads=1, processes=4))
    assert line == (
        "tiny: for many images run 4 processes of 1 thread each, which label 3.2 times as many (4.0 images per second "
        "in 4.0 GB, 1.2 from one process)"
    )
    (_, line) = lines(*rows, row(4.0, threads=1, processes=4))
    assert line.startswith("tiny: run one process, since 4 processes of 1 thread each hardly label more images")


def test_batches_as_small_as_are_as_fast():
    rows = [row(0.1), row(0.02, batch=8), row(0.019, batch=32)]
    assert lines(*rows) == [
        "tiny: give lists of images and set model.batch = 8, 5.0 times as fast (10 images per second with 1, 50 images "
        "per second with 8, 53 images per second with 32; 20 words, float32)"
    ]
    (line,) = lines(rows[0], row(0.099, batch=8))
    assert line.startswith("tiny: batches bring nothing")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.5, "5.8 days (2.0 per"), (0.05, "14 hours"), (0.001, "17 minutes"), (1e-5, "10 seconds")]
)
def test_a_million_images(seconds, said):
    (line,) = advice_from([row(seconds)])
    assert f"a million such images with 20 words take about {said}" in line


def test_a_million_images_in_the_fastest_way():
    rows = [row(1.0), row(2.0, words=171), row(9.0, words=1000), row(0.1, words=171, keep_classes=32)]
    (*_, line) = advice_from([*rows, row(1.5, words=171, threads=1, processes=4)])
    assert line == (
        "tiny: a million such images with 171 words take about 4.3 days (2.7 per second: float32, 4 processes, "
        "1 thread)"
    )
    (*_, line) = advice_from([*rows, row(3.8, words=171, threads=2, processes=2)])
    assert line.endswith("take about 23 days (0.50 per second: float32, 4 threads)")  # hardly more from two processes


def test_models_beside_one_another_by_words_that_all_have():
    rows = [row(1.0), row(2.0, words=171), row(5.0, model="large"), row(4.0, model="large", dtype="bfloat16")]
    assert lines(*rows)[-1] == "the models beside one another, an image with 20 words: tiny 1.0 s, large 4.0 s"
    assert lines(row(1.0), row(2.0, model="large", words=171)) == []
