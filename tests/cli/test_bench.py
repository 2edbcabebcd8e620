"""`segvoc bench`: a real measurement with tiny at a small size, and wrong calls."""

import pytest

from tests.cli.command import Command


def test_each_vocabulary_is_a_row_of_times_and_memory(segvoc_command: Command) -> None:
    done = segvoc_command("bench", "--words", "3,2,3", "--size", "40x30", "--repeat", "2").ok()
    about, loaded, empty, head, *rows = done.out.splitlines()
    assert about.startswith("tiny, float32, ") and "40x30" in loaded and not empty
    assert head.split() == ["words", "encode", "s", "image", "s", "from", "-", "to", "peak", "GB"]
    cells = [row.replace("-", " ").split() for row in rows]
    assert [row[0] for row in cells] == ["2", "3"]
    for _, encoding, middle, shortest, longest, peak in (map(float, row) for row in cells):
        assert encoding > 0 and 0 < shortest <= middle <= longest
        assert 0.05 < peak < 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--words", "20,many"), "--words '20,many' is invalid"),
        (("--words", "0"), "give numbers from 1"),
        (("--size", "640"), "--size '640' is not a width and a height"),
        (("--size", "640x0"), "--size '640x0' is invalid"),
        (("no-model",), "no-model"),
    ],
)
def test_wrong_calls_say_how_to_mend_them(segvoc_command: Command, arguments: tuple[str, ...], said: str) -> None:
    segvoc_command("bench", *arguments).refused(said)
