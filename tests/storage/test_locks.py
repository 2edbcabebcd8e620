"""A folder belongs to one process at a time."""

import gc
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

from segvoc.errors import UsageError
from segvoc.storage.journal import LOCK_NAME, lock_folder


def attempt(folder, start, done, results) -> None:
    start.wait()
    try:
        lock = lock_folder(folder)
    except UsageError as error:
        results.put(str(error))
    else:
        results.put("locked")
        done.wait()
        del lock


def test_of_many_processes_that_start_at_once_one_gets_the_folder(tmp_path):
    context, count = multiprocessing.get_context("fork"), 5
    for number in range(2):
        start, done, results = context.Barrier(count), context.Event(), context.Queue()
        folder = tmp_path / f"new-{number}"
        processes = [context.Process(target=attempt, args=(folder, start, done, results)) for _ in range(count)]
        for process in processes:
            process.start()
        outcomes = [results.get(timeout=60) for _ in processes]
        done.set()
        for process in processes:
            process.join()
        refused = f"another process works in {str(folder)!r}; wait until it ends"
        assert sorted(outcomes, key=len) == ["locked", *[refused] * (count - 1)]


def locked_by_another(folder) -> bool:
    context = multiprocessing.get_context("fork")
    start, done, results = context.Barrier(1), context.Event(), context.Queue()
    done.set()
    process = context.Process(target=attempt, args=(folder, start, done, results))
    process.start()
    process.join()
    return results.get(timeout=60) != "locked"


def test_a_lock_lasts_as_long_as_the_last_that_holds_it(tmp_path):
    first, second = lock_folder(tmp_path), lock_folder(tmp_path)
    assert first is second
    del first
    gc.collect()
    assert locked_by_another(tmp_path)
    del second
    gc.collect()
    assert not locked_by_another(tmp_path)
    assert (tmp_path / LOCK_NAME).exists()


def test_threads_that_lock_a_folder_at_once_get_one_lock(tmp_path):
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lock_folder, [tmp_path] * 20))
    assert all(lock is found[0] for lock in found)
    assert locked_by_another(tmp_path)
