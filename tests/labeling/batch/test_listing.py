"""Listings as streams: their order, what they skip, how far ahead they look; and what a resumed run reads."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason='needs the extra "batch"')

from segvoc.errors import UsageError
from segvoc.labeling.batch import listing, storages
from segvoc.labeling.batch.done import DoneLog, DoneShard, Remaining, mark_of
from segvoc.labeling.batch.listing import find_source, units_below
from segvoc.labeling.batch.sources import Shard
from segvoc.labeling.batch.storages import Page, Unit, folder_at
from tests.images import one_line_error
from tests.labeling.batch.runs import Loop, folder_of, label, tar_of


def names_below(folder: Path, **options: Any) -> list[str]:
    return [unit[0] for unit in units_below(folder_at(str(folder)), report=pytest.fail, **options)]


def test_files_come_in_the_order_of_their_names_whatever_is_listed_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(storages, "PAGE", 3)
    monkeypatch.setattr(listing, "PAGES_AHEAD", 2)
    draw, names = random.Random(0), set[str]()
    while len(names) < 200:
        parts = ["".join(draw.choices("aB-.+é/", k=draw.randint(1, 3))).strip("./") for _ in range(draw.randint(1, 4))]
        name = "/".join(part for part in "/".join(parts).split("/") if part and not part.startswith("."))
        taken = {f"{one}/" for one in names}
        if name and not any(one.startswith(f"{name}/") or f"{name}.jpg/".startswith(one) for one in taken):
            names.add(f"{name}.jpg")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names_below(tmp_path) == sorted(names)


def test_hidden_files_results_and_endless_links_are_left_out_and_broken_links_are_not(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.jpg", ".b.jpg", ".c/d.jpg", "out/e.jpg", "sub/f.jpg"])
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "sub" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert names_below(tmp_path, skip=f"{tmp_path}/out/") == ["a.jpg", "sub/f.jpg", "sub/gone.jpg"]
    done = label(tmp_path, tmp_path / "out")
    assert (done.images, done.failed) == (3, 1)


def test_a_folder_that_cannot_be_listed_and_files_of_another_kind_are_named(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", ["a.jpg", "sub/b.jpg", "x/c.jpg"])
    plain = storages._DiskFolder.page

    def page(folder: Any, name: str, token: Any = None) -> Page:
        if name == "sub/":
            raise PermissionError(13, "Permission denied")
        return plain(folder, name, token)

    monkeypatch.setattr(storages._DiskFolder, "page", page)
    done = label(tmp_path / "in", tmp_path / "out")
    assert done.images == 2
    (problem,) = done.problems
    assert problem.startswith(f"'{tmp_path}/in/sub/' can't be listed: [Errno 13] Permission denied")
    monkeypatch.setattr(listing, "KIND_BY", 1)
    folder_of(tmp_path / "in", ["y.tar", "z.parquet"])  # beyond what tells the kind
    assert "also has 2 files of another kind ('y.tar', ...)" in label(tmp_path / "in", tmp_path / "out").problems[1]


def test_the_first_shard_is_there_before_the_listing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path / "in", [f"{folder:02}/bad {number}.jpg" for folder in range(60) for number in range(2)])
    pages, seen, plain = list[str](), list[int](), storages._DiskFolder.page

    def page(folder: Any, name: str, token: Any = None) -> Page:
        pages.append(name)
        return plain(folder, name, token)

    monkeypatch.setattr(storages._DiskFolder, "page", page)
    monkeypatch.setattr(listing, "KIND_BY", 1)
    monkeypatch.setattr("segvoc.labeling.batch.count.SourceCount.start", lambda count: None)

    class Watching(Loop):
        def run(self, next_task: Callable[[], Any], facts: Any) -> Any:
            def watched() -> Any:
                task = next_task()
                seen.append(len(pages))
                return task

            yield from super().run(watched, facts)

    done = label(tmp_path / "in", tmp_path / "out", Watching())
    assert done.images == 120 and done.total is None
    # the kind, and the plan: the folder itself, those ahead, and two that are read
    assert 2 < seen[0] <= 2 * (3 + listing.LISTED_AHEAD) < 61 < seen[-1]


def test_names_in_no_order_are_refused(tmp_path: Path) -> None:
    def page(folder: str, token: Any = None) -> Page:
        return [("b.jpg", 1, 1), ("a.jpg", 1, 1)], None

    with one_line_error(UsageError, "lists its files in no order"):
        list(units_below(folder_at(str(tmp_path)), report=pytest.fail, page=page))


@pytest.mark.parametrize("address", ["s3:///key", "ftp://host/x", "http://host/x.jpg"])
def test_addresses_without_a_storage_are_refused(address: str) -> None:
    with one_line_error(UsageError, address, "s3://bucket/folder"):
        find_source(address)


def entry_of(key: str, units: list[Unit], **options: Any) -> DoneShard:
    marks = b"".join(map(mark_of, units))
    return DoneShard(key=key, first=units[0][0], last=units[-1][0], marks=marks, images=len(units), **options)


def test_a_resumed_run_reads_the_log_along_with_the_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units: list[Unit] = [(f"{number:04}.jpg", number, number) for number in range(1000)]
    log = DoneLog(folder_at(str(tmp_path)))
    for start in range(0, 900, 100):
        log.add(entry_of(f"{start}", units[start : start + 100], failed=(3, 3)))
        log.flush()
    assert len(list((tmp_path / ".segvoc/done").iterdir())) == 9
    again = DoneLog(folder_at(str(tmp_path)))
    assert (again.images, again.failed) == (900, 18)
    reads, read = list[str](), type(again.folder).read
    monkeypatch.setattr(type(again.folder), "read", lambda folder, name: reads.append(name) or read(folder, name))
    changed = dict[str, dict[int, str]]()
    compared = Remaining(
        log=again,
        is_whole=lambda entry: entry.key != "400",
        retry_failed=False,
        changed=lambda entry, names: changed.update({entry.key: dict(names)}),
    )
    now = [*units[:250], ("0250.jpg", 250, 9), ("0250x.jpg", 1, 1), *units[252:]]  # one changed, one new, one gone
    left = compared.of(now)
    assert next(left)[0] == ("0250.jpg", 250, 9) and len(reads) == 3
    assert [unit for unit, _ in left] == [("0250x.jpg", 1, 1), *units[400:500], *units[900:]]
    assert len(reads) == 9 and changed == {"200": {50: "0250.jpg"}}
    size = sum(path.stat().st_size for path in (tmp_path / ".segvoc/done").iterdir())
    assert size / 900 < 20


def test_an_entry_that_is_replaced_counts_no_more_and_two_that_overlap_keep_one(tmp_path: Path) -> None:
    units: list[Unit] = [(f"{number}.jpg", 1, 1) for number in range(6)]
    log = DoneLog(folder_at(str(tmp_path)))
    log.add(entry_of("a", units[:4]))
    log.add(entry_of("b", units[3:]))  # a run that was killed before it replaced the first
    log.flush()
    log = DoneLog(folder_at(str(tmp_path)))
    changed = dict[str, dict[int, str]]()
    compared = Remaining(
        log=log,
        is_whole=lambda entry: True,
        retry_failed=False,
        changed=lambda entry, names: changed.update({entry.key: dict(names)}),
    )
    assert not list(compared.of(units)) and changed == {"b": {0: "3.jpg"}}
    (first, *_) = DoneLog(folder_at(str(tmp_path))).entries_until(None)
    log.add(replace(entry_of("c", units[:1]), place=""), instead_of=first)
    log.flush()
    log = DoneLog(folder_at(str(tmp_path)))
    assert [entry.key for entry in log.entries_until(None)] == ["c", "b"] and log.images == 4


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", ["a.jpg"])
    label(source, tmp_path / "out")
    (log,) = (tmp_path / "out/.segvoc/done").iterdir()
    for content in (b"{", log.read_bytes()[:-20] + b"\n"):
        log.write_bytes(content)
        with one_line_error(UsageError, str(log), "is damaged; delete it"):
            label(source, tmp_path / "out")


def test_what_a_mac_packs_beside_files_and_names_with_dots_and_torn_samples(tmp_path: Path) -> None:
    """`._a.jpg` is no image; a key ends at the first dot, and the files of a sample come one after another."""
    members = ["._a.jpg", "a.jpg", "@eaDir/a.jpg", "IMG.2024.jpg", "b.jpg", "c.jpg", "b.json"]
    (tmp_path / "t.tar").write_bytes(tar_of({name: name.encode() for name in members}))
    shard = Shard(address=str(tmp_path), kind="tars", column=None, units=(("t.tar", 0, 0),), stems=("t",), table="t")
    rows = {f"{number}:{row.key}": row for number, row in enumerate(shard.read())}
    assert list(rows) == ["0:a", "1:IMG", "2:b", "3:c", "4:b"]
    assert rows["0:a"].content == b"a.jpg" and rows["2:b"].problem is None
    assert "has no image file but 'IMG.2024.jpg', whose key ends at the first dot" in str(rows["1:IMG"].problem)
    assert "aren't consecutive; sort the tar's files" in str(rows["4:b"].problem)
