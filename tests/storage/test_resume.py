"""What is done of some work: after kills, for other settings, for files that changed, with several processes."""

import os
from pathlib import Path
from typing import Any

import pytest

from segvoc.errors import DamagedJournalWarning, UsageError
from segvoc.storage.resume import ResumableWork, StepwiseWork, read_done

KEY = {"model": "tiny", "words": "cat", "pair": (1, 2)}


def kept(path: Path, key: dict[str, object] = KEY, **values: object) -> Path:
    with ResumableWork(path, key) as work:
        for item, value in values.items():
            work.finish(item, (1, 2), value)
    return path


def items(*paths: Path, key: dict[str, object] = KEY) -> dict[str, Any]:
    return {item: value for item, _, value in read_done(paths, key)}


def test_items_are_done_with_their_stamp_alone(tmp_path: Path) -> None:
    done = read_done([kept(tmp_path / "new/a.jsonl", a=3, b=None)], KEY)
    assert done.has("a", (1, 2)) and done.has("b", [1, 2]) and done.get("a", (1, 2)) == 3
    assert not done.has("a", (1, 3)) and not done.has("a") and not done.has("c", (1, 2))
    assert done.get("a", (2, 2)) is None
    assert list(done) == [("a", [1, 2], 3), ("b", [1, 2], None)]


def test_journals_of_all_processes_count(tmp_path: Path) -> None:
    kept(tmp_path / "work-0.jsonl", a=1)
    kept(tmp_path / "other.jsonl", x=1)
    with ResumableWork(tmp_path / "work-1.jsonl", KEY, writers="work-*.jsonl") as work:
        assert {item for item, _, _ in work.done} == {"a"}
        work.finish("b")
    assert items(*tmp_path.glob("work-*")) == {"a": 1, "b": None}


def test_only_other_keys_are_refused_with_the_newest_of_them(tmp_path: Path) -> None:
    old = kept(tmp_path / "z.jsonl", KEY | {"words": "dog"}, a=1)
    os.utime(old, (0, 0))
    kept(tmp_path / "a.jsonl", KEY | {"words": "bird", "pair": None}, a=1)
    with pytest.raises(UsageError) as error:
        read_done(tmp_path.iterdir(), KEY).require_key("out/", "do something")
    assert str(error.value) == (
        "'out/' has results of another call (words: bird, now cat; pair: none, now [1, 2]); do something"
    )
    kept(old, b=1)
    read_done(tmp_path.iterdir(), KEY).require_key("out/")
    read_done([], KEY).require_key("out/")


def test_a_line_that_a_kill_cut_and_a_damaged_one_are_no_entries(tmp_path: Path) -> None:
    path = kept(tmp_path / "a.jsonl", a=1, b=2, c=3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{damaged\n", lines[3][:-5]]))
    with pytest.warns(DamagedJournalWarning):
        assert items(path) == {"a": 1}
    path.write_bytes(b"".join([lines[1], lines[3]]))
    assert items(path) == {"a": 1, "c": 3}  # also without the line that spells the key out


def test_a_second_writer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with ResumableWork(path, KEY), pytest.raises(UsageError, match=r"^wait!$"):
        ResumableWork(path, KEY, busy="wait!")
    ResumableWork(path, KEY, busy="wait!").close()


class Numbers(StepwiseWork):
    """Each step adds a number, and a file of its name."""

    def __init__(self, folder: Path, key: dict[str, object] = KEY, stamp: object = (1, 2), *, resume: bool = True):
        self.numbers: list[int] = []
        super().__init__(folder / "steps", key, stamp, out=folder, resume=resume)

    def step(self, number: int) -> None:
        (self.folder / str(number)).touch()
        self.add(number)

    def take(self, value: int) -> None:
        self.numbers.append(value)

    def usable(self, values: list[int]) -> list[int]:
        gone = [at for at, number in enumerate(values) if not (self.folder / str(number)).exists()]
        return values[: gone[0]] if gone else values


def two_steps(folder: Path) -> None:
    with Numbers(folder) as work:
        work.step(10)
        work.step(20)


def test_steps_go_on_and_their_folder_goes_in_the_end(tmp_path: Path) -> None:
    two_steps(tmp_path / "out")
    with Numbers(tmp_path / "out") as work:
        assert work.numbers == [10, 20]
        work.step(30)
    (tmp_path / "out/steps/20").unlink()
    with Numbers(tmp_path / "out") as work:
        assert work.numbers == [10]
        work.step(21)
        work.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changed", [{"stamp": (1, 3)}, {"resume": False}, {"key": KEY | {"words": "b"}, "resume": False}]
)
def test_steps_begin_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    two_steps(tmp_path)
    (tmp_path / "steps/folder").mkdir()
    with Numbers(tmp_path, **changed) as work:
        assert work.numbers == []
        assert [path.name for path in work.folder.iterdir()] == ["steps.jsonl"]
        work.step(1)
    with Numbers(tmp_path, **changed | {"resume": True}) as work:
        assert work.numbers == [1]


def test_steps_of_another_call_are_refused_and_stay(tmp_path: Path) -> None:
    two_steps(tmp_path)
    with pytest.raises(UsageError, match=r"another call \(words: cat, now dog\); leave out --resume"):
        Numbers(tmp_path, KEY | {"words": "dog"})
    with Numbers(tmp_path) as work:
        assert work.numbers == [10, 20]
        with pytest.raises(UsageError, match="another process"):
            Numbers(tmp_path)
