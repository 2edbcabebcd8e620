"""The folder of a run: whose it is, and what may change in it."""

import json
from unittest.mock import Mock

import pytest

from segvoc.errors import CheckpointError, UsageError
from segvoc.storage.journal import Journal
from segvoc.training.run_folder import STATE, RunFolder
from tests.storage.test_journal import outcomes

RUNTIME = {"num_workers": 2, "save_every": 10, "eval_every": 0}
CONFIG = {"recipe": {"optimizer": {"steps": 3}, "runtime": RUNTIME}, "seed": 0}


def begun(path):
    folder, _ = RunFolder.open(path, CONFIG, resume=False)
    folder.note("metrics.jsonl", {"step": 1, "loss": 0.5})
    folder.close()
    return folder


def test_a_folder_in_which_no_step_was_done_is_taken_anew(tmp_path):
    """A refused call must not stand in the way of the mended one."""
    RunFolder.open(tmp_path, CONFIG, resume=False)
    for seed, resume in ((1, False), (2, True)):
        RunFolder.open(tmp_path, CONFIG | {"seed": seed}, resume=resume)
        assert f'"seed": {seed}' in (tmp_path / "config.json").read_text()


def test_a_run_in_the_folder_and_other_files_are_not_overwritten(tmp_path):
    begun(tmp_path / "run")
    with pytest.raises(UsageError, match="already holds a run; continue it with --resume"):
        RunFolder.open(tmp_path / "run", CONFIG, resume=False)
    with pytest.raises(UsageError, match=r"holds other files \(run\)"):
        RunFolder.open(tmp_path, CONFIG, resume=False)


@pytest.mark.parametrize("content", ['{"architectures": []}', '{"recipe": {}, "sessions": [1]}'])
def test_another_programs_configuration_is_left_alone(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError, match="does not belong to a run"):
        RunFolder.open(tmp_path, CONFIG, resume=True)
    assert (tmp_path / "config.json").read_text() == content


def test_what_the_network_learns_does_not_depend_on_may_change_on_the_way(tmp_path):
    begun(tmp_path)
    free = {"num_workers": 0, "save_every": 1, "eval_every": 5, "activation_checkpointing": True, "compile": True}
    changed = CONFIG["recipe"] | {"runtime": free}
    with pytest.raises(UsageError, match=r"started with other settings \(recipe\.optimizer\.steps: 3, now 4\)"):
        RunFolder.open(tmp_path, CONFIG | {"recipe": changed | {"optimizer": {"steps": 4}}}, resume=True)
    RunFolder.open(tmp_path, CONFIG | {"recipe": changed}, resume=True)


def test_every_start_is_recorded_and_what_changes_the_last_digits_is_told(tmp_path):
    def opened(*, chunk, threads, processes, resume=True):
        session = {"command": ["segvoc"], "machine": {"threads": threads, "processes": processes}}
        recipe = {"recipe": {"runtime": {"class_chunk_size": chunk}}, "session": session}
        folder, _ = RunFolder.open(tmp_path, recipe, resume=resume)
        folder.note("metrics.jsonl", {"step": 1})
        folder.close()
        return folder.notes

    assert opened(chunk=0, threads=2, processes=1, resume=False) == []
    again = f"{str(tmp_path)!r} has no checkpoint yet: the run restarts at step 1"
    assert opened(chunk=0, threads=2, processes=1) == [again]
    told, _ = opened(chunk=4, threads=1, processes=1)
    assert told.startswith("recipe.runtime.class_chunk_size: 0, now 4; machine.threads: 2, now 1: losses may differ")
    assert opened(chunk=4, threads=1, processes=2)[0].startswith("machine.processes: 1, now 2")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["recipe"] == {"runtime": {"class_chunk_size": 0}}
    assert [session["machine"]["threads"] for session in config["sessions"]] == [2, 2, 1, 1]
    chunked = {"recipe.runtime.class_chunk_size": 4}
    assert [session.get("changed") for session in config["sessions"]] == [None, {}, chunked, chunked]


def test_two_processes_can_not_train_in_one_folder(tmp_path, monkeypatch):
    with RunFolder.open(tmp_path, CONFIG, resume=False)[0]:
        assert outcomes(tmp_path) != ["locked"]
    assert outcomes(tmp_path) == ["locked"]
    monkeypatch.setattr("segvoc.training.run_folder.lock_folder", Mock(side_effect=UsageError("locked")))
    with pytest.raises(UsageError, match=rf"^another process trains in {str(tmp_path)!r}; wait"):
        RunFolder.open(tmp_path, CONFIG, resume=True)


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: b""])
def test_a_checkpoint_that_is_none_is_named(tmp_path, damage):
    folder = begun(tmp_path)
    folder.save({"step": 1})
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt' is damaged .*delete it to start over"):
        RunFolder.open(tmp_path, CONFIG, resume=True)


def test_metrics_are_on_the_disk_before_their_checkpoint(tmp_path, monkeypatch):
    synced = []
    folder = begun(tmp_path)
    folder.note("metrics.jsonl", {"step": 2})
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "sync", lambda journal: synced.append((journal.path.name, folder.state())))
        folder.save(dict.fromkeys(STATE) | {"step": 2})
    folder.close()
    assert synced == [("metrics.jsonl", None)]
